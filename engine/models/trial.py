"""A trial of a loaded model on a few samples: what it returns, and whether batches give what samples alone give.

What a configuration says is not always what a model does. Nothing is taken from its name that can be measured: the
width of every hidden state, the layers that have attention maps, whether a query sees later keys, whether padding or
the other samples of a batch change a sample's numbers, and whether the same input gives the same numbers again.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from biocache.engine.machine import capped_threads
from biocache.engine.models.calling import call, maps_by_layer, model_inputs, states_of
from biocache.engine.models.head_token import head_token
from biocache.engine.models.traits import Traits
from biocache.engine.models.value_norms import TRACED_TOKENS, find_projections
from biocache.store.errors import BiocacheError, ModelError, ResourceError
from biocache.store.text import one_line

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

__all__ = ["COMPUTE_STEP", "TrialSample", "rounding", "try_model"]

#: Relative step of the data types that a model computes in.
COMPUTE_STEP = {"float32": 2.0**-23, "bfloat16": 2.0**-8, "float16": 2.0**-11}
# Steps by which two computations of the same numbers may differ, of the largest value of a layer: sums are in another
# order in another batch, and blocks pass the difference on. What is wrong differs by as much as the values.
_STEPS = {"float32": 256, "bfloat16": 16, "float16": 32}
# The same for the sum of a row of a map.
_SUM_STEPS = {"float32": 1024, "bfloat16": 8, "float16": 16}
# Tokens up to which maps are compared; of longer samples the hidden states are, which take less memory.
_COMPARED = 128
# Tokens of the beginnings of a sample that are tried beside it.
_PIECES = (32, 16, 13, 8, 3)
# Products of a weight and a token that are worth a thread. With fewer, threads wait for each other: on a busy machine
# a trial of BERT-base on 92 tokens takes five times the processor time, and five times as long, with two as with one.
_WORTH_A_THREAD = 2 * 10**10


def rounding(compute_dtype: str) -> float:
    """Return by how much two computations of the same numbers may differ, of the largest value of a layer."""
    return COMPUTE_STEP[compute_dtype] * _STEPS[compute_dtype]


@dataclass(frozen=True, eq=False)
class TrialSample:
    """Token ids of a sample, and its token types where the model is fed some; int (token)."""

    ids: NDArray[np.integer]
    segments: NDArray[np.integer] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def part(self, tokens: slice) -> "TrialSample":
        """Return some of its tokens as a sample."""
        return TrialSample(self.ids[tokens], None if self.segments is None else self.segments[tokens])


@dataclass(frozen=True, eq=False)
class _Map:
    """What a layer's maps of one sample are; their values (head, query, key) are kept of short samples."""

    fault: str
    heads: int = 0
    causal: bool = True
    sink: bool = False
    values: NDArray[np.float32] | None = None


@dataclass(frozen=True, eq=False)
class _Seen:
    """What a model returned for one sample: hidden states (token, feature), and maps by layer."""

    states: tuple[NDArray[np.float32], ...]
    maps: dict[int, _Map]


