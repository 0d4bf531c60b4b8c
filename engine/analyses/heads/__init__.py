"""Attention heads of single runs, described."""
