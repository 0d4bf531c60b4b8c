"""Every variable of a run on disk: one table that drives writing, checking, reading and documentation."""

from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["ACTIVATIONS", "VARIABLES", "Variable", "activation", "columns"]


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
        Data type on disk; ``str`` is variable-length UTF-8, ``spec`` the data type chosen for activations.
    meaning
        What a value says.
    fill
        Value of the unused entries at the end of a pack.
    task
        The only task that has the variable; None for all tasks.
    """

    group: str
    name: str
    dims: tuple[str, ...]
    dtype: str
    meaning: str
    fill: int | bool | str = 0
    task: str | None = None

    @property
    def path(self) -> str:
        """Path of the array below the run's group."""
        return f"{self.group}/{self.name}"


_SAMPLE, _TOKEN, _WORD, _PACK = ("sample",), ("token",), ("word",), ("pack",)

VARIABLES: tuple[Variable, ...] = (
    Variable("samples", "sample_id", _SAMPLE, "str", "id of the sample in its corpus", ""),
    Variable("samples", "label", _SAMPLE, "int16", "label, a position in the attribute label_names", -1, "nli"),
    Variable("samples", "token_start", _SAMPLE, "int64", "position of the first token along token"),
    Variable("samples", "token_count", _SAMPLE, "int32", "tokens of the sample, special tokens included"),
    Variable("samples", "word_start", _SAMPLE, "int64", "position of the first word along word"),
    Variable("samples", "word_count", _SAMPLE, "int32", "words of the sample, with those that lost all tokens"),
    Variable("samples", "pair_start", _SAMPLE, "int64", "position of the attention map's first entry along pair"),
    Variable("samples", "pair_count", _SAMPLE, "int64", "entries of one head's attention map"),
    Variable("samples", "truncated", _SAMPLE, "bool", "whether max_length cut tokens off", False),
    Variable("tokens", "token_id", _TOKEN, "int32", "id in the tokenizer's vocabulary", -1),
    Variable("tokens", "token_text", _TOKEN, "str", "the token as the tokenizer writes it", ""),
    Variable("tokens", "word", _TOKEN, "int32", "position of the token's word along word; -1: special", -1),
    Variable("tokens", "special", _TOKEN, "bool", "whether the tokenizer added the token", False),
    Variable("tokens", "segment", _TOKEN, "int8", "text the token belongs to: 0 first, 1 second", 0),
    Variable("words", "word_text", _WORD, "str", "the word as the corpus writes it", ""),
    Variable("words", "label", _WORD, "int16", "label, a position in the attribute label_names", -1, "ner"),
    Variable("words", "sample", _WORD, "int32", "position of the word's sample along sample"),
    Variable("words", "segment", _WORD, "int8", "text the word belongs to: 0 first, 1 second"),
    Variable("words", "token_start", _WORD, "int64", "position of the first token along token; -1: none", -1),
    Variable("words", "token_count", _WORD, "int32", "tokens of the word; 0: all were lost"),
    Variable("packs", "first_sample", _PACK, "int64", "position of the pack's first sample along sample"),
    Variable("packs", "record", _PACK, "str", "commit record, JSON; empty: the pack does not exist", ""),
    Variable("hidden", "layer", ("layer",), "int16", "0: embedding output; 1 and up: output of that block"),
    Variable("hidden", "hidden", ("layer", "token", "feature"), "spec", "hidden state, dimensionless"),
    Variable("attention", "layer", ("layer",), "int16", "block that computes the map, from 1"),
    Variable(
        "attention",
        "attention",
        ("layer", "head", "pair"),
        "spec",
        "attention probability in [0, 1]; a sample's map is row-major (query, key)",
    ),
)

ACTIVATIONS = ("hidden", "attention")


def columns(task: str) -> Iterator[Variable]:
    """Yield the variables of the small tables of a task, without commit records and activations."""
    for variable in VARIABLES:
        if variable.group in {"samples", "tokens", "words"} and variable.task in {None, task}:
            yield variable


def activation(name: str) -> Variable:
    """Return the variable of ``hidden`` or ``attention``."""
    return next(v for v in VARIABLES if v.name == name and v.group == name)
