"""Whatever packs, their order and how sums are added, the answer is the same to the last bit."""

import random
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from attention_factory import source
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from biocache.engine import AttentionRequest, compare_attention
from biocache.engine.analyses.attention import comparison, preparing, tasks
from biocache.engine.analyses.attention.metrics import METRICS
from biocache.engine.executor import Task

ONE_PACK = 10**6
# Their sums are not of multiples of 2**-30, so their last bit may move.
INEXACT = ("std", "matched_std")


def compared(words: Sequence[int], capacities: tuple[int, int], causal: bool, by_word: bool) -> xr.Dataset:
    """Compare two runs that were packed in their own ways."""
    with tempfile.TemporaryDirectory() as folder:
        for number, capacity in enumerate(capacities):
            run = source(
                words,
                tokens=number if by_word else 0,
                maps=number,
                capacity=capacity,
                causal=causal,
                lost=0.3 if by_word else 0.0,
                head_count=3,
                layers=(1,),
                training_size=number,
                model=f"model{number}",
            )
            run.write_all(Path(folder))
        request = AttentionRequest(
            model="model1",
            against="model0",
            metrics=tuple(METRICS),
            match_heads=True,
            per_sample=True,
            resamples=20,
        )
        return compare_attention(folder, request)


def assert_same(result: xr.Dataset, other: xr.Dataset) -> None:
    assert set(result) == set(other)
    for name, values in result.data_vars.items():
        if name in INEXACT:
            np.testing.assert_allclose(values, other[name], rtol=1e-9, atol=1e-9)
        else:
            np.testing.assert_array_equal(values, other[name], err_msg=str(name))


@pytest.mark.slow
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    words=st.lists(st.integers(1, 9), min_size=1, max_size=12),
    capacities=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    causal=st.booleans(),
    by_word=st.booleans(),
    tile=st.integers(1, 400),
    order=st.integers(0, 2**32 - 1),
)
def test_packs_tiles_and_orders_do_not_matter(
    words: list[int], capacities: tuple[int, int], causal: bool, by_word: bool, tile: int, order: int
) -> None:
    rng = random.Random(order)
    in_order = comparison.layer_tasks

    def shuffled(*given: Any) -> list[Task]:
        made = in_order(*given)
        return rng.sample(made, len(made))

    expected = compared(words, (ONE_PACK, ONE_PACK), causal, by_word)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(preparing, "_TILE", tile)
        patch.setattr(comparison, "layer_tasks", shuffled)
        patch.setattr(tasks, "_MOST_TASKS", rng.randint(1, 5))
        assert_same(compared(words, capacities, causal, by_word), expected)


@pytest.mark.slow
def test_the_check_of_sameness_can_fail() -> None:
    result = compared([3, 4, 5], (10, 10), causal=False, by_word=False)
    other = result.assign(mean=result["mean"] + 2**-40)
    with pytest.raises(AssertionError, match="mean"):
        assert_same(result, other)
