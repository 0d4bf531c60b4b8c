"""A whole study in small, made offline: a corpus of invented sentences and tiny models of every family."""
