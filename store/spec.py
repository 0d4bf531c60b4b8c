"""The spec of a run, which identifies it, and its provenance."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any, Self

import msgspec

from biocache.store.keys import RunKey
from biocache.store.metadata import Natural, as_type
from biocache.store.schema import ACTIVATIONS, ATTENTION, HIDDEN, SCALE_BYTES, SCALES, STORED_TYPES, Activation, Scale
from biocache.store.text import shortened

if TYPE_CHECKING:
    from biocache.store.packing import PackPlan

__all__ = ["FORMAT_VERSION", "Provenance", "RunSpec"]

FORMAT_VERSION = 2


_Positive = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
_Variables = Annotated[
    tuple[Annotated[str, msgspec.Meta(pattern="^(hidden|attention|norms)$")], ...],
    msgspec.Meta(min_length=1, max_length=3),
]
_Layers = Annotated[tuple[Annotated[int, msgspec.Meta(ge=0, lt=2**15)], ...], msgspec.Meta(min_length=1)]
_MapLayers = tuple[Annotated[int, msgspec.Meta(ge=1, lt=2**15)], ...]
_StoredType = Annotated[str, msgspec.Meta(pattern="^(float16|float32|int8)$")]
_MapType = Annotated[str, msgspec.Meta(pattern="^(float16|float32|uint8)$")]
_Level = Annotated[str, msgspec.Meta(pattern="^(token|word|sample)$")]
_ComputeType = Annotated[str, msgspec.Meta(pattern="^(float16|bfloat16|float32)$")]


@dataclass(frozen=True)
class RunSpec:
    """Everything that decides the numbers of a run: extractions with equal specs may share a run.

    Device, batch size and library versions are not here: they move results by rounding only.

    Attributes
    ----------
    key
        The run's name.
    dataset_digest
        SHA-256 of the split's ids and words, after `limit`. Labels do not count.
    limit
        Number of leading samples of the split that were asked for; None for all of them.
    model_digest
        SHA-256 of the names and values of the encoder's weights.
    tokenizer_digest
        SHA-256 of what decides the tokenizer's output.
    encoding_digest
        SHA-256 of the encoded token ids.
    max_length
        Tokens after which a sample is cut, or most tokens of its windows, special tokens included.
    token_types
        Whether the model is fed the ``segment`` of a token as its token type.
    keep
        ``hidden``, ``attention`` and/or ``norms``.
    layers
        Stored layers of hidden states: 0 is the embedding output.
    feature_size
        Length of a hidden state.
    head_count
        Attention heads of a layer.
    causal
        Whether a query sees only keys up to itself; then only the lower triangle of a map is stored.
    dtype
        Data type of stored hidden states: ``float16``, ``float32`` or ``int8`` (codes with scales).
    compute_dtype
        Data type the model computes in, ``float32``, ``bfloat16`` or ``float16``.
    attention_implementation
        Name of the attention kernel of transformers; ``eager`` wherever maps are returned.
    without_maps
        Layers of the model, from 1, that have no attention maps. Attention and norms are stored for all other layers
        from 1 that are stored.
    sink
        Whether rows of maps sum to less than 1, because a part of the attention goes to no token.
    padded
        Whether samples of different lengths go through the model together, padded; else only samples of equal length.
    stride
        Tokens by which the windows of a longer sample overlap; None where it is cut at `max_length`.
    attention_dtype
        Data type of stored maps: ``float16``, ``float32`` or ``uint8`` (codes of square roots). None for that of
        hidden states, and where maps are not kept.
    level
        What a hidden state is kept of: ``token``, ``word`` or ``sample``; ``token`` where none are kept.
    """

    key: RunKey
    dataset_digest: str
    limit: Natural | None
    model_digest: str
    tokenizer_digest: str
    encoding_digest: str
    max_length: _Positive
    token_types: bool
    keep: _Variables
    layers: _Layers
    feature_size: _Positive
    head_count: Natural
    causal: bool
    dtype: _StoredType
    compute_dtype: _ComputeType
    attention_implementation: str
    without_maps: _MapLayers = ()
    sink: bool = False
    padded: bool = True
    stride: Natural | None = None
    attention_dtype: _MapType | None = None
    level: _Level = "token"

    def __post_init__(self) -> None:
        if self.attention_dtype == self.dtype or ATTENTION.name not in self.keep:
            object.__setattr__(self, "attention_dtype", None)
        if HIDDEN.name not in self.keep:
            object.__setattr__(self, "level", "token")
        ascending = all(before < after for before, after in pairwise(self.layers))
        if not ascending or len(set(self.keep)) < len(self.keep) or not all(map(self.variable_layers, self.keep)):
            raise ValueError(f"layers {shortened(self.layers)} cannot be those of {', '.join(self.keep)}")
        if self.map_dtype == "int8":
            raise ValueError("maps cannot be int8: attention_dtype must be float16, float32 or uint8")

    @property
    def attention_layers(self) -> tuple[int, ...]:
        """Layers whose attention maps and norms are stored: the block that computes them, from 1."""
        return tuple(layer for layer in ATTENTION.layers(self.layers) if layer not in self.without_maps)

    @property
    def kept(self) -> tuple[Activation, ...]:
        """The variables that are stored."""
        return tuple(ACTIVATIONS[name] for name in self.keep)

    def variable_layers(self, name: str) -> tuple[int, ...]:
        """Return the layers stored of a variable, in the order of the ``layer`` axis."""
        return self.layers if name == HIDDEN.name else self.attention_layers

    def width(self, activation: Activation) -> int:
        """Return the length of a variable's third axis: that beside layers and the ragged one."""
        return int(getattr(self, activation.width))

    @property
    def map_dtype(self) -> str | None:
        """Data type of stored maps; None where maps are not kept."""
        return (self.attention_dtype or self.dtype) if ATTENTION.name in self.keep else None

    @property
    def norm_dtype(self) -> str:
        """Data type of stored norms: that of hidden states, and ``float16`` where these are codes."""
        return "float16" if STORED_TYPES[self.dtype].coding else self.dtype

    def stored_dtype(self, activation: Activation) -> str:
        """Return the data type on disk of a variable that is kept."""
        return str(getattr(self, activation.dtype) or self.dtype)

    def scales(self, activation: Activation) -> tuple[Scale, ...]:
        """Return the scales that are stored beside the codes of a variable; none where values are no codes of it."""
        return SCALES if activation is HIDDEN and self.dtype == "int8" else ()

    def activation_bytes(self, plan: "PackPlan", packs: Sequence[int] | None = None) -> int:
        """Return the bytes of the activations of some packs of a layout, or of all, before compression."""
        chosen = range(plan.pack_count) if packs is None else packs
        total = 0
        for kept in self.kept:
            layers, width = len(self.variable_layers(kept.name)), self.width(kept)
            length = int(getattr(plan, kept.axis).pack_sizes[chosen].sum())
            total += layers * length * width * STORED_TYPES[self.stored_dtype(kept)].itemsize
            scales = {"token": length, "feature": len(chosen) * width}
            total += layers * sum(SCALE_BYTES * scales[scale.of] for scale in self.scales(kept))
        return total

    def entry_count(self, tokens: Any) -> Any:
        """Return the stored entries of one head's map for a number (or array of numbers) of tokens."""
        return tokens * (tokens + 1) // 2 if self.causal else tokens * tokens

    def difference(self, other: Self) -> dict[str, tuple[Any, Any]]:
        """Return the fields in which two specs differ, as name -> (own value, the other's value)."""
        pairs = {f.name: (getattr(self, f.name), getattr(other, f.name)) for f in fields(self)}
        pairs["attention_dtype"] = (self.map_dtype, other.map_dtype)
        both = self.map_dtype and other.map_dtype and self.attention_dtype != other.attention_dtype
        named = pairs if both else {name: pair for name, pair in pairs.items() if name != "attention_dtype"}
        return {name: pair for name, pair in named.items() if pair[0] != pair[1]}

    def to_json(self) -> dict[str, Any]:
        """Return the spec as plain JSON values, without the key, which is the group's path.

        A run without windows, of tokens, or of one data type, is what it was before there were others: its JSON has no
        stride and no level, and names the data type of maps where it is another one.
        """
        left_out = {"key"} | {name for name in ("stride", "attention_dtype") if getattr(self, name) is None}
        left_out |= {"level"} if self.level == "token" else set()
        return {name: value for name, value in asdict(self).items() if name not in left_out}

    @classmethod
    def from_json(cls, key: RunKey, values: Mapping[str, Any]) -> Self:
        """Rebuild a spec from what `to_json` returned.

        Raises
        ------
        MetadataError
            If the values are not those of a spec.
        """
        return as_type({**values, "key": dict(key.items())}, cls)


