"""Comparisons of synthetic runs against loops over dense maps in NumPy."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from attention_factory import PLAIN, plain_values, source
from scipy.special import stdtrit
from store_factory import Synthetic

from biocache.engine import AttentionRequest, compare_attention
from biocache.engine.analyses.attention.metrics import METRICS
from biocache.engine.executor import Executor
from biocache.store.chunks import Chunks

ALL = tuple(METRICS)
PAIRWISE = tuple(name for name, metric in METRICS.items() if metric.has_chance)

Compare = Callable[..., xr.Dataset]


@pytest.fixture
def compare(tmp_path: Path) -> Compare:
    """Write runs into a store and compare those after the first with it."""

    def run(*sources: Synthetic, **settings: Any) -> xr.Dataset:
        for own in sources:
            own.write_labelled(tmp_path)
        first = sources[0].spec.key
        request: dict[str, Any] = {"model": sources[-1].spec.key.model, "baseline": first.training_size}
        if first.model != request["model"]:
            request["against"] = first.model
        calling = {name: settings.pop(name) for name in ("workers", "force") if name in settings}
        return compare_attention(tmp_path, AttentionRequest(**(request | {"metrics": ALL} | settings)), **calling)

    return run


def base(**changes: Any) -> Synthetic:
    return source(**({"training_size": 0, "head_count": 3, "maps": 1} | changes))


def tuned(size: int = 30, **changes: Any) -> Synthetic:
    return source(**({"training_size": size, "head_count": 3, "maps": 100 + size} | changes))


def assert_means(
    result: xr.Dataset, first: Synthetic, second: Synthetic, *, size: int | None = None, exclude: bool = False
) -> None:
    """Assert that means, deviations and counts are those of loops over samples and heads."""
    own = result.sel(training_size=second.spec.key.training_size if size is None else size)
    for metric in result["metric"].values.tolist():
        if exclude and metric == "special-mass":
            continue
        for index, layer in enumerate(first.spec.attention_layers):
            values = plain_values(first, second, metric, layer=index, exclude=exclude)
            likes = np.diagonal(values, axis1=1, axis2=2)
            part = own.sel(metric=metric, layer=layer)
            where = f"{metric} of layer {layer}"
            np.testing.assert_allclose(part["mean"], np.nanmean(likes, axis=0), atol=3e-6, err_msg=where)
            np.testing.assert_allclose(part["std"], np.nanstd(likes, axis=0, ddof=1), atol=1e-5, err_msg=where)
            np.testing.assert_array_equal(part["count"], (~np.isnan(likes)).sum(axis=0), err_msg=where)


def test_the_plain_computation_knows_every_metric() -> None:
    assert set(PLAIN) == set(METRICS)


@pytest.mark.slow
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("dtype", ["float16", "float32", "uint8"])
def test_metrics_are_those_of_dense_maps(compare: Compare, causal: bool, dtype: str) -> None:
    first, second = base(causal=causal, attention_dtype=dtype), tuned(causal=causal, attention_dtype=dtype)
    result = compare(first, second)
    assert result.attrs["level"] == "token"
    assert_means(result, first, second)


@pytest.mark.slow
@pytest.mark.parametrize("causal", [False, True])
def test_special_positions_are_left_out_and_rows_scaled(compare: Compare, causal: bool) -> None:
    first, second = base(causal=causal), tuned(causal=causal)
    metrics = tuple(name for name in ALL if name != "special-mass")
    result = compare(first, second, exclude_special=True, metrics=metrics)
    assert result.attrs["special_positions"] == "excluded"
    assert_means(result, first, second, exclude=True)
    assert abs(result["mean"] - compare(first, second, metrics=metrics)["mean"]).min() > 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("exclude", [False, True])
@pytest.mark.parametrize("causal", [(False, True), (True, False), (True, True)])
def test_runs_of_other_tokens_are_compared_by_word(compare: Compare, causal: tuple[bool, bool], exclude: bool) -> None:
    first = base(tokens=1, model="one", causal=causal[0], lost=0.2)
    second = base(tokens=2, model="two", causal=causal[1], lost=0.2, maps=7)
    metrics = tuple(name for name in ALL if not (exclude and name == "special-mass"))
    result = compare(first, second, metrics=metrics, exclude_special=exclude, training_sizes=(0,))
    assert result.attrs["level"] == "word"
    assert_means(result, first, second, exclude=exclude)
    assert result["unit"].sel(metric="distance").item() == "word"


@pytest.mark.slow
@pytest.mark.parametrize("exclude", [False, True])
def test_runs_that_see_differently_and_share_their_tokens_are_compared_by_token(
    compare: Compare, exclude: bool
) -> None:
    first, second = base(model="one", specials=True), base(model="two", maps=7, specials=True, causal=True)
    metrics = tuple(name for name in ALL if not (exclude and name == "special-mass"))
    result = compare(first, second, training_sizes=(0,), metrics=metrics, exclude_special=exclude)
    assert result.attrs["level"] == "token"
    assert_means(result, first, second, exclude=exclude)


@pytest.mark.slow
def test_a_run_and_itself_are_exactly_alike(compare: Compare) -> None:
    own = base()
    result = compare(own, training_sizes=(0,), match_heads=True)
    assert (result["matched_gap"].sel(metric=list(PAIRWISE)) > 1e-3).all()
    assert (result["mean"] == result["identity"]).all()
    assert (result["std"] == 0).all()
    assert (result["ci_low"] == result["mean"]).all()
    assert (result["ci_high"] == result["mean"]).all()
    known = result.sel(metric=list(PAIRWISE))
    assert (known["above_chance"] == 1).all()
    assert (known["matched_head"] == known["head"]).all()


@pytest.mark.slow
def test_chance_is_the_mean_of_all_mismatched_heads(compare: Compare) -> None:
    first, second = base(), tuned()
    result = compare(first, second)
    others = [[1, 2], [0, 2], [0, 1]]
    for metric in ALL:
        values = plain_values(first, second, metric)
        by_sample = np.stack([values[:, head, others[head]].mean(axis=1) for head in range(3)], axis=1)
        known = by_sample[~np.isnan(by_sample[:, 0])]
        expected = {"chance": known.mean(axis=0), "layer_chance": known.mean()}
        # Of few samples, which are independent: the usual t interval of a mean.
        half = stdtrit(len(known) - 1, 0.975) * known.std(axis=0, ddof=1) / np.sqrt(len(known))
        expected |= {"chance_ci_low": known.mean(axis=0) - half, "chance_ci_high": known.mean(axis=0) + half}
        half = stdtrit(len(known) - 1, 0.975) * known.mean(axis=1).std(ddof=1) / np.sqrt(len(known))
        expected |= {"layer_chance_ci_low": known.mean() - half, "layer_chance_ci_high": known.mean() + half}
        for name, numbers in expected.items():
            found = result[name].isel(layer=0, training_size=0).sel(metric=metric)
            own = np.clip(numbers, METRICS[metric].lowest, METRICS[metric].highest)
            np.testing.assert_allclose(found, own if metric in PAIRWISE else np.nan, atol=1e-5, err_msg=name)
    own = result.sel(metric="js")
    np.testing.assert_allclose(own["above_chance"], 1 - own["mean"] / own["chance"])
    own = result.sel(metric="cosine")
    np.testing.assert_allclose(own["above_chance"], (own["mean"] - own["chance"]) / (1 - own["chance"]))


@pytest.mark.slow
def test_one_head_has_no_chance_level(compare: Compare) -> None:
    result = compare(base(head_count=1), tuned(head_count=1))
    assert result["chance"].isnull().all()
    assert result["mean"].notnull().all()


@pytest.mark.slow
def test_unrelated_heads_are_at_their_chance_level(compare: Compare) -> None:
    words = [6] * 60
    result = compare(base(words=words), tuned(words=words), metrics=PAIRWISE)
    assert abs(result["above_chance"]).max() < 0.1
    assert abs(result["layer_mean"] - result["chance"].mean("head")).max() < 0.01


@pytest.mark.slow
def test_several_training_sizes_are_each_as_alone(compare: Compare) -> None:
    first, others = base(), [tuned(size) for size in (10, 30, 100)]
    result = compare(first, *others)
    assert result["training_size"].values.tolist() == [10, 30, 100]
    for other in others:
        assert_means(result, first, other)
        alone = compare(first, other, training_sizes=(other.spec.key.training_size,))
        for name, values in alone.data_vars.items():
            np.testing.assert_array_equal(values, result[name].sel(training_size=[other.spec.key.training_size]))


@pytest.mark.slow
def test_each_chunk_of_the_baseline_is_read_once(compare: Compare, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[tuple[str, str, int, int]] = []
    plain = Chunks.read_committed_codes

    def counted(self: Chunks, index: int, pack: int) -> Any:
        read.append((self.kept.name, self.run, index, pack))
        return plain(self, index, pack)

    monkeypatch.setattr(Chunks, "read_committed_codes", counted)
    first = base()
    compare(first, tuned(10), tuned(30))
    # Maps and norms, of three runs of two layers.
    assert len(read) == len(set(read)) == 2 * 3 * 2 * first.plan.pack_count
    assert first.plan.pack_count > 2


@pytest.mark.slow
@pytest.mark.parametrize("capacities", [(30, 17), (17, 30), (10, 1000)])
def test_packs_need_not_be_the_same(compare: Compare, capacities: tuple[int, int]) -> None:
    first, second = base(capacity=capacities[0]), tuned(capacity=capacities[1])
    assert first.plan.pack_count != second.plan.pack_count
    assert_means(compare(first, second), first, second)


@pytest.mark.slow
def test_labels_split_the_mean(compare: Compare) -> None:
    labelled = {"task": "nli", "view": "pair", "label_names": ("no", "yes", "maybe"), "iob2": False}
    first, second = base(**labelled), tuned(**labelled)
    result = compare(first, second, by="gold")
    assert result["label"].values.tolist() == ["maybe", "no", "yes"]
    codes = first.columns["samples/label"]
    for metric in ALL:
        likes = np.diagonal(plain_values(first, second, metric), axis1=1, axis2=2)
        own = result.sel(metric=metric).isel(layer=0, training_size=0)
        for code, label in enumerate(labelled["label_names"]):
            part = own.sel(label=label)
            np.testing.assert_allclose(part["label_mean"], np.nanmean(likes[codes == code], axis=0), atol=3e-6)
            np.testing.assert_array_equal(part["label_count"], (~np.isnan(likes[codes == code])).sum(axis=0))
            assert (part["label_ci_low"] <= part["label_mean"]).all()
            assert (part["label_mean"] <= part["label_ci_high"]).all()
    plain = compare(first, second)
    for name in plain.data_vars:
        np.testing.assert_allclose(result[name], plain[name], rtol=1e-12)


@pytest.mark.slow
def test_heads_are_matched_one_to_one(compare: Compare) -> None:
    first, second = base(), tuned()
    # Heads of the other run are the baseline's in another order, but for a little.
    order = [2, 0, 1]
    for own, other in zip(first.maps, second.maps, strict=True):
        other[:] = (0.98 * own[:, order] + 0.02 * other).astype(own.dtype)
    result = compare(first, second, metrics=PAIRWISE, match_heads=True)
    assert (result["matched_head"] == np.argsort(order)).all()
    assert (abs(result["matched_mean"] - result["identity"]) < abs(result["mean"] - result["identity"])).all()
    values = plain_values(first, second, "js")
    matched = values[:, np.arange(3), np.argsort(order)]
    own = result.sel(metric="js").isel(layer=0, training_size=0)
    np.testing.assert_allclose(own["matched_mean"], matched.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(own["matched_std"], matched.std(axis=0, ddof=1), atol=1e-5)
    # Likes and chance are those of a comparison that matches nothing.
    plain = compare(first, second, metrics=PAIRWISE)
    for name in plain.data_vars:
        np.testing.assert_array_equal(plain[name], result[name])


@pytest.mark.slow
def test_all_pairs_of_runs_of_other_layers_and_heads(compare: Compare) -> None:
    first = base(model="small", tokens=1)
    second = base(model="large", tokens=2, layers=(0, 1, 2, 4), head_count=4, causal=True)
    result = compare(first, second, all_pairs=True, training_sizes=(0,))
    assert result["pair_mean"].dims == ("metric", "training_size", "layer", "head", "other_layer", "other_head")
    assert result["other_layer"].values.tolist() == [1, 2, 4]
    assert result["other_head"].size == 4
    for metric in ALL:
        for layer in range(2):
            for other_layer in range(3):
                chosen = {"maps": second.maps, "norms": second.norms}
                try:
                    for name, arrays in chosen.items():
                        shifted = [np.repeat(array[[other_layer]], 2, axis=0) for array in arrays]
                        object.__setattr__(second, name, shifted)
                    values = plain_values(first, second, metric, layer=layer)
                finally:
                    for name, arrays in chosen.items():
                        object.__setattr__(second, name, arrays)
                part = result.sel(metric=metric).isel(layer=layer, other_layer=other_layer, training_size=0)
                np.testing.assert_allclose(part["pair_mean"], np.nanmean(values, axis=0), atol=3e-6)
                np.testing.assert_allclose(part["pair_std"], np.nanstd(values, axis=0, ddof=1), atol=1e-5)
                np.testing.assert_array_equal(part["pair_count"], (~np.isnan(values)).sum(axis=0))


@pytest.mark.slow
def test_values_of_samples_are_kept(compare: Compare) -> None:
    first, second = base(), tuned(capacity=17)
    result = compare(first, second, per_sample=True)
    assert result["value"].dims == ("metric", "training_size", "layer", "head", "sample")
    assert result["sample_id"].values.tolist() == [f"s{n}" for n in range(len(first.maps))]
    for metric in ALL:
        likes = np.diagonal(plain_values(first, second, metric), axis1=1, axis2=2)
        own = result["value"].sel(metric=metric).isel(layer=0, training_size=0)
        np.testing.assert_allclose(own, likes.T, atol=3e-6)
    np.testing.assert_allclose(result["value"].mean("sample"), result["mean"], atol=1e-6)


@pytest.mark.slow
def test_results_are_kept_and_found_again(compare: Compare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = base(), tuned()
    result = compare(first, second)
    with monkeypatch.context() as patched:
        patched.setattr(Executor, "run", lambda *_, **__: pytest.fail("computed again"))
        found = compare(first, second)
        assert list(found) == list(result)
        xr.testing.assert_identical(found, result)
        with pytest.raises(BaseException, match="computed again"):
            compare(first, second, force=True)
        with pytest.raises(BaseException, match="computed again"):
            compare(first, second, resampling_seed=1)
    assert list((tmp_path / "results" / "compare-attention").iterdir())


@pytest.mark.slow
def test_progress_counts_blocks(compare: Compare, tmp_path: Path) -> None:
    first = base()
    compare(first, tuned())
    told: list[tuple[int, int]] = []
    compare_attention(
        tmp_path, AttentionRequest(model="tiny"), force=True, on_progress=lambda done, total: told.append((done, total))
    )
    blocks = 2 * first.plan.pack_count
    assert told == [(n, blocks) for n in range(blocks + 1)]


@pytest.mark.slow
@pytest.mark.parametrize("workers", [2])
def test_workers_give_the_same_result(compare: Compare, tmp_path: Path, workers: int) -> None:
    first, others = base(), [tuned(10), tuned(30)]
    here = compare(first, *others, match_heads=True, per_sample=True)
    told: list[tuple[int, int]] = []
    there = compare_attention(
        tmp_path,
        AttentionRequest(model="tiny", metrics=ALL, match_heads=True, per_sample=True),
        workers=workers,
        force=True,
        on_progress=lambda done, total: told.append((done, total)),
    )
    assert told[-1] == (2 * first.plan.pack_count,) * 2
    for name, values in here.data_vars.items():
        np.testing.assert_array_equal(values, there[name])
