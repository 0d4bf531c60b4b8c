"""Comparisons of attention over seeds of the training, and between them, against plain NumPy."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from attention_factory import plain_values, source
from grouped import keep_groups
from numpy.typing import NDArray
from report_factory import Page
from scipy import stats
from seeds import every_pair, stand_ins, t_interval
from store_factory import Synthetic

from biocache.engine import AttentionRequest, ReportRequest, compare_attention, write_report
from biocache.engine.analyses.attention.analysis import AttentionComparison
from biocache.engine.grouping import ONE_SEED
from biocache.store.errors import AmbiguousRunError, RunNotFoundError

SEEDS = (1, 2, 5)
METRICS = ("cosine", "js", "entropy")
NAMES = ["a", "b", "a", None, "b", "c", None, "c"]
GROUP = np.array([0, 1, 0, 2, 1, 3, 4, 3])


def base(**changes: Any) -> Synthetic:
    return source(**({"training_size": 0, "head_count": 3, "maps": 1} | changes))


def tuned(size: int, seed: int, **changes: Any) -> Synthetic:
    return source(**({"training_size": size, "seed": seed, "head_count": 3, "maps": 10 * size + seed} | changes))


def compared(root: Path, *sources: Synthetic, **settings: Any) -> xr.Dataset:
    for own in sources:
        own.write_labelled(root)
    return compare_attention(root, asked(**settings))


def asked(**settings: Any) -> AttentionRequest:
    return AttentionRequest(**({"model": "tiny", "metrics": METRICS} | settings))


def equal_heads(first: Synthetic, second: Synthetic, metric: str, layer: int) -> NDArray[np.float64]:
    return np.diagonal(plain_values(first, second, metric, layer=layer), axis1=1, axis2=2)


def left_out(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return means (group, ...) of samples without each group."""
    return np.array([np.nanmean(values[out != GROUP], axis=0) for out in range(5)])


@pytest.fixture
def several(tmp_path: Path) -> tuple[Path, Synthetic, dict[int, Synthetic]]:
    first, others = base(), {seed: tuned(30, seed) for seed in SEEDS}
    for own in (first, *others.values()):
        own.write_labelled(tmp_path / "store")
    keep_groups(tmp_path / "store", first, NAMES)
    return tmp_path / "store", first, others


@pytest.mark.slow
def test_means_over_seeds_and_their_intervals(several: tuple[Path, Synthetic, dict[int, Synthetic]]) -> None:
    root, first, others = several
    result = compare_attention(root, asked())
    assert result["seed"].values.tolist() == list(SEEDS)
    assert result["seed_count"].values.tolist() == [3]
    assert result.attrs["seeds"] == "1, 2, 5"
    for metric in METRICS:
        ends = (0, 1) if metric != "entropy" else (-1, 1)
        for layer in (0, 1):
            part = result.sel(metric=metric).isel(layer=layer, training_size=0)
            values = np.stack([equal_heads(first, other, metric, layer) for other in others.values()])
            # One sample is of one word: each group has others.
            size = np.array([(~np.isnan(values[0, own == GROUP, 0])).sum() for own in range(5)])
            own = np.nanmean(values, axis=1)
            np.testing.assert_allclose(part["mean"], own.mean(axis=0), atol=3e-6)
            np.testing.assert_allclose(part["seed_mean"], own.T, atol=3e-6)
            np.testing.assert_allclose(part["seed_layer_mean"], own.mean(axis=1), atol=3e-6)
            np.testing.assert_allclose(
                part["std"], np.sqrt((np.nanstd(values, axis=1, ddof=1) ** 2).mean(axis=0)), atol=1e-5
            )
            mean = values.mean(axis=0)
            for name, without, of_seeds in (
                ("ci", left_out(mean), own),
                ("layer_ci", left_out(mean).mean(axis=1), own.mean(axis=1)),
            ):
                expected = t_interval(of_seeds.mean(axis=0), without, size, of_seeds)
                for end, bound in zip(("low", "high"), expected, strict=True):
                    np.testing.assert_allclose(part[f"{name}_{end}"], np.clip(bound, *ends), atol=2e-5)


@pytest.mark.slow
def test_chance_is_over_seeds_too(several: tuple[Path, Synthetic, dict[int, Synthetic]]) -> None:
    root, first, others = several
    part = compare_attention(root, asked()).sel(metric="js").isel(layer=0, training_size=0)
    square = np.stack([plain_values(first, other, "js") for other in others.values()])
    mismatched = (square.sum(axis=3) - np.diagonal(square, axis1=2, axis2=3)) / 2
    own = mismatched.mean(axis=1)
    np.testing.assert_allclose(part["chance"], own.mean(axis=0), atol=3e-6)
    expected = t_interval(own.mean(axis=0), left_out(mismatched.mean(axis=0)), np.bincount(GROUP), own)
    np.testing.assert_allclose(part["chance_ci_low"], expected[0].clip(0, 1), atol=2e-5)
    np.testing.assert_allclose(part["chance_ci_high"], expected[1].clip(0, 1), atol=2e-5)