@dataclass(frozen=True)
class Provenance:
    """Where a run came from; for people, never compared.

    Attributes
    ----------
    model_source
        Hub id, folder or file that the weights were loaded from.
    tokenizer_source
        Hub id or folder that the tokenizer was loaded from.
    random_weights
        Whether the weights were initialised from the seed instead of loaded.
    dataset_source
        Hub id or folder of the corpus.
    device
        Device of the process that created the run, such as ``cpu`` or ``NVIDIA H200``.
    created
        UTC time, ISO 8601.
    host
        Name of the machine that created the run.
    versions
        Versions of biocache, torch, transformers and tokenizers.
    notes
        Counts: ``samples_truncated``, ``samples_windowed``, ``words_lost`` and the reader's repairs.
    task_head
        Class of a task head that the configuration of the weights names, such as ``BertForTokenClassification``; empty
        where it names none.
    part
        Part of the model that was read: ``encoder`` of an encoder-decoder; empty for the whole of others.
    adapter
        Hub id or folder of the adapter that was merged into the weights; empty for none.
    own_code
        Class in code of its own that the configuration of the model names, and that was not run; empty for none.
    trained_on_source
        Dataset that the weights were fine-tuned on: a hub id or folder, as their checkpoint says, or ``TASK/DATASET``;
        empty for a pre-trained model.
    training_steps
        Optimiser steps of the fine-tuning; None for a pre-trained model, and where its checkpoint does not say.
    head_token
        Which token of a sequence a head for sequences of the model's family reads: ``first``, ``last``, or ``none``
        where it reads several, or there is no such head; empty where it was not looked for.
    """

    model_source: str
    tokenizer_source: str
    random_weights: bool
    dataset_source: str
    device: str
    created: str
    host: str
    versions: Mapping[str, str] = field(default_factory=dict)
    notes: Mapping[str, Natural] = field(default_factory=dict)
    task_head: str = ""
    part: str = ""
    adapter: str = ""
    own_code: str = ""
    trained_on_source: str = ""
    training_steps: Natural | None = None
    head_token: Annotated[str, msgspec.Meta(pattern="^(|first|last|none)$")] = ""
