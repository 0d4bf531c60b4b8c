"""Threads of the libraries below, so that what runs side by side does not fight for cores."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["capped_threads"]


@contextmanager
def capped_threads(count: int) -> Iterator[None]:
    """Limit the threads of linear algebra, OpenMP and, where it is loaded, torch.

    Parameters
    ----------
    count
        Most threads of each.
    """
    from threadpoolctl import threadpool_limits

    # Not imported for this: a probe that does without torch must not pay for it.
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
