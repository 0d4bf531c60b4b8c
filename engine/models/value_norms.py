"""Value norms: the norm of each token's value vector after the output projection, head by head.

For a head with the value projection V, the output projection O and the attention a, a block adds ``sum_j a_ij f(x_j)``
to token i, with ``f(x) = (x W_V + b_V) W_O``, and the bias of O. The norm of ``f(x_j)`` times ``a_ij`` is what token j
really adds (Kobayashi et al., EMNLP 2020, https://doi.org/10.18653/v1/2020.emnlp-main.574).

Which modules V and O are is not taken from their names. Two linear modules of a block are the ones if its maps times
the values of the first are the input of the second, head by head, and the sum of all ``a_ij f(x_j)`` and the bias is
the output of the second. A model without such modules in each of its blocks is refused.
"""

import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from biocache.engine.models.calling import call, maps_by_layer
from biocache.store.errors import ModelError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

__all__ = ["TRACED_TOKENS", "Projection", "ValueNorms", "find_projections"]

#: Tokens of the samples on which projections are looked for: what all modules are given and give is held at once.
TRACED_TOKENS = 16
# Linear modules that are called between the values of a block and its output projection, at most.
_BETWEEN = 16


@dataclass(frozen=True)
class Projection:
    """Where a block computes its values, and what it does with them.

    Attributes
    ----------
    value, output
        Names of the two modules. That of values may give queries and keys as well.
    number
        Number of the call of the first in a forward pass, from 0: blocks may share their weights.
    heads, value_heads
        Heads of the maps, and those of values, each of which serves as many.
    size
        Features of a value.
    grouped
        Whether queries, keys and values of a value head are together, in this order, instead of all values at the end.
    """

    value: str
    output: str
    number: int
    heads: int
    value_heads: int
    size: int
    grouped: bool

    def values(self, given: "torch.Tensor") -> "torch.Tensor":
        """Return the values (..., head, size), in float32, in what the first module gives (..., feature)."""
        heads = given.float()
        if self.grouped:
            heads = heads.unflatten(-1, (self.value_heads, -1, self.size))[..., -1, :]
        else:
            heads = heads[..., -self.value_heads * self.size :].unflatten(-1, (self.value_heads, self.size))
        values: torch.Tensor = heads.repeat_interleave(self.heads // self.value_heads, dim=-2)
        return values

    def weights(self, output: "torch.nn.Module") -> "torch.Tensor":
        """Return the output projection of each head, float32 (head, size, feature)."""
        import torch

        weight: torch.Tensor = output.weight  # type: ignore[assignment]
        matrix = weight.T if isinstance(output, torch.nn.Linear) else weight
        heads: torch.Tensor = matrix.float().unflatten(0, (self.heads, self.size))
        return heads


@dataclass(frozen=True, eq=False)
class _Call:
    """A call of a linear module: its name, number and module, what it was given and what it gave (token, feature)."""

    name: str
    number: int
    module: "torch.nn.Module"
    given: "torch.Tensor"
    gave: "torch.Tensor"


def _is_linear(module: "torch.nn.Module") -> bool:
    import torch
    from transformers.pytorch_utils import Conv1D

    return isinstance(module, torch.nn.Linear | Conv1D)


def find_projections(
    model: "PreTrainedModel",
    inputs: "Sequence[Mapping[str, torch.Tensor]]",
    layers: Iterable[int],
    *,
    name: str,
    tolerance: float,
) -> dict[int, Projection]:
    """Find the value and output projections of some blocks.

    Parameters
    ----------
    model
        The model.
    inputs
        Its inputs for some samples, each alone. They are looked for on the first, and compared on all.
    layers
        The blocks, from 1, all of which return maps.
    name
        The model's name in messages.
    tolerance
        Difference by rounding, of the largest value of a block.

    Returns
    -------
    dict of int to Projection
        By block.

    Raises
    ------
    ModelError
        If those of a block are not among its linear modules.
    """
    found: dict[int, Projection] = {}
    for place, one in enumerate(inputs):
        calls, maps = _traced(model, one)
        begin = 0
        for layer in sorted(layers):
            known = [found[layer]] if place else []
            matched = _matched(calls[begin:], maps[layer], known, tolerance) if layer in maps else None
            if matched is None:
                raise ModelError(
                    f"model {name!r} ({model.config.model_type}): value norms cannot be kept, because no two linear "
                    f"modules are the value and output projections of its block {layer}: none add up to what its "
                    "attention gives; pass --keep=hidden,attention"
                )
            found[layer], end = matched
            begin += end
    return found


def _traced(
    model: "PreTrainedModel", inputs: "Mapping[str, torch.Tensor]"
) -> "tuple[list[_Call], Mapping[int, torch.Tensor]]":
    """Run a sample through the model; return the calls of its linear modules, and its maps (head, query, key)."""
    import torch

    calls: list[_Call] = []
    counts = Counter[str]()

    def record(name: str, module: "torch.nn.Module", given: tuple[Any, ...], gave: Any) -> None:
        number = counts[name]
        counts[name] += 1
        if given and given[0].ndim == 3 and len(given[0]) == 1:
            calls.append(_Call(name, number, module, given[0][0].float(), gave[0].float()))

    hooks = [
        module.register_forward_hook(partial(record, name))
        for name, module in model.named_modules()
        if _is_linear(module)
    ]
    try:
        with torch.inference_mode():
            outputs = call(model, inputs, hidden=True, attention=True)
            maps = maps_by_layer(model.config, outputs)
    finally:
        for hook in hooks:
            hook.remove()
    return calls, {layer: one[0].float() for layer, one in maps.items()}


def _matched(
    calls: Sequence[_Call], maps: "torch.Tensor", known: Sequence[Projection], tolerance: float
) -> tuple[Projection, int] | None:
    """Return the projections of the block with some maps, and the number of calls up to its last.

    They are looked for among those known, or among all.
    """
    for last, output in enumerate(calls):
        for value in reversed(calls[max(0, last - _BETWEEN) : last]):
            candidates = known or _candidates(value, output, len(maps))
            for one in candidates:
                named = (one.value, one.number, one.output) == (value.name, value.number, output.name)
                if named and _holds(one, value, output, maps, tolerance):
                    return one, last + 1
    return None


def _candidates(value: _Call, output: _Call, heads: int) -> Iterator[Projection]:
    """Yield how the values of some heads may lie in what a module gives, as its sizes allow it."""
    size, rest = divmod(output.given.shape[-1], heads)
    if rest or not size or value.gave.shape[-1] % size:
        return
    parts = value.gave.shape[-1] // size
    # Values alone, or behind the queries of all heads and their own keys.
    fused, odd = divmod(parts - heads, 2)
    for value_heads, grouped in ((parts, False), (fused, False), (fused, True)):
        if 0 < value_heads <= heads and heads % value_heads == 0 and not (odd and value_heads == fused):
            yield Projection(value.name, output.name, value.number, heads, value_heads, size, grouped)


def _holds(one: Projection, value: _Call, output: _Call, maps: "torch.Tensor", tolerance: float) -> bool:
    """Return whether attention times values is what the output projection is given, and the sum over heads its own."""
    import torch

    if len(value.gave) != maps.shape[-1] or len(output.given) != maps.shape[-2]:
        return False
    mixed = maps @ one.values(value.gave).transpose(0, 1)
    if not _close(mixed.transpose(0, 1).flatten(1), output.given, tolerance):
        return False
    projected = one.values(value.gave).transpose(0, 1) @ one.weights(output.module)
    total = (maps @ projected).sum(0)
    bias = output.module.bias
    return _close(total if not isinstance(bias, torch.Tensor) else total + bias.float(), output.gave, tolerance)


def _close(own: "torch.Tensor", given: "torch.Tensor", tolerance: float) -> bool:
    return own.shape == given.shape and bool((own - given).abs().max() <= tolerance * given.abs().max())


class ValueNorms:
    """Takes the norms of a model's values while it runs.

    Parameters
    ----------
    model
        The model.
    found
        Its projections, from `find_projections`.
    """

    def __init__(self, model: "PreTrainedModel", found: Mapping[int, Projection]) -> None:
        self._model = model
        # By module and the number of its call: the block, its projection, and the factor of its norms.
        self._places: dict[str, dict[int, tuple[int, Projection, torch.Tensor]]] = {}
        for layer, one in found.items():
            self._places.setdefault(one.value, {})[one.number] = (
                layer,
                one,
                _factor(one.weights(model.get_submodule(one.output))),
            )
        # Batches run in several threads at once.
        self._local = threading.local()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch the model for the length of a context."""
        hooks = [
            self._model.get_submodule(name).register_forward_hook(partial(self._take, name)) for name in self._places
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    @contextmanager
    def of_call(self) -> "Iterator[dict[int, torch.Tensor]]":
        """Yield what will hold, by block, the norms of one call in this thread: float32 (sample, head, token)."""
        self._local.norms, self._local.counts = {}, Counter[str]()
        try:
            yield self._local.norms
        finally:
            del self._local.norms, self._local.counts

    def _take(self, name: str, module: "torch.nn.Module", given: tuple[Any, ...], gave: "torch.Tensor") -> None:
        import torch

        norms = getattr(self._local, "norms", None)
        if norms is None:
            return
        place = self._places[name].get(self._local.counts[name])
        self._local.counts[name] += 1
        if place is not None:
            layer, one, factor = place
            norms[layer] = torch.linalg.vector_norm(one.values(gave).transpose(1, 2) @ factor, dim=-1)


def _factor(weights: "torch.Tensor") -> "torch.Tensor":
    """Return a matrix of each head, (head, size, at most size), that gives values the norms that the projection does.

    It is the transpose of R, where W_O^T = Q R: Q changes no norm. Unlike ``W_O W_O^T`` it is as exact as the product
    with W_O, and unlike that no longer than a value.
    """
    import torch

    factor: torch.Tensor = torch.linalg.qr(weights.double().transpose(1, 2), mode="r").R.transpose(1, 2)
    return factor.float()
