"""Models: where they are, what their configuration says of them, and their weights."""