def try_model(
    model: "PreTrainedModel",
    samples: Sequence[TrialSample],
    *,
    name: str,
    compute_dtype: str,
    attention: bool,
    norms: bool = False,
) -> Traits:
    """Try a model on samples of a corpus.

    Parameters
    ----------
    model
        As `biocache.engine.models.loading.load_model` returns it.
    samples
        Samples of different lengths, the longest first.
    name
        The model's name in messages.
    compute_dtype
        Data type that it computes in; decides what counts as rounding.
    attention
        Whether its maps are asked for.
    norms
        Whether its value norms are asked for; they need maps.

    Raises
    ------
    ModelError
        If it fails on a sample, does not give the same numbers for the same input, or its value norms are asked for and
        its projections are not known.
    ResourceError
        If the device has not enough memory for a sample.
    """
    import torch

    trial = _Trial(model, name, compute_dtype, attention=attention)
    products = len(samples[0]) * sum(weight.numel() for weight in model.parameters())
    with capped_threads(max(1, min(torch.get_num_threads(), products // _WORTH_A_THREAD))):
        return _traits(trial, model, samples, name=name, attention=attention, norms=norms)


def _traits(
    trial: "_Trial",
    model: "PreTrainedModel",
    samples: Sequence[TrialSample],
    *,
    name: str,
    attention: bool,
    norms: bool,
) -> Traits:
    # First: what a model computes once without derivatives, it does not compute again with them.
    read = head_token(model, [sample.ids for sample in samples])
    alone = trial.see(samples[:1])
    # After a first pass, which may fill what is computed once.
    begun = _state(model)
    alone += [trial.see([sample])[0] for sample in samples[1:]]
    if not any(_widths(alone)):
        raise ModelError(
            f"model {name!r} ({model.config.model_type}) returns hidden states that are not (sample, token, feature); "
            "biocache cannot read it"
        )
    # Beginnings of the longest, padded to one another and to its length: in some families a sample is padded to chunks,
    # or the longest of a batch decides how all are read. Both go by powers of two.
    longest = samples[0]
    pieces = [longest.part(slice(0, size)) for size in _PIECES if size < len(longest)] or [longest]
    single = [trial.see([piece])[0] for piece in pieces]
    together = trial.see(pieces)
    padded = trial.agree(together, single)
    padded = padded and trial.agree(trial.see(pieces[-1:], length=len(longest), maps=False), single[-1:])
    whole = pieces[0]
    if not padded:
        # Before a batch is held to be the reason.
        trial.require_same([whole], single[:1])
        turned = whole.part(slice(None, None, -1))
        if not trial.agree(trial.see([whole, turned]), [single[0], trial.see([turned])[0]]):
            raise ModelError(
                f"model {name!r} ({model.config.model_type}) gives other numbers for a sample in a batch than alone, "
                "also among samples of its length; biocache cannot tell which are meant"
            )
    causal = trial.is_causal(whole, single[0])
    trial.require_mixing(whole, single[0])
    # Last the longest, which costs most, where shorter ones may have changed what is done with it.
    trial.require_same(samples[1:], alone[1:])
    stateful = trial.draws or _state(model) != begun
    if stateful or not padded:
        trial.require_same(samples[:1], alone[:1])
    traits = Traits(_widths([*alone, *single]), padded, causal, stateful, head_token=read)
    if not attention:
        return traits
    sound, reason = _sound_layers([*alone, *single])
    maps = [one for layer in sound.values() for one in layer]
    if norms:
        short = [one for one in (*pieces, *samples) if len(one) <= TRACED_TOKENS]
        trial.require_projections(short, sound, reason)
    return replace(
        traits,
        heads=max((one.heads for one in maps), default=0),
        without_maps=tuple(layer for layer in range(1, len(traits.features)) if layer not in sound),
        no_maps=reason,
        padded_maps=all(trial.same_maps(one, other) for one, other in zip(together, single, strict=True)),
        causal_maps=all(one.causal for one in maps),
        sink=any(one.sink for one in maps),
    )


class _Trial:
    def __init__(self, model: "PreTrainedModel", name: str, compute_dtype: str, *, attention: bool) -> None:
        self._model = model
        self._name = name
        self._attention = attention
        self._tolerance = rounding(compute_dtype)
        self._sum_tolerance = COMPUTE_STEP[compute_dtype] * _SUM_STEPS[compute_dtype]
        # Whether it draws random numbers, from a generator that all threads share.
        self.draws = False

    def see(self, samples: Sequence[TrialSample], *, length: int = 0, maps: bool = True) -> list[_Seen]:
        """Run samples through the model together, padded to some length, and return what is of their tokens.

        Maps are not looked at where they are not asked for.
        """
        import torch

        segments = [one.segments for one in samples if one.segments is not None]
        try:
            with torch.inference_mode(), torch.random.fork_rng(devices=[]):
                drawn = torch.random.get_rng_state()
                inputs = model_inputs(self._model, [one.ids for one in samples], segments or None, length)
                outputs = call(self._model, inputs, hidden=True, attention=self._attention)
                states = states_of(outputs)
                layers = maps_by_layer(self._model.config, outputs) if maps else {}
                self.draws |= not torch.equal(drawn, torch.random.get_rng_state())
                return [self._seen(states, layers, row, len(one)) for row, one in enumerate(samples)]
        except torch.OutOfMemoryError as error:
            raise ResourceError(
                f"{self._model.device} has not enough memory for a sample of {len(samples[0])} tokens; pass a smaller "
                "--max-length, or --device=cpu"
            ) from error
        except BiocacheError:
            raise
        # A model whose files do not belong together raises one of many errors.
        except Exception as error:
            raise ModelError(
                f"model {self._name!r} ({self._model.config.model_type}) fails on a sample of {len(samples[0])} tokens "
                f"({type(error).__name__}: {one_line(error)}); check that its configuration, weights and tokenizer "
                "belong together"
            ) from error

    def _seen(
        self, states: "Sequence[torch.Tensor]", maps: "Mapping[int, torch.Tensor]", row: int, tokens: int
    ) -> _Seen:
        return _Seen(
            tuple(_rows(state, row, tokens).float().cpu().numpy() for state in states),
            {layer: self._map(one, row, tokens) for layer, one in maps.items()},
        )

    def _map(self, maps: "torch.Tensor", row: int, tokens: int) -> _Map:
        if maps.ndim != 4 or row >= len(maps) or not maps.shape[2] == maps.shape[3] >= tokens:
            return _Map("theirs are not (head, query, key) of a sample's tokens")
        own = maps[row, :, :tokens, :tokens].float()
        total, slack = own.sum(-1), self._sum_tolerance
        # NaN is in no range.
        if not bool((own.amin() >= 0) & (total.amin() > 0) & (total.amax() <= 1 + slack)):
            return _Map("theirs are no probabilities")
        return _Map(
            "",
            heads=len(own),
            # The first query is looked at first: most maps are not causal there, or everywhere.
            causal=not bool(own[:, 0, 1:].any()) and not bool(own.triu(1).any()),
            sink=bool((total < 1 - slack).any()),
            values=own.cpu().numpy() if tokens <= _COMPARED else None,
        )

    def agree(self, seen: Sequence[_Seen], expected: Sequence[_Seen]) -> bool:
        """Return whether samples have the same hidden states but for rounding."""
        return all(
            len(one.states) == len(other.states) and all(map(self._are_same, one.states, other.states))
            for one, other in zip(seen, expected, strict=True)
        )

    def require_mixing(self, sample: TrialSample, seen: _Seen) -> None:
        """Refuse a model in which no token sees another one: a part of it is missing here."""
        ids = np.full_like(sample.ids, sample.ids[-1])
        if np.array_equal(ids, sample.ids):
            return
        other = self.see([TrialSample(ids, sample.segments)])[0]
        # To the last bit: what is computed from the token alone is the same in any data type.
        if all(np.array_equal(own[-1:], given[-1:]) for own, given in zip(other.states, seen.states, strict=True)):
            raise ModelError(
                f"in model {self._name!r} ({self._model.config.model_type}) no token sees those before it: a part of "
                "it, such as a compiled kernel of its attention, is missing on this machine"
            )

    def require_projections(self, samples: Sequence[TrialSample], layers: Collection[int], no_maps: str) -> None:
        """Refuse a model whose value and output projections are not known."""
        if not layers:
            raise ModelError(
                f"model {self._name!r} ({self._model.config.model_type}): value norms cannot be kept, because it has "
                f"no attention maps that can be kept ({no_maps}); pass --keep=hidden"
            )
        inputs = [
            model_inputs(self._model, [one.ids], None if one.segments is None else [one.segments]) for one in samples
        ]
        find_projections(self._model, inputs, layers, name=self._name, tolerance=self._tolerance)

    def require_same(self, samples: Sequence[TrialSample], before: Sequence[_Seen]) -> None:
        """Refuse a model that gives other numbers than before for samples alone."""
        for sample, seen in zip(samples, before, strict=True):
            if not self.agree(self.see([sample]), [seen]):
                raise ModelError(
                    f"model {self._name!r} ({self._model.config.model_type}) does not give the same numbers for the "
                    f"same input: a sample of {len(sample)} tokens differed when it was read again after others; its "
                    "activations cannot be cached"
                )

    def same_maps(self, one: _Seen, other: _Seen) -> bool:
        """Return whether two samples have the same maps but for rounding; those that are kept are compared."""
        pairs = [(one.maps[layer].values, other.maps[layer].values) for layer in one.maps.keys() & other.maps.keys()]
        return all(self._are_same(own, given) for own, given in pairs if own is not None and given is not None)

    def _are_same(self, own: NDArray[np.float32], given: NDArray[np.float32]) -> bool:
        if own.shape != given.shape:
            return False
        finite = np.isfinite(given)
        if not np.array_equal(finite, np.isfinite(own)):
            return False
        off = np.abs(own[finite] - given[finite])
        return bool((off <= self._tolerance * np.abs(given[finite]).max(initial=0.0)).all())

    def is_causal(self, sample: TrialSample, seen: _Seen) -> bool:
        """Return whether other last tokens leave the hidden states before them as they are."""
        others = sample.ids[sample.ids != sample.ids[-1]]
        if not len(others):
            return len(sample) == 1
        changed = TrialSample(np.append(sample.ids[:-1], others[0]), sample.segments)
        other = self.see([changed])[0]
        begun = [_Seen(tuple(state[:-1] for state in one.states), {}) for one in (other, seen)]
        return self.agree(begun[:1], begun[1:])


def _state(model: "PreTrainedModel") -> dict[str, Any]:
    """Return what a model's modules hold: tensors by identity and version, and what is in containers, by value."""
    known = dict[int, Any]()
    return {
        f"{name}.{key}": _held(value, known)
        for name, module in model.named_modules()
        for key, value in {**vars(module), **dict(module.named_buffers(recurse=False))}.items()
    }


def _held(value: Any, known: dict[int, Any]) -> Any:
    """Return a value in a form that compares: what is in containers and objects, and which function or module it is."""
    import torch

    if isinstance(value, torch.Tensor):
        return id(value), None if value.is_inference() else value._version
    if isinstance(value, bool | int | float | str | None):
        return value
    if id(value) not in known:
        # What holds itself.
        known[id(value)] = id(value)
        inside = value if callable(value) or isinstance(value, Mapping) else getattr(value, "__dict__", value)
        if isinstance(inside, Mapping):
            known[id(value)] = [(str(key), _held(one, known)) for key, one in inside.items()]
        elif isinstance(inside, list | tuple | set | frozenset):
            known[id(value)] = [_held(one, known) for one in inside]
    return known[id(value)]


def _rows(state: "torch.Tensor", row: int, tokens: int) -> "torch.Tensor":
    """Return the hidden state of a sample's tokens; nothing where it has not a row a token."""
    alike = state.ndim == 3 and row < len(state) and state.shape[1] >= tokens
    return state[row, :tokens] if alike else state.new_empty(0)


def _widths(seen: Sequence[_Seen]) -> tuple[int, ...]:
    """Return the features of each hidden state; 0 where it has not a row a token."""
    count = min(len(one.states) for one in seen)
    shapes = ({one.states[place].shape[1:] for one in seen} for place in range(count))
    return tuple(next(iter(shape))[0] if len(shape) == 1 and () not in shape else 0 for shape in shapes)


def _sound_layers(seen: Sequence[_Seen]) -> tuple[dict[int, list[_Map]], str]:
    """Return the maps of the layers whose maps are probabilities of a sample's tokens, and why others are not."""
    sound, reasons = dict[int, list[_Map]](), dict[str, None]()
    missing = _Map("they return none")
    for layer in range(1, len(seen[0].states)):
        maps = [one.maps.get(layer, missing) for one in seen]
        faults = dict.fromkeys(one.fault for one in maps if one.fault)
        if not faults:
            sound[layer] = maps
        reasons |= faults
    heads = sorted({one.heads for maps in sound.values() for one in maps})
    if len(heads) > 1:
        return {}, f"theirs have different numbers of heads ({', '.join(map(str, heads))})"
    return sound, "; ".join(reasons)
