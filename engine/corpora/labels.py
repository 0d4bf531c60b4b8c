"""Labels of samples: what means no label, and whether labels are classes or numbers."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from biocache.engine.corpora.task import Place, ReadSplit, Sample
from biocache.store.errors import DataError
from biocache.store.text import shown

__all__ = ["LABEL_TYPES", "UNLABELLED", "class_name", "is_number", "read_label", "settle_labels"]

LABEL_TYPES = ("class", "number")

#: Texts that mean that there is no label; -1 as well, where no other label is a negative number.
UNLABELLED = frozenset({"", "-", "_", "NA"})
# Numbers of no class, by benchmarks and by losses that ignore them.
_NO_CLASS = (-1, -100)


def class_name(value: object, names: Sequence[str] | None, place: str) -> object:
    """Return the name of the class that a value numbers; any other value as it is.

    Parameters
    ----------
    value
        A label.
    names
        Names of the classes by their numbers; None where labels are no such numbers.
    place
        Place of the label, for messages.

    Raises
    ------
    DataError
        If it is a number without a name.
    """
    if names is None or value is None:
        return value
    number: object = value
    written = isinstance(value, str) and value not in names and re.fullmatch(r"\s*-?[0-9]{1,9}\s*", value)
    if written or (isinstance(value, float) and value.is_integer()):
        number = int(value)  # type: ignore[call-overload]
    if isinstance(number, bool) or not isinstance(number, int):
        return value
    if number in _NO_CLASS:
        return None
    if not 0 <= number < len(names):
        problem = f"class {number} is not one of the {len(names)} that are named"
        raise DataError(f"{place}: {problem}; correct it, or name it")
    return names[number]


def read_label(value: object, column: str, place: Place) -> str | float | None:
    """Return a label as text, number, or None, before all labels are known; see `settle_labels`.

    Raises
    ------
    DataError
        If it is none of these.
    """
    if isinstance(value, list | tuple):
        # Several labels of a sample are one class: that of having them all.
        value = ",".join(str(read_label(one, column, place)) for one in value)
    if isinstance(value, str):
        value = value.strip()
        return None if value in UNLABELLED else value
    if isinstance(value, bool):
        return str(value)
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, float) and math.isinf(value):
        raise DataError(f"{place.at()}: {column} is {value}; write a finite number")
    if isinstance(value, int | float):
        return value
    raise DataError(f"{place.at()}: {column} is {shown(value)}, not text or a number; write a class or a number")


def settle_labels(read: Mapping[str, ReadSplit], kind: str | None) -> list[str]:
    """Make the labels of all splits classes or numbers.

    Labels are numbers where all are and some have a fraction; whole numbers are classes. -1 means no label where no
    other label is negative, and so does -100 as the number of a class.

    Parameters
    ----------
    read
        The splits, whose samples are replaced.
    kind
        ``number`` or ``class``; None where the labels tell it.

    Returns
    -------
    list of str
        What a user should know of it.

    Raises
    ------
    DataError
        If a label is no number and `kind` says so.
    """
    counts = Counter(one.label for part in read.values() for one in part.samples if one.label is not None)
    numbers = {label: _number(label) for label in counts}
    known = [number for number in numbers.values() if number is not None and number != -1]
    negative = any(number < 0 for number in known)
    hidden = {label for label, number in numbers.items() if number is not None and _hides(number, negative, kind)}
    shown_labels = {label: number for label, number in numbers.items() if label not in hidden}
    as_numbers = kind == "number" or (kind is None and _are_numbers(shown_labels.values()))
    remarks = []
    final: dict[str | float, str | float | None] = dict.fromkeys(hidden)
    for label, number in shown_labels.items():
        if as_numbers and number is None:
            place = next(part.first[str(label)] for part in read.values() if str(label) in part.first)
            raise DataError(f"{place}: label {shown(label)} is not a number; correct it, or pass --label-type=class")
        final[label] = number if as_numbers else _class(label)
    if as_numbers and kind is None:
        remarks.append("labels are numbers, because all are and some have fractions; --label-type=class names classes")
    elif kind is None and shown_labels and None not in shown_labels.values() and len(shown_labels) > 2:
        remarks.append(f"labels are {len(shown_labels)} classes named by numbers; --label-type=number reads numbers")
    for part in read.values():
        part.samples = list(_labelled(part, final))
    return remarks


def _labelled(part: ReadSplit, final: Mapping[str | float, str | float | None]) -> Iterator[Sample]:
    missing = 0
    for one in part.samples:
        label = None if one.label is None else final[one.label]
        missing += label is None
        yield one if label is one.label else replace(one, label=label)
    part.notes["unlabelled"] = missing


def is_number(label: str | float) -> bool:
    """Return whether a label can be read as a finite number."""
    return _number(label) is not None


def _number(label: str | float) -> float | None:
    if not isinstance(label, str):
        return float(label)
    try:
        number = float(label)
    except ValueError:
        return None
    return number if math.isfinite(number) and "_" not in label else None


def _hides(number: float, negative: bool, kind: str | None) -> bool:
    if number == -1:
        return not negative
    return number == -100 and kind != "number"


def _are_numbers(values: Iterable[float | None]) -> bool:
    known = list(values)
    return bool(known) and all(n is not None for n in known) and any(n is not None and n % 1 for n in known)


def _class(label: str | float) -> str:
    """Return the name of a class; a whole number has one whatever its type."""
    return str(int(label)) if isinstance(label, float) and label.is_integer() else str(label)
