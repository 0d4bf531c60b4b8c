"""Heads: the right class for every family, a whole encoder below it, and padding that changes nothing."""

from pathlib import Path

import numpy as np
import plain_training
import pytest
import torch
from finetunings import Toy
from safetensors.torch import load_file
from transformers import (
    AutoModel,
    AutoTokenizer,
    BertForSequenceClassification,
    BertForTokenClassification,
    BioGptForSequenceClassification,
    BioGptForTokenClassification,
    GPT2ForSequenceClassification,
    GPT2ForTokenClassification,
    XGLMConfig,
)

from biocache.engine.corpora.tokenizers import load_tokenizer
from biocache.engine.finetuning.heads import attach_head
from biocache.engine.finetuning.targets import Targets
from biocache.engine.machine import seeded
from biocache.engine.models.loading import load_model
from biocache.engine.models.sources import ModelSource
from biocache.store.errors import ModelError

LABELS = ("contradiction", "entailment", "neutral")
KINDS = {
    ("bert", "ner"): BertForTokenClassification,
    ("bert", "nli"): BertForSequenceClassification,
    ("gpt2", "ner"): GPT2ForTokenClassification,
    ("gpt2", "nli"): GPT2ForSequenceClassification,
    ("biogpt", "ner"): BioGptForTokenClassification,
    ("biogpt", "nli"): BioGptForSequenceClassification,
}


def attach(folder: Path, task: str, seed: int = 1):
    source = ModelSource("tiny", str(folder), 0, 42)
    targets = Targets(by_word=task == "ner", names=LABELS, scheme="type", iob2=False)
    with seeded(seed):
        encoder = load_model(source, "cpu", "float32").model
        return attach_head(encoder, source, load_tokenizer(folder), targets)


@pytest.mark.parametrize(("family", "task"), KINDS)
def test_a_family_has_its_own_class_with_the_encoders_weights(toy: Toy, family: str, task: str) -> None:
    model = attach(toy.models[family], task)
    assert type(model) is KINDS[family, task]
    encoder = AutoModel.from_pretrained(toy.models[family]).state_dict()
    own = model.base_model.state_dict()
    assert sum(name in encoder for name in own) > 10
    assert all(torch.equal(value, encoder[name]) for name, value in own.items() if not name.startswith("pooler."))
    assert model.config.id2label == dict(enumerate(LABELS))
    assert model.config.label2id["neutral"] == 2
    assert model.config.pad_token_id == load_tokenizer(toy.models[family]).pad_token_id
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("family", ["gpt2", "biogpt", "bert"])
def test_a_padded_pair_is_read_as_if_it_were_alone(toy: Toy, family: str) -> None:
    """The head of a decoder reads the last token, which must not be one of the padding, nor the separator."""
    model = attach(toy.models[family], "nli").eval()
    tokenizer = AutoTokenizer.from_pretrained(toy.models[family])
    rows = plain_training.items(tokenizer, toy.corpus, "nli", "test", LABELS)[:8]
    assert len({len(row.ids) for row in rows}) > 1
    pad, types = model.config.pad_token_id, family == "bert"
    with torch.no_grad():
        fed = plain_training.batch(rows, pad, "nli", types)
        fed.pop("labels")
        together = model(**fed).logits
        for row, logits in zip(rows, together, strict=True):
            alone = plain_training.batch([row], pad, "nli", types)
            alone.pop("labels")
            np.testing.assert_allclose(model(**alone).logits[0], logits, rtol=1e-4, atol=1e-5)


def test_the_head_follows_the_seed_even_where_the_pooler_is_new(toy: Toy, tmp_path: Path) -> None:
    model = BertForTokenClassification.from_pretrained(toy.models["bert"])  # A class without a pooler.
    model.save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(toy.models["bert"]).save_pretrained(tmp_path)
    assert not any("pooler" in name for name in load_file(tmp_path / "model.safetensors"))
    states = [attach(tmp_path, "nli", seed).state_dict() for seed in (1, 1, 2)]
    for name in ("classifier.weight", "bert.pooler.dense.weight"):
        assert torch.equal(states[0][name], states[1][name])
        assert not torch.equal(states[0][name], states[2][name])


def test_a_head_of_other_labels_is_not_used(toy: Toy, tmp_path: Path) -> None:
    first = BertForTokenClassification.from_pretrained(toy.models["bert"], num_labels=3)
    first.classifier.weight.data.fill_(7)
    first.save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(toy.models["bert"]).save_pretrained(tmp_path)
    assert not (attach(tmp_path, "ner").classifier.weight == 7).any()


def test_numbers_have_a_head_of_one_output(toy: Toy) -> None:
    source = ModelSource("tiny", str(toy.models["bert"]), 0, 42)
    encoder = load_model(source, "cpu", "float32").model
    numbers = Targets(by_word=False, names=(), scheme="type", iob2=False)
    head = attach_head(encoder, source, load_tokenizer(toy.models["bert"]), numbers)
    assert isinstance(head, BertForSequenceClassification)
    assert (head.config.num_labels, head.config.problem_type) == (1, "regression")


@pytest.mark.slow
def test_an_architecture_without_such_a_head_is_one_line(toy: Toy, tmp_path: Path) -> None:
    config = XGLMConfig(vocab_size=300, d_model=16, ffn_dim=32, num_layers=1, attention_heads=2)
    AutoModel.from_config(config).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(toy.models["bert"]).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"\(xglm\) has no TokenClassification head .* choose another model"):
        attach(tmp_path, "ner")
