"""State dicts of other trainers: found in a file, and fitted to a model by the names and shapes of their tensors."""

import contextlib
import re
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

__all__ = ["BUFFER", "Fitted", "StateDict", "StateDictError", "fit", "listed", "read_state_dicts"]

#: Names of what older releases saved beside weights: positions, masks and frequencies, which are computed.
BUFFER = re.compile(
    r"(^|\.)(position_ids|token_type_ids|inv_freq|masked_bias|(attn|attention|self)\.bias|embed_positions\.weights|version"
    r"|num_batches_tracked)$"
)
# Modules that wrap others and are named in the middle of their parts' names.
_WRAPPERS = frozenset(("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module"))
# How deep in a file's dicts a state dict is looked for.
_DEPTH = 3


class StateDictError(ValueError):
    """A file without the state dict of a model."""


@dataclass(frozen=True, eq=False)
class StateDict:
    """Tensors by name in a file.

    Attributes
    ----------
    place
        Keys of the dicts around it in the file; empty where it is the whole.
    tensors
        Tensors by name.
    mixed
        Whether objects that were left unread are among them.
    """

    place: tuple[str, ...]
    tensors: "Mapping[str, torch.Tensor]"
    mixed: bool = False


@dataclass(frozen=True, eq=False)
class Fitted:
    """A state dict under the names that transformers gives the model's tensors.

    Attributes
    ----------
    tensors
        Those of the model, and of heads that are named beside it.
    aside
        Names of tensors that are not of the model.
    changes
        What was done to find the names, as parts of a sentence; empty where they are those of transformers.
    """

    tensors: "Mapping[str, torch.Tensor]"
    aside: tuple[str, ...]
    changes: tuple[str, ...]


class _Unread:
    """What a file holds of a class that is not loaded: nothing of it is kept, and none of its code runs."""

    def __new__(cls, *_: Any, **__: Any) -> "_Unread":
        return object.__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def __setstate__(self, state: Any) -> None: ...


def read_state_dicts(file: Path) -> list[StateDict]:
    """Return the state dicts in a file of torch or safetensors.

    Objects of other classes in it, such as the settings that Lightning saves, are left unread.

    Parameters
    ----------
    file
        The file.

    Raises
    ------
    StateDictError
        If there is none.
    Exception
        If it is damaged or foreign: torch and safetensors raise errors without a common base.
    """
    if file.suffix == ".safetensors":
        from safetensors.torch import load_file

        return [StateDict((), load_file(file))]
    found = list(_state_dicts(_loaded(file), ()))
    if not found:
        raise StateDictError("it holds no tensors by name")
    return found


def _loaded(file: Path) -> Any:
    import torch
    from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

    unknown: list[Any] = []
    # Files of before torch 1.6 are loaded where they hold tensors alone.
    with contextlib.suppress(ValueError):
        unknown = [(_Unread, name) for name in get_unsafe_globals_in_checkpoint(file)]
    with safe_globals(unknown):
        return torch.load(file, map_location="cpu", weights_only=True)


def _state_dicts(values: Any, place: tuple[str, ...]) -> Iterator[StateDict]:
    import torch

    if not isinstance(values, Mapping):
        return
    named = {str(name): value for name, value in values.items() if isinstance(value, torch.Tensor)}
    if named:
        yield StateDict(place, named, any(isinstance(value, _Unread) for value in values.values()))
    if len(place) < _DEPTH:
        for name, value in values.items():
            yield from _state_dicts(value, (*place, str(name)))


@dataclass(frozen=True, eq=False)
class _Way:
    """A way to read a state dict: the names that begin with a prefix are, without it, those of the model."""

    found: StateDict
    prefix: str
    own: "Mapping[str, torch.Tensor]"

    def __str__(self) -> str:
        return repr(".".join((*self.found.place, self.prefix)))

    def rank(self, shapes: Mapping[str, tuple[int, ...]]) -> tuple[int, int]:
        """Return how many tensors have shape and name of the model's, and how many the name."""
        return sum(shapes[name] == tuple(value.shape) for name, value in self.own.items()), len(self.own)

    def repeats(self, other: "_Way") -> bool:
        """Return whether its tensors are, value for value, those of another way."""
        import torch

        return all(name in other.own and torch.equal(value, other.own[name]) for name, value in self.own.items())

    def require_alike(self, shapes: Mapping[str, tuple[int, ...]], kind: str) -> None:
        """Refuse tensors of other shapes or coarser types than those of the model."""
        unlike = [name for name, value in self.own.items() if shapes[name] != tuple(value.shape)]
        if unlike:
            sizes = [
                f"{self.prefix}{name} is {_size(self.own[name].shape)}, not {_size(shapes[name])}" for name in unlike
            ]
            raise StateDictError(f"tensors have not the shape that {kind} has by its config.json: {listed(sizes)}")

    def outer(self, base: str) -> str:
        """Return its prefix without the name of the model in a model with a head, which transformers knows."""
        return self.prefix.removesuffix(base) if f".{self.prefix}".endswith(f".{base}") else self.prefix


