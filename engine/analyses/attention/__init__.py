"""Attention comparison: how alike the maps of two runs are, head by head, from the store alone."""
