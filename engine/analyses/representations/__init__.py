"""How alike layers of runs represent the same words or samples."""
