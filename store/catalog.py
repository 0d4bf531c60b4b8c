"""The store: its runs, listed and opened."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from biocache.store.errors import (
    AmbiguousRunError,
    BiocacheError,
    RunNotFoundError,
    SettingError,
    StoreFormatError,
)
from biocache.store.groups import check_store, subfolders
from biocache.store.keys import RUN_DEPTH, RunKey
from biocache.store.listing import COLUMNS, COUNTED, described_run
from biocache.store.runs import StoredRun, is_run
from biocache.store.storage import Storage, StorePlace, open_storage
from biocache.store.text import as_html, as_text

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from biocache.store.integrity import Problem
    from biocache.store.label_sets import LabelPlace, StoredLabels
    from biocache.store.labels import LabelSet
    from biocache.store.reading import Run
    from biocache.store.results import StoredResult

__all__ = ["Store"]

_LISTED = 10


class Store:
    """A folder of runs; `open` also checks that it is one.

    Attributes
    ----------
    storage
        Where it is.
    result_places
        Where its results are: the first keeps new ones.
    """

    def __init__(self, storage: StorePlace, results: StorePlace | None = None) -> None:
        self.storage = open_storage(storage)
        own = self.storage if results is None else open_storage(results)
        self.result_places = (own,) if own == self.storage else (own, self.storage)

    @property
    def path(self) -> Path:
        """Folder of the store.

        Raises
        ------
        SettingError
            If it is an object store, which has no folders.
        """
        return self.storage.local()

    @classmethod
    def open(
        cls,
        path: StorePlace,
        storage_options: Mapping[str, str] | None = None,
        *,
        results: StorePlace | None = None,
    ) -> Self:
        """Open a store.

        Parameters
        ----------
        path
            Its folder, or its URL: ``s3://``, ``gs://`` or ``az://`` in an object store, or on the Hugging Face hub
            ``hf://datasets/OWNER/NAME``.
        storage_options
            Credentials, endpoint and the like, by the names of obstore, or ``token`` and ``endpoint`` of the hub; the
            environment has what is not here.
        results
            Another place to keep results in, where the store is not to be written to; results of both are found.

        Raises
        ------
        StoreFormatError
            If there is no folder, or it is not a store of this format version.
        """
        storage = open_storage(path, storage_options)
        try:
            check_store(storage)
        except FileNotFoundError as error:
            lost = any(_run_keys(storage))
            raise StoreFormatError(
                f"{storage} is not a biocache store: it has no zarr.json"
                + (
                    ", but runs; `biocache verify --repair` makes it again"
                    if lost
                    else "; name one with --store or make it with `biocache extract`"
                )
            ) from error
        return cls(storage, None if results is None else open_storage(results, storage_options))

    def __repr__(self) -> str:
        return as_text(f"biocache.Store {str(self.storage)!r}", self._facts())

    def _repr_html_(self) -> str:
        return as_html(f"biocache.Store {str(self.storage)!r}", self._facts())

    def _facts(self) -> list[tuple[str, str]]:
        """Describe the store: the number of its runs and the values of each part of their keys."""
        keys = self.keys()
        parts = {name: dict.fromkeys(str(getattr(key, name)) for key in keys) for name in RunKey.names()}
        named = {name: ", ".join(filter(None, values)) for name, values in parts.items()}
        return [("runs", f"{len(keys):,}"), *((name, text) for name, text in named.items() if text)]

    def keys(self, **selection: Any) -> list[RunKey]:
        """Return the keys of the runs that match a selection, in the order of their paths; no run is opened.

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
        return sorted(key for key in _run_keys(self.storage) if key.matches(wanted))

    def select(self, **selection: Any) -> "list[Run]":
        """Open the runs that match a selection.

        Parameters
        ----------
        **selection
            Parts of the key (`RunKey`): a value, or several in a list.

        Raises
        ------
        SettingError
            If a part has no such name.
        StoreFormatError
            If the attributes of a matching run are damaged or of another format version.
        """
        from biocache.store.reading import Run

        runs = []
        for key in self.keys(**selection):
            with suppress(RunNotFoundError):  # Another process has removed it meanwhile.
                runs.append(Run.open(self.storage, key))
        return runs

    def run(self, **selection: Any) -> "Run":
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
        StoreFormatError
            If the attributes of the run are damaged or of another format version.
        """
        from biocache.store.reading import Run

        found = self.keys(**selection)
        if len(found) == 1:
            return Run.open(self.storage, found[0])
        asked = ", ".join(f"{name}={value!r}" for name, value in selection.items()) or "nothing"
        if found:
            raise AmbiguousRunError(f"{len(found)} runs match {asked}: {_candidates(found)}; add what tells them apart")
        raise RunNotFoundError(f"no run matches {asked}; the store {self.storage} holds {_candidates(self.keys())}")

    def stack(
        self,
        level: str = "words",
        *,
        pooling: str | None = None,
        labels: str | Sequence[str] | None = None,
        **selection: Any,
    ) -> "xr.Dataset":
        """Stack the views of several runs along a dimension for each part of the key that is given as a list.

        Parameters
        ----------
        level
            ``words``, ``samples`` or, for runs of one tokenizer, ``tokens``.
        pooling
            Pooling of `Run.words` or `Run.samples`; None for their default.
        labels
            Label sets, as of `Run.words`.
        **selection
            Parts of the key (`RunKey`). One or more of ``model``, ``trained_on``, ``training_size`` and ``seed`` is a
            list; together with the others each combination names one run.

        Returns
        -------
        xarray.Dataset
            ``hidden`` (training_size, layer, word, feature), lazy, or with the dimensions that were asked for, in the
            order of the arguments. Rows are aligned by position among all words or samples of the corpus; rows that
            some run lacks (words that ``max_length`` cut off) are left out, and counted in the attribute
            ``words_left_out``. Coordinates and attributes in which the runs differ are left out.

        Raises
        ------
        SettingError
            If no part is a list, one cannot be stacked, or level or pooling are not known.
        RunNotFoundError, AmbiguousRunError
            If a combination names no run, or several.
        SpecMismatchError
            If the runs read other data, or have other features or layers; the message says which.
        """
        from biocache.store.stacking import stack_runs

        return stack_runs(self.run, level, pooling, selection, labels)

    def results(self, kind: str | None = None, problems: list[BiocacheError] | None = None) -> "list[StoredResult]":
        """Return the results in the store, the oldest first; `StoredResult.load` reads one.

        Parameters
        ----------
        kind
            What computed it, such as ``finetune``; None for all.
        problems
            List to add the errors of damaged results to, which are left out; None to raise them.

        Raises
        ------
        IntegrityError
            If the attributes of one are damaged.
        """
        from biocache.store.results import list_results

        found: dict[str, StoredResult] = {}
        for place in self.result_places:
            for result in list_results(place, kind, problems):
                found.setdefault(result.file, result)
        return sorted(found.values(), key=lambda result: (result.created, result.where))

    def unused_results(self) -> "list[StoredResult]":
        """Return the results of this place that were computed from runs which are not in the store any more.

        Results that name no runs, such as scores of fine-tuning, are not among them.
        """
        from biocache.store.results import list_results, runs_in

        # A run that cannot be opened may be the one: its results stay.
        there: dict[str, dict[str, str] | None] = {}
        for key in self.keys():
            try:
                there[str(key)] = StoredRun.open(self.storage, key).identity
            except RunNotFoundError:  # Another process has removed it meanwhile.
                continue
            except StoreFormatError:
                there[str(key)] = None

        def is_gone(run: dict[str, Any]) -> bool:
            return there.get(run["run"], {}) not in (run, None)

        results = list_results(self.result_places[0], None, [])
        return [result for result in results if any(map(is_gone, runs_in(result.inputs)))]

    def remove_results(self, results: "Iterable[StoredResult]") -> int:
        """Remove results, and return their bytes."""
        freed = 0
        for result in results:
            freed += result.storage.size(result.file)
            result.storage.delete(result.file)
        return freed

    def remove(self, run: StoredRun | RunKey) -> None:
        """Remove a run, sound or damaged; its bytes are freed.

        Raises
        ------
        BusyError
            If a live process is writing to it.
        RunNotFoundError
            If there is no such run.
        """
        from biocache.store.creating import discard_run

        discard_run(self.storage, run.key if isinstance(run, StoredRun) else run)

    def verify(self, *, repair: bool = False) -> "list[Problem]":
        """Check all runs and results; see `biocache.store.integrity`.

        Parameters
        ----------
        repair
            Whether to delete what is damaged and can be computed again: records of packs, and results.

        Returns
        -------
        list of Problem
            Empty for a sound store whose runs are complete.
        """
        from biocache.store import integrity
        from biocache.store.label_sets import label_files
        from biocache.store.results import result_files

        if repair:
            self.storage.require_writable()
        problems = [problem for key in self.keys() for problem in integrity.verify_key(self.storage, key)]
        problems += integrity.verify_bundles(self.storage, [*result_files(self.storage), *label_files(self.storage)])
        if repair:
            integrity.repair(self.storage, problems)
        return problems

    def sweep(self) -> int:
        """Free what interrupted commands left, and return its bytes; what live processes write stays."""
        from biocache.store.sweeping import sweep

        return sweep(self.storage)

    def catalog(self, **selection: Any) -> "pd.DataFrame":
        """List the runs that match a selection, by default all.

        Parameters
        ----------
        **selection
            Parts of the key (`RunKey`): a value, or several in a list.

        Returns
        -------
        pandas.DataFrame
            A row a run: the parts of its key; ``packs`` and ``packs_done``; ``complete``; ``state`` (``complete``,
            ``incomplete``, ``damaged``, or ``newer``: of a later release); ``samples``, ``tokens``, ``words``;
            ``keep``; ``layers`` (how many are stored); ``features``; ``heads``;
            ``dtype``; ``stored_bytes`` (of committed packs); ``model_source``, ``dataset_source``,
            ``created``, ``host``; ``problem``, empty unless the run is damaged or newer, whose unknown values are
            missing.

        Raises
        ------
        SettingError
            If a part has no such name.
        """
        import pandas as pd

        catalog = pd.DataFrame(self.listing(**selection), columns=[*RunKey.names(), *COLUMNS])
        return catalog.astype(dict.fromkeys(COUNTED, "Int64"))

    def listing(self, **selection: Any) -> list[dict[str, Any]]:
        """List runs as `catalog` does: a row a run, by the name of the column; None where something is not known."""
        rows = []
        for key in self.keys(**selection):
            facts = described_run(self.storage, key)
            # Another process may have removed it meanwhile.
            if facts["problem"] == "" or is_run(self.storage, key.path):
                rows.append(dict(key.items()) | facts)
        return rows

    def labels(self, *, problems: list[BiocacheError] | None = None, **selection: Any) -> "list[StoredLabels]":
        """Return the label sets in the store, by their paths.

        Parameters
        ----------
        problems
            List to add the errors of damaged sets to, which are left out; None to raise them.
        **selection
            ``task``, ``dataset``, ``split`` and ``name``: a value, or several in a list; None for all.

        Raises
        ------
        SettingError
            If a part has no such name.
        IntegrityError
            If a set is damaged.
        """
        from biocache.store.label_sets import list_labels

        return list_labels(self.storage, problems, **selection)

    def add_labels(
        self,
        name: str,
        labels: "pd.DataFrame | Mapping[str, Any] | Iterable[Any]",
        *,
        task: str,
        dataset: str,
        split: str,
        level: str | None = None,
        iob2: bool = False,
        overwrite: bool = False,
    ) -> "LabelSet":
        """Add a label set to the text of a split; see `biocache.store.labelling.add_labels`."""
        from biocache.store.labelling import add_labels

        where = {"task": task, "dataset": dataset, "split": split}
        return add_labels(self.storage, name, labels, **where, level=level, iob2=iob2, overwrite=overwrite)

    def remove_labels(self, places: "Iterable[LabelPlace]") -> int:
        """Remove label sets, sound or damaged, and return their bytes."""
        freed = 0
        for place in places:
            freed += self.storage.size(place.file)
            self.storage.delete(place.file)
        return freed


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, Iterable) and not isinstance(value, str) else [value]


def _candidates(keys: Iterable[RunKey]) -> str:
    paths = [key.path for key in keys]
    more = f" and {len(paths) - _LISTED} more" if len(paths) > _LISTED else ""
    return (", ".join(paths[:_LISTED]) or "no runs") + more


def _run_keys(storage: Storage) -> Iterator[RunKey]:
    """Yield the keys of the runs of a store; what is no run is passed over."""
    for path in subfolders(storage, RUN_DEPTH):
        if is_run(storage, path):
            with suppress(SettingError):
                yield RunKey.from_path(path)
