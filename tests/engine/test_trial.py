"""The trial of a model: what it measures is what the model does, on models that do one thing in another way."""

from collections.abc import Callable
from itertools import count
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from biocache.engine.models.traits import Traits
from biocache.engine.models.trial import TrialSample, try_model
from biocache.store.errors import ModelError

LAYERS, HEADS, FEATURES = 3, 2, 4
SAMPLES = [TrialSample(np.arange(1, 1 + size)) for size in (9, 5, 4)]


class Toy(torch.nn.Module):
    """A model of the shape of those of transformers; `change` is given its outputs, ids and mask."""

    def __init__(self, change: Callable[..., Any] | None = None, *, causal: bool = False) -> None:
        super().__init__()
        self.config = SimpleNamespace(model_type="toy", pad_token_id=0, num_hidden_layers=LAYERS)
        self.device = torch.device("cpu")
        generator = torch.Generator().manual_seed(0)
        self.embedding = torch.nn.Embedding.from_pretrained(torch.randn(32, FEATURES, generator=generator))
        self.change = change
        self.causal = causal
        # Out of sight: what it holds cannot be seen.
        self.calls = count(1)

    def get_input_embeddings(self) -> torch.nn.Module:
        return self.embedding

    def forward(
        self,
        input_ids: Any,
        attention_mask: Any,
        output_hidden_states: bool,
        output_attentions: bool,
        return_dict: bool,
    ) -> Any:
        number = next(self.calls)
        state = self.embedding(input_ids)
        states, maps = [state], []
        for layer in range(LAYERS):
            score = torch.stack([state @ state.mT * (1 + head + layer) for head in range(HEADS)], 1)
            score = score.masked_fill(attention_mask[:, None, None] == 0, -torch.inf)
            if self.causal:
                score = score.masked_fill(torch.ones(score.shape[-2:], dtype=torch.bool).triu(1), -torch.inf)
            maps.append(score.softmax(-1))
            state = state + (maps[-1].mean(1) @ state) / 2
            states.append(state)
        outputs = SimpleNamespace(hidden_states=states, attentions=maps if output_attentions else None, number=number)
        if self.change is not None:
            self.change(self, outputs, input_ids, attention_mask)
        return outputs


def tried(model: Any, samples: list[TrialSample] = SAMPLES, *, attention: bool = True) -> Traits:
    return try_model(model, samples, name="toy", compute_dtype="float32", attention=attention)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("attention", [False, True])
def test_a_plain_model(causal: bool, attention: bool) -> None:
    found = tried(Toy(causal=causal), attention=attention)
    maps = {"heads": HEADS, "causal_maps": causal} if attention else {}
    assert found == Traits((FEATURES,) * (LAYERS + 1), padded=True, causal=causal, **maps)


@pytest.mark.parametrize("causal", [False, True])
def test_a_sample_that_ends_as_it_begins(causal: bool) -> None:
    sample = TrialSample(np.array([3, 5, 7, 9, 3]))
    assert tried(Toy(causal=causal), [sample], attention=False).causal == causal


def test_one_sample_of_one_token() -> None:
    found = tried(Toy(), [TrialSample(np.array([3]))])
    assert (found.features, found.heads, found.padded) == ((FEATURES,) * (LAYERS + 1), HEADS, True)


def neighbours(_model: Toy, outputs: Any, _ids: Any, _mask: Any) -> None:
    """Mix each token with the next position, padding included, as a convolution does."""
    outputs.hidden_states[2] = outputs.hidden_states[2] + outputs.hidden_states[2].roll(-1, 1)


def longest_decides(_model: Toy, outputs: Any, ids: Any, _mask: Any) -> None:
    if ids.shape[1] > 6:
        outputs.hidden_states[1] = outputs.hidden_states[1] * 1.5


def mean_of_batch(_model: Toy, outputs: Any, _ids: Any, _mask: Any) -> None:
    outputs.hidden_states[1] = outputs.hidden_states[1] + outputs.hidden_states[1].mean(0, keepdim=True)


def noise(_model: Toy, outputs: Any, _ids: Any, _mask: Any) -> None:
    outputs.hidden_states[3] = outputs.hidden_states[3] + 0.01 * outputs.number


def changes_for_good(model: Toy, outputs: Any, ids: Any, _mask: Any) -> None:
    model.short = getattr(model, "short", False) or ids.shape[1] < 5
    if model.short:
        outputs.hidden_states[1] = outputs.hidden_states[1] * 2


def of_long_ones(held: Callable[[Toy], Any]) -> Callable[..., Any]:
    """Return a change that a short sample makes for good, and that only long ones show."""

    def change(model: Toy, outputs: Any, ids: Any, mask: Any) -> None:
        kept = held(model)
        if ids.shape[1] < 5:
            kept["short"] = True
        if "short" in kept and ids.shape[1] == 9 and len(ids) == 1 and int(mask.sum()) == 9:
            outputs.hidden_states[1] = outputs.hidden_states[1] * 2

    return change


in_a_value = of_long_ones(vars)
in_a_list = of_long_ones(lambda model: model.__dict__.setdefault("modes", [{}])[0])
in_an_object = of_long_ones(lambda model: vars(model.__dict__.setdefault("mode", SimpleNamespace(inner={}))))
in_the_configuration = of_long_ones(lambda model: vars(model.config))


