"""Stages of a command that are not counted, such as reading a corpus: named when they begin, for whoever shows them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["Stage", "listening", "stage"]

#: Called with the name of a stage, and whether it begins or has ended.
Stage = Callable[[str, bool], None]

_LISTENER: ContextVar[Stage | None] = ContextVar("biocache.stages", default=None)


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Tell the listener of the context that a stage begins, and that it has ended.

    Parameters
    ----------
    name
        What is being done, such as ``reading jnlpba``.
    """
    listener = _LISTENER.get()
    if listener is None:
        yield
        return
    listener(name, True)
    try:
        yield
    finally:
        listener(name, False)


@contextmanager
def listening(listener: Stage) -> Iterator[None]:
    """Let a listener be told of the stages that begin in the context, in this thread."""
    before = _LISTENER.set(listener)
    try:
        yield
    finally:
        _LISTENER.reset(before)
