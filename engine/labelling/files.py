"""Labels of a file, joined to the text of a split by sample id, by positions of words, or by the words themselves."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from biocache.engine.corpora.base import TASKS
from biocache.engine.corpora.columns import ID_COLUMNS
from biocache.engine.corpora.files import assign_splits
from biocache.engine.corpora.formats import open_table
from biocache.engine.corpora.labels import UNLABELLED
from biocache.engine.corpora.request import ReadingRequest
from biocache.engine.corpora.sentences import parsed_list
from biocache.engine.corpora.table import GROUP, MISSING, Table, normalised
from biocache.engine.corpora.task import Place
from biocache.engine.labelling.request import LabelRequest
from biocache.store.errors import DataError, SettingError
from biocache.store.labelling import SplitText
from biocache.store.span_rows import SPAN_COLUMNS, SpanRows
from biocache.store.text import counted, shown

__all__ = ["files_of_splits", "labels_of_file"]

_IDS = (*ID_COLUMNS, "sample")
_LABELS = ("label", "labels", "tag", "tags", "value", "class", "category", "score")
_POSITIONS = ("word", "wordposition", "position", "wordindex", "tokenindex", "token")
_WORDS = ("words", "tokens", "sentence", "text")
_PAIRS = (("premise", "hypothesis"), ("sentence1", "sentence2"), ("sentencea", "sentenceb"), ("text1", "text2"))
_TABLES = (".csv", ".jsonl", ".json", ".parquet", ".arrow")


def files_of_splits(request: LabelRequest, splits: Sequence[str]) -> dict[str, Path]:
    """Return the file of each split that is labelled.

    Parameters
    ----------
    request
        Names a file or a folder.
    splits
        The splits that are asked for, or that the store has.

    Raises
    ------
    SettingError
        If one file is given and no split, and its name does not tell it.
    DataError
        If there is no such file, or a split has none or several in the folder.
    """
    place = request.file or Path()
    if not place.exists():
        raise DataError(f"{place}: there is no such file; check --file")
    if place.is_dir():
        files = sorted(path for path in place.iterdir() if path.is_file() and not path.name.startswith("."))
        found = assign_splits(path.name for path in files)
        if not found.names.keys() & {*splits}:
            raise DataError(f"{place}: no file of split {', '.join(splits)}; name files as train.conll, test.conll")
        several = next((names for split, names in found.names.items() if split in splits and len(names) > 1), None)
        if several:
            raise DataError(f"{place}: {' and '.join(several)} are of one split; name one in --file with its --split")
        return {split: place / names[0] for split, names in found.names.items() if split in splits}
    if request.splits is not None:
        if len(request.splits) > 1:
            raise SettingError(
                f"--file {place} is one file, and --split names {len(request.splits)}; give a folder with one for each"
            )
        return {request.splits[0]: place}
    named = assign_splits([place.name]).names
    told = next(iter(named), splits[0] if len(splits) == 1 else "")
    if told not in splits:
        raise SettingError(f"the name of {place} tells no split of the store; add --split, one of {', '.join(splits)}")
    return {told: place}


def labels_of_file(text: SplitText, path: Path, name: str, request: LabelRequest) -> tuple[str, list[Any] | SpanRows]:
    """Return the level and the label of each word or sample of a split, or its spans or relations, from a file.

    Parameters
    ----------
    text
        The text.
    path
        The file.
    name
        Name of the label set, which its column may have.
    request
        Names columns and the level.

    Raises
    ------
    DataError
        If the file is malformed, or is of another text; the message names the line and the first word that differs.
    """
    if f"{request.level}s" in SPAN_COLUMNS:
        rows = _by_span(text, path, name, request)
        return rows.level, rows
    words = request.level == "word" or (request.level is None and not _is_table(path))
    table = open_table(path, TASKS["tokens" if words else "text"], ReadingRequest())
    columns = _columns(table, name, request)
    if columns.position is not None and request.level != "sample":
        return "words", list(_by_position(text, table, columns))
    if columns.words is not None and (words or request.level != "sample") and _holds_lists(table, columns):
        return "words", list(_by_sentence(text, table, columns))
    if request.level == "word":
        raise DataError(
            f"{table.place}: no column of words or of their positions (it has {_has(table)}); labels of words need "
            "one, such as tokens, or word with the position from 0"
        )
    return "samples", list(_by_sample(text, table, columns))


@dataclass(frozen=True, slots=True)
class _Columns:
    label: str
    id: str | None
    position: str | None
    words: str | None
    texts: tuple[str, ...]


def _is_table(path: Path) -> bool:
    """Return whether a file is a table of rows, and not of tagged words: by its suffix, or a header with ids."""
    name = path.name.removesuffix(".gz")
    if name.endswith(_TABLES):
        return True
    if not name.endswith((".tsv", ".txt")):
        return False
    head = open_table(path, TASKS["text"], ReadingRequest())
    return any(normalised(column) in _IDS for column in head.columns)


def _has(table: Table) -> str:
    return ", ".join(column for column in table.columns if column != GROUP) or "none"


def _columns(table: Table, name: str, request: LabelRequest, taken: Sequence[str] = ()) -> _Columns:
    own = [column for column in table.columns if column != GROUP]

    def named(given: str, flag: str) -> str:
        if given in own:
            return given
        if given.isdecimal() and 1 <= int(given) <= len(own):
            return own[int(given) - 1]
        raise DataError(f"{table.place}: no column {shown(given)} (it has {_has(table)}); name one in {flag}")

    def usual(names: Sequence[str]) -> str | None:
        return next((column for wanted in names for column in own if normalised(column) == wanted), None)

    identifier = named(request.id_column, "--id-column") if request.id_column else usual(_IDS)
    words = table.fixed.get("words") or usual(_WORDS)
    position = None if words in table.fixed.values() else usual(_POSITIONS)
    if request.column:
        label = named(request.column, "--column")
    else:
        found = usual((normalised(name), *_LABELS)) or table.fixed.get("tags")
        rest = [column for column in own if column not in (identifier, words, position, *taken)]
        if found is None and len(rest) != 1:
            raise DataError(f"{table.place}: which of {_has(table)} holds the labels? name it in --column")
        label = found or rest[0]
    pair = next((pair for pair in _PAIRS if all(usual([part]) for part in pair)), None)
    texts = tuple(str(usual([part])) for part in pair) if pair else (words,) if words else ()
    return _Columns(label, identifier, position if position != label else None, words, texts)


def _holds_lists(table: Table, columns: _Columns) -> bool:
    """Return whether the labels of a row are a list, one a word."""
    for _, (value,) in table.rows([columns.label]):
        if value is not MISSING and value is not None:
            return isinstance(parsed_list(value) if isinstance(value, str) else value, list | tuple)
    return False


def _read(table: Table, *columns: str | None) -> Iterator[tuple[Place, list[Any]]]:
    """Yield the place and the values of some columns of each row; None for what a row lacks."""
    wanted = [column for column in columns if column is not None]
    for place, values in table.rows(wanted):
        known = dict(zip(wanted, (None if value is MISSING else value for value in values), strict=True))
        yield place, [None if column is None else known[column] for column in columns]


def _label(value: Any, table: Table, column: str, place: Place) -> Any:
    names = table.class_names.get(column)
    if isinstance(value, int) and not isinstance(value, bool) and names is not None:
        if not 0 <= value < len(names):
            return None
        return names[value]
    if isinstance(value, str):
        value = value.strip()
        return None if value in UNLABELLED else value
    if isinstance(value, list | dict):
        raise DataError(f"{place.at()}: label {shown(value)} is neither text nor a number; give one a word or sample")
    return value


def _by_sentence(text: SplitText, table: Table, columns: _Columns) -> Iterator[Any]:
    """Yield the label of each word of sentences that have all words: by their ids, or in the order of the corpus."""
    rows = list(_read(table, columns.words, columns.label, columns.id))
    ids = [str(row[2]) for _, row in rows]
    by_id = columns.id is not None and all(identifier in text.places for identifier in ids)
    if not by_id and len(rows) != len(text.samples):
        raise DataError(
            f"{table.place}: {counted(len(rows), 'sentence')}, and {text.name} of the store has {len(text.samples):,}; "
            "give the same sentences in the same order, or a column of sample ids"
        )
    order = [text.places[identifier] for identifier in ids] if by_id else range(len(rows))
    labels: list[list[Any]] = [[None] * count for count in text.word_counts]
    for sample, (place, (own, values, _)) in zip(order, rows, strict=True):
        identifier, texts = text.samples[sample]
        expected = [word for part in texts for word in part]
        given = _list(own)
        _require_words(place, given, expected, f"sample {shown(identifier)} of {text.name}")
        found = _list(values)
        if len(found) != len(expected):
            problem = f"{counted(len(expected), 'word')} and {counted(len(found), 'label')}"
            raise DataError(f"{place.at()}: {problem}; give every word one")
        labels[sample] = [_label(value, table, columns.label, place) for value in found]
    yield from (label for own in labels for label in own)


def _list(value: Any) -> list[Any]:
    parsed = parsed_list(value) if isinstance(value, str) else value
    if isinstance(parsed, str):
        return parsed.split()
    return list(parsed) if isinstance(parsed, list | tuple) else [] if parsed is None else [parsed]


def _require_words(place: Place, given: Sequence[Any], expected: Sequence[str], of: str) -> None:
    """Refuse other words than those of the store, by the first that differs."""
    for at, (own, word) in enumerate(zip(given, expected, strict=False)):
        if own != word:
            raise DataError(
                f"{place.at(at)}: word {shown(own)}, and {of} has {shown(word)} there; these labels are of another text"
            )
    if len(given) != len(expected):
        raise DataError(
            f"{place.at()}: {counted(len(given), 'word')}, and {of} has {len(expected)}; these labels are of "
            "another text"
        )


def _by_position(text: SplitText, table: Table, columns: _Columns) -> Iterator[Any]:
    """Yield the label of each word, from rows with a sample id and the position of a word in the sample."""
    if columns.id is None:
        raise DataError(f"{table.place}: no column of sample ids (it has {_has(table)}); name it in --id-column")
    labels: list[list[Any]] = [[None] * count for count in text.word_counts]
    seen: set[tuple[int, int]] = set()
    for place, (identifier, position, value) in _read(table, columns.id, columns.position, columns.label):
        sample = _place_of(text, str(identifier), place)
        try:
            word = int(position)
        except (TypeError, ValueError):
            problem = f"{shown(position)} is not the position of a word, from 0"
            raise DataError(f"{place.at()}: {problem}; correct it") from None
        if not 0 <= word < len(labels[sample]):
            raise DataError(
                f"{place.at()}: sample {shown(identifier)} has no word {word}; its words are 0 to "
                f"{len(labels[sample]) - 1}"
            )
        if (sample, word) in seen:
            raise DataError(f"{place.at()}: word {word} of sample {shown(identifier)} has a label already; keep one")
        seen.add((sample, word))
        labels[sample][word] = _label(value, table, columns.label, place)
    yield from (label for own in labels for label in own)


def _by_span(text: SplitText, path: Path, name: str, request: LabelRequest) -> SpanRows:
    """Return labels of spans or relations, from rows with a sample id and the words where the spans begin and end."""
    table = open_table(path, TASKS["text"], ReadingRequest())
    rows = SpanRows(text, f"{request.level}s")
    known = {normalised(column): column for column in table.columns if column != GROUP}
    missing = [column for column in SPAN_COLUMNS[rows.level] if column not in known]
    if missing:
        raise DataError(
            f"{table.place}: no column {missing[0]} (it has {_has(table)}); --level={request.level} needs "
            f"sample_id, {', '.join(SPAN_COLUMNS[rows.level])} and label"
        )
    bounds = [known[column] for column in SPAN_COLUMNS[rows.level]]
    columns = _columns(table, name, request, bounds)
    if columns.id is None:
        raise DataError(f"{table.place}: no column of sample ids (it has {_has(table)}); name it in --id-column")
    for place, (identifier, label, *own) in _read(table, columns.id, columns.label, *bounds):
        rows.add(place.at(), str(identifier), own, _label(label, table, columns.label, place))
    return rows


def _place_of(text: SplitText, identifier: str, place: Place) -> int:
    found = text.places.get(identifier)
    if found is None:
        raise DataError(
            f"{place.at()}: {text.name} of the store has no sample {shown(identifier)} (its ids begin with "
            f"{', '.join(shown(name) for name, _ in text.samples[:3])}); correct the id"
        )
    return found


def _by_sample(text: SplitText, table: Table, columns: _Columns) -> Iterator[Any]:
    """Yield the label of each sample: by ids, or in the order of the corpus where the texts are there to compare."""
    rows = list(_read(table, columns.id, columns.label, *columns.texts))
    ids = [str(row[0]) for _, row in rows]
    if columns.id is not None and all(identifier in text.places for identifier in ids):
        yield from _by_id(text, table, columns, rows)
        return
    if not columns.texts:
        # The first id that is not there says what is wrong.
        if columns.id is not None:
            for place, row in rows:
                _place_of(text, str(row[0]), place)
        raise DataError(
            f"{table.place}: neither sample ids nor texts (it has {_has(table)}), so that nothing tells which label is "
            "of which sample; add a column of ids, or name it in --id-column"
        )
    if len(rows) != len(text.samples):
        raise DataError(
            f"{table.place}: {counted(len(rows), 'row')}, and {text.name} of the store has "
            f"{counted(len(text.samples), 'sample')}; give the same samples in the same order, or a "
            "column of sample ids"
        )
    for (place, (_, value, *own)), (identifier, texts) in zip(rows, text.samples, strict=True):
        given = [word for part in own for word in _list(part)]
        expected = [word for part in texts for word in part]
        _require_words(place, given, expected, f"sample {shown(identifier)} of {text.name}")
        yield _label(value, table, columns.label, place)


def _by_id(text: SplitText, table: Table, columns: _Columns, rows: Sequence[tuple[Place, list[Any]]]) -> Iterator[Any]:
    labels: dict[str, Any] = {}
    for place, (identifier, value, *_) in rows:
        if str(identifier) in labels:
            raise DataError(f"{place.at()}: sample {shown(identifier)} has a label already; keep one")
        labels[str(identifier)] = _label(value, table, columns.label, place)
    found: Mapping[str, Any] = labels
    yield from (found.get(identifier) for identifier, _ in text.samples)
