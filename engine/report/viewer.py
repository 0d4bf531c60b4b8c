"""The viewer of single samples: which it offers, and their maps, packed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from biocache.engine.report.packing import packed, script_json
from biocache.engine.report.request import ReportRequest
from biocache.engine.report.samples import LEVELS, ShownRuns, ShownSample, choose_samples, find_shown, read_maps
from biocache.store import Run, Store
from biocache.store.errors import BiocacheError

__all__ = ["Viewer", "fitted", "read_viewer"]

# Bytes of the element that holds the maps of a sample.
_ELEMENT = 60


@dataclass(frozen=True)
class Viewer:
    """What the viewer holds.

    Attributes
    ----------
    index
        For its script: the runs, their samples, and the names of the blobs.
    blobs
        By name, the packed maps of a sample, uint8 (training size, layer, head, word, word + 1).
    samples
        How many samples it offers.
    notes
        What it leaves out.
    """

    index: Mapping[str, Any]
    blobs: Mapping[str, str]
    samples: int
    notes: tuple[str, ...] = ()

    @property
    def bytes(self) -> int:
        """What its samples take in a page."""
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
        return Viewer({"levels": LEVELS, "groups": []}, {}, 0)
    shown, notes = find_shown(store, request)
    groups: list[dict[str, Any]] = []
    blobs: dict[str, str] = {}
    for runs in shown:
        try:
            samples = choose_samples(runs, request.samples)
            maps = [read_maps(run, samples) for run in runs.runs]
        except BiocacheError as error:
            notes.append(f"the viewer leaves {runs.key} out: {error}")
            continue
        names = [f"maps-{len(groups)}-{place}" for place in range(len(samples))]
        for place, name in enumerate(names):
            blobs[name] = packed(b"".join(of_run[place].tobytes() for of_run in maps))
        groups.append(_described(store.path, runs, samples, names))
    return Viewer({"levels": LEVELS, "groups": groups}, blobs, len(blobs), tuple(notes))


def fitted(viewer: Viewer, room: int) -> Viewer:
    """Leave samples out until they take no more than some bytes: the last of every model and view first.

    Parameters
    ----------
    viewer
        The viewer.
    room
        Bytes that there are for all samples; see `Viewer.bytes`.
    """
    groups = viewer.index["groups"]
    most = max((len(group["samples"]) for group in groups), default=0)
    # The first sample of each, then the second of each.
    order = [group["samples"][place] for place in range(most) for group in groups if place < len(group["samples"])]
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
    note = (
        f"the viewer shows {len(kept):,} of {len(viewer.blobs):,} samples, so that the page fits; --max-bytes makes "
        "room for more"
    )
    index = {**viewer.index, "groups": [group for group in left if group["samples"]]}
    return Viewer(index, kept, len(kept), (*viewer.notes, note))


def _cost(viewer: Viewer, sample: Mapping[str, Any]) -> int:
    return len(viewer.blobs[sample["maps"]]) + len(script_json(sample).encode()) + _ELEMENT


def _origin(run: Run) -> str:
    """Return what a model at training size 0 is."""
    if run.provenance.random_weights:
        return "random weights"
    return f"with a task head ({run.provenance.task_head})" if run.provenance.task_head else "pre-trained"


def _described(store: Path, runs: ShownRuns, samples: Sequence[ShownSample], names: Sequence[str]) -> dict[str, Any]:
    spec, key = runs.runs[0].spec, runs.key
    return {
        "store": str(store),
        "task": key.task,
        "dataset": key.dataset,
        "model": key.model,
        "view": key.view,
        "seed": runs.runs[-1].key.seed,
        "seeds": [run.key.seed for run in runs.runs],
        "sizes": [run.key.training_size for run in runs.runs],
        "origin": _origin(runs.runs[0]),
        "layers": list(spec.attention_layers),
        "heads": spec.head_count,
        "samples": [{**vars(sample), "maps": name} for sample, name in zip(samples, names, strict=True)],
    }
