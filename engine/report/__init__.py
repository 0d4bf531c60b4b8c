"""Reporting: one HTML page from any store."""
