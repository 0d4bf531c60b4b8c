"""Which columns of a table are the fields of a task: as the user names them, by the format, or by their usual names."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from biocache.engine.corpora.labels import class_name
from biocache.engine.corpora.request import ReadingRequest
from biocache.engine.corpora.sentences import parsed_list
from biocache.engine.corpora.table import GROUP, MISSING, Table, normalised
from biocache.engine.corpora.task import Row, Task
from biocache.store.errors import DataError
from biocache.store.text import printable, shown

__all__ = ["ID_COLUMNS", "Columns", "choose_columns", "known_names", "read_rows"]

ID_COLUMNS = ("pairid", "id", "uid", "guid", "idx", "index", "sampleid", "sentenceid", "sentid", "questionid", "pubid")
GROUP_COLUMNS = (
    *("group", "documentid", "docid", "document", "pmid", "abstractid", "articleid", "patientid", "subjectid"),
    *("promptid", "captionid"),
)


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of a table that hold the fields of a task.

    Attributes
    ----------
    names
        Field to its column.
    asked
        Fields whose columns the user named.
    remark
        What a user should know of a guess; empty where there is nothing to say.
    """

    names: Mapping[str, str]
    asked: frozenset[str]
    remark: str


def known_names(task: Task, reading: ReadingRequest) -> frozenset[str]:
    """Return the names by which the header of a table of a task is known: usual ones, and those that the user gave."""
    usual = {name for names in task.columns.values() for name in names}
    given = {name for names in _asked(task, reading).values() for name in names if not name.isdecimal()}
    return frozenset({*usual, *ID_COLUMNS, *GROUP_COLUMNS, *given})


def choose_columns(table: Table, task: Task, reading: ReadingRequest) -> Columns:
    """Tell which columns of a table hold the fields of a task.

    Raises
    ------
    DataError
        If a column that the user names is not there, or the texts are in no column of a usual name.
    """
    asked = {field: _find(table, *names) for field, names in _asked(task, reading).items()}
    fixed = {field: column for field, column in table.fixed.items() if field not in asked}
    found = {**fixed, **asked}
    guessed: dict[str, str] = {}
    if not all(field in found for field in task.texts):
        guessed |= _guess_texts(table, task, found)
    taken = {**found, **guessed}
    if task.label_field not in taken:
        guessed |= _guess_label(table, task, taken)
    taken = {**found, **guessed}
    for field, names in (("id", ID_COLUMNS), ("group", GROUP_COLUMNS)):
        if field not in taken and not table.head and "words" not in table.fixed:
            rest = [column for column in table.columns if column not in taken.values()]
            guessed |= {field: rest_named[0]} if (rest_named := _of_names(rest, names)) else {}
    chosen = {**found, **guessed}
    return Columns(chosen, frozenset(asked), _remark(table, task, chosen, {*guessed, *fixed}))


def _asked(task: Task, reading: ReadingRequest) -> dict[str, tuple[str, str]]:
    """Return the fields of a task whose columns the user named: field to the option and the name."""
    named = {
        "words": ("--word-column", reading.word_column),
        "tags": ("--tag-column", reading.tag_column),
        "text": ("--text-column", reading.text_column),
        "label": ("--label-column", reading.label_column),
        "id": ("--id-column", reading.id_column),
        "group": ("--group-column", reading.group_column),
    }
    if reading.pair_columns is not None:
        first, second = reading.pair_columns
        named |= {"premise": ("--pair-columns", first), "hypothesis": ("--pair-columns", second)}
    fields = {*task.texts, task.label_field, "id", "group"}
    return {field: (flag, name) for field, (flag, name) in named.items() if field in fields and name is not None}


def _find(table: Table, flag: str, name: str) -> str:
    """Return the column that a user names, or numbers from 1."""
    own = [column for column in table.columns if column != GROUP or column == name]
    if name in own:
        return name
    if name.isdecimal() and 1 <= int(name) <= len(own):
        return own[int(name) - 1]
    alike = [column for column in own if normalised(column) == normalised(name)]
    if len(alike) == 1:
        return alike[0]
    raise DataError(f"{table.place}: no column {shown(name)} ({_has(own)}); name one of them in {flag}")


def _has(columns: Sequence[str]) -> str:
    own = [column for column in columns if column != GROUP]
    if own and all(column.isdecimal() for column in own):
        return f"it has {len(own)} without names, numbered from 1"
    return f"it has {printable(', '.join(own)) or 'none'}"


def _of_names(columns: Sequence[str], names: Sequence[str]) -> list[str]:
    """Return the columns that have some names, in the order of the names."""
    return [column for name in names for column in columns if normalised(column) == name]


