"""Every variable of a run on disk: one table that drives writing, checking, reading and documentation."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar

if TYPE_CHECKING:
    from numpy.typing import NDArray

_Size = TypeVar("_Size", int, str, tuple[int, ...])

__all__ = [
    "ACTIVATIONS",
    "ATTENTION",
    "GOLD",
    "GROUP",
    "HIDDEN",
    "KINDS",
    "LABEL_SCHEMES",
    "LEVELS",
    "NORMS",
    "OUTSIDE",
    "POOLINGS",
    "ROW_DIMS",
    "SCALES",
    "SCALE_BYTES",
    "SPANS",
    "STORED_TYPES",
    "VARIABLES",
    "VIEW_TEXTS",
    "WHOLE_VIEWS",
    "WINDOW",
    "Activation",
    "Scale",
    "StoredType",
    "Variable",
    "columns",
    "entity_type",
    "variable_at",
]


@dataclass(frozen=True, slots=True)
class Variable:
    """One Zarr array of a run.

    Attributes
    ----------
    group
        Group of the array below the run.
    name
        Name of the array.
    dims
        Names of its dimensions.
    dtype
        Data type on disk; ``str`` is variable-length UTF-8.
    meaning
        What a value says.
    fill
        Value of the unused entries at the end of a pack.
    """

    group: str
    name: str
    dims: tuple[str, ...]
    dtype: str
    meaning: str
    fill: int | bool | str = 0

    @property
    def path(self) -> str:
        """Path of the array below the run's group."""
        return f"{self.group}/{self.name}"


_SAMPLE, _TOKEN, _WORD, _PACK = ("sample",), ("token",), ("word",), ("pack",)

VARIABLES: tuple[Variable, ...] = (
    Variable("samples", "sample_id", _SAMPLE, "str", "id of the sample in its corpus", ""),
    Variable("samples", "token_start", _SAMPLE, "int64", "position of the first token along token"),
    Variable("samples", "token_count", _SAMPLE, "int32", "tokens of the sample, special tokens included"),
    Variable("samples", "word_start", _SAMPLE, "int64", "position of the first word along word"),
    Variable("samples", "word_count", _SAMPLE, "int32", "words of the sample, with those that lost all tokens"),
    Variable("samples", "entry_start", _SAMPLE, "int64", "position of the attention map's first entry along entry"),
    Variable("samples", "entry_count", _SAMPLE, "int64", "entries of one head's attention map, of all windows"),
    Variable("samples", "truncated", _SAMPLE, "bool", "whether max_length cut tokens off", False),
    Variable("samples", "seen", _SAMPLE, "int8", "1: the model was fine-tuned on its texts; 0: not; -1: unknown", -1),
    Variable("tokens", "token_id", _TOKEN, "int32", "id in the tokenizer's vocabulary", -1),
    Variable("tokens", "token_text", _TOKEN, "str", "the token as the tokenizer writes it", ""),
    Variable("tokens", "word", _TOKEN, "int32", "position of the token's word along word; -1: special", -1),
    Variable("tokens", "special", _TOKEN, "bool", "whether the tokenizer added the token", False),
    Variable("tokens", "segment", _TOKEN, "int8", "text the token belongs to: 0 first, 1 second", 0),
    Variable("tokens", "window", _TOKEN, "int32", "number of the token's window in its sample; 0 where it fits", 0),
    Variable("words", "word_text", _WORD, "str", "the word as the corpus writes it", ""),
    Variable("words", "sample", _WORD, "int32", "position of the word's sample along sample"),
    Variable("words", "segment", _WORD, "int8", "text the word belongs to: 0 first, 1 second"),
    Variable("words", "token_start", _WORD, "int64", "position of the first token along token; -1: none", -1),
    Variable("words", "token_count", _WORD, "int32", "tokens of the word; 0: all were lost"),
    Variable("packs", "first_sample", _PACK, "int64", "position of the pack's first sample along sample"),
    Variable("packs", "record", _PACK, "str", "commit record, JSON; empty: the pack does not exist", ""),
    Variable("hidden", "layer", ("layer",), "int16", "0: embedding output; 1 and up: output of that block"),
    Variable("attention", "layer", ("layer",), "int16", "block that computes the map, from 1"),
    Variable("norms", "layer", ("layer",), "int16", "block that computes the value vector, from 1"),
)


