"""Compilation, where machine code can and cannot be kept."""

from typing import Any

import pytest

from biocache.store import compiling


def test_kernels_work_where_nothing_can_be_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = compiling.numba.njit

    def refusing(*function: Any, **options: Any) -> Any:
        if options.get("cache"):
            raise RuntimeError("cannot cache function: no locator available")
        return plain(*function, **options)

    monkeypatch.setattr(compiling.numba, "njit", refusing)

    def double(number: int) -> int:
        return 2 * number

    assert compiling.compiled(double)(21) == 42
