"""Which tokens of a text become its row, and which runs can tell."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from biocache.engine.analyses.probing.request import POOLINGS
from biocache.store.errors import SettingError

if TYPE_CHECKING:
    from biocache.engine.analyses.probing.request import ProbeRequest
    from biocache.store.reading import Run

__all__ = ["CLS", "pooling_key", "pooling_note", "refuse_pooling", "sample_pooling", "written_pooling"]

#: The token that a head for sequences of the model's family reads.
CLS = "cls"
# Poolings of words and of spans; those of texts are all.
_OF_LEVEL = {"words": POOLINGS[:3], "spans": POOLINGS[:4], "relations": POOLINGS[:4]}


def refuse_pooling(pooling: str, level: str) -> None:
    """Refuse a pooling that rows of a level do not have.

    Raises
    ------
    SettingError
        If it is one of other rows.
    """
    known = _OF_LEVEL.get(level, POOLINGS)
    if pooling not in known:
        raise SettingError(f"--pooling {pooling!r} is not for {level}; use {', '.join(known[:-1])} or {known[-1]}")


def sample_pooling(run: "Run", pooling: str) -> tuple[str, bool]:
    """Return how texts of a run are pooled, and whether special tokens count.

    ``first`` is the first token of the sequence, ``cls`` the one that a head for sequences reads; the others are of the
    tokens of the text.

    Raises
    ------
    SettingError
        If it is ``cls``, and no one token is known to be it.
    """
    if pooling != CLS:
        return pooling, pooling == "first"
    read = run.provenance.head_token
    if read in ("first", "last"):
        return read, True
    why = "the head for sequences of its model's family reads no one token of it, or there is no such head"
    way = "pass --pooling=first, last or mean"
    if not read:
        why = "it does not say which token a head for sequences reads: an earlier version extracted it"
        way = f"extract it again with --overwrite, or {way}"
    raise SettingError(f"--pooling {CLS!r} cannot be read of run {run.key}: {why}; {way}")


def pooling_key(pooling: str, level: str) -> str:
    """Return what finds the results of a pooling: ``first`` of a text was its first token that is not special once."""
    return "first of all tokens" if (pooling, level) == ("first", "samples") else pooling


def pooling_note(runs: "Iterable[Run]", request: "ProbeRequest") -> str:
    """Return which token of each model a head reads, for a result; empty without ``cls``."""
    if request.pooling != CLS:
        return ""
    read: dict[str, list[str]] = {}
    for run in runs:
        names = read.setdefault(run.provenance.head_token, [])
        if run.key.model not in names:
            names.append(run.key.model)
    return ", ".join(f"{token} of {' and '.join(names)}" for token, names in read.items())


def written_pooling(pooling: str) -> str:
    """Write a pooling in the words of the report."""
    return "token that the head reads" if pooling == CLS else f"{pooling} of tokens"
