"""The results of a store: loaded, what cannot be read left out and said."""

from contextlib import suppress

import xarray as xr

from biocache.engine.analysis import ANALYSES
from biocache.store.catalog import Store
from biocache.store.errors import BiocacheError
from biocache.store.metadata import MetadataError, as_type
from biocache.store.results import StoredResult

__all__ = ["KINDS", "load_results"]

#: Kinds of the results that the page shows. Others, such as single fits, are parts of these.
KINDS = ("finetune", "probe", "compare-attention")

Loaded = list[tuple[StoredResult, xr.Dataset]]


def load_results(store: Store) -> tuple[dict[str, Loaded], list[str]]:
    """Load the results of every kind, the oldest first; and say which are left out."""
    loaded: dict[str, Loaded] = {}
    problems: list[BiocacheError] = []
    notes = []
    for kind in KINDS:
        loaded[kind] = []
        for result in store.results(kind, problems):
            if not _is_current(result):
                notes.append(f"result {result.path} was computed by another release, in another way; it is left out")
                continue
            try:
                loaded[kind].append((result, result.load()))
            except BiocacheError as error:
                problems.append(error)
    return loaded, [*notes, *map(str, problems)]


def _is_current(result: StoredResult) -> bool:
    """Return whether this release computes a result in the same way, and so knows its shape."""
    from biocache.engine.finetuning.spec import FinetuneSpec

    inputs = result.inputs
    if result.kind == "finetune":
        with suppress(MetadataError):
            return bool(as_type(inputs.get("checkpoint"), FinetuneSpec))
        return False
    return bool(inputs.get("version") == ANALYSES[result.kind].version)
