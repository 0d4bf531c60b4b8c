"""Adapters of peft: found beside or instead of weights, and merged into the weights of their base."""

import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from biocache.engine.models.calling import call, embedding_count, model_inputs, states_of
from biocache.engine.models.files import WEIGHTS, find_file
from biocache.engine.models.parts import Reading
from biocache.engine.models.sources import ModelSource
from biocache.store.errors import ModelError, SettingError
from biocache.store.paths import resolved
from biocache.store.text import one_line, shown

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

__all__ = ["adapter_of", "merge", "with_adapter", "without_adapter"]

# What peft puts before the names of a model's modules.
_PREFIX = "base_model.model."
# Difference by rounding between states with an adapter beside the weights and with merged weights, of the largest.
_ROUNDING = 2e-4


def adapter_of(place: str) -> Path | None:
    """Return the configuration file of the adapter in a folder or hub id; None where there is none.

    On the hub it is looked for where the hub can be reached, or in the cache.
    """
    from transformers.utils.peft_utils import find_adapter_config_file

    if Path(place).is_file():
        return None
    # What cannot be reached is told when weights are loaded.
    with suppress(OSError, ValueError):
        found = find_adapter_config_file(place)
        return None if found is None else Path(found)
    return None


def with_adapter(source: ModelSource, *, merge: bool) -> ModelSource:
    """Return the source of a model whose folder or hub id holds an adapter: of its base, and the adapter.

    Parameters
    ----------
    source
        The source of any model.
    merge
        Whether adapters are to be merged.

    Raises
    ------
    ModelError
        If it has an adapter that is not to be merged or names no base.
    SettingError
        If peft is not installed.
    """
    place = source.weights
    found = adapter_of(place)
    if found is None:
        return source
    if not merge:
        raise ModelError(
            f"model {source.name!r}: {place} holds an adapter beside or instead of weights (adapter_config.json); pass "
            "--merge-adapters to have it merged into its base, which needs peft (pip install 'biocache[adapters]'), or "
            "give the folder of the merged model"
        )
    if find_spec("peft") is None:
        raise SettingError(
            f"--merge-adapters: peft, which merges the adapter of model {source.name!r}, is not installed; install it "
            "with pip install 'biocache[adapters]'"
        )
    base = place if _has_weights(source, place) else _base_of(source, found)
    if source.checkpoint is not None and base != place:
        base = source.base
    if base != place and adapter_of(base) is not None:
        raise ModelError(
            f"the base {base} of the adapter of model {source.name!r} holds an adapter itself; merge that one with "
            "merge_and_unload() of peft, save the model, and name it as the base in adapter_config.json"
        )
    adapter = "" if source.random_weights else place
    return replace(source, base=base, checkpoint=None, adapter=adapter)


def _has_weights(source: ModelSource, place: str) -> bool:
    """Return whether a place holds whole weights beside an adapter."""
    if Path(place).is_dir():
        return any((Path(place) / name).is_file() for name in WEIGHTS)
    if any(find_file(place, name) for name in WEIGHTS):
        raise ModelError(
            f"model {source.name!r}: {place} on the hub holds whole weights and an adapter, and does not say whether "
            "one is in the other; download it, remove the files of one of them, and give the folder"
        )
    return False


def _base_of(source: ModelSource, file: Path) -> str:
    """Return the base that an adapter names: a folder or hub id."""
    try:
        values = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise ModelError(
            f"the adapter of model {source.name!r} cannot be read from {file} ({one_line(error)}); give a sound file"
        ) from error
    base = values.get("base_model_name_or_path") if isinstance(values, dict) else None
    if not isinstance(base, str) or not base:
        raise ModelError(
            f"the adapter of model {source.name!r} names {shown(base)} as its base in {file}; write the folder or hub "
            "id of the model that it was trained on to base_model_name_or_path"
        )
    folder = Path(base).expanduser()
    if folder.is_dir():
        return str(resolved(folder))
    if folder.is_absolute() or base.startswith("."):
        raise ModelError(
            f"the base of the adapter of model {source.name!r}, {base}, is not a folder; correct "
            f"base_model_name_or_path in {file}"
        )
    return base


