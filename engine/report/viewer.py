"""The viewer of single samples: its index and the packed maps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from biocache.engine.report.packing import packed, script_json
from biocache.engine.report.request import ReportRequest
from biocache.engine.report.samples import LEVELS, ShownSample, choose_samples, find_shown, read_maps
from biocache.store import Run, Store
from biocache.store.errors import BiocacheError
from biocache.store.storage import Storage

__all__ = ["Viewer", "fitted", "read_viewer"]

# Bytes of the HTML element around the maps of a sample.
_ELEMENT = 60


@dataclass(frozen=True)
class Viewer:
    """The contents of the viewer.

    Attributes
    ----------
    index
        For its script: the runs, their samples, and the names of the blobs; ``first``, what it shows at first, which
        is drawn before the packed maps are read: of the first two training sizes the map of the first head.
    blobs
        By name, the packed maps of a sample, uint8 (training size, layer, head, word, word + 1).
    notes
        What it leaves out.
    """

    index: Mapping[str, Any]
    blobs: Mapping[str, str]
    notes: tuple[str, ...] = ()

    @property
    def samples(self) -> int:
        """Number of its samples."""
        return len(self.blobs)

    @property
    def bytes(self) -> int:
        """Size of its samples in a page."""
        return sum(_cost(self, sample) for group in self.index["groups"] for sample in group["samples"])


def read_viewer(store: Store, request: ReportRequest) -> Viewer:
    """Read the samples of every model and view.

    Parameters
    ----------
    store
        The store.
    request
        The request.
    """
    if not request.samples:
        return Viewer({"levels": LEVELS, "groups": [], "first": []}, {})
    shown, notes = find_shown(store, request)
    groups: list[dict[str, Any]] = []
    blobs: dict[str, str] = {}
    first: list[list[int]] = []
    for runs in shown:
        try:
            samples = choose_samples(runs[0], request.samples)
            maps = [read_maps(run, samples) for run in runs]
        except BiocacheError as error:
            notes.append(f"the viewer leaves {runs[0].key} out: {error}")
            continue
        names = [f"maps-{len(groups)}-{place}" for place in range(len(samples))]
        for place, name in enumerate(names):
            blobs[name] = packed(b"".join(of_run[place].tobytes() for of_run in maps))
        first = first or [of_run[0][0, 0].ravel().tolist() for of_run in maps[:2]]
        groups.append(_described(store.storage, runs, samples, names))
    return Viewer({"levels": LEVELS, "groups": groups, "first": first}, blobs, tuple(notes))


def fitted(viewer: Viewer, room: int) -> Viewer:
    """Drop samples until the rest fit into some bytes: the last ones of every model and view first.

    Parameters
    ----------
    viewer
        The viewer.
    room
        Maximum bytes of all samples; see `Viewer.bytes`.
    """
    groups = viewer.index["groups"]
    # The first sample of each group, then the second of each.
    rounds = zip_longest(*(group["samples"] for group in groups))
    order = [sample for each in rounds for sample in each if sample is not None]
    kept: dict[str, str] = {}
    used = 0
    for sample in order:
        used += _cost(viewer, sample)
        if used > room:
            break
        kept[sample["maps"]] = viewer.blobs[sample["maps"]]
    if len(kept) == len(viewer.blobs):
        return viewer
    left = [{**group, "samples": [s for s in group["samples"] if s["maps"] in kept]} for group in groups]
    note = f"the viewer shows {len(kept):,} of {viewer.samples:,} samples; --max-bytes makes room for more"
    index = {**viewer.index, "groups": [group for group in left if group["samples"]]}
    return Viewer(index, kept, (*viewer.notes, note))


def _cost(viewer: Viewer, sample: Mapping[str, Any]) -> int:
    return len(viewer.blobs[sample["maps"]]) + len(script_json(sample).encode()) + _ELEMENT


def _origin(run: Run) -> str:
    """Describe a model at training size 0."""
    if run.provenance.random_weights:
        return "random weights"
    return f"with a task head ({run.provenance.task_head})" if run.provenance.task_head else "pre-trained"


def _described(
    store: Storage, runs: Sequence[Run], samples: Sequence[ShownSample], names: Sequence[str]
) -> dict[str, Any]:
    spec = runs[0].spec
    return {
        "store": str(store),
        **{name: getattr(spec.key, name) for name in ("task", "dataset", "model", "view")},
        "trained_on": runs[-1].key.trained_on,
        "seed": runs[-1].key.seed,
        "seeds": [run.key.seed for run in runs],
        "sizes": [run.key.training_size for run in runs],
        "origin": _origin(runs[0]),
        "layers": list(spec.attention_layers),
        "heads": spec.head_count,
        "samples": [{**vars(sample), "maps": name} for sample, name in zip(samples, names, strict=True)],
    }