#: Level, what a run keeps a hidden state of -> name of the dimension of its rows (`biocache.store.levels`).
ROW_DIMS = {"token": "token", "word": "word_row", "sample": "sample_row"}


@dataclass(frozen=True, slots=True)
class Activation:
    """A variable that a model computes, and the layout of its chunks: one for each layer of each pack.

    Attributes
    ----------
    name
        Name of its group, and of its array where that has no other.
    meaning
        What a value says.
    axis
        Attribute of `PackPlan` with its ragged axis, along which a pack is a chunk.
    computed
        Attribute of `PackPlan` with the ragged axis along which a model computes it.
    width
        Attribute of `RunSpec` with the length of its other axis.
    ragged
        Place of the ragged axis in the chunk of a layer: hidden states are (token, feature), maps (head, entry) and
        norms (head, token).
    first_layer
        First layer that has it.
    dtype
        Attribute of `RunSpec` with its data type on disk.
    array
        Name of its array; empty for `name`.
    """

    name: str
    meaning: str
    axis: Literal["rows", "entries", "tokens"]
    computed: Literal["tokens", "entries"]
    width: Literal["feature_size", "head_count"]
    ragged: int
    first_layer: int
    dtype: Literal["dtype", "attention_dtype", "norm_dtype"]
    array: str = ""

    @property
    def path(self) -> str:
        """Path of the array below the run's group."""
        return f"{self.name}/{self.array or self.name}"

    def dims(self, level: str = "token") -> tuple[str, str, str]:
        """Return the names of its dimensions, in a run of a level of `ROW_DIMS`."""
        along = {"rows": ROW_DIMS[level], "entries": "entry", "tokens": "token"}[self.axis]
        return ("layer", *self.shape("feature" if self.width == "feature_size" else "head", along))

    def layers(self, layers: Iterable[int]) -> tuple[int, ...]:
        """Return the layers, of those given, that have it."""
        return tuple(layer for layer in layers if layer >= self.first_layer)

    def shape(self, width: _Size, length: _Size) -> tuple[_Size, _Size]:
        """Return the shape (or the sizes of the blocks) of a chunk of a layer, or of the whole array of one."""
        return (length, width) if self.ragged == 0 else (width, length)

    def part(self, block: "NDArray[Any]", where: slice) -> "NDArray[Any]":
        """Return a part of blocks (..., width and length in their order) along the ragged axis."""
        return block[..., where, :] if self.ragged == 0 else block[..., where]

    def index(self, layer: int, pack: int) -> tuple[int, int, int]:
        """Return the index of the chunk of a layer, by position, and a pack."""
        return (layer, pack, 0) if self.ragged == 0 else (layer, 0, pack)


HIDDEN = Activation("hidden", "hidden state, dimensionless", "rows", "tokens", "feature_size", 0, 0, "dtype")
ATTENTION = Activation(
    "attention",
    "attention probability in [0, 1]; a sample's map is row-major (query, key)",
    "entries",
    "entries",
    "head_count",
    1,
    1,
    "attention_dtype",
)
NORMS = Activation(
    "norms",
    "norm of the token's value vector after the output projection, dimensionless",
    "tokens",
    "tokens",
    "head_count",
    1,
    1,
    "norm_dtype",
    "value_norm",
)
ACTIVATIONS: dict[str, Activation] = {activation.name: activation for activation in (HIDDEN, ATTENTION, NORMS)}


@dataclass(frozen=True, slots=True)
class StoredType:
    """A data type of activations on disk.

    Attributes
    ----------
    itemsize
        Bytes of a value.
    fill
        Value of the unused end of a pack, and of a chunk that is missing.
    values
        Data type of values as they are read.
    coding
        How values follow from what is stored; empty where they are stored as they are.
    """

    itemsize: int
    fill: float | int
    values: str
    coding: str = ""


