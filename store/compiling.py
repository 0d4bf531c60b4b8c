"""How kernels are compiled: to machine code that holds no lock, and kept on disk where that is possible."""

from collections.abc import Callable
from typing import TypeVar, cast

import numba

__all__ = ["compiled"]

_Function = TypeVar("_Function", bound=Callable[..., object])

# Sums may be regrouped, which vector units need; NaN and infinity keep their meaning.
_FAST = {"reassoc", "contract", "nsz"}


def compiled(function: _Function) -> _Function:
    """Compile a function of arrays and numbers when it is first called with their types.

    The machine code is kept beside the file or in the user's cache, and made anew when the file, numba or the processor
    changes, not when another file does: a function may call compiled functions of its own file only, and after a change
    here the files of kernels are to be touched. Division follows IEEE 754.
    """
    options = {"nogil": True, "error_model": "numpy", "fastmath": _FAST}
    try:
        kernel = numba.njit(cache=True, **options)(function)
    except RuntimeError:  # No folder to keep it in can be written.
        kernel = numba.njit(**options)(function)
    return cast(_Function, kernel)
