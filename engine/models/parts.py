"""The stack of layers that is read of a model: the whole, the encoder of two, or the text model inside of another."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

__all__ = ["part_config", "part_of"]


def part_config(config: "PreTrainedConfig", part: str) -> "PreTrainedConfig":
    """Return the configuration that has the sizes of what is read.

    Parameters
    ----------
    config
        That of the whole model.
    part
        ``encoder`` of an encoder-decoder; empty for others, whose text model may be inside of them.
    """
    return config if part else config.get_text_config()


def part_of(model: "PreTrainedModel", part: str) -> "PreTrainedModel":
    """Return what is read of a model; see `part_config`.

    Raises
    ------
    ValueError
        If its text model is not found.
    """
    from transformers import PreTrainedModel

    if part:
        encoder: PreTrainedModel = model.get_encoder()
        return encoder
    inside = part_config(model.config, part)
    if inside is model.config:
        return model
    for module in model.modules():
        if isinstance(module, PreTrainedModel) and module.config.model_type == inside.model_type:
            return module
    raise ValueError(f"its text model ({inside.model_type}) is not found inside of it")
