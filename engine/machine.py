"""The machine: devices, cores, memory, and random number generators."""

import ctypes
import logging
import os
import random
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from importlib.metadata import version
from threading import RLock
from typing import Any

import numpy as np

from biocache.store.errors import SettingError

__all__ = [
    "available_cores",
    "capped_threads",
    "choose_device",
    "device_name",
    "isolated",
    "machine_memory",
    "origin",
    "quiet_loggers",
    "seeded",
    "share_heap",
    "used_memory",
]

# Parameter of `mallopt` for the number of heaps (malloc.h of glibc).
_ARENA_MAX = -8


def choose_device(asked: str | None) -> str:
    """Return the device of torch to compute on.

    Parameters
    ----------
    asked
        Its name, such as ``cpu`` or ``cuda:1``; None for CUDA where there is one.

    Raises
    ------
    SettingError
        If it cannot be used here.
    """
    import torch

    if asked is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        # Copied back: the meta device makes tensors, but has no values.
        torch.zeros(1, device=torch.device(asked)).cpu()
    except (RuntimeError, AssertionError, ImportError) as error:
        reason = " ".join(str(error).split())[:160]
        raise SettingError(f"device {asked!r} cannot be used here ({reason}); pass --device=cpu") from error
    return asked


def device_name(device: str) -> str:
    """Return the name of a device in provenance: the model of a GPU, else its name in torch."""
    import torch

    return torch.cuda.get_device_name(device) if device.startswith("cuda") else device


def origin(device: str, *libraries: str) -> dict[str, Any]:
    """Return what provenance says of this process: ``device``, ``created``, ``host`` and ``versions`` of libraries."""
    named = ("biocache", "torch", "transformers", "tokenizers", *libraries)
    return {
        "device": device_name(device),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "host": socket.gethostname(),
        "versions": {name: version(name) for name in named},
    }


def available_cores() -> int:
    """Return the processor cores that this process may use."""
    with suppress(AttributeError):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def capped_threads(count: int) -> Iterator[None]:
    """Limit the threads of linear algebra, OpenMP and, where it is loaded, torch.

    Parameters
    ----------
    count
        Maximum threads of each.
    """
    from threadpoolctl import threadpool_limits

    # Not imported here: a probe without torch must not load it.
    torch = sys.modules.get("torch")
    before = torch.get_num_threads() if torch is not None else None
    with threadpool_limits(limits=count):
        if torch is not None:
            torch.set_num_threads(count)
        try:
            yield
        finally:
            if torch is not None:
                torch.set_num_threads(before)


def machine_memory() -> int:
    """Return the bytes of memory this process may use: the machine's, or its control group's if that is less."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        with open("/sys/fs/cgroup/memory.max", encoding="ascii") as file:  # noqa: PTH123  (not a user's path)
            return min(total, int(file.read()))
    except (OSError, ValueError):
        return total


def used_memory() -> int:
    """Return the peak bytes of memory this process has used so far: libraries, corpus and token tables."""
    try:
        # getrusage would return the parent's peak where that was larger.
        with open("/proc/self/status", encoding="ascii", errors="replace") as file:  # noqa: PTH123
            return 1024 * next(int(line.split()[1]) for line in file if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        pass
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


# torch has one random number generator for the process, and fits run concurrently.
_SEEDING = RLock()


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw torch's random numbers on the CPU from a seed, and leave its generator as it was; one thread at a time."""
    import torch

    with _SEEDING, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


@contextmanager
def isolated() -> Iterator[None]:
    """Leave the global generators of Python, NumPy and torch as they were: transformers' `Trainer` seeds them all."""
    import torch

    of_python, of_numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        with torch.random.fork_rng():
            yield
    finally:
        random.setstate(of_python)
        np.random.set_state(of_numpy)  # noqa: NPY002


@contextmanager
def quiet_loggers(*names: str, level: int = logging.ERROR) -> Iterator[None]:
    """Keep messages of libraries below a level out of the user's terminal."""
    loggers = [logging.getLogger(name) for name in names]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(level)
    try:
        yield
    finally:
        for logger, old in zip(loggers, before, strict=True):
            logger.setLevel(old)


def share_heap() -> None:
    """Let all threads that start from now on allocate from one heap, where the C library is glibc.

    It gives each thread one of its own, which keeps what was freed: memory grows as long as threads make arrays of
    other sizes than before.
    """
    if sys.platform != "linux":
        return
    with suppress(OSError, AttributeError):  # Another C library has no such function.
        ctypes.CDLL(None).mallopt(_ARENA_MAX, 1)
