"""The analyses of biocache: each a room, found by its name in `ANALYSES`."""
