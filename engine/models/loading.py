"""Load a model's weights completely, or refuse them."""

import hashlib
from collections import ChainMap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from biocache.engine.machine import seeded
from biocache.engine.models.adapters import adapter_of, merge, without_adapter
from biocache.engine.models.files import coarse_tensors, weight_files
from biocache.engine.models.parts import POOLER, Reading
from biocache.engine.models.shape import load_config, quiet_transformers
from biocache.engine.models.sources import ModelSource
from biocache.engine.models.state_dicts import BUFFER, StateDict, fit, listed, read_state_dicts
from biocache.store.errors import ModelError, ResourceError
from biocache.store.text import one_line

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

__all__ = ["LoadedModel", "load_model", "weights_digest"]


@dataclass(frozen=True)
class LoadedModel:
    """An encoder, ready to run.

    Attributes
    ----------
    model
        In evaluation mode, on its device, with eager attention.
    digest
        SHA-256 of the weights as they were loaded, in float32.
    remarks
        What was done to the names of its tensors, where they were not those of transformers.
    """

    model: "PreTrainedModel"
    digest: str
    remarks: tuple[str, ...] = ()


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
            found = _Weights(_initialise(reading, source.seed))
        else:
            found = _load_weights(source, reading)
            if source.adapter:
                merge(found.whole, reading, source)
    model = reading.stack(found.whole)
    _require_complete(source, found, reading)
    _refuse_unused(source, found)
    coarse = [
        name for name, weight in model.named_parameters() if not weight.is_floating_point() or weight.itemsize < 2
    ]
    if coarse:
        kind = str(model.get_parameter(coarse[0]).dtype).removeprefix("torch.")
        raise _coarse_error(source, coarse[0], kind, source.weights)
    spoiled = [name for name, weight in model.named_parameters() if not _is_finite(weight)]
    if spoiled:
        raise ModelError(
            f"weight {spoiled[0]} of model {source.name!r} in {source.weights} holds NaN or infinity; give a sound "
            "checkpoint"
        )
    digest = weights_digest(model)
    model.eval().requires_grad_(requires_grad=False)
    try:
        model = model.to(device=torch.device(device), dtype=getattr(torch, compute_dtype))
        return LoadedModel(model, digest, found.remarks(source))
    except torch.OutOfMemoryError as error:
        raise ResourceError(
            f"{device} has not enough memory for the weights of model {source.name!r} ({one_line(error)}); free "
            "some, or pass --device=cpu"
        ) from error


def _initialise(reading: Reading, seed: int) -> "PreTrainedModel":
    import torch

    with seeded(seed):
        return reading.build(attn_implementation="eager", dtype=torch.float32)


@dataclass(frozen=True, eq=False)
class _Weights:
    """A model with its weights.

    Attributes
    ----------
    whole
        The model.
    missing
        Names of its weights that the checkpoint lacks.
    unused
        Names of those of the checkpoint that it does not take.
    aside
        Names of those that were not offered to it: of what the model was trained in.
    changes
        What was done to the names in the checkpoint.
    """

    whole: "PreTrainedModel"
    missing: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    aside: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()

    @classmethod
    def of(cls, model: "PreTrainedModel", info: Mapping[str, Any]) -> Self:
        """Describe what ``from_pretrained`` of transformers returns."""
        return cls(model, tuple(sorted(info["missing_keys"])), tuple(sorted(info["unexpected_keys"])))

    def lacking(self, reading: Reading) -> list[str]:
        """Return the names of weights of the encoder that the checkpoint lacks."""
        names = _names_in(reading.stack(self.whole), self.whole, list(self.missing))
        return [name for name in names if not name.startswith(POOLER)]

    def remarks(self, source: ModelSource) -> tuple[str, ...]:
        """Return what a user should know of the names in the checkpoint."""
        if not self.changes:
            return ()
        own = tuple(name for name in self.unused if not BUFFER.search(name))
        aside = (*self.aside, *own)
        tensors = "tensor" if len(aside) == 1 else "tensors"
        left = (f"{len(aside)} {tensors} of a head left aside ({listed(aside)})",) if aside else ()
        return (f"model {source.name}: weights of {Path(source.weights).name}: {', '.join((*self.changes, *left))}",)


