"""Calling a model: token ids in, hidden states and attention maps by layer out, whatever its family calls them."""

import inspect
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from biocache.store.errors import ModelError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedConfig, PreTrainedModel

__all__ = ["call", "embedding_count", "maps_by_layer", "model_inputs", "states_of", "takes"]


def takes(model: "PreTrainedModel") -> frozenset[str]:
    """Return the names of the arguments of a model's forward pass."""
    return frozenset(inspect.signature(model.forward).parameters)


def model_inputs(
    model: "PreTrainedModel",
    ids: Sequence[NDArray[np.integer]],
    segments: Sequence[NDArray[np.integer]] | None,
    length: int = 0,
) -> "dict[str, torch.Tensor]":
    """Return the inputs of a batch on the model's device, padded on the right.

    Parameters
    ----------
    model
        The model; it is given what its forward pass takes.
    ids
        Token ids of each sample.
    segments
        Token types of each sample; None to give none.
    length
        Tokens to pad to; those of the longest where it has more.
    """
    import torch

    lengths = np.array([len(one) for one in ids])
    real = np.arange(max(length, lengths.max())) < lengths[:, None]

    def batch(values: Sequence[NDArray[np.integer]], fill: int) -> NDArray[np.int64]:
        padded = np.full(real.shape, fill, np.int64)
        padded[real] = np.concatenate(values)
        return padded

    arrays = {"input_ids": batch(ids, _pad_id(model)), "attention_mask": real.astype(np.int64)}
    if segments is not None:
        arrays["token_type_ids"] = batch(segments, 0)
    known = takes(model)
    return {
        name: torch.from_numpy(values).to(model.device, non_blocking=True)
        for name, values in arrays.items()
        if name in known
    }


def _pad_id(model: "PreTrainedModel") -> int:
    """Return the id that fills a batch: the model's own, where it has an embedding."""
    own = getattr(model.config, "pad_token_id", None)
    if isinstance(own, bool) or not isinstance(own, int) or own < 0:
        return 0
    count = embedding_count(model)
    return own if count is None or own < count else 0


def embedding_count(model: "PreTrainedModel") -> int | None:
    """Return the number of token ids with an embedding; None where it is unknown."""
    try:
        embeddings = model.get_input_embeddings()
    except NotImplementedError:
        return None
    count = getattr(embeddings, "num_embeddings", None)
    return count if isinstance(count, int) else None


def call(model: "PreTrainedModel", inputs: "Mapping[str, torch.Tensor]", *, hidden: bool, attention: bool) -> Any:
    """Run a model over a batch; see `states_of` and `maps_by_layer` for what it returns."""
    # Decoders would otherwise keep all keys and values for a generation that does not follow.
    options = {"use_cache": False} if "use_cache" in takes(model) else {}
    return model(**inputs, output_hidden_states=hidden, output_attentions=attention, return_dict=True, **options)


def states_of(outputs: Any) -> "tuple[torch.Tensor, ...]":
    """Return the hidden states (sample, token, feature) that a call returned, the embedding output first.

    Raises
    ------
    ModelError
        If there are none.
    """
    states = getattr(outputs, "hidden_states", None)
    if not states:
        raise ModelError("the model returns no hidden states; biocache cannot read it")
    return tuple(states)


def maps_by_layer(config: "PreTrainedConfig", outputs: Any) -> "dict[int, torch.Tensor]":
    """Return the attention maps that a call returned, by the block (from 1) that computes them.

    A model of several kinds of blocks returns maps for some of them, in a list with gaps or without. Nothing is
    returned where it is not known which block computes which.
    """
    maps = getattr(outputs, "attentions", None) or ()
    states = getattr(outputs, "hidden_states", None)
    blocks = [*range(1, len(states) if states else _block_count(config, maps) + 1)]
    if len(maps) != len(blocks):
        blocks = _attention_blocks(config)
    if len(maps) != len(blocks):
        return {}
    return {block: one for block, one in zip(blocks, maps, strict=True) if one is not None}


def _attention_blocks(config: "PreTrainedConfig") -> list[int]:
    """Return the blocks, from 1, that a configuration with kinds of blocks calls attention."""
    kinds = getattr(config, "layer_types", None) or getattr(config, "layers_block_type", None) or ()
    named = [str(kind) for kind in kinds]
    return [place for place, kind in enumerate(named, start=1) if "attention" in kind and "linear" not in kind]


def _block_count(config: "PreTrainedConfig", maps: Sequence[Any]) -> int:
    count = getattr(config, "num_hidden_layers", None)
    return count if isinstance(count, int) else len(maps)
