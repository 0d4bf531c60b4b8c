"""The study: fine-tuning, extraction, probing and attention comparison over a grid of tasks, models and sizes."""
