"""Checks over whole chunks: against the library on all bytes at once, and NumPy."""

import google_crc32c
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from biocache.store.checks import all_finite, checksum

DTYPES = ("float16", "float32", "float64")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(0, 3), (1, 1), (3, 700_001), (5000, 300)])
def test_the_checksum_is_that_of_all_bytes(dtype: str, shape: tuple[int, int]) -> None:
    values = np.random.default_rng(0).normal(size=shape).astype(dtype)
    assert checksum(values) == google_crc32c.value(values.tobytes())
    part = values[:, : shape[1] // 2]
    assert checksum(part) == google_crc32c.value(part.tobytes())
    swapped = values.astype(values.dtype.newbyteorder(">"))
    assert checksum(swapped) == checksum(values)


@pytest.mark.slow
@given(st.sampled_from(DTYPES).flatmap(lambda dtype: arrays.arrays(dtype, arrays.array_shapes(min_side=0, max_side=5))))
def test_finite_is_what_numpy_says(values: np.ndarray) -> None:
    assert all_finite(values) == np.isfinite(values).all()
    assert all_finite(values[..., ::2]) == np.isfinite(values[..., ::2]).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("others", [0.0, 1.0, -1.0])
def test_the_largest_numbers_are_finite_and_infinity_and_nan_are_not(dtype: str, others: float) -> None:
    info = np.finfo(dtype)
    values = np.full((50, 70), others, dtype)
    values[0, :4] = [info.max, info.min, info.smallest_subnormal, -0.0]
    assert all_finite(values)
    for bad in (np.inf, -np.inf, np.nan, np.copysign(np.nan, -1)):
        damaged = values.copy()
        damaged[33, 7] = bad
        assert not all_finite(damaged)


@pytest.mark.slow
def test_every_half_is_told_apart() -> None:
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    assert [all_finite(halves[i : i + 1]) for i in range(1 << 16)] == np.isfinite(halves).tolist()
