"""Runs of a store, chosen by selectors or by their paths."""

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from biocache.store import RunKey, Store
    from biocache.store.storage import Storage

__all__ = ["chosen_keys", "label_selection", "selection"]


def selection(
    runs: tuple[str, ...], store: "Storage", selectors: dict[str, tuple[Any, ...] | None]
) -> list[dict[str, Any]]:
    """Return selections for `Store.keys`: one for each run path, or one made of the selectors.

    Parameters
    ----------
    runs
        Paths of runs, as `biocache ls` prints them.
    store
        Folder of the store, which a path may begin with.
    selectors
        Values of the options of `run_selectors`.

    Raises
    ------
    click.UsageError
        If a path is not that of a run, or there are both paths and selectors.
    """
    given = {name: values for name, values in selectors.items() if values}
    if not runs:
        return [{name: _alternatives(name, values) for name, values in given.items()}]
    if given:
        named = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise click.UsageError(f"give RUN or selectors, not both: RUN already says what {named} would")
    return [_parts(run, store) for run in runs]


def label_selection(selectors: dict[str, tuple[Any, ...] | None]) -> dict[str, Any]:
    """Return a selection for `Store.labels`, made of the options of `run_selectors`.

    Raises
    ------
    click.UsageError
        If an option is of runs alone.
    """
    given = {name: values for name, values in selectors.items() if values}
    strange = [f"--{name.replace('_', '-')}" for name in given if name not in ("task", "dataset", "split")]
    if strange:
        raise click.UsageError(f"label sets have no {strange[0]}; select them by --task, --dataset and --split")
    return {name: _alternatives(name, values) for name, values in given.items()}


def chosen_keys(store: "Store", wanted: list[dict[str, Any]]) -> "list[RunKey]":
    """Return the keys of the runs, sound or damaged, that match any of some selections.

    Raises
    ------
    RunNotFoundError
        If a selection matches no run, unless it is empty.
    """
    found: dict[RunKey, None] = {}
    for part in wanted:
        keys = store.keys(**part) or ([store.run(**part).key] if part else [])
        found.update(dict.fromkeys(keys))
    return list(found)


def _parts(run: str, store: "Storage") -> dict[str, Any]:
    from biocache.store import RunKey
    from biocache.store.errors import SettingError

    path = run.rstrip("/").removeprefix(f"{str(store).rstrip('/')}/")
    try:
        return dict(RunKey.from_path(path).items())
    except SettingError as error:
        raise click.UsageError(f"{error}; `biocache ls` prints the paths of all runs") from error


def _alternatives(name: str, values: tuple[Any, ...]) -> Any:
    if name in ("dataset", "model", "trained_on"):
        from biocache.engine.sources import named

        values = named(name, values) or ()
    return values[0] if len(values) == 1 else list(values)
