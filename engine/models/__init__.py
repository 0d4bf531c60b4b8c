"""Models: their sources, configurations and weights."""