@contextmanager
def without_adapter(place: str) -> Iterator[str]:
    """Yield a folder with the files of another but those of an adapter, which transformers would add to the model."""
    with TemporaryDirectory() as folder:
        for file in Path(place).iterdir():
            if not file.name.startswith("adapter_"):
                (Path(folder) / file.name).symlink_to(file.resolve())
        yield folder


class _AdapterError(ValueError):
    """An adapter that cannot be merged."""


def merge(whole: "PreTrainedModel", reading: Reading, source: ModelSource) -> None:
    """Merge the adapter of a source into a model in place.

    Parameters
    ----------
    whole
        The base with its weights, as `Reading.load` returns it.
    reading
        How its stack of layers is found.
    source
        Where the adapter is.

    Raises
    ------
    ModelError
        If it cannot be merged: its type changes no weights, its weights are not those of the base, or the merged
        model does not give what the base gives with the adapter.
    """
    beside, file = source.adapter == source.weights, adapter_of(source.adapter)
    before = {name: value.clone() for name, value in whole.state_dict().items()} if beside else {}
    try:
        # What peft warns of is checked.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _merge(whole, reading, source.adapter)
        if beside:
            _refuse_merged(before, whole, reading, source)
    # peft raises errors without a common base for files that are not its own.
    except Exception as error:
        raise ModelError(
            f"the adapter{_kind_of(file)} of model {source.name!r} in {source.adapter} cannot be merged into "
            f"{source.weights} ({one_line(error)}); give the merged model, or the base that it was trained on"
        ) from error


def _kind_of(file: Path | None) -> str:
    with suppress(OSError, ValueError):
        values = {} if file is None else json.loads(file.read_bytes())
        return f" of type {values['peft_type']}" if isinstance(values, dict) and "peft_type" in values else ""
    return ""


def _merge(whole: "PreTrainedModel", reading: Reading, place: str) -> None:
    import torch
    from peft import PeftConfig, PeftModel
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils import load_peft_weights

    config = PeftConfig.from_pretrained(place)
    if config.is_prompt_learning or config.is_adaption_prompt:
        raise _AdapterError("its type adds to the input of the model or of its layers, and changes no weights")
    tensors = load_peft_weights(place, device="cpu")
    holder, prefix = _holder(whole, tensors)
    # A class of peft for a task would look for its head.
    config.task_type = None
    saved = getattr(config, "modules_to_save", None)
    if saved:
        present = {name.rpartition(".")[2] for name, _ in holder.named_modules()}
        config.modules_to_save = [name for name in saved if name in present] or None
    with torch.random.fork_rng(devices=[]):
        adapted = PeftModel.from_pretrained(holder, place, config=config)
    adapted.eval()
    _require_loaded(adapted, tensors, prefix, whole)
    given = _states(reading.stack(whole))
    if not hasattr(adapted.base_model, "merge_and_unload"):
        raise _AdapterError("peft cannot merge its type")
    adapted.merge_and_unload(safe_merge=True)
    stack = reading.stack(whole)
    if any(isinstance(module, BaseTunerLayer) for module in whole.modules()):
        raise _AdapterError("peft leaves a part of it beside the weights")
    for own, merged in zip(given, _states(stack), strict=True):
        if not bool(((own - merged).abs() <= _ROUNDING * own.abs().max()).all()):
            raise _AdapterError("merged weights give other numbers than the adapter beside its base")