def _size(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape)) or "a number"


def listed(names: Sequence[str]) -> str:
    """Write the first of some names, and how many more there are."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def fit(found: Sequence[StateDict], model: "PreTrainedModel") -> Fitted:
    """Find the tensors of a model among state dicts.

    What wraps a model (``module.``, ``model.``, ``_orig_mod.``) puts a prefix before the names of its tensors: the one
    before the most tensors of the model's names and shapes.

    Parameters
    ----------
    found
        State dicts of a file.
    model
        The model, maybe without data.

    Raises
    ------
    StateDictError
        If no tensor is of the model, objects are among its tensors, tensors have other shapes than those of the model,
        or two prefixes have most of it.
    """
    kind = type(model).__name__
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    bare = [replace(one, tensors=_without_wrappers(one.tensors)) for one in found]
    ways = sorted((way for one in bare for way in _ways(one, shapes)), key=lambda way: way.rank(shapes), reverse=True)
    if not ways and len(bare) == 1:
        # Maybe names that transformers knows from older releases.
        return Fitted(bare[0].tensors, (), ())
    if not ways:
        raise StateDictError(f"no tensor in it has a name of {kind}, such as {next(iter(shapes))}")
    best = ways[0]
    if best.found.mixed:
        raise StateDictError("it holds more than tensors, and no code of a file is run")
    for other in ways[1:]:
        if 2 * other.rank(shapes)[0] >= max(1, best.rank(shapes)[0]) and not other.repeats(best):
            raise StateDictError(
                f"it holds {kind} more than once, at {best} and at {other}; save the state dict of one of them"
            )
    best.require_alike(shapes, kind)
    outer = best.outer(f"{model.base_model_prefix}.")
    inside = {name.removeprefix(outer): value for name, value in best.found.tensors.items() if name.startswith(outer)}
    aside = tuple(name for name in best.found.tensors if not name.startswith(outer))
    return Fitted(inside, aside, tuple(_changes(best, found[bare.index(best.found)], outer)))


def _without_wrappers(tensors: "Mapping[str, torch.Tensor]") -> "dict[str, torch.Tensor]":
    names = [".".join(part for part in name.split(".") if part not in _WRAPPERS) for name in tensors]
    # Both with and without: a model and its copy.
    return dict(tensors) if len(set(names)) < len(names) else dict(zip(names, tensors.values(), strict=True))


def _ways(found: StateDict, names: Container[str]) -> Iterator[_Way]:
    """Yield the ways to read a state dict, by the prefixes of the names that end with one of the model's."""
    ways: dict[str, dict[str, torch.Tensor]] = {}
    for name, value in found.tensors.items():
        parts = name.split(".")
        for start in range(len(parts)):
            own = ".".join(parts[start:])
            if own in names:
                ways.setdefault(name.removesuffix(own), {})[own] = value
    return (_Way(found, prefix, own) for prefix, own in ways.items())


def _changes(way: _Way, given: StateDict, outer: str) -> Iterator[str]:
    """Yield what was done to the names of a state dict, as it was given."""
    if given.place:
        yield f"{'.'.join(given.place)!r} read"
    names = dict(zip(way.found.tensors, given.tensors, strict=True))
    written = {own: names[f"{way.prefix}{own}"] for own in way.own}
    prefixes = {name.removesuffix(own) if name.endswith(own) else None for own, name in written.items()}
    prefix = prefixes.pop() if len(prefixes) == 1 else None
    if prefix is None:
        wrappers = sorted({part for name in written.values() for part in name.split(".")} & _WRAPPERS)
        yield f"{' and '.join(map(repr, wrappers))} taken out of the names"
    if outer or prefix not in (None, way.prefix):
        yield f"prefix {(prefix or way.prefix)!r} dropped"
