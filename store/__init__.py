"""What is on disk, and the xarray views of it."""

from biocache.store.catalog import Store
from biocache.store.errors import BiocacheError
from biocache.store.keys import RunKey
from biocache.store.reading import Run

__all__ = ["BiocacheError", "Run", "RunKey", "Store"]