def _holder(whole: "PreTrainedModel", tensors: Mapping[str, Any]) -> "tuple[torch.nn.Module, str]":
    """Return a module in which a model has the names that an adapter's tensors have, and what is before them."""
    import torch

    names = [name.removeprefix(_PREFIX) for name in tensors]
    leaves = {name for name, module in whole.named_modules() if not any(True for _ in module.children())}
    prefix = f"{whole.base_model_prefix}."
    plain = sum(_is_in(name, leaves) for name in names)
    under = sum(name.startswith(prefix) and _is_in(name.removeprefix(prefix), leaves) for name in names)
    if not plain and not under:
        raise _AdapterError(
            f"its weights, such as {names[0]}, are of no module of the base" if names else "it is empty"
        )
    if plain >= under:
        return whole, _PREFIX
    # As the model with a head that the adapter was trained on, of which only the model is here.
    holder = torch.nn.Module()
    setattr(holder, prefix[:-1], whole)
    holder.config = whole.config
    return holder, f"{_PREFIX}{prefix}"


def _is_in(name: str, leaves: set[str]) -> bool:
    """Return whether a tensor is of one of some innermost modules, or of what an adapter adds to it."""
    while name := name.rpartition(".")[0]:
        if name in leaves:
            return True
    return False


def _require_loaded(adapted: Any, tensors: Mapping[str, Any], prefix: str, whole: "PreTrainedModel") -> None:
    """Refuse an adapter that lacks tensors, or has others than those of the model and of heads, which are left out."""
    import torch
    from peft import get_peft_model_state_dict

    state = get_peft_model_state_dict(adapted, save_embedding_layers=False)
    missing = sorted(set(state) - set(tensors))
    # Embeddings may be in the file as a whole.
    state |= {name: value for name, value in adapted.state_dict().items() if name in tensors}
    own = {name.partition(".")[0] for name, _ in whole.named_children()}
    unused = [
        name
        for name in sorted(set(tensors) - set(state))
        if name.startswith(prefix) and (prefix != _PREFIX or name.removeprefix(prefix).partition(".")[0] in own)
    ]
    if missing or unused:
        what = "lacks" if missing else "has"
        raise _AdapterError(
            f"it {what} {(missing or unused)[0]}{'' if missing else ', which is of no module of the base'}"
        )
    unequal = [name for name in state if not torch.equal(state[name].float(), tensors[name].float())]
    if unequal:
        raise _AdapterError(f"its weight {unequal[0]} is not read as it is stored")


def _states(stack: "PreTrainedModel") -> "list[torch.Tensor]":
    """Return the hidden states of a few tokens."""
    import numpy as np
    import torch

    with torch.inference_mode(), torch.random.fork_rng(devices=[]):
        ids = np.arange(1, min(9, embedding_count(stack) or 9))
        inputs = model_inputs(stack.eval(), [ids], None)
        return [state.clone() for state in states_of(call(stack, inputs, hidden=True, attention=False))]


def _refuse_merged(
    before: "Mapping[str, torch.Tensor]", whole: "PreTrainedModel", reading: Reading, source: ModelSource
) -> None:
    """Refuse weights that hold the adapter beside them already: they are nearer to its base with than without it.

    Where the base that it names is not at hand, or is this folder, the weights are its base, as for transformers.
    """
    import torch

    file = adapter_of(source.adapter)
    named = json.loads(file.read_bytes()).get("base_model_name_or_path") if file is not None else None
    if (
        not isinstance(named, str)
        or not named
        or (Path(named).is_dir() and resolved(Path(named)) == Path(source.weights))
    ):
        return
    try:
        base = reading.load(named, attn_implementation="eager", dtype=torch.float32).state_dict()
    # Whatever it is, it is not at hand.
    except Exception:
        return
    apart = together = 0.0
    for name, value in whole.state_dict().items():
        change = value - before[name]
        if name in base and base[name].shape == value.shape and bool(change.any()):
            apart += float((before[name] - base[name]).square().sum())
            together += float((before[name] - base[name] - change).square().sum())
    if together < apart:
        raise _AdapterError(f"these weights are those of {named} with the adapter merged already; remove its files")