def _guess_texts(table: Table, task: Task, found: Mapping[str, str]) -> dict[str, str]:
    missing = [field for field in task.texts if field not in found]
    rest = [column for column in table.columns if column not in found.values()]
    for names in zip(*(task.columns[field] for field in missing), strict=True):
        columns = [_of_names(rest, [name])[:1] for name in names]
        if all(columns):
            return {field: column for field, (column,) in zip(missing, columns, strict=True)}
    if table.head and len(table.columns) >= len(missing):
        return dict(zip(missing, _longest(table, len(missing)), strict=True))
    what = " and ".join(missing)
    usual = " or ".join(dict.fromkeys(" and ".join(names) for names in _usual(task, missing)))
    raise DataError(f"{table.place}: no column of {what}, such as {usual} ({_has(table.columns)}); {_name_it(task)}")


def _usual(task: Task, fields: Sequence[str]) -> list[tuple[str, ...]]:
    return list(zip(*(task.columns[field] for field in fields), strict=True))[:2]


def _name_it(task: Task) -> str:
    flags = {"words": "--word-column", "text": "--text-column", "premise": "--pair-columns"}
    return f"name it in {flags[task.texts[0]]}"


def _longest(table: Table, count: int) -> list[str]:
    """Return the columns without names that hold the longest texts, in their order."""
    rows = _regular(table)
    length = [sum(len(cells[at]) for cells in rows) for at in range(len(table.head[0]))]
    longest = sorted(range(len(length)), key=lambda at: -length[at])[:count]
    return [table.columns[at] for at in sorted(longest)]


def _regular(table: Table) -> list[tuple[str, ...]]:
    return [cells for cells in table.head if len(cells) == len(table.head[0])]


def _guess_label(table: Table, task: Task, taken: Mapping[str, str]) -> dict[str, str]:
    field = task.label_field
    rest = [column for column in table.columns if column not in taken.values()]
    named = _of_names(rest, task.columns[field])
    if named:
        return {field: named[0]}
    if table.head:
        # Without names: a column beside the texts; of several, the one of fewest values.
        own = [column for column in rest if column != GROUP]
        rows = _regular(table)
        values = {column: len({cells[table.columns.index(column)] for cells in rows}) for column in own}
        return {field: min(own, key=lambda column: (values[column], -own.index(column)))} if own else {}
    if "words" in table.fixed and len(rest) > 1:
        return {field: [column for column in rest if column != GROUP][-1]}
    return {}


def _remark(table: Table, task: Task, chosen: Mapping[str, str], guessed: set[str]) -> str:
    """Say which columns are read where that is a guess that might be wrong."""
    fields = [field for field in (*task.texts, task.label_field) if field in chosen]
    columns = [chosen[field] for field in fields]
    rest = [column for column in table.columns if column not in chosen.values()]
    plain = all(chosen[field] in _plain(task, field) for field in fields)
    rivals = _of_names(rest, [name for field in fields for name in task.columns[field]])
    numbered = all(column.isdecimal() for column in columns)
    count = len(table.columns) - (GROUP in table.columns)
    only = numbered and count == (len(task.texts) if table.head else len(fields))
    missing = task.label_field not in chosen
    what = " and ".join(filter(None, [", ".join(fields[:-1]), fields[-1]]))
    where = f"columns {', '.join(columns)}" if numbered else printable(", ".join(columns))
    doubtful = bool(guessed & {*fields}) and not ((plain or only) and not rivals)
    said = [f"read {what} from {where}"] if doubtful else []
    if missing:
        said.append(f"no column of labels ({_has(table.columns)}); {_flag(task)} can name one")
    return "; ".join(said)


def _flag(task: Task) -> str:
    return f"--{'tag' if task.labels_words else 'label'}-column"


def _plain(task: Task, field: str) -> Sequence[str]:
    """Return the names of columns that leave no doubt."""
    if field == "label":
        return ("gold_label", "label")
    return task.columns[field][:2] if field != "tags" else ("tags", "ner_tags")


def read_rows(table: Table, columns: Columns, task: Task, class_names: Sequence[str] | None) -> Iterator[Row]:
    """Yield the rows of a table with the fields of a task; numbers of classes that have names are replaced by these.

    Parameters
    ----------
    table
        The table.
    columns
        Its columns.
    task
        The task.
    class_names
        Names of the classes where the table does not name them; None for none.
    """
    fields, label = list(columns.names), task.label_field
    lists = {*task.texts, label} if task.labels_words else ()
    names = table.class_names.get(columns.names.get(label, ""), class_names)
    for place, values in table.rows(list(columns.names.values())):
        row = dict(zip(fields, values, strict=True))
        if MISSING in values:
            row = {field: value for field, value in row.items() if value is not MISSING}
        for field in lists:
            value = row.get(field)
            if isinstance(value, str):
                row[field] = parsed_list(value)
        value = row.get(label) if names is not None else None
        if value is not None and names is not None:
            if isinstance(value, list) and task.labels_words:
                row[label] = [class_name(one, names, place.at(at)) for at, one in enumerate(value)]
            elif not isinstance(value, list):
                row[label] = class_name(value, names, place.at())
        yield Row(place, row)
