"""Intervals of attention are over groups of samples; what a comparison says of its numbers."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from attention_factory import WORDS, plain_values, source
from grouped import keep_groups
from scipy import stats
from store_factory import Synthetic

from biocache.engine import AttentionRequest, ReportRequest, compare_attention, write_report
from biocache.engine.analyses.attention.analysis import AttentionComparison
from biocache.engine.analyses.attention.sums import Resamples

NAMES = ["a", "b", "a", None, "b", "c", None, "c"]


def runs(**changes: Any) -> tuple[Synthetic, Synthetic]:
    first = source(**{"training_size": 0, "head_count": 3, "maps": 1} | changes)
    return first, source(**{"training_size": 30, "head_count": 3, "maps": 130} | changes)


def compared(root: Path, *sources: Synthetic, **settings: Any) -> xr.Dataset:
    for own in sources:
        own.write_labelled(root)
    return compare_attention(root, AttentionRequest(model="tiny", **settings))


def notes(result: xr.Dataset, **settings: Any) -> list[str]:
    return list(AttentionComparison().notes(result, AttentionRequest(model="tiny", **settings)))


@pytest.mark.slow
def test_of_few_groups_each_is_left_out(tmp_path: Path) -> None:
    first, second = runs()
    page, tmp_path = tmp_path / "report.html", tmp_path / "store"
    alone = compared(tmp_path, first, second)
    keep_groups(tmp_path, first, NAMES)
    result = compared(tmp_path, first, second)
    assert (alone.attrs["group"], alone.attrs["groups"]) == ("samples", 8)
    assert (result.attrs["group"], result.attrs["groups"]) == ("group", 5)
    np.testing.assert_array_equal(alone["mean"], result["mean"])
    assert notes(result)[0].startswith("intervals are over 5 groups of samples (label set group); with so few")
    assert notes(result)[1].startswith("all runs have one seed")
    write_report(tmp_path, page, ReportRequest(samples=0))
    text = page.read_text(encoding="utf-8")
    assert "Intervals are over 5 groups of samples" in text
    assert "All runs have one seed" in text
    group = np.array([0, 1, 0, 2, 1, 3, 4, 3])
    size = np.bincount(group)
    t = stats.t.ppf(0.975, 64 / (size**2).sum() - 1)
    for metric in ("cosine", "js"):
        values = plain_values(first, second, metric)
        own = np.diagonal(values, axis1=1, axis2=2)
        others = (values.sum(axis=2) - own) / 2
        part = result.sel(metric=metric).isel(layer=0, training_size=0)
        for name, of in (
            ("ci", own),
            ("chance_ci", others),
            ("layer_ci", own.mean(1)),
            ("layer_chance_ci", others.mean(1)),
        ):
            left = np.array([of[group != out].mean(axis=0) for out in range(5)])
            error = np.sqrt(4 / 5 * ((left - left.mean(axis=0)) ** 2).sum(axis=0))
            for sign, end in ((-1, "low"), (1, "high")):
                expected = np.clip(of.mean(axis=0) + sign * t * error, 0, 1)
                np.testing.assert_allclose(part[f"{name}_{end}"], expected, atol=1e-5, err_msg=name)


def test_samples_of_a_group_are_drawn_together() -> None:
    values = np.random.default_rng(0).random((120, 1, 2))
    values[3, 0, 1] = np.nan
    by_sample = Resamples.zero(1, 60, 100, 1, 2)
    one, group = np.zeros(120, np.int64), np.arange(120) // 2
    by_sample.add(values, group, one, 7)
    known = ~np.isnan(values.reshape(60, 2, 1, 2))
    pairs = np.where(known, values.reshape(60, 2, 1, 2), 0).sum(axis=1)
    weights = Resamples.zero(1, 60, 100, 1, 60)
    weights.add(np.eye(60)[:, np.newaxis], np.arange(60), np.zeros(60, np.int64), 7)
    drawn = weights.total[0, :, 0]
    np.testing.assert_allclose(by_sample.total[0, :, 0], drawn @ pairs[:, 0])
    np.testing.assert_allclose(by_sample.weight[0, :, 0], drawn @ known.sum(axis=1)[:, 0])


@pytest.mark.slow
def test_a_corpus_of_single_words_has_nothing_to_compare(tmp_path: Path) -> None:
    first, second = runs(words=[1] * 6, specials=False, tokens=11)
    assert set(first.plan.tokens.count.tolist()) > {1}
    ones = [sample for sample, maps in enumerate(first.maps) if plain_size(first, sample) == 1]
    result = compared(
        tmp_path, first, second, metrics=("cosine", "row-cosine", "js", "hellinger", "tv"), per_sample=True
    )
    assert result["value"].isel(sample=ones).isnull().all()
    assert result["value"].drop_isel(sample=ones).notnull().all()


def plain_size(run: Synthetic, sample: int) -> int:
    return len(run.hidden[sample][0])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("causal", "exclude", "said"),
    [
        (False, False, "excluded"),
        (True, True, "excluded"),
        (True, False, "special tokens excluded, first words of causal models included"),
    ],
)
def test_by_word_special_tokens_are_left_out_and_it_says_so(
    tmp_path: Path, causal: bool, exclude: bool, said: str
) -> None:
    first, second = runs()[0], source(training_size=30, head_count=3, maps=130, tokens=2, causal=causal)
    assert compared(tmp_path, first, second, exclude_special=exclude).attrs["special_positions"] == said


@pytest.mark.slow
def test_matchings_that_are_not_identified_are_said_so(tmp_path: Path) -> None:
    first, second = runs()
    # Two heads of the other run are the same: either may be matched.
    for own, other in zip(first.maps, second.maps, strict=True):
        other[:] = own[:, [0, 1, 1]]
    settings = {"metrics": ("js", "entropy"), "match_heads": True}
    result = compared(tmp_path, first, second, **settings)
    gap = result["matched_gap"].sel(metric="js").isel(layer=0, training_size=0)
    values = plain_values(first, second, "js").mean(axis=0)
    assert gap[0] > 0.1
    np.testing.assert_allclose(gap[1:], 0, atol=1e-6)
    assert values[1, 1] == values[1, 2] == 0
    said = notes(result, **settings)
    assert "js does not identify the matches of 4 of 6 heads: other matchings are as good" in said
    assert "entropy is one number of a head: heads that it matches need not attend alike" in said
    assert not any(
        "identify" in note for note in notes(result.assign(matched_gap=result["matched_gap"] + 1), **settings)
    )
    assert len(WORDS) == result.attrs["groups"]