@pytest.mark.slow
def test_the_floor_is_the_metric_between_every_two_seeds(
    several: tuple[Path, Synthetic, dict[int, Synthetic]],
) -> None:
    root, _, others = several
    result = compare_attention(root, asked())
    runs = list(others.values())
    for metric in METRICS:
        for layer in (0, 1):
            part = result.sel(metric=metric).isel(layer=layer, training_size=0)
            values = {(a, b): equal_heads(runs[a], runs[b], metric, layer) for a, b in every_pair(SEEDS)}
            size = np.array([(~np.isnan(values[0, 1][own == GROUP, 0])).sum() for own in range(5)])
            for name, over in (("between_seeds", lambda own: own), ("layer_between_seeds", lambda own: own.mean(-1))):
                # A change has a sign, and which seed is the first means nothing.
                sized = np.abs if metric == "entropy" else np.asarray
                pairs = {pair: sized(over(np.nanmean(own, axis=0))) for pair, own in values.items()}
                whole = np.mean(list(pairs.values()), axis=0)
                np.testing.assert_allclose(part[name], whole, atol=3e-6)
                without = np.mean([sized(over(left_out(own))) for own in values.values()], axis=0)
                expected = t_interval(whole, without, size, stand_ins(pairs, range(3)))
                for end, bound in zip(("low", "high"), expected, strict=True):
                    np.testing.assert_allclose(part[f"{name}_ci_{end}"], bound.clip(0, 1), atol=2e-5)


@pytest.mark.slow
def test_a_baseline_of_another_size_is_paired_by_seed(tmp_path: Path) -> None:
    runs = {(size, seed): tuned(size, seed) for size in (10, 30) for seed in (1, 2)}
    result = compared(tmp_path, *runs.values(), tuned(30, 7), baseline=10, metrics=("js",))
    assert result["seed"].values.tolist() == [1, 2]
    for seed in (1, 2):
        values = equal_heads(runs[10, seed], runs[30, seed], "js", 0)
        part = result["seed_mean"].sel(metric="js", seed=seed).isel(layer=0, training_size=0)
        np.testing.assert_allclose(part, values.mean(axis=0), atol=3e-6)
    assert result.attrs["baseline_run"].count("size-010") == 2
    for seed in (1, 2):
        shutil.rmtree(tmp_path / f"ner/corpus/tiny/size-030/seed-{seed}")
    with pytest.raises(RunNotFoundError, match=r"has no seed of both .*size-030.* \(7\) and its baseline .* \(1, 2\)"):
        compare_attention(tmp_path, asked(baseline=10))


@pytest.mark.slow
def test_sizes_may_differ_in_seeds(tmp_path: Path) -> None:
    first, one, *others = base(), tuned(30, 1), tuned(10, 1), tuned(10, 2)
    result = compared(tmp_path, first, one, *others, metrics=("js",))
    assert result["seed_count"].values.tolist() == [2, 1]
    assert result["seed_mean"].sel(training_size=30, seed=2).isnull().all()
    assert result["between_seeds"].sel(training_size=30).isnull().all()
    alone = compare_attention(tmp_path, asked(metrics=("js",), training_sizes=(30,)))
    for name in alone.data_vars:
        np.testing.assert_array_equal(alone[name].sel(training_size=30), result[name].sel(training_size=30))
    # One pair of seeds tells nothing of other pairs: its interval is over samples.
    values = equal_heads(*others, "js", 0)
    left = np.array([values[np.arange(8) != out].mean(axis=0) for out in range(8)])
    error = np.sqrt(7 / 8 * ((left - left.mean(axis=0)) ** 2).sum(axis=0))
    part = result.sel(metric="js", training_size=10).isel(layer=0)
    np.testing.assert_allclose(
        part["between_seeds_ci_high"] - part["between_seeds"], stats.t.ppf(0.975, 7) * error, atol=1e-5
    )
    said = list(AttentionComparison().notes(result, asked(metrics=("js",))))
    assert said[1].startswith("means are over 2 seeds at 10 %, 1 seed at 30 % of the training: intervals hold what")
    assert said[1].endswith("but of one seed alone what other samples would")
    with pytest.raises(RunNotFoundError, match=r"has no run of .*seed=2, .*training_size=30; extract it with"):
        compare_attention(tmp_path, asked(seeds=(1, 2)))


@pytest.mark.slow
def test_one_seed_has_nothing_of_seeds(tmp_path: Path) -> None:
    first, *others = base(), tuned(30, 1), tuned(30, 2)
    result = compared(tmp_path, first, *others, seeds=(2,))
    assert not {"seed", "seed_count", "seed_mean", "between_seeds"} & {*result.variables}
    assert list(AttentionComparison().notes(result, asked()))[1] == ONE_SEED
    both = compare_attention(tmp_path, asked())
    np.testing.assert_array_equal(both["seed_mean"].sel(seed=2), result["mean"])