def _load_weights(source: ModelSource, reading: Reading) -> _Weights:
    import torch

    settings: dict[str, Any] = {
        "attn_implementation": "eager",
        "dtype": torch.float32,
        "output_loading_info": True,
    }
    try:
        if source.checkpoint is not None and source.checkpoint.is_file():
            return _fitted(source, reading, read_state_dicts(source.checkpoint), settings)
        if source.adapter == source.weights:
            with without_adapter(source.weights) as folder:
                model, info = reading.load(folder, **settings)
        else:
            model, info = reading.load(source.weights, **settings)
        found = _Weights.of(model, info)
        if found.unused and not source.adapter and found.lacking(reading):
            # Maybe as another trainer named them.
            tensors = [one.tensors for file in weight_files(source.weights) for one in read_state_dicts(file)]
            again = _fitted(source, reading, [StateDict((), dict(ChainMap(*map(dict, tensors))))], settings)
            found = again if again.changes else found
    except ModelError:
        raise
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
    return found


def _fitted(source: ModelSource, reading: Reading, found: Sequence[StateDict], settings: Mapping[str, Any]) -> _Weights:
    """Return a model with the tensors among some state dicts that have the names and shapes of its own."""
    import torch

    with torch.device("meta"):
        built = reading.build()
    fitted = fit(found, built)
    for name, value in fitted.tensors.items():
        if not (value.is_floating_point() and value.itemsize > 1) and not BUFFER.search(name):
            raise _coarse_error(source, name, str(value.dtype).removeprefix("torch."), source.weights)
    kind, state = type(built), dict(fitted.tensors)
    model, info = kind.from_pretrained(None, config=reading.config, state_dict=state, **settings)
    return replace(_Weights.of(model, info), aside=fitted.aside, changes=fitted.changes)


def _require_complete(source: ModelSource, found: _Weights, reading: Reading) -> None:
    """Refuse a checkpoint that lacks weights of the encoder."""
    missing = found.lacking(reading)
    if missing:
        others = [name for name in found.unused if not BUFFER.search(name)]
        instead = f" (it has {listed(others)}, which this one does not take)" if others else ""
        raise ModelError(
            f"checkpoint {source.weights} of model {source.name!r} lacks weights of the encoder ({listed(missing)}); "
            f"they would be random: give a checkpoint of this architecture{instead}"
        )


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
            if not BUFFER.search(name):
                raise _coarse_error(source, name, kind, str(file))


def _coarse_error(source: ModelSource, name: str, kind: str, place: str) -> ModelError:
    return ModelError(
        f"weight {name} of model {source.name!r} is stored as {kind} in {place}; biocache reads floating-point "
        "weights: give the checkpoint from before it was quantised"
    )


def _refuse_unused(source: ModelSource, found: _Weights) -> None:
    """Refuse a checkpoint with weights of the encoder that the model does not take; those of heads are left aside."""
    model = found.whole
    prefix = f"{model.base_model_prefix}."
    own = {name.partition(".")[0] for name, _ in (*model.named_parameters(), *model.named_buffers())}
    unused = [
        name
        for name in found.unused
        if (name.startswith(prefix) or name.partition(".")[0] in own)
        and not name.removeprefix(prefix).startswith(POOLER)
        and not BUFFER.search(name)
    ]
    if unused:
        raise ModelError(
            f"checkpoint {source.weights} of model {source.name!r} has weights of the encoder that "
            f"{type(model).__name__} of transformers does not take ({listed(unused)}): an adapter that was not "
            "merged, or a configuration that is not theirs; merge it or correct config.json"
        )


def _cause(error: Exception) -> str:
    # torch advises to run the code that the file holds.
    more = "weights_only" in str(error)
    return "it holds more than tensors, and no code of a file is run" if more else one_line(error)


def _is_finite(weight: "torch.Tensor") -> bool:
    # NumPy's are one pass on one thread: threads of torch wait for each other longer than this takes.
    values = weight.detach().numpy()
    return not values.size or bool(np.isfinite(values.min()) and np.isfinite(values.max()))


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
