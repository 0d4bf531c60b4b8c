"""What a probe sees: one layer, layers side by side such as ``0+6``, or ``mix``, a learnt mean of all stored layers."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import TYPE_CHECKING, Any

from biocache.store.errors import SettingError
from biocache.store.text import shown

if TYPE_CHECKING:
    from biocache.engine.request import Setting

__all__ = [
    "MIX",
    "Layers",
    "MixedProbe",
    "beside",
    "is_single",
    "labels_in_order",
    "layers_of",
    "layers_setting",
    "tidy_label",
]

#: The label of the learnt mean of all stored layers.
MIX = "mix"
#: A layer by its number, or several by their label.
Layers = int | str

_JOINED = re.compile(r"\d{1,9}(?:\+\d{1,9})+")


@dataclass(frozen=True)
class MixedProbe:
    """A probe that learns how much of each layer it takes.

    Attributes
    ----------
    probe
        One of `MIXERS`.
    layers
        Number of layers; the features of a row are those of the layers, one after another.
    """

    probe: str
    layers: int


def layers_setting(setting: "Setting", value: Any) -> Layers:
    """Return what a request names, layers joined by ``+`` in ascending order; for `Option.check`.

    Raises
    ------
    SettingError
        If it is neither a layer, nor several, nor ``mix``.
    """
    if isinstance(value, Integral) and not isinstance(value, bool):
        if value < 0:
            raise SettingError(f"{setting.flag} {value} is not a whole number from 0")
        return int(value)
    text = "".join(value.split()) if isinstance(value, str) else ""
    if re.fullmatch(r"\d{1,9}", text):
        return int(text)
    if text == MIX:
        return MIX
    members = sorted(map(int, text.split("+"))) if _JOINED.fullmatch(text) else []
    if len(set(members)) < max(len(members), 2):
        raise SettingError(
            f"{setting.flag} {shown(value)} is not a layer, different layers side by side, such as 0+6, or {MIX}"
        )
    return "+".join(map(str, members))


def is_single(label: Layers) -> bool:
    """Return whether a label is that of one layer, as a number or as text."""
    return str(label).isdigit()


def layers_of(label: Layers, stored: Sequence[int]) -> tuple[int, ...]:
    """Return the layers that a label names, of those that a run has stored for ``mix``."""
    return tuple(stored) if label == MIX else tuple(map(int, str(label).split("+")))


def beside(given: int, label: Layers) -> Layers:
    """Return the label of a given layer and of those of another label, side by side; `label` where it has it."""
    members = sorted({given, *layers_of(label, ())})
    return members[0] if len(members) == 1 else "+".join(map(str, members))


def labels_in_order(labels: Iterable[Layers]) -> list[Layers]:
    """Return labels once each: single layers first, ascending, then the others in their order."""
    distinct = list(dict.fromkeys(labels))
    singles = sorted((label for label in distinct if is_single(label)), key=int)
    return [*singles, *(label for label in distinct if not is_single(label))]


def tidy_label(label: Layers) -> Layers:
    """Return a label with the number of a single layer as a number."""
    return int(label) if is_single(label) else label
