"""Classifiers: an encoder as extraction loads it, with a new head for the labels of a task."""

from typing import TYPE_CHECKING

from biocache.engine.finetuning.targets import Targets
from biocache.engine.models.parts import POOLER
from biocache.engine.models.shape import load_config, quiet_transformers
from biocache.engine.models.sources import ModelSource
from biocache.store.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["attach_head"]


def attach_head(
    encoder: "PreTrainedModel",
    source: ModelSource,
    tokenizer: "PreTrainedTokenizerBase",
    targets: Targets,
) -> "PreTrainedModel":
    """Put a new head on a pre-trained encoder.

    A head in the checkpoint is not used: its labels may differ. The configuration gets the tokenizer's pad token,
    without which a sequence classifier of a decoder would read the last padding position.

    Parameters
    ----------
    encoder
        The encoder, from `biocache.engine.models.loading.load_model`; it is copied.
    source
        Where it came from.
    tokenizer
        Its tokenizer, from `biocache.engine.corpora.tokenizers.load_tokenizer`.
    targets
        What it predicts: a class a token, or a class or a number a sequence.

    Returns
    -------
    PreTrainedModel
        ``...ForTokenClassification`` or ``...ForSequenceClassification`` of the family, on the CPU, in float32. The
        head's weights are drawn from torch's global generator.

    Raises
    ------
    ModelError
        If transformers has no such head for the architecture.
    """
    import torch
    from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification

    kind = AutoModelForTokenClassification if targets.by_word else AutoModelForSequenceClassification
    config = load_config(source)
    # A head of one output, without names, is of a number.
    labels = targets.names or ("LABEL_0",)
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: position for position, label in enumerate(labels)}
    config.pad_token_id = tokenizer.pad_token_id
    of_samples = "regression" if targets.numeric else "single_label_classification"
    config.problem_type = None if targets.by_word else of_samples
    with quiet_transformers():
        try:
            model = kind.from_config(config, dtype=torch.float32, trust_remote_code=False)
        except ValueError as error:
            raise ModelError(
                f"model {source.name!r} ({config.model_type}) has no {kind.__name__.removeprefix('AutoModelFor')} head "
                f"in transformers, which these labels need; choose another model"
            ) from error
    copied = model.base_model.load_state_dict(encoder.state_dict(), strict=False)
    # A pooler is part of the encoder in some families and of the head in others.
    apart = [name for name in (*copied.missing_keys, *copied.unexpected_keys) if not name.startswith(POOLER)]
    if apart:
        raise ModelError(
            f"the encoder of model {source.name!r} does not fit into {type(model).__name__} ({', '.join(apart[:3])}); "
            "choose another model"
        )
    return model
