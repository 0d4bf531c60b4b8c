"""Tasks, corpora and their readers."""
