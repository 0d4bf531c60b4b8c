"""Standoff corpora as tables of tagged sentences."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from biocache.engine.corpora.files import format_of
from biocache.engine.corpora.standoff.bioc import bioc_documents, looks_like_bioc
from biocache.engine.corpora.standoff.brat import brat_documents
from biocache.engine.corpora.standoff.documents import Document
from biocache.engine.corpora.standoff.pubtator import looks_like_pubtator, pubtator_documents
from biocache.engine.corpora.standoff.tagging import FATES, tagged
from biocache.engine.corpora.table import Table
from biocache.engine.corpora.task import Place

__all__ = ["open_bioc", "open_brat", "open_pubtator", "open_standoff"]

_FIELDS = ("words", "tags", "id", "group")


def open_standoff(path: Path) -> Table | None:
    """Return the sentences of a standoff corpus; None where a file is none.

    Parameters
    ----------
    path
        A folder of brat; or a file, whose ending or beginning tells PubTator and BioC.
    """
    suffix = format_of(path)
    if path.is_dir():
        return open_brat(path)
    if suffix == ".pubtator" or (suffix in (".txt", ".tsv", "") and looks_like_pubtator(path)):
        return open_pubtator(path)
    if suffix == ".xml" or (suffix in (".json", ".jsonl", ".txt") and looks_like_bioc(path)):
        return open_bioc(path)
    return None


def open_pubtator(path: Path) -> Table:
    """Return the sentences of a PubTator file; see `pubtator_documents` and `tagged`."""
    return _table(path, pubtator_documents)


def open_bioc(path: Path) -> Table:
    """Return the sentences of a BioC file of XML or JSON; see `bioc_documents` and `tagged`."""
    return _table(path, bioc_documents)


def open_brat(folder: Path) -> Table:
    """Return the sentences of a folder of brat; see `brat_documents` and `tagged`."""
    return _table(folder, brat_documents)


def _table(path: Path, documents: Callable[[Path, Counter[str]], Iterator[Document]]) -> Table:
    notes: Counter[str] = Counter()

    def rows(wanted: Sequence[str]) -> Iterator[tuple[Place, Sequence[object]]]:
        notes.clear()
        notes.update(dict.fromkeys(FATES, 0))
        for row in tagged(documents(path, notes), notes):
            yield row.place, [row.fields[name] for name in wanted]

    return Table(f"{path}:1", _FIELDS, rows, fixed={name: name for name in _FIELDS}, notes=notes)
