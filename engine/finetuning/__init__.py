"""Fine-tuning: a model and a part of a train split in, a checkpoint with its scores out."""
