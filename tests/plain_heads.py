"""What describing the attention heads of a run must give: loops over maps that are read one by one, in float64."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from unicodedata import category

import numpy as np
from numpy.typing import NDArray

from biocache.store import Run

Dense = NDArray[np.float64]


@dataclass(frozen=True)
class Place:
    """A row of a map: its tokens in the window, its word (-1 for none), its text and its position."""

    tokens: list[int]
    word: int
    text: int
    position: int


def window_rows(run: Run, window: int, *, level: str, exclude: bool) -> list[Place]:
    """Return the rows of the maps of a window."""
    tokens = np.flatnonzero(run.windows.of_token == window)
    words = run.token_column("tokens/word")[tokens].tolist()
    special = run.token_column("tokens/special")[tokens].tolist()
    begin = int(run.column("samples/word_start")[run.windows.sample[window]])
    segment = run.column("words/segment").tolist()
    if level == "token":
        rows = [Place([t], word, segment[word] if word >= 0 else -1, t) for t, word in enumerate(words)]
        left_out = [exclude and (is_special or (run.spec.causal and t == 0)) for t, is_special in enumerate(special)]
        return [row for row in rows if not left_out[row.position]]
    found = []
    for word in sorted(set(words) - {-1}):
        own = [t for t, of in enumerate(words) if of == word]
        if not (exclude and run.spec.causal and 0 in own):
            found.append(Place(own, word, segment[word], word - begin))
    return found


def is_target(metric: str, query: Place, key: Place, run: Run) -> bool:
    """Return whether a key is a target of a query."""
    steps = {"previous-mass": -1, "next-mass": 1, "self-mass": 0}
    if metric in steps:
        return query.text == key.text != -1 and key.position == query.position + steps[metric]
    name, _, wanted = metric.removeprefix("mass:").partition("=")
    if name in ("premise", "hypothesis"):
        return key.text == ("premise", "hypothesis").index(name)
    if name == "other-text":
        return {query.text, key.text} == {0, 1}
    if key.word < 0:
        return False
    if name == "punctuation":
        text = run.column("words/word_text")[key.word]
        return all(category(letter)[0] == "P" for letter in text)
    labels = run.labels("gold" if name == "entities" else name).merged()
    label = labels.texts[key.word]
    return bool(label == wanted if wanted else label not in ("O", ""))


def of_map(metric: str, maps: Dense, run: Run, window: int, rows: Sequence[Place], kept: Sequence[bool]) -> float:
    """Measure one map of tokens (query, key) on the rows that are kept."""
    special = run.token_column("tokens/special")[run.windows.of_token == window].astype(bool)
    if run.spec.causal:
        special[0] = True
    values = []
    for place, (query, is_kept) in enumerate(zip(rows, kept, strict=True)):
        seen = rows[: place + 1] if run.spec.causal else rows
        weight = np.array([np.mean([maps[q, key.tokens].sum() for q in query.tokens]) for key in seen])
        if metric == "special-mass":
            values += [maps[q, special].sum() / maps[q].sum() for q in query.tokens if is_kept and maps[q].sum() > 0]
            continue
        if not is_kept or weight.sum() == 0:
            continue
        weight /= weight.sum()
        if metric == "entropy":
            if len(seen) > 1:
                values.append(-(weight * np.log2(np.where(weight > 0, weight, 1))).sum() / np.log2(len(seen)))
        elif metric == "distance":
            values.append(sum(w * abs(key.position - query.position) for w, key in zip(weight, seen, strict=True)))
        else:
            there = [is_target(metric, query, key, run) for key in seen]
            if 0 < sum(there) < len(there):
                values.append(weight[there].sum())
    return float(np.mean(values)) if values else np.nan


def rolled_out(maps: Dense) -> Dense:
    """Return the rollout of the maps of a window (layer, head, query, key), as (layer, 1, query, key)."""
    found: list[Dense] = []
    for layer in maps.mean(axis=1):
        mixed = 0.5 * layer + 0.5 * np.eye(len(layer))
        mixed = mixed / mixed.sum(axis=1, keepdims=True)
        found.append(mixed if not found else mixed @ found[-1])
    return np.stack(found)[:, np.newaxis]


def even_map(run: Run, rows: Sequence[Place], tokens: int, metric: str) -> Dense:
    """Return a map of tokens whose rows are even: over tokens for special positions, else over the rows' groups."""
    maps = np.tril(np.ones((tokens, tokens))) if run.spec.causal else np.ones((tokens, tokens))
    if metric != "special-mass":
        for row in rows:
            maps[:, row.tokens] /= len(row.tokens)
        if run.spec.causal:
            # The last token of a word sees all of it: only these have even attention to words.
            for row in rows:
                maps[row.tokens] = maps[row.tokens[-1]]
    return maps


def plain_description(
    run: Run, metric: str, *, level: str = "token", exclude: bool = False, rollout: bool = False, labels: Any = None
) -> tuple[Dense, Dense]:
    """Measure every sample of a run.

    Parameters
    ----------
    labels
        Label of every word of the run; only the queries of words labelled with the second item of the tuple are kept.

    Returns
    -------
    values
        (sample, layer, head).
    even
        The same of even attention (sample).
    """
    values, even = [], []
    for sample in range(run.counts.samples):
        of_windows, even_windows = [], []
        for window in run.windows.of_sample(sample):
            maps = run.read_window("attention", window).astype(np.float64)
            maps = rolled_out(maps) if rollout else maps
            rows = window_rows(run, window, level=level, exclude=exclude)
            kept = [labels is None or (row.word >= 0 and labels[0][row.word] == labels[1]) for row in rows]
            of_windows.append([[of_map(metric, own, run, window, rows, kept) for own in layer] for layer in maps])
            even_windows.append(of_map(metric, even_map(run, rows, maps.shape[-1], metric), run, window, rows, kept))
        values.append(_mean(of_windows))
        even.append(_mean(even_windows))
    return np.array(values), np.array(even)


def _mean(values: Any) -> Dense:
    """Average over windows what is known."""
    array = np.array(values, dtype=float)
    known = ~np.isnan(array)
    count = known.sum(axis=0)
    return np.where(count > 0, np.where(known, array, 0).sum(axis=0) / np.maximum(count, 1), np.nan)
