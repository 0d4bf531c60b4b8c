"""The catalog of a store: a row a run, with its sizes and how much of it is there."""

from operator import attrgetter
from typing import Any

from biocache.store.errors import BiocacheError, NewerFormatError
from biocache.store.keys import RunKey
from biocache.store.runs import StoredRun
from biocache.store.storage import Storage

__all__ = ["COLUMNS", "COUNTED", "described_run"]

#: Column of the catalog beside the parts of the key -> the attribute of a run that it shows; none where it is computed.
COLUMNS = {
    "samples": "counts.samples",
    "tokens": "counts.tokens",
    "words": "counts.words",
    "packs": "counts.packs",
    "packs_done": "",
    "complete": "",
    "state": "",
    "keep": "",
    "layers": "",
    "features": "spec.feature_size",
    "heads": "spec.head_count",
    "level": "spec.level",
    "dtype": "spec.dtype",
    "attention_dtype": "spec.map_dtype",
    "stored_bytes": "",
    "model_source": "provenance.model_source",
    "dataset_source": "provenance.dataset_source",
    "training_steps": "provenance.training_steps",
    "created": "provenance.created",
    "host": "provenance.host",
    "problem": "",
}
#: Those that are numbers.
COUNTED = (
    *("samples", "tokens", "words", "packs", "packs_done", "layers", "features", "heads", "stored_bytes"),
    "training_steps",
)


def described_run(storage: Storage, key: RunKey) -> dict[str, Any]:
    """Return a run's row of the catalog beside its key; None where something is not known."""
    row: dict[str, Any] = {**dict.fromkeys(COLUMNS), "complete": False, "state": "damaged", "problem": ""}
    try:
        run = StoredRun.open(storage, key)
        row |= {column: attrgetter(place)(run) for column, place in COLUMNS.items() if place}
        row |= {"keep": ",".join(run.spec.keep), "layers": len(run.spec.layers)}
        records = run.records()
    except NewerFormatError as error:
        return row | {"state": "newer", "problem": error.message}
    except BiocacheError as error:
        return row | {"problem": error.message}
    complete = len(records) == run.counts.packs
    return row | {
        "packs_done": len(records),
        "complete": complete,
        "state": "complete" if complete else "incomplete",
        "stored_bytes": sum(record.stored_bytes for record in records.values()),
    }
