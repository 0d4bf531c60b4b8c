"""Extraction: the activations of every layer, from a corpus and a model into a store."""
