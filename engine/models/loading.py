"""Load a model's weights completely, or refuse them."""

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from biocache.engine.machine import seeded
from biocache.engine.models.adapters import adapter_of, merge, without_adapter
from biocache.engine.models.files import coarse_tensors, weight_files
from biocache.engine.models.parts import POOLER, Reading
from biocache.engine.models.shape import load_config, quiet_transformers
from biocache.engine.models.sources import ModelSource
from biocache.store.errors import ModelError, ResourceError
from biocache.store.text import one_line

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

__all__ = ["LoadedModel", "load_model", "weights_digest"]

# Names of what older releases saved beside weights: positions, masks and frequencies, which are computed.
_BUFFER = re.compile(
    r"(^|\.)(position_ids|token_type_ids|inv_freq|masked_bias|(attn|attention|self)\.bias|embed_positions\.weights|version"
    r"|num_batches_tracked)$"
)


@dataclass(frozen=True)
class LoadedModel:
    """An encoder, ready to run.

    Attributes
    ----------
    model
        In evaluation mode, on its device, with eager attention.
    digest
        SHA-256 of the weights as they were loaded, in float32.
    """

    model: "PreTrainedModel"
    digest: str


def load_model(source: ModelSource, device: str, compute_dtype: str) -> LoadedModel:
    """Load an encoder without its head.

    Parameters
    ----------
    source
        Where it is.
    device
        Device name of torch.
    compute_dtype
        ``float32``, ``bfloat16`` or ``float16``.

    Returns
    -------
    LoadedModel
        In evaluation mode and with eager attention, so that maps are returned and numbers do not depend on
        whether they are.

    Raises
    ------
    ModelError
        If it cannot be found, is incomplete, or holds weights of another shape.
    ResourceError
        If the device has not enough memory for it.
    """
    import torch

    config = load_config(source)
    _refuse_unmerged(source)
    with quiet_transformers():
        reading = Reading.of(config, source.part)
        if source.random_weights:
            whole, missing, unused = _initialise(reading, source.seed), list[str](), list[str]()
        else:
            whole, missing, unused = _load_weights(source, reading)
            if source.adapter:
                merge(whole, reading, source)
    model = reading.stack(whole)
    unset = _names_in(model, whole, missing)
    missing = [name for name in unset if not name.startswith(POOLER)]
    if missing:
        named = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
        raise ModelError(
            f"checkpoint {source.weights} of model {source.name!r} lacks weights of the encoder ({named}); they would "
            "be random: give a checkpoint of this architecture"
        )
    _refuse_unused(source, whole, unused)
    coarse = [
        name for name, weight in model.named_parameters() if not weight.is_floating_point() or weight.itemsize < 2
    ]
    if coarse:
        kind = str(model.get_parameter(coarse[0]).dtype).removeprefix("torch.")
        raise _coarse_error(source, coarse[0], kind, source.weights)
    spoiled = [name for name, weight in model.named_parameters() if not bool(weight.isfinite().all())]
    if spoiled:
        raise ModelError(
            f"weight {spoiled[0]} of model {source.name!r} in {source.weights} holds NaN or infinity; give a sound "
            "checkpoint"
        )
    digest = weights_digest(model)
    model.eval().requires_grad_(requires_grad=False)
    try:
        return LoadedModel(model.to(device=torch.device(device), dtype=getattr(torch, compute_dtype)), digest)
    except torch.OutOfMemoryError as error:
        raise ResourceError(
            f"{device} has not enough memory for the weights of model {source.name!r} ({one_line(error)}); free "
            "some, or pass --device=cpu"
        ) from error


def _initialise(reading: Reading, seed: int) -> "PreTrainedModel":
    import torch

    with seeded(seed):
        return reading.build(attn_implementation="eager", dtype=torch.float32)