@pytest.mark.slow
def test_the_pre_trained_model_is_one_run_whatever_its_seeds(tmp_path: Path) -> None:
    result = compared(tmp_path, base(seed=7), base(seed=9), tuned(30, 1), tuned(30, 2))
    assert result.attrs["baseline_run"] == "ner/corpus/tiny/size-000/seed-7/sentence/test"
    assert result["seed"].values.tolist() == [1, 2]
    # Another model under the same name is another.
    base(seed=8, model_digest="f" * 64).write_labelled(tmp_path)
    with pytest.raises(AmbiguousRunError, match="2 runs with attention match"):
        compare_attention(tmp_path, asked())


@pytest.mark.slow
def test_the_table_the_rows_and_the_page_have_the_floor(
    several: tuple[Path, Synthetic, dict[int, Synthetic]], tmp_path: Path
) -> None:
    root = several[0]
    result, analysis = compare_attention(root, asked()), AttentionComparison()
    table = analysis.summary(result, asked())
    names = list(table.columns)
    assert names.index("cosine between seeds") > names.index("cosine by chance")
    own = result.sel(metric="cosine", training_size=30, layer=2)
    row = table[table.layer == 2].iloc[0]
    for end in ("", "_ci_low", "_ci_high"):
        assert row[f"cosine between seeds{end}"] == own[f"layer_between_seeds{end}"].item()
    assert "entropy between seeds" in names
    frame = analysis.frame(result, asked())
    assert len(frame) == 3 * 2 * 3
    (found,) = frame[(frame.metric == "js") & (frame.layer == 1) & (frame["head"] == 2)].to_dict("records")
    for seed in SEEDS:
        assert found[f"seed_mean_{seed}"] == result["seed_mean"].sel(metric="js", layer=1, head=2, seed=seed).item()
    assert isinstance(frame, pd.DataFrame)
    said = list(analysis.notes(result, asked()))
    assert said[1].startswith(
        "means are over 3 seeds of the training: intervals hold what other samples and other seeds"
    )
    assert any(note.startswith("js is farther from the baseline than between two seeds at 30 % in") for note in said)
    write_report(root, tmp_path / "page.html", ReportRequest(samples=0))
    page = Page(tmp_path / "page.html")
    assert "seeds 1, 2, 5" in page.text
    assert "Means are over 3 seeds of the training" in page.text
    (shown,) = [row for row in page.rows("attention-1") if (row["metric"], row["layer"], row["head"]) == ("js", 1, 2)]
    for name in ("between_seeds", "between_seeds_ci_low", "between_seeds_ci_high"):
        assert shown[name] == pytest.approx(result[name].sel(metric="js", layer=1, head=2).item(), rel=1e-6)
    assert analysis.draw("between-seeds", result, asked()) is not None


@pytest.mark.slow
def test_layers_beyond_the_floor_are_those_whose_intervals_are_apart(tmp_path: Path) -> None:
    first = base(maps=3)
    # The seeds are alike, and unlike the baseline.
    alike = [tuned(30, seed, maps=50) for seed in SEEDS]
    result = compared(tmp_path / "far", first, *alike, metrics=("js",))
    said = list(AttentionComparison().notes(result, asked(metrics=("js",))))
    assert "js is farther from the baseline than between two seeds at 30 % in 2 of 2 layers (intervals apart)" in said
    # The seeds are as far from each other as from the baseline.
    result = compared(tmp_path / "near", first, *(tuned(30, seed) for seed in SEEDS), metrics=("js",))
    said = list(AttentionComparison().notes(result, asked(metrics=("js",))))
    assert "js is farther from the baseline than between two seeds at 30 % in 0 of 2 layers (intervals apart)" in said


@pytest.mark.slow
def test_matches_and_all_pairs_are_of_means_over_seeds(tmp_path: Path) -> None:
    first, *others = base(), *(tuned(30, seed) for seed in SEEDS)
    result = compared(tmp_path, first, *others, metrics=("js",), match_heads=True, per_sample=True)
    square = np.stack([plain_values(first, other, "js") for other in others])
    part = result.sel(metric="js").isel(layer=0, training_size=0)
    mean = square.mean(axis=(0, 1))
    matched = part["matched_head"].values
    np.testing.assert_allclose(part["matched_mean"], mean[np.arange(3), matched], atol=3e-6)
    assert part["matched_mean"].sum() == pytest.approx(
        min(
            mean[np.arange(3), list(order)].sum()
            for order in ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))
        ),
        abs=1e-5,
    )
    values = np.diagonal(square, axis1=2, axis2=3).mean(axis=0)
    np.testing.assert_allclose(part["value"].transpose("sample", "head"), values, atol=1e-5)
    pairs = compare_attention(tmp_path, asked(metrics=("js",), all_pairs=True))
    np.testing.assert_allclose(
        pairs["pair_mean"].sel(metric="js").isel(training_size=0, layer=0, other_layer=0), mean, atol=3e-6
    )
    assert "between_seeds" not in pairs