#: Code that no hidden state has: the unused end of a pack.
_NO_CODE = -128
STORED_TYPES: dict[str, StoredType] = {
    "float16": StoredType(2, float("nan"), "float16"),
    "float32": StoredType(4, float("nan"), "float32"),
    "int8": StoredType(1, _NO_CODE, "float32", "value = code * token_scale * feature_scale of the token's pack"),
    "uint8": StoredType(1, 0, "float32", "value = (code / 255) ** 2"),
}


@dataclass(frozen=True, slots=True)
class Scale:
    """Factors of the codes of hidden states, float32: a chunk for each layer of each pack.

    Attributes
    ----------
    name
        Name of its array in the group of hidden states.
    meaning
        What a value says.
    of
        What has a factor: ``token``, or the row that a run keeps instead, or ``feature`` in each pack.
    """

    name: str
    meaning: str
    of: Literal["token", "feature"]

    def dims(self, level: str = "token") -> tuple[str, ...]:
        """Return the names of its dimensions, in a run of a level of `ROW_DIMS`."""
        return ("layer", ROW_DIMS[level]) if self.of == "token" else ("layer", "pack", "feature")

    @property
    def path(self) -> str:
        """Path of the array below the run's group."""
        return f"{HIDDEN.name}/{self.name}"

    def index(self, layer: int, pack: int) -> tuple[int, ...]:
        """Return the index of the chunk of a layer, by position, and a pack."""
        return (layer, pack) if self.of == "token" else (layer, pack, 0)

    def shapes(self, layers: int, packs: int, chunk: int, width: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return the shape of the array and that of its chunks, of packs of `chunk` rows and `width` features."""
        if self.of == "token":
            return (layers, packs * chunk), (1, chunk)
        return (layers, packs, width), (1, 1, width)


#: Bytes of a scale.
SCALE_BYTES = 4
SCALES = (
    Scale("token_scale", "factor of the codes of a token", "token"),
    Scale("feature_scale", "factor of the codes of a feature in a pack", "feature"),
)

#: Path of the column of windows.
WINDOW = "tokens/window"
#: Path of the column that says whether a model was fine-tuned on a sample.
SEEN = "samples/seen"

#: How tokens are reduced to one row.
POOLINGS = ("mean", "first", "last", "max")
#: What a row of a view of hidden states may be.
LEVELS = ("tokens", "words", "samples")

#: View -> the positions, among the texts of a sample, of those that it encodes.
VIEW_TEXTS = {"sentence": (0,), "text": (0,), "premise": (0,), "hypothesis": (1,), "pair": (0, 1)}

#: View of all texts of a sample -> their number.
WHOLE_VIEWS = {"sentence": 1, "text": 1, "pair": 2}


#: What a row of a label set of spans may be, to the number of its spans.
SPANS = {"spans": 1, "relations": 2}

#: Name of the label set that a corpus brings along.
GOLD = "gold"
#: Name of the label set with the group of each sample: its document, premise or patient.
GROUP = "group"
#: Tag of words outside of entities.
OUTSIDE = "O"
#: What labels are: classes; IOB2 tags, which spell entities; numbers.
KINDS = ("class", "iob2", "number")
#: How IOB2 tags are used: merged by entity type, or as they are.
LABEL_SCHEMES = ("type", "bio")


def entity_type(tag: str) -> str:
    """Return the entity type of an IOB2 tag, which may itself begin with ``B-`` or ``I-``; ``O`` of ``O``."""
    return OUTSIDE if tag == OUTSIDE else tag[2:]


def columns() -> Iterator[Variable]:
    """Yield the variables of the small tables of a run, without commit records and activations."""
    for variable in VARIABLES:
        if variable.group in {"samples", "tokens", "words"}:
            yield variable


def variable_at(path: str) -> Variable:
    """Return the variable of a path below a run's group."""
    return _BY_PATH[path]


_BY_PATH = {variable.path: variable for variable in VARIABLES}
