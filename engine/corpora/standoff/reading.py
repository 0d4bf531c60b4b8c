"""Standoff corpora as splits of tagged sentences."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from biocache.engine.corpora.standoff.bioc import bioc_documents
from biocache.engine.corpora.standoff.brat import brat_documents
from biocache.engine.corpora.standoff.documents import Document
from biocache.engine.corpora.standoff.pubtator import pubtator_documents
from biocache.engine.corpora.standoff.tagging import COLUMNS, FATES, tagged
from biocache.engine.corpora.task import RawSplit

__all__ = ["read_bioc", "read_brat", "read_pubtator"]


def read_pubtator(path: Path) -> RawSplit:
    """Read a PubTator file; see `pubtator_documents` and `tagged`."""
    notes: Counter[str] = Counter()
    return _split(path, pubtator_documents(path, notes), notes)


def read_bioc(path: Path) -> RawSplit:
    """Read a BioC file of XML or JSON; see `bioc_documents` and `tagged`."""
    notes: Counter[str] = Counter()
    return _split(path, bioc_documents(path, notes), notes)


def read_brat(folder: Path) -> RawSplit:
    """Read a folder of brat; see `brat_documents` and `tagged`."""
    notes: Counter[str] = Counter()
    return _split(folder, brat_documents(folder, notes), notes)


def _split(path: Path, documents: Iterator[Document], notes: Counter[str]) -> RawSplit:
    notes.update(dict.fromkeys(FATES, 0))
    rows = list(tagged(documents, notes))
    return RawSplit(f"{path}:1", rows, COLUMNS, notes)