@pytest.mark.parametrize("change", [neighbours, longest_decides])
def test_what_padding_changes_goes_unpadded(change: Callable[..., Any]) -> None:
    assert not tried(Toy(change)).padded


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (mean_of_batch, "gives other numbers for a sample in a batch than alone"),
        (noise, "does not give the same numbers for the same input"),
        (changes_for_good, "a sample of 5 tokens differed when it was read again after others"),
        (in_a_value, "a sample of 9 tokens differed when it was read again after others"),
        (in_a_list, "a sample of 9 tokens differed when it was read again after others"),
        (in_an_object, "a sample of 9 tokens differed when it was read again after others"),
        (in_the_configuration, "a sample of 9 tokens differed when it was read again after others"),
    ],
)
def test_what_cannot_be_cached_is_refused(change: Callable[..., Any], told: str) -> None:
    with pytest.raises(ModelError, match=told):
        tried(Toy(change))


def counts(model: Toy, outputs: Any, _ids: Any, _mask: Any) -> None:
    model.last = outputs.number


def replaces_a_buffer(model: Toy, _outputs: Any, ids: Any, _mask: Any) -> None:
    model.register_buffer("frequencies", torch.ones(ids.shape[1]))


@pytest.mark.parametrize("change", [counts, replaces_a_buffer])
def test_a_model_that_changes_itself_runs_one_batch_at_a_time(change: Callable[..., Any]) -> None:
    assert tried(Toy(change)).stateful
    assert not tried(Toy()).stateful


def test_a_model_in_which_no_token_sees_another_is_refused() -> None:
    def forget(model: Toy, outputs: Any, ids: Any, _mask: Any) -> None:
        outputs.hidden_states = [model.embedding(ids)] * (LAYERS + 1)

    with pytest.raises(ModelError, match="no token sees those before it"):
        tried(Toy(forget))


def window(_model: Toy, outputs: Any, _ids: Any, _mask: Any) -> None:
    outputs.attentions[0] = outputs.attentions[0][..., :3]


def scores(_model: Toy, outputs: Any, _ids: Any, _mask: Any) -> None:
    outputs.attentions[0] = outputs.attentions[0] * 3 - 0.5


def no_map(_model: Toy, outputs: Any, _ids: Any, _mask: Any) -> None:
    outputs.attentions[0] = None


def sink(_model: Toy, outputs: Any, _ids: Any, _mask: Any) -> None:
    outputs.attentions = [maps * 0.75 for maps in outputs.attentions]


def more_heads(_model: Toy, outputs: Any, _ids: Any, _mask: Any) -> None:
    outputs.attentions[2] = outputs.attentions[2].repeat(1, 2, 1, 1)


def mapless(_model: Toy, outputs: Any, _ids: Any, _mask: Any) -> None:
    outputs.attentions = ()


def several_maps_a_block(_model: Toy, outputs: Any, _ids: Any, _mask: Any) -> None:
    outputs.attentions = [*outputs.attentions, *outputs.attentions]


@pytest.mark.parametrize(
    ("change", "without", "why"),
    [
        (window, (1,), "not (head, query, key)"),
        (scores, (1,), "no probabilities"),
        (no_map, (1,), "return none"),
        (more_heads, (1, 2, 3), "different numbers of heads (2, 4)"),
        (mapless, (1, 2, 3), "return none"),
        (several_maps_a_block, (1, 2, 3), "return none"),
    ],
)
def test_maps_that_are_none_are_left_out(change: Callable[..., Any], without: tuple[int, ...], why: str) -> None:
    found = tried(Toy(change))
    assert found.without_maps == without
    assert why in found.no_maps
    assert found.padded


def test_a_sink_is_seen() -> None:
    found = tried(Toy(sink))
    assert (found.sink, found.without_maps) == (True, ())
    assert not tried(Toy()).sink


def test_what_costs_most_is_computed_once_where_nothing_changed() -> None:
    """The longest sample alone, and a short one padded to its length."""
    read: list[tuple[int, int]] = []

    def note(_model: Toy, _outputs: Any, ids: Any, mask: Any) -> None:
        read.append((ids.numel(), int(mask.sum())))

    samples = [TrialSample(1 + np.arange(size) % 31) for size in (300, 20, 4)]
    assert tried(Toy(note), samples).padded
    assert [one for one in read if one[0] >= 300] == [(300, 300), (300, 3)]
    assert sum(size for size, _ in read) < 2 * 300 + 400


def pooled(_model: Toy, outputs: Any, _ids: Any, _mask: Any) -> None:
    outputs.hidden_states[2] = outputs.hidden_states[2][:, ::2]


def projected(_model: Toy, outputs: Any, _ids: Any, _mask: Any) -> None:
    outputs.hidden_states[3] = outputs.hidden_states[3][..., :2]


@pytest.mark.parametrize(("change", "features"), [(pooled, (4, 4, 0, 4)), (projected, (4, 4, 4, 2))])
def test_states_of_another_shape_are_seen(change: Callable[..., Any], features: tuple[int, ...]) -> None:
    assert tried(Toy(change)).features == features


def test_states_that_are_no_rows_of_tokens_are_refused() -> None:
    def stack(_model: Toy, outputs: Any, _ids: Any, _mask: Any) -> None:
        outputs.hidden_states = [state[None] for state in outputs.hidden_states]

    with pytest.raises(ModelError, match=r"hidden states that are not .sample, token, feature."):
        tried(Toy(stack))


def test_a_model_without_hidden_states_is_one_line() -> None:
    def drop(_model: Toy, outputs: Any, _ids: Any, _mask: Any) -> None:
        outputs.hidden_states = None

    with pytest.raises(ModelError, match="returns no hidden states"):
        tried(Toy(drop))
