"""Attention between the words of single samples, as bytes that a page can hold.

Between words as in `biocache.engine.analyses.attention.alignment`: to a word the sum over its tokens, from a word the
mean over its tokens. Rows are not rescaled: the last column is the attention to special tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biocache.engine.analyses.attention.alignment import align
from biocache.engine.report.request import ReportRequest
from biocache.store import Run, Store
from biocache.store.chunks import dense_maps
from biocache.store.errors import BiocacheError, DataError, RunNotFoundError
from biocache.store.labels import Labels

__all__ = ["LEVELS", "ShownSample", "choose_samples", "find_shown", "read_maps"]

#: The byte that stands for an attention of 1.
LEVELS = 255
# Maximum words of a sample that is shown, if there are such samples.
_MAX_WORDS = 40


@dataclass(frozen=True)
class ShownSample:
    """A sample of the viewer.

    Attributes
    ----------
    position, sample_id
        Its position in the run, and its id in the corpus.
    words, segments
        Its words that have tokens, and the text that each belongs to.
    labels
        Gold label of each word; None where words have none.
    label
        Gold label of the sample; None where it has none.
    """

    position: int
    sample_id: str
    words: tuple[str, ...]
    segments: tuple[int, ...]
    labels: tuple[str, ...] | None
    label: str | None


def find_shown(store: Store, request: ReportRequest) -> tuple[list[list[Run]], list[str]]:
    """Find the complete test runs with attention, and say which of them cannot be shown.

    Runs of one model, dataset trained on and view, whose maps are shown side by side, are together: the smallest
    training size first.
    """
    groups: dict[tuple[Any, ...], list[Run]] = {}
    notes = []
    for key in store.keys(split="test", **request.selection):
        try:
            run = Run.open(store.storage, key)
            if "attention" not in run.spec.keep:
                continue
            run.require_complete()
        except BiocacheError as error:
            notes.append(f"the viewer leaves {key} out: {error}")
            continue
        groups.setdefault((key.task, key.dataset, key.model, key.view), []).append(run)
    shown = []
    for runs in groups.values():
        # The pre-trained model is the same for every seed.
        base = [run for run in runs if run.key.training_size == 0]
        tuned = [run for run in runs if run.key.training_size > 0]
        for trained_on, seed in sorted({(run.key.trained_on, run.key.seed) for run in tuned or base}):
            first = [run for run in base if run.key.seed == seed] or base
            others = [run for run in tuned if (run.key.trained_on, run.key.seed) == (trained_on, seed)]
            own = [*first[:1], *sorted(others, key=lambda run: run.key.training_size)]
            alike = [run for run in own if _comparable(own[0], run)]
            notes += [
                f"the viewer leaves {r.key} out: it has other tokens than {own[0].key}" for r in own if r not in alike
            ]
            shown.append(alike)
    return shown, notes


def _comparable(first: Run, other: Run) -> bool:
    names = ("encoding_digest", "dataset_digest", "attention_layers", "head_count", "causal")
    return all(getattr(first.spec, name) == getattr(other.spec, name) for name in names)


def choose_samples(run: Run, count: int) -> list[ShownSample]:
    """Choose samples evenly from the first packs that hold enough of them, since packs are read whole.

    Parameters
    ----------
    run
        The run.
    count
        Maximum number of samples.

    Returns
    -------
    list of ShownSample
        None that has several windows, since no map is of all its words.

    Raises
    ------
    DataError
        If all have several.
    """
    kept = run.column("words/token_count") > 0
    size = np.bincount(run.column("words/sample")[kept], minlength=run.counts.samples)
    whole = np.flatnonzero(run.windows.count == 1)
    if not whole.size:
        raise DataError("each of its samples has several windows, and no map is of all words of one")
    places = whole[(size[whole] > 1) & (size[whole] <= _MAX_WORDS)]
    if not places.size:
        places = whole[np.argsort(size[whole], kind="stable")[:count]]
    packs = run.plan.sample_pack[places]
    last = np.sort(packs)[min(count, len(places)) - 1]
    places = places[packs <= last]
    chosen = places[np.unique(np.linspace(0, len(places) - 1, min(count, len(places))).round().astype(int))]
    return [_described(run, int(place)) for place in np.sort(chosen)]


def _described(run: Run, sample: int) -> ShownSample:
    start = int(run.column("samples/word_start")[sample])
    words = np.arange(start, start + int(run.column("samples/word_count")[sample]))
    words = words[run.column("words/token_count")[words] > 0]
    own = _gold(run)
    texts = None if own is None else own.texts.astype(str)
    of_words = own is not None and own.level == "words"
    return ShownSample(
        position=sample,
        sample_id=str(run.column("samples/sample_id")[sample]),
        words=tuple(map(str, run.column("words/word_text")[words])),
        segments=tuple(map(int, run.column("words/segment")[words])),
        labels=tuple(texts[words].tolist()) if texts is not None and of_words else None,
        label=str(texts[sample]) if texts is not None and not of_words else None,
    )


def _gold(run: Run) -> Labels | None:
    """Return the corpus's own labels, entity tags merged by type; None where there are none."""
    try:
        return run.labels().merged()
    except RunNotFoundError:
        return None


def read_maps(run: Run, samples: Sequence[ShownSample]) -> list[NDArray[np.uint8]]:
    """Read the attention between the words of some samples.

    Parameters
    ----------
    run
        The run.
    samples
        The samples, in the order of the run.

    Returns
    -------
    list of numpy.ndarray
        For each sample (layer, head, word, word + 1), in steps of 1 / `LEVELS`; the last column is the attention to
        special tokens.

    Raises
    ------
    IntegrityError
        If a chunk is missing or damaged.
    """
    side, window = align(run, run, "word", exclude_special=False).first, run.windows.first
    plan, chunks = run.plan, run.chunks("attention")
    groups = [side.part(slice(*window[[at.position, at.position + 1]].tolist())).group for at in samples]
    maps: list[list[NDArray[np.uint8]]] = [[] for _ in samples]
    for index in range(len(run.spec.attention_layers)):
        # The samples are in the order of the packs: one pack of one layer is in memory at a time.
        of_pack: dict[int, NDArray[Any]] = {}
        for shown, group, layers in zip(samples, groups, maps, strict=True):
            pack = int(plan.sample_pack[shown.position])
            if pack not in of_pack:
                of_pack = {pack: chunks.read_committed(index, pack)}
            begin = int(plan.entries.start[shown.position]) - pack * chunks.length
            entries = of_pack[pack][:, begin : begin + int(plan.entries.count[shown.position])].astype(np.float32)
            dense = dense_maps(entries, int(plan.tokens.count[shown.position]), run.spec.causal)
            layers.append(_between_words(dense, group))
    return [np.stack(layers) for layers in maps]


def _between_words(maps: NDArray[np.float32], group: NDArray[np.int32]) -> NDArray[np.uint8]:
    """Gather maps (head, query, key) into words (head, word, word + 1); `group` is each token's word, -1 for none."""
    words = int(group.max(initial=-1)) + 1
    member = np.zeros((len(group), words + 1), np.float32)
    # The last column sums tokens of no word.
    member[np.arange(len(group)), group] = 1.0
    mean = member[:, :words] / np.maximum(member[:, :words].sum(axis=0), 1.0)
    between = mean.T @ (maps @ member)
    steps: NDArray[np.uint8] = np.clip(np.rint(between * LEVELS), 0, LEVELS).astype(np.uint8)
    return steps
