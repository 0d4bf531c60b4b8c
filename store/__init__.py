"""What is on disk, and the xarray views of it."""

from typing import TYPE_CHECKING

from biocache.store.lazy import lazy_names

if TYPE_CHECKING:
    from biocache.store.catalog import Store
    from biocache.store.errors import BiocacheError
    from biocache.store.keys import RunKey
    from biocache.store.reading import Run

__all__ = ["BiocacheError", "Run", "RunKey", "Store"]

__getattr__, __dir__ = lazy_names(
    __name__, {"BiocacheError": "errors", "Run": "reading", "RunKey": "keys", "Store": "catalog"}
)
