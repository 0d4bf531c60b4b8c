"""What names a corpus or a model: a folder here, or an id of the Hugging Face hub."""

import os
from pathlib import Path

from biocache.store.paths import is_url, local_path

__all__ = ["folder_of", "split_name"]


def split_name(text: str) -> tuple[str, str]:
    """Split ``NAME=SOURCE``; the name is empty where there is none, also of a folder with ``=`` in its own name."""
    name, equals, source = text.partition("=")
    whole = not equals or is_url(name) or text.startswith((".", "~", "/")) or os.path.exists(text)  # noqa: PTH110
    return ("", text) if whole else (name, source)


def folder_of(text: str, what: str) -> Path | None:
    """Return the folder that a text means; None where it can only be a hub id.

    Parameters
    ----------
    text
        What a user wrote.
    what
        What it is of, for a message.

    Raises
    ------
    SettingError
        If it is a URL, or a path that cannot be used; see `local_path`.
    """
    # os.path.exists answers where Path.exists raises: a name too long, or a folder closed to us.
    looks_local = text.startswith((".", "~", "/", os.sep)) or text.count("/") > 1 or os.path.exists(text)  # noqa: PTH110
    return local_path(text, what) if text and (looks_local or is_url(text)) else None
