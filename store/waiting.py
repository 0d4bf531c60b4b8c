"""Calls that mostly wait for the network, several at a time."""

from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TypeVar

__all__ = ["as_they_come", "at_once"]

_AT_ONCE = 16

_Part = TypeVar("_Part")
_Made = TypeVar("_Made")


def at_once(call: Callable[[_Part], _Made], parts: list[_Part]) -> list[_Made]:
    """Return the results of calls that wait for the network, several at a time, in their order."""
    if len(parts) < 2:
        return [call(part) for part in parts]
    with ThreadPoolExecutor(min(_AT_ONCE, len(parts)), thread_name_prefix="biocache-requests") as pool:
        return list(pool.map(call, parts))


def as_they_come(call: Callable[[_Part], object], parts: Iterable[_Part]) -> None:
    """Make calls that wait for the network, several at a time; no more parts are taken than are under way."""
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="biocache-requests") as pool:
        begun: set[Future[object]] = set()
        for part in parts:
            while len(begun) >= _AT_ONCE:
                ended, begun = wait(begun, return_when=FIRST_COMPLETED)
                for one in ended:
                    one.result()
            begun.add(pool.submit(call, part))
        for one in begun:
            one.result()
