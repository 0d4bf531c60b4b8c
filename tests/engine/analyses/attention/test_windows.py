"""Comparisons of runs of samples in windows, against loops over the maps of the windows."""

from typing import Any

import numpy as np
import pytest
from attention_factory import PLAIN, DenseMap
from extractions import request

from biocache.engine import AttentionRequest, compare_attention, extract
from biocache.store import Store

SMALL = {"batch_tokens": 96, "max_length": 20, "stride": 6}

pytestmark = pytest.mark.slow


def maps_of(run: Any, window: int, groups: list[list[int]], positions: list[int]) -> list[DenseMap]:
    """Gather the maps of a window into groups of its tokens, for each head of the first layer."""
    stored = run.read_window("attention", window)[0].astype(np.float64)
    found = []
    for head in stored:
        maps = np.array([[np.mean([head[q, keys].sum() for q in queries]) for keys in groups] for queries in groups])
        sums = maps.sum(axis=1, keepdims=True)
        maps = np.divide(maps, sums, out=np.zeros_like(maps), where=sums > 0)
        found.append(DenseMap(maps, run.spec.causal, np.array(positions, float), np.nan))
    return found


@pytest.mark.parametrize("other", ["bert", "gpt2", "biogpt"])
def test_attention_is_compared_window_by_window(checkpoints, corpus_folder, tmp_path, other):
    """Two models of one tokenizer token by token, of others word by word on what both windows hold."""
    for name, folder, seed in (("a", checkpoints["bert"], {}), ("b", checkpoints[other], {"random_weights": True})):
        asked = request(corpus_folder, folder, limit=25, dtype="float32", **seed, **SMALL)
        extract(tmp_path, type(asked)(**{**vars(asked), "models": (f"{name}={folder}",)}))
    first, second = (Store.open(tmp_path).run(model=name) for name in ("a", "b-random"))
    assert (first.windows.count > 1).sum() > 5
    values: dict[str, list[Any]] = {name: [] for name in ("cosine", "js", "distance")}
    for sample in range(first.counts.samples):
        of_windows: dict[str, list[Any]] = {name: [] for name in values}
        for window in first.windows.of_sample(sample):
            words = [run.token_column("tokens/word") for run in (first, second)]
            of_token = [run.windows.of_token for run in (first, second)]
            own = words[0][of_token[0] == window].tolist()
            others = {one: words[1][of_token[1] == one].tolist() for one in second.windows.of_sample(sample)}
            shared = {one: sorted(set(own) & set(theirs) - {-1}) for one, theirs in others.items()}
            partner = max(shared, key=lambda one, shared=shared: len(shared[one]))
            if other == "bert":
                assert partner == window
                groups = [[[token] for token in range(len(own))]] * 2
                place = list(range(len(own)))
            else:
                groups = [
                    [[t for t, w in enumerate(row) if w == word] for word in shared[partner]]
                    for row in (own, others[partner])
                ]
                place = [word - int(first.column("samples/word_start")[sample]) for word in shared[partner]]
            left = maps_of(first, window, groups[0], place)
            right = maps_of(second, partner, groups[1], place)
            for name, found in of_windows.items():
                found.append([PLAIN[name](a, b) for a, b in zip(left, right, strict=True)])
        for name, found in of_windows.items():
            values[name].append(np.mean(found, axis=0))
    asked = AttentionRequest(model="b-random", against="a", metrics=tuple(values), exclude_special=False)
    result = compare_attention(tmp_path, asked)
    for name, found in values.items():
        measured = result["mean"].sel(metric=name).isel(layer=0).squeeze().values
        np.testing.assert_allclose(measured, np.mean(found, axis=0), rtol=1e-3, atol=2e-4)
