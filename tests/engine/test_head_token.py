"""Which token a head for sequences reads, of families whose heads differ."""

from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, T5EncoderModel

from biocache.engine.models.head_token import head_token

_SIZES = {
    "vocab_size": 40,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 32,
    "pad_token_id": 0,
}
_IDS = [np.arange(4, 12), np.array([5, 9]), np.array([7, 5, 9, 6, 8])]


def config_of(family: str, **settings: Any) -> Any:
    sizes = {
        "distilbert": {"vocab_size": 40, "dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32},
        "xlnet": {"vocab_size": 40, "d_model": 16, "n_layer": 2, "n_head": 2, "d_inner": 32},
        "gpt2": {"vocab_size": 40, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 32},
        "mpt": {"vocab_size": 40, "d_model": 16, "n_layers": 2, "n_heads": 2, "max_seq_len": 32},
    }.get(family, {**_SIZES, **({"num_key_value_heads": 2} if family == "llama" else {})})
    return AutoConfig.for_model(family, **sizes, **settings)


def model_of(config: Any) -> Any:
    torch.manual_seed(0)
    return AutoModel.from_config(config, attn_implementation="eager").eval().requires_grad_(requires_grad=False)


@pytest.mark.parametrize(
    ("family", "settings", "expected"),
    [
        ("bert", {}, "first"),
        ("roberta", {}, "first"),
        ("distilbert", {}, "first"),
        ("electra", {}, "first"),
        ("modernbert", {"classifier_pooling": "cls", "global_attn_every_n_layers": 1}, "first"),
        ("modernbert", {"classifier_pooling": "mean", "global_attn_every_n_layers": 1}, "none"),
        ("xlnet", {"summary_type": "last"}, "last"),
        ("gpt2", {}, "last"),
        ("llama", {}, "last"),
        ("mpt", {}, "last"),
    ],
)
def test_heads_of_families(family: str, settings: dict[str, Any], expected: str) -> None:
    model = model_of(config_of(family, **settings))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert head_token(model, _IDS) == expected
    assert not any(weight.requires_grad for weight in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_only_that_token_decides_what_the_head_predicts(family: str) -> None:
    """Independent of derivatives: the states of the others are changed, and the logits stay."""
    config = config_of(family)
    place = {"first": 0, "last": -1}[head_token(model_of(config), _IDS)]
    torch.manual_seed(0)
    whole = AutoModelForSequenceClassification.from_config(config, attn_implementation="eager").eval()
    ids = torch.from_numpy(_IDS[-1])[None]
    state = torch.randn(1, ids.shape[1], 16)
    other = torch.randn(1, ids.shape[1], 16)
    other[:, place] = state[:, place]

    def logits(states: torch.Tensor) -> torch.Tensor:
        # The last block of the model gives these states, whatever it was given.
        last = whole.bert.encoder if family == "bert" else whole.transformer.ln_f

        def given(_module: Any, _inputs: Any, outputs: Any) -> Any:
            if family != "bert":
                return states
            outputs.last_hidden_state = states
            return outputs

        hook = last.register_forward_hook(given)
        found: torch.Tensor = whole(input_ids=ids).logits
        hook.remove()
        return found

    assert torch.equal(logits(state), logits(other))
    assert not torch.equal(logits(state), logits(torch.randn_like(state)))


def test_no_head_reads_the_encoder_of_an_encoder_decoder() -> None:
    config = AutoConfig.for_model("t5", vocab_size=40, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2)
    model = T5EncoderModel(config).eval().requires_grad_(requires_grad=False)
    assert head_token(model.get_encoder(), _IDS) == "none"


def test_samples_of_two_tokens_tell_nothing() -> None:
    assert head_token(model_of(config_of("bert")), [np.array([5, 9])]) == "none"
