"""Every number of a description, against loops over maps that are read one by one."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from attention_factory import source
from extractions import request
from numpy.typing import NDArray
from plain_heads import plain_description
from store_factory import Synthetic

from biocache.engine import HeadsRequest, describe_attention, extract
from biocache.engine.analyses.heads.request import METRIC_NAMES
from biocache.store import Run, Store

WORD_TARGETS = ("mass:entities", "mass:kind", "mass:kind=RNA", "mass:punctuation")
PAIR_TARGETS = ("mass:premise", "mass:hypothesis", "mass:other-text")
PAIRS = {"task": "nli", "view": "pair", "label_names": ("no", "yes"), "iob2": False}
KINDS = ("O", "DNA", "RNA")
MARKS = (".", ",", "(", "IL-2", "…", "+")


def kinds_of(run: Synthetic) -> list[str | None]:
    """Return a class for most words; those of the second sample are of no entity."""
    sample = run.columns["words/sample"].tolist()
    drawn = np.random.default_rng(4).integers(0, 4, len(sample)).tolist()
    return [(*KINDS, None)[n] if at != 1 else "O" for n, at in zip(drawn, sample, strict=True)]


def punctuated(made: Synthetic) -> Synthetic:
    """Make some words punctuation marks, or nearly so."""
    words = made.columns["words/word_text"]
    words[::3] = [MARKS[n % len(MARKS)] for n in range(len(words[::3]))]
    return made


def written(root: Path, **changes: Any) -> Run:
    """Write a run with labels of its samples' words."""
    made = punctuated(source(training_size=0, head_count=3, **changes))
    if made.spec.key.task == "ner":
        made.columns["words/label"] = np.random.default_rng(3).integers(-1, 3, len(made.columns["words/label"]))
    made.write_labelled(root)
    key = made.spec.key
    store = Store.open(root)
    store.add_labels(
        "kind", kinds_of(made), task=key.task, dataset=key.dataset, split=key.split, level="words", overwrite=True
    )
    return Store.open(root).run(model=key.model)


def mean_of(values: NDArray[np.float64]) -> NDArray[np.float64]:
    known = ~np.isnan(values)
    return np.where(known, values, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)


def assert_is(own: xr.Dataset, values: NDArray[np.float64], even: NDArray[np.float64], where: str) -> None:
    """Compare one metric of one run with what loops give, (sample, layer, head) and (sample)."""
    known = (~np.isnan(values)).sum(axis=0)
    np.testing.assert_array_equal(own["count"], known, err_msg=where)
    assert known.max() > 0, where
    np.testing.assert_allclose(own["mean"], mean_of(values), atol=3e-6, err_msg=where)
    if known.min() > 1:
        np.testing.assert_allclose(own["std"], np.nanstd(values, axis=0, ddof=1), atol=1e-5, err_msg=where)
    np.testing.assert_allclose(own["even"], np.nanmean(even), atol=3e-6, err_msg=where)
    np.testing.assert_allclose(own["layer_mean"], own["mean"].mean("head"), atol=1e-12, err_msg=where)
    assert (own["ci_low"] <= own["mean"] + 1e-12).all()
    assert (own["mean"] <= own["ci_high"] + 1e-12).all()
    assert (own["layer_ci_high"] - own["layer_ci_low"] <= (own["ci_high"] - own["ci_low"]).max("head") + 1e-12).all()


