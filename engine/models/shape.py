"""What a model's configuration says, before weights are loaded."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from biocache.engine.models.calling import embedding_count, takes
from biocache.engine.models.files import inner_folder
from biocache.engine.models.parts import Reading, is_encoder_decoder
from biocache.engine.models.sources import ModelSource
from biocache.engine.models.traits import Traits
from biocache.store.errors import ModelError, SettingError
from biocache.store.text import one_line, shown

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["ModelShape", "choose_max_length", "load_config", "load_shape", "quiet_transformers", "require_vocabulary"]

_DEFAULT_MAX_LENGTH = 512
_MOST_POSITIONS = 2**31 - 1
# Names of tables of absolute positions.
_POSITION_TABLES = {"position_embeddings", "embed_positions", "wpe", "positions_embed"}
_LAYERS = "num_hidden_layers", "encoder_layers", "decoder_layers", "num_encoder_layers", "num_decoder_layers"
_HEADS = (
    *("num_attention_heads", "encoder_attention_heads", "decoder_attention_heads"),
    *("num_encoder_attention_heads", "num_decoder_attention_heads"),
)
# The largest value of each size that a model is built with.
_SIZES = dict.fromkeys(_LAYERS, 2**12) | dict.fromkeys(_HEADS, 2**14) | {"hidden_size": 2**20}
# Heads of language modelling (ForMaskedLM, ForCausalLM, ForPreTraining, ...) are those of pre-training.
_TASK_HEAD = re.compile(r"Classification|QuestionAnswering|MultipleChoice|Regression|CRF|Crf")


@dataclass(frozen=True)
class ModelShape:
    """Sizes of an encoder: as its configuration says, then as a trial of the loaded model finds them.

    Attributes
    ----------
    layers
        Number of blocks; there is one hidden state more, the embedding output.
    features
        Length of a hidden state.
    heads
        Attention heads of a block.
    causal
        Whether a query sees only keys up to itself.
    max_positions
        Longest input in tokens.
    parameters
        Number of weights.
    inner_features
        Length of the widest activation inside a block.
    vocabulary
        Number of token ids with an embedding; None where it is unknown.
    task_head
        Class of its head that was trained for a task, as its configuration names it; empty for a pre-trained model.
    own_code
        Class in code of its own that its configuration names, which is not run; empty for none.
    token_types
        Number of token types that it takes; 0 where it takes none.
    traits
        What a trial found; None before it.
    """

    layers: int
    features: int
    heads: int
    causal: bool
    max_positions: int
    parameters: int
    inner_features: int
    vocabulary: int | None = None
    task_head: str = ""
    own_code: str = ""
    token_types: int = _MOST_POSITIONS
    traits: Traits | None = None

    @property
    def padded(self) -> bool:
        """Whether samples of different lengths go through the model together in all its runs."""
        return self.traits is None or (self.traits.padded and self.traits.padded_maps)

    @property
    def stateful(self) -> bool:
        """Whether two batches at the same time would disturb each other."""
        return self.traits is not None and self.traits.stateful

    @property
    def without_maps(self) -> tuple[int, ...]:
        """Blocks, from 1, without attention maps."""
        return () if self.traits is None else self.traits.without_maps

    def of_run(self, *, maps: bool) -> dict[str, Any]:
        """Return the parts of the spec of a run, with or without maps, that a trial finds."""
        traits = self.traits
        if traits is None:
            return {"causal": self.causal}
        if not maps:
            return {"causal": traits.causal, "padded": traits.padded}
        padded = traits.padded and traits.padded_maps
        return {
            "causal": traits.causal_maps,
            "without_maps": traits.without_maps,
            "sink": traits.sink,
            "padded": padded,
        }

    @property
    def remarks(self) -> list[str]:
        """What its configuration and a trial say that a user should know, as the end of sentences about the model."""
        found = self.traits
        said = []
        if self.own_code:
            said.append(
                f"comes with code of its own ({self.own_code}), which is not run: it is read as a model of transformers"
            )
        if found is not None and found.without_maps:
            layers = ", ".join(map(str, found.without_maps))
            said.append(f"has no attention maps of layers {layers} that can be kept ({found.no_maps})")
        if not self.padded:
            said.append("gives other numbers where samples are padded; they go through it in batches of equal length")
        return said

    def measured(self, traits: Traits) -> "ModelShape":
        """Return the sizes that a trial found."""
        return replace(self, layers=len(traits.features) - 1, heads=traits.heads or self.heads, traits=traits)


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Silence progress bars and load reports of transformers; errors that matter are checked and raised."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def load_config(source: ModelSource) -> "PreTrainedConfig":
    """Read a model's configuration.

    Raises
    ------
    ModelError
        If there is none.
    """
    from transformers import AutoConfig

    try:
        with quiet_transformers():
            return AutoConfig.from_pretrained(source.folder, trust_remote_code=False)
    # A damaged or foreign file raises the errors of its parser.
    except Exception as error:
        if inside := inner_folder(source.folder):
            raise ModelError(
                f"model {source.name!r}: {source.folder} is of sentence-transformers, and its transformer is in "
                f"{inside}; download it, and pass --model={source.name}={Path(source.folder).name}/{inside}"
            ) from error
        raise ModelError(
            f"model {source.name!r} cannot be loaded from {source.folder!r} ({one_line(error)}); check the name, go "
            f"online once, or pass --model={source.name}=FOLDER with a downloaded checkpoint"
        ) from error


def _is_causal(config: "PreTrainedConfig") -> bool:
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    )

    kind = config.model_type
    only_causal = kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and kind not in MODEL_FOR_MASKED_LM_MAPPING_NAMES
    return only_causal or bool(getattr(config, "is_decoder", False))


def load_shape(source: ModelSource) -> ModelShape:
    """Read a model's configuration and derive its sizes; no weight is loaded.

    Raises
    ------
    ModelError
        If there is no configuration, or the model is an encoder-decoder of which no part is named.
    """
    import torch

    whole = load_config(source)
    _refuse_quantised(source, whole)
    config = whole
    try:
        with quiet_transformers():
            # Before a model is built, if without weights.
            _check_sizes(whole, whole.get_text_config())
            reading = Reading.of(whole, source.part)
        _refuse_others(source, reading)
        config = reading.sizes
        side = reading.side
        layers = _size(config, _name_of(config, side, "layers") or "num_hidden_layers")
        features = _size(config, "hidden_size")
        # Some families have no attention, or name its heads otherwise; a trial counts them.
        named = _name_of(config, side, "attention_heads") or "num_attention_heads"
        heads = _size(config, named) if _given(config, named) else 1
        names = (_name_of(config, side, "ffn_dim") or "ffn_dim", "intermediate_size", "n_inner")
        widths = [_size(config, name) for name in names if _given(config, name)]
        with torch.device("meta"), quiet_transformers():
            model = reading.stack(reading.build())
        positions = _positions(config, model)
    except ModelError:
        raise
    # Families raise different errors for settings that they cannot use.
    except Exception as error:
        raise ModelError(
            f"model {source.name!r} ({config.model_type}) is not one biocache can read ({one_line(error)}); choose a "
            "text model with num_hidden_layers and hidden_size"
        ) from error
    return ModelShape(
        layers=layers,
        features=features,
        heads=heads,
        causal=side == "decoder" if side else _is_causal(config),
        max_positions=positions,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        inner_features=max([4 * features, *widths]),
        vocabulary=embedding_count(model),
        task_head=_task_head(whole),
        own_code=_own_code(whole),
        token_types=_token_types(config) if "token_type_ids" in takes(model) else 0,
    )


def _name_of(config: "PreTrainedConfig", side: str, size: str) -> str:
    """Return the name of a size of one side of an encoder-decoder in its configuration; empty where it has none."""
    names = (f"{side}_{size}", f"num_{side}_{size}") if side else ()
    return next((name for name in names if _given(config, name)), "")


def _refuse_others(source: ModelSource, reading: Reading) -> None:
    """Refuse models of which no stack of layers is chosen."""
    kind = reading.config.model_type
    if reading.narrow is None and is_encoder_decoder(reading.config) and not source.part:
        raise ModelError(
            f"model {source.name!r} ({kind}) is an encoder-decoder; biocache stores one stack of layers: "
            "pass --part=encoder, or choose an encoder or a decoder model"
        )
    if source.part and reading.narrow is None and not is_encoder_decoder(reading.config):
        raise ModelError(
            f"model {source.name!r} ({kind}) is no encoder-decoder, of which --part=encoder would name "
            "the encoder; leave it out"
        )
    if source.part and reading.narrow is not None and reading.side != "encoder":
        raise ModelError(
            f"model {source.name!r} has no encoder: its configuration names {reading.narrow.__name__}, which is "
            "another part; leave --part out"
        )


def _refuse_quantised(source: ModelSource, config: "PreTrainedConfig") -> None:
    """Refuse weights that are no plain numbers."""
    if getattr(config, "quantization_config", None) is not None:
        raise ModelError(
            f"the weights of model {source.name!r} are quantised, and what they compute depends on the kernels of a "
            "library; give the checkpoint from before"
        )


def _positions(config: "PreTrainedConfig", model: "PreTrainedModel") -> int:
    """Return the longest input in tokens: what the configuration says, and what a table of positions has rows for."""
    import torch

    names = [name for name in ("max_position_embeddings", "max_seq_len") if _given(config, name)]
    # Some families without a limit say -1.
    limits = [_size(config, name) for name in names if getattr(config, name) != -1]
    for name, module in model.named_modules():
        if name.rpartition(".")[2] in _POSITION_TABLES and isinstance(module, torch.nn.Embedding):
            # RoBERTa and its kin count positions from the one after the pad id.
            limits.append(module.num_embeddings - (0 if module.padding_idx is None else module.padding_idx + 1))
    return min(limits, default=_MOST_POSITIONS)


def _own_code(config: "PreTrainedConfig") -> str:
    named = getattr(config, "auto_map", None)
    return str(named.get("AutoModel", next(iter(named.values()), ""))) if isinstance(named, dict) else ""


def _token_types(config: "PreTrainedConfig") -> int:
    """Return how many token types a model has embeddings for; many where its configuration does not say."""
    own = getattr(config, "type_vocab_size", None)
    return own if isinstance(own, int) and own > 0 else _MOST_POSITIONS


def _given(config: "PreTrainedConfig", name: str) -> bool:
    return getattr(config, name, None) is not None


def _size(config: "PreTrainedConfig", name: str) -> int:
    """Return a size of a configuration, checked before a model is built with it."""
    value = getattr(config, name)
    if isinstance(value, list | tuple) and value:
        # One for each block.
        value = max(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _SIZES.get(name, _MOST_POSITIONS):
        raise ValueError(f"its {name} is {shown(value)}")
    return value


def _check_sizes(*configs: "PreTrainedConfig") -> None:
    for config in configs:
        for name in _SIZES:
            if _given(config, name):
                _size(config, name)


def _task_head(config: "PreTrainedConfig") -> str:
    named = getattr(config, "architectures", None)
    names = map(str, named) if isinstance(named, list | tuple) else ()
    return next((name for name in names if _TASK_HEAD.search(name)), "")


def choose_max_length(
    asked: int | None, source: ModelSource, shape: ModelShape, tokenizer: "PreTrainedTokenizerBase"
) -> int:
    """Return the tokens after which a sample is cut: what was asked for, or 512, or what the model can read.

    Raises
    ------
    SettingError
        If more was asked for than the model can read.
    ModelError
        If the tokenizer gives something else than a number.
    """
    longest = tokenizer.model_max_length
    if isinstance(longest, bool) or not isinstance(longest, int | float):
        raise ModelError(
            f"the tokenizer of model {source.name!r} gives {shown(longest)} as its model_max_length, which is not a "
            "number; correct its tokenizer_config.json"
        )
    # Zero, less, or NaN says that there is no limit.
    most = min(shape.max_positions, int(min(longest, _MOST_POSITIONS)) if longest >= 1 else _MOST_POSITIONS)
    if asked is None:
        return min(_DEFAULT_MAX_LENGTH, most)
    if asked > most:
        raise SettingError(
            f"max length {asked} is more than the {most} tokens model {source.name!r} can read; pass "
            f"--max-length={most} or less"
        )
    return asked


def require_vocabulary(source: ModelSource, shape: ModelShape, token_id: NDArray[np.integer]) -> None:
    """Refuse token ids without an embedding in the model.

    Parameters
    ----------
    source, shape
        The model.
    token_id
        Ids of its tokenizer (token).

    Raises
    ------
    ModelError
        If there is one.
    """
    largest = int(token_id.max(initial=0))
    if shape.vocabulary is not None and largest >= shape.vocabulary:
        raise ModelError(
            f"the tokenizer of model {source.name!r} gives the token id {largest}, and the model has embeddings of "
            f"{shape.vocabulary} ids; give the tokenizer that belongs to these weights, from {source.tokenizer}"
        )
