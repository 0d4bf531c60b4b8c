"""The research questions asked of text: tasks, corpora and their readers."""
