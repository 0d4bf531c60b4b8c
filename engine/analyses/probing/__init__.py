"""Probes: what a classifier can read from each layer of a store, with uncertainty and controls."""
