"""Label sets that are added to the text of a store: read from files, or made by rules."""
