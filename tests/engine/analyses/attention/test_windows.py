"""Comparisons of runs of samples in windows, against loops over the maps of the windows."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from attention_factory import PLAIN, DenseMap, scaled
from extractions import request
from numpy.typing import NDArray

from biocache.engine import AttentionRequest, compare_attention, extract
from biocache.store import Store

SMALL = {"keep": ("hidden", "attention", "norms"), "batch_tokens": 96, "max_length": 20, "stride": 6}

pytestmark = pytest.mark.slow


def maps_of(run: Any, window: int, groups: list[list[int]], positions: list[int]) -> list[DenseMap]:
    """Gather the maps of a window into groups of its tokens, for each head of the first layer."""
    stored = run.read_window("attention", window)[0].astype(np.float64)
    norms = run.read_window("norms", window)[0].astype(np.float64)
    found = []
    for head, of_keys in zip(stored, norms, strict=True):
        maps, of_norms = (
            np.array([[np.mean([own[q, keys].sum() for q in queries]) for keys in groups] for queries in groups])
            for own in (head, head * of_keys)
        )
        found.append(DenseMap(scaled(maps), run.spec.causal, np.array(positions, float), np.nan, of_norms))
    return found


def plain_comparison(
    first: Any, second: Any, metrics: tuple[str, ...], *, by_token: bool = False, labels: list[str] | None = None
) -> dict[str, NDArray[np.float64]]:
    """Compare maps window by window, in loops: (sample, head) by metric, or by class where words have labels."""
    words = [run.token_column("tokens/word") for run in (first, second)]
    of_token = [run.windows.of_token for run in (first, second)]
    classes = sorted(set(labels)) if labels is not None else [""]
    values: dict[str, list[Any]] = {name: [] for name in (metrics if labels is None else classes)}
    for sample in range(first.counts.samples):
        of_windows: dict[str, list[Any]] = {name: [] for name in values}
        begin = int(first.column("samples/word_start")[sample])
        for window in first.windows.of_sample(sample):
            own = words[0][of_token[0] == window].tolist()
            others = {one: words[1][of_token[1] == one].tolist() for one in second.windows.of_sample(sample)}
            shared = {one: sorted(set(own) & set(theirs) - {-1}) for one, theirs in others.items()}
            partner = max(shared, key=lambda one, shared=shared: len(shared[one]))
            if by_token:
                assert partner == window
                groups = [[[token] for token in range(len(own))]] * 2
                place = list(range(len(own)))
            else:
                groups = [
                    [[t for t, w in enumerate(row) if w == word] for word in shared[partner]]
                    for row in (own, others[partner])
                ]
                place = [word - begin for word in shared[partner]]
            sides = [
                maps_of(run, at, one, place)
                for run, at, one in ((first, window, groups[0]), (second, partner, groups[1]))
            ]
            for name, found in of_windows.items():
                if labels is None:
                    found.append([PLAIN[name](a, b) for a, b in zip(*sides, strict=True)])
                    continue
                kept = np.array([labels[begin + word] == name for word in place])
                rows = [
                    [replace(one, rows=np.where(kept[:, np.newaxis], one.rows, 0.0)) for one in side] for side in sides
                ]
                own_values = [PLAIN[metrics[0]](a, b) for a, b in zip(*rows, strict=True)]
                if not np.isnan(own_values).all():
                    found.append(own_values)
        for name, found in of_windows.items():
            values[name].append(np.nanmean(found, axis=0) if found else np.full(first.spec.head_count, np.nan))
    return {name: np.array(found) for name, found in values.items()}


def two_models(checkpoints: Any, corpus: Path, store: Path, other: str) -> tuple[Any, Any]:
    for name, folder, seed in (("a", checkpoints["bert"], {}), ("b", checkpoints[other], {"random_weights": True})):
        asked = request(corpus, folder, limit=25, dtype="float32", **seed, **SMALL)
        extract(store, type(asked)(**{**vars(asked), "models": (f"{name}={folder}",)}))
    first, second = (Store.open(store).run(model=name) for name in ("a", "b-random"))
    assert (first.windows.count > 1).sum() > 5
    return first, second


@pytest.mark.parametrize("other", ["bert", "gpt2", "biogpt"])
def test_attention_is_compared_window_by_window(checkpoints, corpus_folder, tmp_path, other):
    """Two models of one tokenizer token by token, of others word by word on what both windows hold."""
    first, second = two_models(checkpoints, corpus_folder, tmp_path, other)
    metrics = ("cosine", "js", "distance", "norm-cosine", "norm-js")
    values = plain_comparison(first, second, metrics, by_token=other == "bert")
    asked = AttentionRequest(model="b-random", against="a", metrics=metrics, exclude_special=False)
    result = compare_attention(tmp_path, asked)
    for name, found in values.items():
        measured = result["mean"].sel(metric=name).isel(layer=0).squeeze().values
        np.testing.assert_allclose(measured, np.mean(found, axis=0), rtol=1e-3, atol=2e-4)


def test_classes_of_words_are_compared_window_by_window(checkpoints, corpus_folder, tmp_path):
    first, second = two_models(checkpoints, corpus_folder, tmp_path, "gpt2")
    labels = first.labels("gold").merged().texts.tolist()
    values = plain_comparison(first, second, ("js",), labels=labels)
    asked = AttentionRequest(model="b-random", against="a", metrics=("js",), exclude_special=False, by="gold")
    result = compare_attention(tmp_path, asked)
    assert len(values) > 2
    for name, found in values.items():
        measured = result["label_mean"].sel(metric="js", label=name).isel(layer=0).squeeze().values
        np.testing.assert_allclose(measured, np.nanmean(found, axis=0), rtol=1e-3, atol=2e-4)
