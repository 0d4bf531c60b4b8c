"""The page of a repository on the Hugging Face hub that says which runs are there, made from their provenance."""

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

from huggingface_hub import RepoCard

from biocache.store.catalog import Store
from biocache.store.errors import RunNotFoundError, SettingError, StoreFormatError
from biocache.store.records import recorded_packs
from biocache.store.runs import StoredRun
from biocache.store.storage import Storage
from biocache.store.text import one_line, printable

__all__ = ["updated_card"]

_CATEGORIES = {"ner": "token-classification", "nli": "text-classification"}
_COLUMNS = ("run", "model", "dataset", "kept", "layers", "dtype", "samples", "tokens", "packs", "created")
# What Markdown takes as more than a character.
_MARKUP = re.compile(r"([\\`*_{}\[\]<>#!|~$&])")


def updated_card(card: str, storage: Storage, repo: str, folder: str) -> str:
    """Return the page of a repository with what it says of a store brought up to date.

    What biocache writes is between two comments, and text outside of them stays. The front matter gets what it lacks:
    tags, the task, and that the hub's viewer of tables is off, which could make nothing of a store.

    Parameters
    ----------
    card
        The page as it is; empty where there is none.
    storage
        The store; damaged runs are left out.
    repo, folder
        The repository, ``OWNER/NAME``, and the folder of the store in it.

    Raises
    ------
    SettingError
        If the front matter is no YAML.
    """
    runs, keys = [], Store(storage).keys()
    for key in keys:
        with suppress(RunNotFoundError, StoreFormatError):
            runs.append(StoredRun.open(storage, key))
    mark = f"biocache {folder}".rstrip()
    begin = f"<!-- {mark}: begin; `biocache copy` writes this part anew, text outside of it stays -->"
    end = f"<!-- {mark}: end -->"
    made = "\n".join((begin, *_lines(runs, f"hf://datasets/{repo}" + (f"/{folder}" if folder else "")), end))
    # Not from a beginning that lost its end.
    old = re.compile(f"{re.escape(begin)}(?:(?!{re.escape(begin)}).)*?{re.escape(end)}", re.DOTALL)
    card = _with_front_matter(card, {run.key.task for run in runs})
    if old.search(card):
        return old.sub(lambda _: made, card, count=1)
    return f"{card.rstrip()}\n\n{made}\n"


def _with_front_matter(card: str, tasks: Iterable[str]) -> str:
    """Return a page whose front matter has what a store needs; one that has it stays as it is written."""
    try:
        # Without a front matter the library would log a warning.
        page = RepoCard(card if card.lstrip().startswith("---") else f"---\n\n---\n{card}")
        had = page.data.to_dict()
    except Exception as error:
        # That of the library's YAML parser, which is no dependency of biocache's, among others.
        raise SettingError(
            f"the front matter of the repository's README.md cannot be read ({one_line(error)}); correct it on its "
            "page, and run the same command again"
        ) from error
    categories = sorted(_CATEGORIES[task] for task in tasks if task in _CATEGORIES)
    has = {
        "viewer": False,
        **had,
        "tags": _joined(had.get("tags"), ("biocache", "zarr")),
        "task_categories": _joined(had.get("task_categories"), categories),
    }
    if has == had:
        return card
    for name, value in has.items():
        page.data[name] = value
    return str(page)


def _joined(had: Any, wanted: Iterable[str]) -> list[Any]:
    """Return the items of a list, or the one item that stands for it, and those that it lacks."""
    items = had if isinstance(had, list) else [] if had is None else [had]
    return list(dict.fromkeys([*items, *wanted]))


def _lines(runs: list[StoredRun], url: str) -> Iterator[str]:
    """Yield the lines of the part that biocache writes."""
    yield from (
        "",
        "## Hidden states and attention maps",
        "",
        "A store of biocache: what models compute inside for every sample of a "
        "corpus, as plain Zarr with checksums and provenance.",
        "",
        "```sh",
        f"biocache copy {url} store.zarr",
        "```",
        "",
        "```python",
        "from biocache.store import Store",
        "",
        f'store = Store.open("{url}")  # read where it is',
        "```",
        "",
        f"| {' | '.join(_COLUMNS)} |",
        f"|{' --- |' * len(_COLUMNS)}",
    )
    yield from (f"| {' | '.join(map(_escaped, _cells(run)))} |" for run in runs)
    yield ""
    made = dict.fromkeys(
        ", ".join(f"{name} {version}" for name, version in r.provenance.versions.items()) for r in runs
    )
    yield from (f"Made with {_escaped(versions)}.\n" for versions in made if versions)


def _cells(run: StoredRun) -> tuple[str, ...]:
    spec, origin, counts = run.spec, run.provenance, run.counts
    done = len(recorded_packs(run.group.storage, run.group.folder))
    model = ("random weights, " if origin.random_weights else "") + _source(origin.model_source)
    return (
        str(run.key),
        f"{model}, SHA-256 {spec.model_digest[:12]}",
        f"{_source(origin.dataset_source)}, SHA-256 {spec.dataset_digest[:12]}",
        ", ".join(spec.keep) + ("" if spec.level == "token" else f" (hidden of each {spec.level})"),
        ", ".join(map(str, spec.layers)),
        ", ".join(dict.fromkeys(spec.stored_dtype(kept) for kept in spec.kept)),
        f"{counts.samples:,}",
        f"{counts.tokens:,}",
        f"{done:,} of {counts.packs:,}",
        origin.created[:10],
    )


def _source(source: str) -> str:
    """Return a hub id, or the name alone of a folder of somebody's machine."""
    return os.path.basename(source.rstrip("/\\")) if os.path.isabs(source) else source  # noqa: PTH117, PTH119


def _escaped(text: str) -> str:
    """Return a text as Markdown shows it as it is, also in the cell of a table."""
    return _MARKUP.sub(r"\\\1", printable(text))
