"""Runs of the same words through invented tokenizers and models, and what comparing them must give, in loops."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from store_factory import KEY, Synthetic, digests_of, segments_of, synthetic

from biocache.store.schema import ACTIVATIONS

Dense = NDArray[np.float64]

# Words of every sample: one of a single word among them.
WORDS = (4, 1, 7, 3, 12, 5, 2, 9)


def source(
    words: Sequence[int] = WORDS,
    *,
    tokens: int = 0,
    maps: int = 0,
    capacity: int = 30,
    lost: float = 0.0,
    specials: bool | None = None,
    **changes: Any,
) -> Synthetic:
    """Make up a run of samples with these numbers of words.

    `tokens` seeds how words are cut into one to three tokens, or none for a share `lost` of them; `maps` seeds the
    activations. Samples begin and end with a special token, by default those of an encoder.
    """
    rng = np.random.default_rng(tokens)
    sizes = [rng.integers(1, 4, count) * (rng.random(count) >= lost) for count in words]
    ends = int(not changes.get("causal") if specials is None else specials)
    # A sample has at least one token.
    for own in sizes:
        own[0] = max(own[0], 1)
    lengths = [int(own.sum()) + 2 * ends for own in sizes]
    key_seed = changes.pop("seed", KEY.seed)
    made = synthetic(lengths, capacity, maps, **{"keep": tuple(ACTIVATIONS)} | changes)
    made = replace(made, spec=replace(made.spec, key=replace(made.spec.key, seed=key_seed)))
    columns = made.columns | _columns(made, sizes, ends)
    digests = {
        name: digest for name, digest in digests_of(made.spec, made.plan, columns).items() if name not in changes
    }
    return replace(made, spec=replace(made.spec, **digests), columns=columns)


def _columns(made: Synthetic, sizes: list[NDArray[Any]], ends: int) -> dict[str, NDArray[Any]]:
    counts = np.array([len(own) for own in sizes])
    flat = np.concatenate(sizes)
    positions = made.plan.tokens.positions()
    word: list[int] = []
    first = 0
    for own in sizes:
        word += [-1] * ends + np.repeat(first + np.arange(len(own)), own).tolist() + [-1] * ends
        first += len(own)

    def on_axis(values: Any, fill: Any) -> NDArray[Any]:
        spread = np.full(made.plan.tokens.length, fill)
        spread[positions] = values
        return spread

    start = np.array([positions[word.index(w)] if size else -1 for w, size in enumerate(flat)])
    columns = {
        "samples/word_start": np.cumsum(counts) - counts,
        "samples/word_count": counts,
        "tokens/word": on_axis(word, -1),
        "tokens/special": on_axis(np.array(word) < 0, fill=False),
        "words/word_text": np.array([f"w{n}" for n in range(len(flat))], dtype=object),
        "words/sample": np.repeat(np.arange(len(counts)), counts),
        "words/segment": segments_of(made.spec.key.view, counts.tolist()),
        "words/token_start": start,
        "words/token_count": flat,
    }
    if made.spec.key.task == "ner":
        columns["words/label"] = np.zeros(len(flat), np.int16)
    else:
        columns["samples/label"] = np.arange(len(counts)) % len(made.label_names)
    return columns


@dataclass(frozen=True, eq=False)
class DenseMap:
    """One map, its rows scaled to the sum 1 or all zeros.

    Attributes
    ----------
    rows
        float64 (query, key).
    causal
        Whether query q sees keys 0 to q only.
    position
        Where queries stand in the sample.
    special
        Mean over queries of the share of attention on special positions.
    of_norms
        Attention times the norms of keys, rows not scaled, float64 (query, key).
    """

    rows: Dense
    causal: bool
    position: Dense
    special: float
    of_norms: Dense

    @property
    def scaled(self) -> "DenseMap":
        """The map whose rows are those of the norm-based map, scaled to the sum 1."""
        return replace(self, rows=scaled(self.of_norms))


def scaled(rows: Dense) -> Dense:
    """Scale rows to the sum 1, or leave them all zeros."""
    sums = rows.sum(axis=1, keepdims=True)
    return np.divide(rows, sums, out=np.zeros_like(rows), where=sums > 0)


def members(
    first: Synthetic, second: Synthetic, sample: int, *, exclude: bool
) -> tuple[list[list[int]], list[list[int]], list[int]]:
    """Return the tokens of every group in both runs, and where the groups stand: tokens, or words if those differ."""
    by_word = first.spec.encoding_digest != second.spec.encoding_digest
    if not by_word:
        length = len(first.hidden[sample][0])
        causal = first.spec.causal or second.spec.causal
        special = [_of_sample(run, "special", sample) for run in (first, second)]
        kept = [t for t in range(length) if not (exclude and (special[0][t] or special[1][t] or (causal and t == 0)))]
        return [[t] for t in kept], [[t] for t in kept], kept
    begin = int(first.columns["samples/word_start"][sample])
    groups: tuple[list[list[int]], list[list[int]], list[int]] = ([], [], [])
    for place in range(int(first.columns["samples/word_count"][sample])):
        own = [
            [t for t, word in enumerate(_of_sample(run, "word", sample)) if word == begin + place]
            for run in (first, second)
        ]
        sink = any(
            exclude and run.spec.causal and 0 in tokens for run, tokens in zip((first, second), own, strict=True)
        )
        if own[0] and own[1] and not sink:
            groups[0].append(own[0])
            groups[1].append(own[1])
            groups[2].append(place)
    return groups


def dense_map(
    run: Synthetic, sample: int, layer: int, head: int, groups: list[list[int]], place: list[int]
) -> DenseMap:
    """Gather one map into groups of tokens, entry by entry."""
    stored = run.maps[sample][layer, head].astype(np.float64)
    special = [bool(flag) for flag in _of_sample(run, "special", sample)]
    if run.spec.causal:
        special[0] = True
    norms = run.norms[sample][layer, head].astype(np.float64)
    rows, of_norms = np.zeros((2, len(groups), len(groups)))
    for i, queries in enumerate(groups):
        for j, keys in enumerate(groups):
            rows[i, j] = np.mean([sum(stored[q, k] for k in keys) for q in queries])
            of_norms[i, j] = np.mean([sum(stored[q, k] * norms[k] for k in keys) for q in queries])
    shares = [
        sum(stored[q, k] for k in range(len(special)) if special[k]) / stored[q].sum()
        for queries in groups
        for q in queries
        if stored[q].sum() > 0
    ]
    special_mass = float(np.mean(shares)) if shares else np.nan
    return DenseMap(scaled(rows), run.spec.causal, np.array(place, float), special_mass, of_norms)


def _of_sample(run: Synthetic, column: str, sample: int) -> list[Any]:
    begin = int(run.plan.tokens.start[sample])
    values: list[Any] = run.columns[f"tokens/{column}"][begin : begin + len(run.hidden[sample][0])].tolist()
    return values


def _compared(a: DenseMap, b: DenseMap) -> list[int]:
    """Return the rows that see several keys in both maps."""
    return [q for q in range(len(a.rows)) if all((q + 1 if own.causal else len(own.rows)) > 1 for own in (a, b))]


def _flat_cosine(a: DenseMap, b: DenseMap, first: Dense, second: Dense) -> float:
    rows = _compared(a, b)
    return _cosine(first[rows], second[rows]) if rows else np.nan


def _over_rows(a: DenseMap, b: DenseMap, of_row: Callable[[Dense, Dense], float]) -> float:
    known = [q for q in _compared(a, b) if a.rows[q].any() and b.rows[q].any()]
    return float(np.mean([of_row(a.rows[q], b.rows[q]) for q in known])) if known else np.nan


def _cosine(x: Dense, y: Dense) -> float:
    norms = np.linalg.norm(x) * np.linalg.norm(y)
    return float(np.vdot(x, y) / norms) if norms else np.nan


def _entropy(p: Dense) -> float:
    p = p[p > 0]
    return float(-(p * np.log2(p)).sum())


def _mean_entropy(a: DenseMap) -> float:
    shares = []
    for q, row in enumerate(a.rows):
        seen = q + 1 if a.causal else len(row)
        if seen > 1 and row.any():
            shares.append(_entropy(row) / np.log2(seen))
    return float(np.mean(shares)) if shares else np.nan


def _mean_distance(a: DenseMap) -> float:
    reach = [row @ np.abs(a.position - a.position[q]) for q, row in enumerate(a.rows) if row.any()]
    return float(np.mean(reach)) if reach else np.nan


def _divergence(a: DenseMap, b: DenseMap) -> float:
    return _over_rows(a, b, lambda x, y: _entropy((x + y) / 2) - (_entropy(x) + _entropy(y)) / 2)


PLAIN: dict[str, Callable[[DenseMap, DenseMap], float]] = {
    "cosine": lambda a, b: _flat_cosine(a, b, a.rows, b.rows),
    "row-cosine": lambda a, b: _over_rows(a, b, _cosine),
    "js": _divergence,
    "hellinger": lambda a, b: _over_rows(a, b, lambda x, y: float(np.sqrt(((np.sqrt(x) - np.sqrt(y)) ** 2).sum() / 2))),
    "tv": lambda a, b: _over_rows(a, b, lambda x, y: float(np.abs(x - y).sum() / 2)),
    "entropy": lambda a, b: _mean_entropy(b) - _mean_entropy(a),
    "distance": lambda a, b: _mean_distance(b) - _mean_distance(a),
    "special-mass": lambda a, b: b.special - a.special,
    "norm-cosine": lambda a, b: _flat_cosine(a, b, a.of_norms, b.of_norms),
    "norm-js": lambda a, b: _divergence(a.scaled, b.scaled),
}


def plain_values(
    first: Synthetic, second: Synthetic, metric: str, *, layer: int = 0, exclude: bool = False
) -> NDArray[np.float64]:
    """Return the value of every sample and two heads, (sample, head, other head)."""
    values = np.empty((len(first.maps), first.spec.head_count, second.spec.head_count))
    for sample in range(len(first.maps)):
        own, other, place = members(first, second, sample, exclude=exclude)
        if not place:
            values[sample] = np.nan
            continue
        left = [dense_map(first, sample, layer, head, own, place) for head in range(first.spec.head_count)]
        right = [dense_map(second, sample, layer, head, other, place) for head in range(second.spec.head_count)]
        values[sample] = [[PLAIN[metric](a, b) for b in right] for a in left]
    return values
