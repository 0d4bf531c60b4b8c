"""Names of corpora and models: a local folder, or an id of the Hugging Face hub."""

import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from biocache.engine.corpora.base import TASKS
from biocache.store.errors import SettingError
from biocache.store.paths import is_url, local_path, resolved

__all__ = ["RANDOM_WEIGHTS", "folder_of", "named", "refuse_repeats", "run_names", "split_name"]

#: End of the names of models whose weights are random.
RANDOM_WEIGHTS = "-random"


def split_name(text: str) -> tuple[str, str]:
    """Split ``NAME=SOURCE``; the name is empty where there is none, or where a folder has ``=`` in its own name."""
    name, equals, source = text.partition("=")
    whole = not equals or is_url(name) or text.startswith((".", "~", "/")) or os.path.exists(text)  # noqa: PTH110
    return ("", text) if whole else (name, source)


def folder_of(text: str, what: str) -> Path | None:
    """Return the folder that a text names; None where it can only be a hub id.

    Parameters
    ----------
    text
        What a user wrote.
    what
        What it names, for a message.

    Raises
    ------
    SettingError
        If it is a URL, or a path that cannot be used; see `local_path`.
    """
    # os.path.exists returns False where Path.exists raises: a name too long, or a folder without permission.
    looks_local = text.startswith((".", "~", "/", os.sep)) or text.count("/") > 1 or os.path.exists(text)  # noqa: PTH110
    return local_path(text, what) if text and (looks_local or is_url(text)) else None


def named(part: str, texts: Iterable[str] | None) -> tuple[str, ...] | None:
    """Return the names in a store of what a user named as in `biocache extract` or as in the store; None for all.

    Parameters
    ----------
    part
        ``dataset``, ``model`` or ``trained_on``.
    texts
        Names, folders, hub ids or ``NAME=SOURCE``.
    """
    return None if texts is None else tuple(dict.fromkeys(name for text in texts for name in run_names(part, text)))


def run_names(part: str, text: str) -> list[str]:
    """Return the names of runs that were extracted with this value of an option; see `named`."""
    if part == "trained_on":
        task, slash, name = text.partition("/")
        # Of another task, where it is no hub id or folder.
        is_of_task = task in TASKS and slash and "/" not in name
        return [text] if is_of_task or not text else run_names("dataset", text)
    name, source = split_name(text)
    if source != text:
        return [name]
    # A bare word is a name in the store, even if there is a folder of that name.
    looks_local = os.sep in text or "/" in text or text.startswith((".", "~"))
    folder = folder_of(text, f"--{part}") if looks_local else None
    if folder is not None:
        return [resolved(folder).name]
    if "/" not in text:
        return [text]
    return [text.replace("/", "--")] if part == "model" else [text.rsplit("/", 1)[-1].lower()]


def refuse_repeats(what: str, names: Iterable[str]) -> None:
    """Refuse names of models, datasets or runs that occur twice.

    Parameters
    ----------
    what
        What they are names of, for the message.
    names
        The names.

    Raises
    ------
    SettingError
        If one does.
    """
    for name, count in Counter(names).items():
        if count > 1:
            raise SettingError(f"{what} {name!r} is asked for twice; give two of one name different names: NAME=...")