CASES = [(False, False), (True, False), (False, True), (True, True)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("level", "causal", "exclude", "dtype"),
    [
        *((level, *case, "float16") for level in ("token", "word") for case in CASES),
        *(("token", causal, False, "uint8") for causal in (False, True)),
    ],
)
def test_sentences(tmp_path: Path, level: str, causal: bool, exclude: bool, dtype: str) -> None:
    run = written(tmp_path, causal=causal, lost=0.2, tokens=1, attention_dtype=dtype)
    left_out = {"special-mass"} if exclude else set()
    left_out |= {"next-mass"} if causal else set()
    metrics = tuple(name for name in (*METRIC_NAMES, *WORD_TARGETS) if name not in left_out)
    asked = HeadsRequest(metrics=metrics, level=level, exclude_special=exclude)
    result = describe_attention(tmp_path, asked)
    assert result.sizes == {"metric": len(metrics), "run": 1, "layer": 2, "head": 3}
    for metric in metrics:
        values, even = plain_description(run, metric, level=level, exclude=exclude)
        assert_is(result.sel(metric=metric).isel(run=0), values, even, metric)
    np.testing.assert_allclose(result["even"].sel(metric="entropy"), 1, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("level", ["token", "word"])
@pytest.mark.parametrize("causal", [False, True])
def test_pairs(tmp_path: Path, level: str, causal: bool) -> None:
    run = written(tmp_path, causal=causal, tokens=1, **PAIRS)
    metrics = (*PAIR_TARGETS, "previous-mass", "self-mass", "mass:kind", "mass:punctuation")
    result = describe_attention(tmp_path, HeadsRequest(metrics=metrics, level=level))
    for metric in metrics:
        values, even = plain_description(run, metric, level=level)
        assert_is(result.sel(metric=metric).isel(run=0), values, even, metric)
    if causal:
        # Without special tokens, queries of the hypothesis alone see both texts, and the premise is their other text.
        premise, other = (result["mean"].sel(metric=metric) for metric in ("mass:premise", "mass:other-text"))
        np.testing.assert_array_equal(premise, other)


@pytest.mark.slow
@pytest.mark.parametrize("level", ["token", "word"])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("rollout", [False, True])
def test_queries_of_each_class_of_words(tmp_path: Path, level: str, causal: bool, rollout: bool) -> None:
    run = written(tmp_path, causal=causal, lost=0.2, tokens=1)
    metrics = ("entropy", "distance", "special-mass", "previous-mass", "self-mass", "mass:entities")
    result = describe_attention(tmp_path, HeadsRequest(metrics=metrics, level=level, by="kind", rollout=rollout))
    assert result.label.values.tolist() == ["all", *KINDS]
    texts = run.labels("kind").texts
    for metric in metrics:
        own = result.sel(metric=metric).isel(run=0)
        assert_is(own.isel(label=0), *plain_description(run, metric, level=level, rollout=rollout), metric)
        for name in KINDS:
            part = plain_description(run, metric, level=level, rollout=rollout, labels=(texts, name))
            assert_is(own.sel(label=name), *part, f"{metric} of {name}")
    assert result.attrs["unlabelled_words"] == (texts == "").sum() > 0


@pytest.mark.slow
def test_samples_of_each_class(tmp_path: Path) -> None:
    run = written(tmp_path, **PAIRS)
    metrics = ("entropy", "mass:other-text")
    result = describe_attention(tmp_path, HeadsRequest(metrics=metrics, by="gold"))
    assert (result.attrs["level"], result.label.values.tolist()) == ("token", ["all", "no", "yes"])
    texts = run.labels("gold").texts
    for metric in metrics:
        values, even = plain_description(run, metric)
        own = result.sel(metric=metric).isel(run=0)
        for name, chosen in (("all", texts != ""), ("no", texts == "no"), ("yes", texts == "yes")):
            assert chosen.sum() > 2
            assert_is(own.sel(label=name), values[chosen], even[chosen], f"{metric} of {name}")


@pytest.mark.slow
@pytest.mark.parametrize("level", ["token", "word"])
@pytest.mark.parametrize(("causal", "exclude"), CASES)
def test_rollout(tmp_path: Path, level: str, causal: bool, exclude: bool) -> None:
    run = written(tmp_path, causal=causal, lost=0.2, tokens=1, layers=(0, 1, 2, 3))
    left_out = {"special-mass"} if exclude else set()
    left_out |= {"next-mass"} if causal else set()
    metrics = tuple(name for name in (*METRIC_NAMES, "mass:entities") if name not in left_out)
    asked = HeadsRequest(metrics=metrics, level=level, exclude_special=exclude, rollout=True)
    result = describe_attention(tmp_path, asked)
    assert result["head"].values.tolist() == ["rollout"]
    for metric in metrics:
        values, even = plain_description(run, metric, level=level, exclude=exclude, rollout=True)
        assert_is(result.sel(metric=metric).isel(run=0), values, even, metric)
    plain = describe_attention(tmp_path, HeadsRequest(metrics=metrics, level=level, exclude_special=exclude))
    assert (abs(plain["layer_mean"] - result["layer_mean"]).sel(metric="entropy") > 1e-3).all()


@pytest.mark.slow
@pytest.mark.parametrize("family", ["bert", "gpt2", "biogpt"])
@pytest.mark.parametrize("rollout", [False, True])
def test_windows_of_models(checkpoints: Any, corpus_folder: Path, tmp_path: Path, family: str, rollout: bool) -> None:
    """Samples in windows, through models of each family, from codes: the mean over the windows of a sample."""
    small = {"keep": ("attention",), "batch_tokens": 96, "max_length": 20, "stride": 6, "attention_dtype": "uint8"}
    extract(tmp_path, request(corpus_folder, checkpoints[family], limit=12, **small))
    run = Store.open(tmp_path).run()
    assert (run.windows.count > 1).sum() > 3
    metrics = ("entropy", "distance", "special-mass", "previous-mass", "self-mass", "mass:entities")
    for level in ("token", "word"):
        result = describe_attention(tmp_path, HeadsRequest(metrics=metrics, level=level, rollout=rollout))
        for metric in metrics:
            values, even = plain_description(run, metric, level=level, rollout=rollout)
            assert_is(result.sel(metric=metric).isel(run=0), values, even, f"{metric} by {level}")
