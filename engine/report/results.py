"""The results of a store: loaded, what cannot be read left out and said."""

import xarray as xr

from biocache.store.catalog import Store
from biocache.store.errors import BiocacheError
from biocache.store.results import StoredResult

__all__ = ["KINDS", "load_results"]

#: Kinds of the results that the page shows. Others, such as single fits, are parts of these.
KINDS = ("finetune", "probe", "attention")

Loaded = list[tuple[StoredResult, xr.Dataset]]


def load_results(store: Store) -> tuple[dict[str, Loaded], list[str]]:
    """Load the results of every kind, the oldest first; and say which cannot be read."""
    loaded: dict[str, Loaded] = {}
    notes = []
    for kind in KINDS:
        loaded[kind] = []
        try:
            found = store.results(kind)
        except BiocacheError as error:
            notes.append(str(error))
            continue
        for result in found:
            try:
                loaded[kind].append((result, result.load()))
            except BiocacheError as error:
                notes.append(str(error))
    return loaded, notes
