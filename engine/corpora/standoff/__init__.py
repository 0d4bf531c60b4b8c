"""Corpora whose annotations are beside the text, by position: PubTator, BioC and brat."""
