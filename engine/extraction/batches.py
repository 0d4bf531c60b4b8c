"""Packs to windows, and windows to batches of samples of similar length."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from biocache.store.packing import PackPlan

__all__ = ["Batch", "plan_batches", "plan_windows"]


@dataclass(frozen=True, eq=False, slots=True)
class Batch:
    """Samples that go through the model together.

    Attributes
    ----------
    samples
        Positions in the run, longest first, int64 (sample). A window of a longer sample counts as one here.
    lengths
        Tokens of each, int64 (sample).
    """

    samples: NDArray[np.int64]
    lengths: NDArray[np.int64]

    @property
    def padded_tokens(self) -> int:
        """Tokens that go through the model, padding included."""
        return int(self.lengths[0]) * len(self.samples)

    @property
    def padded_entries(self) -> int:
        """Entries of one head's maps that the model computes, padding included."""
        return int(self.lengths[0]) * self.padded_tokens


def plan_windows(plan: PackPlan, window_tokens: int) -> list[range]:
    """Group consecutive packs into windows, whose samples are sorted by length together.

    Parameters
    ----------
    plan
        Layout of the run.
    window_tokens
        Most tokens of a window; a larger pack is a window of its own.

    Returns
    -------
    list of range
        The packs of each window.
    """
    windows: list[range] = []
    begin = held = 0
    for pack, tokens in enumerate(plan.tokens.pack_sizes.tolist()):
        if pack > begin and held + tokens > window_tokens:
            windows.append(range(begin, pack))
            begin, held = pack, 0
        held += tokens
    if begin < plan.pack_count:
        windows.append(range(begin, plan.pack_count))
    return windows


def plan_batches(plan: PackPlan, packs: Iterable[int], batch_tokens: int, *, padded: bool = True) -> list[Batch]:
    """Sort the samples of some packs by length and cut them into batches.

    The batches depend only on the packs and the budget, so that an interrupted window is computed again in the
    same batches and gives the same numbers.

    Parameters
    ----------
    plan
        Layout of the run.
    packs
        Packs of the window.
    batch_tokens
        Most tokens of a batch, padding included; a longer sample is a batch of its own.
    padded
        Whether samples of different lengths may be in a batch.
    """
    samples = np.concatenate([np.arange(s.start, s.stop) for s in map(plan.samples_of, packs)])
    order = samples[np.argsort(-plan.tokens.count[samples], kind="stable")]
    lengths = plan.tokens.count[order]
    batches = []
    begin = 0
    while begin < len(order):
        rows = max(1, batch_tokens // int(lengths[begin]))
        if not padded:
            rows = min(rows, int(np.count_nonzero(lengths[begin : begin + rows] == lengths[begin])))
        batches.append(Batch(order[begin : begin + rows], lengths[begin : begin + rows]))
        begin += rows
    return batches
