"""Random numbers drawn from a seed, and without a trace in the caller's."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

__all__ = ["isolated", "seeded"]


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw torch's random numbers on the CPU from a seed, and leave its generator as it was."""
    import torch

    with torch.random.fork_rng(devices=[]):
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
