"""The study: fine-tuning, extraction, probing and comparison over a grid of tasks, models, sizes and seeds."""
