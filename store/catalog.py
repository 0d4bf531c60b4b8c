"""The store: which runs it holds, and how to open one."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Self

import pandas as pd

from biocache.store.arrays import read_group_attributes
from biocache.store.errors import (
    AmbiguousRunError,
    RunNotFoundError,
    SettingError,
    StoreFormatError,
)
from biocache.store.keys import RunKey
from biocache.store.reading import Run, check_format
from biocache.store.writing import discard_run

__all__ = ["Store"]

_LISTED = 10


class Store:
    """A folder of runs.

    Attributes
    ----------
    path
        Folder of the store.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Self:
        """Open a store.

        Parameters
        ----------
        path
            Its folder.

        Raises
        ------
        StoreFormatError
            If there is no folder, or it is not a store of this format version.
        """
        folder = Path(path)
        try:
            check_format(read_group_attributes(folder), folder)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise StoreFormatError(
                f"{folder} is not a biocache store: it has no zarr.json; name one with --store or make it with "
                "`biocache extract`"
            ) from error
        return cls(folder)

    def __repr__(self) -> str:
        return f"<biocache.Store {str(self.path)!r}: {len(list(self.keys()))} runs>"

    def keys(self) -> Iterator[RunKey]:
        """Yield the keys of all runs, in the order of their paths."""
        yield from sorted(RunKey.from_path(path) for path in _run_paths(self.path, ""))

    def select(self, **selection: Any) -> list[Run]:
        """Open the runs that match a selection.

        Parameters
        ----------
        **selection
            Parts of the key (`RunKey`): a value, or several in a list.

        Raises
        ------
        SettingError
            If a part has no such name.
        """
        unknown = set(selection) - set(RunKey.names())
        if unknown:
            raise SettingError(
                f"{', '.join(sorted(unknown))} is no part of a run's key; they are {', '.join(RunKey.names())}"
            )
        wanted = {name: _listed(value) for name, value in selection.items() if value is not None}
        return [
            Run.open(self.path, key)
            for key in self.keys()
            if all(getattr(key, name) in values for name, values in wanted.items())
        ]

    def run(self, **selection: Any) -> Run:
        """Open the one run that matches a selection.

        Parameters
        ----------
        **selection
            Parts of the key (`RunKey`), as many as it takes to name one run.

        Raises
        ------
        RunNotFoundError
            If no run matches; the message lists what the store holds.
        AmbiguousRunError
            If several match; the message lists them.
        SettingError
            If a part has no such name.
        """
        found = self.select(**selection)
        if len(found) == 1:
            return found[0]
        asked = ", ".join(f"{name}={value!r}" for name, value in selection.items()) or "nothing"
        if found:
            raise AmbiguousRunError(
                f"{len(found)} runs match {asked}: {_candidates(run.key for run in found)}; add what tells them apart"
            )
        raise RunNotFoundError(f"no run matches {asked}; the store {self.path} holds {_candidates(self.keys())}")

    def remove(self, run: Run) -> None:
        """Remove a run; its bytes are freed.

        Raises
        ------
        BusyError
            If a live process is writing to it.
        """
        discard_run(self.path, run)

    def catalog(self) -> pd.DataFrame:
        """List the runs.

        Returns
        -------
        pandas.DataFrame
            A row a run: the parts of its key; ``packs`` and ``packs_done``; ``complete``; ``samples``,
            ``tokens``, ``words``; ``keep``; ``layers`` (how many are stored); ``features``; ``heads``;
            ``dtype``; ``stored_bytes`` (of committed packs); ``model_source``, ``dataset_source``,
            ``created``, ``host``.
        """
        rows = []
        for key in self.keys():
            run = Run.open(self.path, key)
            records = run.records()
            rows.append(
                {
                    **dict(key.items()),
                    "samples": run.counts.samples,
                    "tokens": run.counts.tokens,
                    "words": run.counts.words,
                    "packs": run.counts.packs,
                    "packs_done": len(records),
                    "complete": len(records) == run.counts.packs,
                    "keep": ",".join(run.spec.keep),
                    "layers": len(run.spec.layers),
                    "features": run.spec.feature_size,
                    "heads": run.spec.head_count,
                    "dtype": run.spec.dtype,
                    "stored_bytes": sum(record.stored_bytes for record in records.values()),
                    "model_source": run.provenance.model_source,
                    "dataset_source": run.provenance.dataset_source,
                    "created": run.provenance.created,
                    "host": run.provenance.host,
                }
            )
        return pd.DataFrame(rows, columns=CATALOG_COLUMNS)


CATALOG_COLUMNS = [
    *RunKey.names(),
    "samples",
    "tokens",
    "words",
    "packs",
    "packs_done",
    "complete",
    "keep",
    "layers",
    "features",
    "heads",
    "dtype",
    "stored_bytes",
    "model_source",
    "dataset_source",
    "created",
    "host",
]


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple | set | range) else [value]


def _candidates(keys: Iterable[RunKey]) -> str:
    paths = [key.path for key in keys]
    more = f" and {len(paths) - _LISTED} more" if len(paths) > _LISTED else ""
    return (", ".join(paths[:_LISTED]) or "no runs") + more


def _run_paths(root: Path, below: str, depth: int = len(RunKey.names())) -> Iterator[str]:
    """Yield the paths of the run groups below a folder; a folder without metadata is no group."""
    with os.scandir(root / below) as entries:
        names = [entry.name for entry in entries if entry.is_dir() and not entry.name.startswith(".")]
    for name in names:
        path = f"{below}/{name}" if below else name
        if depth > 1:
            yield from _run_paths(root, path, depth - 1)
        elif (root / path / "zarr.json").is_file():
            try:
                RunKey.from_path(path)
            except SettingError as error:
                raise StoreFormatError(f"{root} holds {path}, which is not a run: {error}") from error
            yield path
