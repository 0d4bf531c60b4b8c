"""Processes that are killed just before their n-th change of the file system."""

import os
import sys
from collections.abc import Callable, Iterator
from itertools import chain, count

_CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate"}


def is_change(event: str, arguments: tuple[object, ...]) -> bool:
    if event == "open":
        flags = arguments[2]
        return isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
    return event in _CHANGES


def killed_before_each_change(
    prepare: Callable[[], None], action: Callable[[], object], every: int = 1, dense: int = 1
) -> Iterator[int]:
    """Prepare, run an action in a process that is killed before its n-th change, and yield n; for n = 1, 2, ...

    With `every`, n goes on by that number from `dense` on. It ends with the first n that the action does not reach.
    Python says of each change before it is made (PEP 578).
    """
    for last in chain(range(1, dense), count(dense, every)):
        prepare()
        child = os.fork()
        if not child:
            _run(action, last)
        _, status = os.waitpid(child, 0)
        yield last
        if os.waitstatus_to_exitcode(status) == 0:
            return


def _run(action: Callable[[], object], last: int) -> None:
    seen = count(1)

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        if is_change(event, arguments) and next(seen) == last:
            os._exit(9)

    sys.addaudithook(watch)
    status = 1
    try:
        action()
        status = 0
    finally:
        os._exit(status)
