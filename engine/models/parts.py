"""The stack of layers that is read of a model: the whole, one of two, or the text model inside of another."""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

__all__ = ["POOLER", "Reading", "is_encoder_decoder"]

#: Prefix of the names of a pooler's weights. They are new where a checkpoint has none, and do not affect hidden
#: states or attention.
POOLER = "pooler."


@dataclass(frozen=True, eq=False)
class Reading:
    """What is built of a configuration, and which stack of layers of it is read.

    Attributes
    ----------
    config
        Configuration of the whole model.
    part
        ``encoder`` of an encoder-decoder; empty for others, whose text model may be inside of them.
    narrow
        Class of transformers that the configuration's ``architectures`` name, where it has only a part of what the
        type of the model has, such as `BartForCausalLM` or `T5EncoderModel`; None where the whole is built.
    side
        ``encoder`` or ``decoder``, where one stack of a type that has both is read; empty for others.
    """

    config: "PreTrainedConfig"
    part: str
    narrow: "type[PreTrainedModel] | None" = None
    side: str = ""

    @classmethod
    def of(cls, config: "PreTrainedConfig", part: str) -> "Reading":
        """Find out how a configuration is read.

        Raises
        ------
        Exception
            If the model cannot be built: families raise different ones for settings that they cannot use.
        """
        narrow = _narrow_model(config)
        if narrow is None:
            return cls(config, part, side=part)
        two = is_encoder_decoder(type(config)) or is_encoder_decoder(config)
        is_decoder = bool(getattr(_innermost(narrow).config, "is_decoder", False))
        return cls(config, part, type(narrow), ("decoder" if is_decoder else "encoder") if two else "")

    @property
    def sizes(self) -> "PreTrainedConfig":
        """The configuration that has the sizes of what is read."""
        return self.config if self.part or self.narrow else self.config.get_text_config()

    def build(self, **settings: Any) -> "PreTrainedModel":
        """Make the whole model, with new weights."""
        from transformers import AutoModel

        if self.narrow is None:
            built: PreTrainedModel = AutoModel.from_config(self.config, trust_remote_code=False, **settings)
            return built
        return self.narrow._from_config(self.config, **settings)

    def load(self, place: str, **settings: Any) -> Any:
        """Make the whole model with the weights of a folder or hub id; see ``from_pretrained`` of transformers."""
        from transformers import AutoModel

        if self.narrow is None:
            return AutoModel.from_pretrained(place, config=self.config, trust_remote_code=False, **settings)
        return self.narrow.from_pretrained(place, config=self.config, **settings)

    def stack(self, model: "PreTrainedModel") -> "PreTrainedModel":
        """Return what is read of the whole model.

        Raises
        ------
        ValueError
            If it is not found.
        """
        from transformers import PreTrainedModel

        if self.narrow is not None:
            return _innermost(model)
        if self.part:
            encoder: PreTrainedModel = model.get_encoder()
            return encoder
        inside = self.sizes
        if inside is model.config:
            return model
        for module in model.modules():
            if isinstance(module, PreTrainedModel) and module.config.model_type == inside.model_type:
                return module
        raise ValueError(f"its text model ({inside.model_type}) is not found inside of it")


def is_encoder_decoder(config: "PreTrainedConfig | type[PreTrainedConfig]") -> bool:
    """Return whether a configuration, or the usual one of its type, is that of an encoder with a decoder."""
    return bool(getattr(config, "is_encoder_decoder", False))


def _narrow_model(config: "PreTrainedConfig") -> "PreTrainedModel | None":
    """Return a model, without weights, of the class that a configuration names, where it has less than its type."""
    import torch
    from transformers import AutoModel

    named = _named_class(config)
    if named is None:
        return None
    with torch.device("meta"):
        try:
            whole: PreTrainedModel | None = AutoModel.from_config(deepcopy(config), trust_remote_code=False)
        # Types without a class for the whole, such as that of a decoder alone.
        except ValueError:
            whole = None
        if type(whole) is named:
            return None
        # Some classes correct the configuration that they are given.
        model = named._from_config(deepcopy(config))
    if whole is None:
        return model
    if any(type(module) is type(whole) for module in model.modules()):
        return None
    names = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    names |= {name.removeprefix(f"{model.base_model_prefix}.") for name in names}
    own = (name for name, _ in whole.named_parameters(remove_duplicate=False) if not name.startswith(POOLER))
    return None if all(name in names for name in own) else model


def _named_class(config: "PreTrainedConfig") -> "type[PreTrainedModel] | None":
    """Return the class of transformers for texts that a configuration names; None where there is none of this type."""
    import transformers

    named = getattr(config, "architectures", None)
    for name in named if isinstance(named, list | tuple) else ():
        found = getattr(transformers, name, None) if isinstance(name, str) else None
        if isinstance(found, type) and issubclass(found, transformers.PreTrainedModel):
            kind: Any = found
            own = isinstance(kind.config_class, type) and isinstance(config, kind.config_class)
            return kind if own and kind.main_input_name == "input_ids" else None
    return None


def _innermost(model: "PreTrainedModel") -> "PreTrainedModel":
    """Return the stack inside of heads and wrappers: the only model inside of the only model, and so on."""
    inside = list(_models_in(model))
    return _innermost(inside[0]) if len(inside) == 1 else model


def _models_in(module: Any) -> "Iterator[PreTrainedModel]":
    """Yield the models directly inside of a module, through what is none."""
    from transformers import PreTrainedModel

    for child in module.children():
        if isinstance(child, PreTrainedModel):
            yield child
        else:
            yield from _models_in(child)
