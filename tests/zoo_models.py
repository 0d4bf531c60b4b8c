"""Tiny models of many architectures, with weights so large that positions, windows, caps and norms show."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from zoo_corpus import counted
from zoo_tokenizers import TOKENIZERS

from biocache.engine.machine import seeded
from biocache.engine.models.shape import quiet_transformers

#: Sizes that a configuration gets where it has such a setting.
SIZES: Mapping[str, Any] = {
    "hidden_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "intermediate_size": 96,
    "max_position_embeddings": 128,
    "embedding_size": 32,
    "moe_intermediate_size": 32,
    "num_local_experts": 4,
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "n_routed_experts": 4,
    "initializer_range": 0.2,
}
_TOKENS = ("pad", "bos", "eos", "cls", "sep", "mask", "unk")


@dataclass(frozen=True)
class Species:
    """An architecture of the zoo.

    Attributes
    ----------
    model_type
        As configurations name it.
    family
        ``encoder``, ``decoder``, ``hybrid``, ``recurrent`` or ``wrapper``.
    tokenizer
        Name of its kind of tokenizer.
    special
        Settings that differ from `SIZES`; None removes one of them.
    finish
        Changes a configuration after it was made.
    warm
        Whether the model learns ranges of its activations from a forward pass in training mode.
    unusable
        Whether the model computes nothing of meaning on a CPU, so that only a refusal is right.
    fours
        Whether to extract samples whose numbers of tokens are multiples of four, which other shapes fit into.
    small
        Whether its weights are drawn smaller: without norms the rounding of float32 grows from layer to layer.
    made_as
        Class of transformers that is saved; empty for that of the whole model.
    part
        Part of it to extract, as ``--part`` names it; empty for none.
    """

    model_type: str
    family: str
    tokenizer: str
    special: Mapping[str, Any] = field(default_factory=dict)
    finish: Callable[[Any], None] | None = None
    warm: bool = False
    unusable: bool = False
    fours: bool = False
    small: bool = False
    made_as: str = ""
    part: str = ""


def tiny_config(species: Species, tokenizer: Any) -> Any:
    """Make the configuration of a tiny model for a tokenizer."""
    from transformers import AutoConfig

    usual = AutoConfig.for_model(species.model_type)
    named = set(usual.to_dict()) | set(usual.attribute_map)
    settings = {name: value for name, value in SIZES.items() if name in named}
    if "num_key_value_heads" in settings and getattr(usual, "num_key_value_heads", None) is None:
        del settings["num_key_value_heads"]
    if "vocab_size" in named:
        settings["vocab_size"] = len(tokenizer)
    for token in _TOKENS:
        if f"{token}_token_id" in named:
            number = getattr(tokenizer, f"{token}_token_id", None)
            # Some families insist on a number.
            needed = number is None and getattr(usual, f"{token}_token_id") is not None
            settings[f"{token}_token_id"] = tokenizer.eos_token_id if needed else number
    settings |= species.special
    config = AutoConfig.for_model(species.model_type, **settings)
    if species.finish is not None:
        species.finish(config)
    return config


def draw(model: torch.nn.Module, seed: int = 5, gain: float = 1.2) -> None:
    """Draw weights anew: attention that is not uniform, norms that are not one, biases that are not zero."""
    generator = torch.Generator().manual_seed(seed)
    tables = {id(module.weight) for module in model.modules() if isinstance(module, torch.nn.Embedding)}
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator).to(parameter.dtype)
            if id(parameter) in tables:
                parameter.copy_(0.7 * noise)
            elif parameter.dim() == 2 and min(parameter.shape) > 4:
                parameter.copy_(gain * noise / parameter.shape[-1] ** 0.5)
            else:
                parameter.add_(0.15 * noise)


def save_tokenizer(species: Species, folder: Path, scratch: Path, max_length: int = 128) -> Any:
    """Write the tokenizer of a species to a folder, and return it."""
    scratch.mkdir(parents=True, exist_ok=True)
    tokenizer = TOKENIZERS[species.tokenizer](counted(), scratch)
    tokenizer.model_max_length = max_length
    tokenizer.save_pretrained(folder)
    return tokenizer


def make(species: Species, folder: Path, scratch: Path) -> Any:
    """Write a checkpoint of a species to a new folder, and return the model that was saved."""
    import transformers
    from transformers import AutoModel

    folder.mkdir(parents=True)
    tokenizer = save_tokenizer(species, folder, scratch)
    config = tiny_config(species, tokenizer)
    build = getattr(transformers, species.made_as)._from_config if species.made_as else AutoModel.from_config
    with seeded(3), quiet_transformers():
        model = build(config, attn_implementation="eager", dtype=torch.float32).eval()
        draw(model, gain=0.5 if species.small else 1.2)
        if species.warm:
            model.train()(input_ids=torch.arange(5, 45).reshape(1, -1))
            model.eval()
        model.save_pretrained(folder)
    return model
