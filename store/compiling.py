"""Compiling kernels with numba: without the GIL, cached in the user's cache folder."""

import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar, cast

import numba
import platformdirs
from numba.core.dispatcher import Dispatcher
from numba.core.extending import _Intrinsic

__all__ = ["cache_folder", "compiled"]

_Function = TypeVar("_Function", bound=Callable[..., object])

# Sums may be reordered, which vectorisation needs; NaN and infinity keep their meaning.
_FAST = {"reassoc", "contract", "nsz"}


def cache_folder() -> Path | None:
    """Return the folder of cached machine code; None where there is none that only this user can write to.

    It is ``kernels`` in biocache's cache folder of the user, or ``NUMBA_CACHE_DIR`` where that is set. Beside the
    modules, numba's own choice, it would survive an uninstall and be found as a package by the next install.
    """
    if numba.config.CACHE_DIR:
        return Path(numba.config.CACHE_DIR)
    folder = platformdirs.user_cache_path("biocache") / "kernels"
    with suppress(OSError, RuntimeError):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Code found there is executed.
        mine = not hasattr(os, "getuid") or folder.stat().st_uid == os.getuid()
        if mine and os.access(folder, os.W_OK):
            return folder
    return None


def _digest_of(function: Callable[..., object]) -> str:
    """Return a digest of the files of a function, of the compiled functions that it may call, of theirs, and so on.

    numba itself looks at the function's own file alone, and would go on using what another file was.
    """
    files: set[str] = set()
    pending = [function]
    while pending:
        called = pending.pop()
        if called.__code__.co_filename in files:
            continue
        files.add(called.__code__.co_filename)
        for value in called.__globals__.values():
            if isinstance(value, Dispatcher):
                pending.append(value.py_func)
            elif isinstance(value, _Intrinsic):
                pending.append(value._defn)
    digest = hashlib.sha256(Path(__file__).read_bytes())
    for file in sorted(files):
        with suppress(OSError):  # Source that is no file.
            digest.update(hashlib.sha256(Path(file).read_bytes()).digest())
    return digest.hexdigest()[:16]


def compiled(function: _Function, *, reorder: bool = True) -> _Function:
    """Compile a function of arrays and numbers when it is first called with their types.

    Sums and products may be reordered, where `reorder` does not forbid it; values of codes are defined by an order.

    The machine code is cached in `cache_folder` and compiled again when numba, the processor, or a file of a compiled
    function that it may call changes: those of the names that its module has by now. Division follows IEEE 754.
    """
    folder = cache_folder()
    if folder is not None:
        folder /= _digest_of(function)
    options = {"nogil": True, "error_model": "numpy", "fastmath": _FAST if reorder else False}
    given = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = "" if folder is None else str(folder)
    try:
        kernel = numba.njit(cache=folder is not None, **options)(function)
    except RuntimeError:  # numba cannot cache a function whose source is no file.
        kernel = numba.njit(**options)(function)
    finally:
        numba.config.CACHE_DIR = given
    return cast(_Function, kernel)
