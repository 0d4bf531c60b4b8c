"""Datasets of the Hugging Face hub, and those that its library saved to disk."""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from biocache.engine.machine import quiet_loggers
from biocache.store.errors import DataError

__all__ = ["PUBLISHED_TAGS", "is_saved_dataset", "load_hub", "load_saved"]

# The hub's branch with the converted files of a dataset that is a loading script.
_PARQUET = "refs/convert/parquet"

#: Tag names that are on a dataset's page and not in its files.
PUBLISHED_TAGS: Mapping[str, tuple[str, ...]] = {
    "tner/bionlp2004": (
        *("O", "B-DNA", "I-DNA", "B-protein", "I-protein", "B-cell_type", "I-cell_type"),
        *("B-cell_line", "I-cell_line", "B-RNA", "I-RNA"),
    )
}

_REASON_CHARACTERS = 160


def load_hub(hub_id: str, config: str | None) -> Mapping[str, Any]:
    """Download a dataset, or take it from the hub's local cache.

    Parameters
    ----------
    hub_id
        The dataset's id.
    config
        Its configuration; None for its default.

    Returns
    -------
    dict of str to datasets.Dataset
        Its splits by their own names; their rows stay on the disk.

    Raises
    ------
    DataError
        If the hub cannot give it.
    """
    import datasets

    named = {} if config is None else {"name": config}

    def load() -> Mapping[str, Any]:
        # Each retry of an unreachable hub would log a line beside the one error that says it all.
        with quiet_loggers("huggingface_hub", level=logging.CRITICAL):
            if hub_id.startswith("tner/"):
                return dict(datasets.load_dataset(hub_id, revision=_PARQUET, **named))
            try:
                return dict(datasets.load_dataset(hub_id, **named))
            except RuntimeError:  # a loading script, which the library no longer runs
                return dict(datasets.load_dataset(hub_id, revision=_PARQUET, **named))

    advice = "check the id and the network, or pass a folder"
    return _loaded(hub_id, load, "neither a folder nor a dataset that the Hugging Face hub could give", advice)


def is_saved_dataset(folder: Path) -> bool:
    """Return whether ``save_to_disk`` of the library wrote a folder."""
    single = (folder / "state.json").is_file() and (folder / "dataset_info.json").is_file()
    return single or (folder / "dataset_dict.json").is_file()


def load_saved(folder: Path) -> Mapping[str, Any]:
    """Return the splits of a folder that ``save_to_disk`` wrote; of one dataset, under the folder's name.

    Raises
    ------
    DataError
        If it is damaged.
    """
    import datasets

    def load() -> Mapping[str, Any]:
        found = datasets.load_from_disk(str(folder))
        return dict(found) if isinstance(found, datasets.DatasetDict) else {folder.name: found}

    return _loaded(str(folder), load, "cannot be read as a dataset that save_to_disk wrote", "save or copy it again")


def _loaded(name: str, load: Callable[[], Mapping[str, Any]], problem: str, advice: str) -> Mapping[str, Any]:
    try:
        return load()
    # The library has no common error for the network, the id, the configuration and the files.
    except Exception as error:
        reason = " ".join(str(error).split())[:_REASON_CHARACTERS] or type(error).__name__
        if "Config name is missing" in reason or "BuilderConfig" in reason:
            advice = "name one in --config"
        raise DataError(f"{name}: {problem} ({reason}); {advice}") from None