def _load_weights(source: ModelSource, reading: Reading) -> tuple["PreTrainedModel", list[str], list[str]]:
    """Return a model, the names of its weights that the file lacks, and those of the file that it does not take."""
    import torch

    settings: dict[str, Any] = {
        "attn_implementation": "eager",
        "dtype": torch.float32,
        "output_loading_info": True,
    }
    try:
        if source.checkpoint is not None and source.checkpoint.is_file():
            weights = torch.load(source.checkpoint, map_location="cpu", weights_only=True)
            with torch.device("meta"):
                kind = type(reading.build())
            model, info = kind.from_pretrained(None, config=reading.config, state_dict=weights, **settings)
        elif source.adapter == source.weights:
            with without_adapter(source.weights) as folder:
                model, info = reading.load(folder, **settings)
        else:
            model, info = reading.load(source.weights, **settings)
    except Exception as error:
        # Weights of another type may have another shape, too.
        _refuse_coarse(source)
        # A damaged or foreign file raises errors without a common base (pickle, zip, safetensors, runtime); the user's
        # next step is the same.
        raise ModelError(
            f"the weights of model {source.name!r} cannot be loaded from {source.weights!r} ({_cause(error)}); give "
            "a whole checkpoint of this architecture (safetensors, or a state dict saved with torch.save)"
        ) from error
    # After they were fetched.
    _refuse_coarse(source)
    return model, sorted(info["missing_keys"]), sorted(info["unexpected_keys"])


def _names_in(model: "PreTrainedModel", whole: "PreTrainedModel", names: list[str]) -> list[str]:
    """Return those of some names of a model's weights that are of a part of it, as the part names them."""
    if model is whole:
        return names
    own = {id(tensor): name for name, tensor in model.named_parameters(remove_duplicate=False)}
    found = dict(whole.named_parameters(remove_duplicate=False))
    return sorted({own[id(found[name])] for name in names if name in found and id(found[name]) in own})


def _refuse_unmerged(source: ModelSource) -> None:
    """Refuse a place with an adapter."""
    if not source.adapter and adapter_of(source.weights) is not None:
        raise ModelError(
            f"model {source.name!r}: {source.weights} holds an adapter beside or instead of weights "
            "(adapter_config.json); merge it with merge_and_unload() of peft, save the model, and give that folder"
        )


def _refuse_coarse(source: ModelSource) -> None:
    """Refuse files with weights that are no floating-point numbers, which transformers cast to such."""
    for file in weight_files(source.weights):
        for name, kind in coarse_tensors(file).items():
            if not _BUFFER.search(name):
                raise _coarse_error(source, name, kind, str(file))


def _coarse_error(source: ModelSource, name: str, kind: str, place: str) -> ModelError:
    return ModelError(
        f"weight {name} of model {source.name!r} is stored as {kind} in {place}; biocache reads floating-point "
        "weights: give the checkpoint from before it was quantised"
    )


def _refuse_unused(source: ModelSource, model: "PreTrainedModel", names: list[str]) -> None:
    """Refuse a checkpoint with weights of the encoder that the model does not take; those of heads are left aside."""
    prefix = f"{model.base_model_prefix}."
    own = {name.partition(".")[0] for name, _ in (*model.named_parameters(), *model.named_buffers())}
    unused = [
        name
        for name in names
        if (name.startswith(prefix) or name.partition(".")[0] in own)
        and not name.removeprefix(prefix).startswith(POOLER)
        and not _BUFFER.search(name)
    ]
    if unused:
        named = ", ".join(unused[:3]) + (f" and {len(unused) - 3} more" if len(unused) > 3 else "")
        raise ModelError(
            f"checkpoint {source.weights} of model {source.name!r} has weights of the encoder that "
            f"{type(model).__name__} of transformers does not take ({named}): an adapter that was not merged, or a "
            "configuration that is not theirs; merge it or correct config.json"
        )


def _cause(error: Exception) -> str:
    # torch advises to run the code that the file holds.
    more = "weights_only" in str(error)
    return "it holds more than tensors, and no code of a file is run" if more else one_line(error)


def weights_digest(model: "PreTrainedModel", *, pooler: bool = False) -> str:
    """Return the SHA-256 (hexadecimal) of the names, shapes and values of an encoder's weights.

    Parameters
    ----------
    model
        The encoder.
    pooler
        Whether to digest the pooler's weights, from which some families classify sequences, instead of all others. It
        does not compute hidden states, and is new where a checkpoint has none.
    """
    sha = hashlib.sha256()
    state: dict[str, torch.Tensor] = model.state_dict()
    for name in sorted(state):
        if name.startswith(POOLER) == pooler:
            values = state[name].detach().cpu().contiguous()
            sha.update(f"{name};{values.dtype};{tuple(values.shape)};".encode())
            sha.update(values.numpy().data)
    return sha.hexdigest()
