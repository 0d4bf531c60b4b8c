"""What a model's configuration says, before weights are loaded."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from biocache.engine.models.sources import ModelSource
from biocache.engine.models.trial import Traits
from biocache.store.errors import ModelError, SettingError
from biocache.store.text import one_line, shown

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["ModelShape", "choose_max_length", "load_config", "load_shape", "quiet_transformers", "require_vocabulary"]

_DEFAULT_MAX_LENGTH = 512
_LEAST_POSITIONS, _MOST_POSITIONS = 1, 2**31 - 1
# The largest value of each size that a model is built with.
_SIZES = {"num_hidden_layers": 2**12, "hidden_size": 2**20, "num_attention_heads": 2**14}
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
    traits: Traits | None = None

    @property
    def padded(self) -> bool:
        """Whether samples of different lengths go through the model together in all its runs."""
        return self.traits is None or (self.traits.padded and self.traits.padded_maps)

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
        If there is no configuration, or the model is an encoder-decoder.
    """
    import torch
    from transformers import AutoModel

    config = load_config(source)
    if getattr(config, "is_encoder_decoder", False):
        raise ModelError(
            f"model {source.name!r} ({config.model_type}) is an encoder-decoder; biocache stores one stack of layers: "
            "choose an encoder or a decoder model"
        )
    try:
        layers, features, heads = (_size(config, name) for name in _SIZES)
        widths = [_size(config, name) for name in ("intermediate_size", "n_inner", "ffn_dim") if _given(config, name)]
        positions = (
            _size(config, "max_position_embeddings") if _given(config, "max_position_embeddings") else _MOST_POSITIONS
        )
        with torch.device("meta"), quiet_transformers():
            model = AutoModel.from_config(config, trust_remote_code=False)
    # Families raise different errors for settings that they cannot use.
    except Exception as error:
        raise ModelError(
            f"model {source.name!r} ({config.model_type}) is not one biocache can read ({one_line(error)}); choose a "
            "text model with num_hidden_layers, hidden_size and num_attention_heads"
        ) from error
    return ModelShape(
        layers=layers,
        features=features,
        heads=heads,
        causal=_is_causal(config),
        max_positions=positions,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        inner_features=max([4 * features, *widths]),
        vocabulary=_vocabulary(model),
        task_head=_task_head(config),
    )


def _given(config: "PreTrainedConfig", name: str) -> bool:
    return getattr(config, name, None) is not None


def _size(config: "PreTrainedConfig", name: str) -> int:
    """Return a size of a configuration, checked before a model is built with it."""
    value = getattr(config, name)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _SIZES.get(name, _MOST_POSITIONS):
        raise ValueError(f"its {name} is {shown(value)}")
    return value


def _vocabulary(model: "PreTrainedModel") -> int | None:
    try:
        embeddings = model.get_input_embeddings()
    except NotImplementedError:
        return None
    count = getattr(embeddings, "num_embeddings", None)
    return count if isinstance(count, int) else None


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
        If the tokenizer gives no number.
    """
    longest = tokenizer.model_max_length
    # Written so that NaN is refused too.
    if isinstance(longest, bool) or not isinstance(longest, int | float) or not longest >= _LEAST_POSITIONS:
        raise ModelError(
            f"the tokenizer of model {source.name!r} gives {shown(longest)} as its model_max_length, which is not a "
            f"number from {_LEAST_POSITIONS}; correct its tokenizer_config.json"
        )
    most = min(shape.max_positions, int(min(longest, _MOST_POSITIONS)))
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
