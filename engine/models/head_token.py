"""Which token the head for sequences of a model's family reads: asked of such a head with new weights."""

from collections.abc import Sequence
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from biocache.engine.models.calling import call, model_inputs

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["head_token"]

# A sample of so many tokens tells the first from the last, and both from a mean.
_ENOUGH = 3


def head_token(model: "PreTrainedModel", ids: Sequence[NDArray[np.integer]]) -> str:
    """Return which token of a sequence decides what a sequence classifier on a model predicts.

    The classifier of the family is put on the model; the positions at which its output has a derivative by the last
    hidden states are those that it reads. The model stays as it is.

    Parameters
    ----------
    model
        The stack of layers that is read, in evaluation mode.
    ids
        Token ids of some samples; the shortest of at least three tokens is tried.

    Returns
    -------
    str
        ``first`` or ``last``; ``none`` where the head reads several tokens, such as a mean, or another stack of layers,
        where transformers has no such head, and where no sample has three tokens.
    """
    import torch
    from transformers import AutoModelForSequenceClassification

    from biocache.engine.models.shape import quiet_transformers

    tried = min((own for own in ids if len(own) >= _ENOUGH), key=len, default=None)
    if tried is None:
        return "none"
    seen: list[torch.Tensor] = []

    def keep(_module: Any, _inputs: Any, outputs: Any) -> None:
        seen.append(outputs[0])

    # Families raise different errors for what their heads cannot do; then there is none.
    try:
        with quiet_transformers(), torch.device("meta"):
            whole: Any = AutoModelForSequenceClassification.from_config(deepcopy(model.config), trust_remote_code=False)
        if not _is_on(whole, model):
            return "none"
        setattr(whole, whole.base_model_prefix, model)
        hook = model.register_forward_hook(keep)
    except Exception:
        return "none"
    try:
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            model.requires_grad_()
            _make_weights(whole, model)
            outputs = call(whole.eval(), model_inputs(model, [tried], None), hidden=False, attention=False)
            (derivative,) = torch.autograd.grad(outputs.logits.float().sum(), seen[-1])
            read = derivative[0].ne(0).any(-1).nonzero().ravel().tolist()
    except Exception:
        return "none"
    finally:
        hook.remove()
        model.requires_grad_(requires_grad=False)
    return {(0,): "first", (len(tried) - 1,): "last"}.get(tuple(read), "none")


def _is_on(whole: Any, model: Any) -> bool:
    """Return whether a head is one on such a model."""
    return type(getattr(whole, whole.base_model_prefix, None)) is type(model)


def _make_weights(whole: "PreTrainedModel", model: "PreTrainedModel") -> None:
    """Draw the weights of a head that has none yet."""
    import torch

    for part in whole.children():
        if part is not model:
            part.to_empty(device=model.device).to(model.dtype)
            for weight in part.parameters():
                torch.nn.init.normal_(weight, std=0.02)
