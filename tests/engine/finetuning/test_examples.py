"""What a classifier is fed, token by token, for every family."""

import numpy as np
import plain_training
import pytest
import torch
from finetunings import Toy
from transformers import AutoTokenizer, DataCollatorForTokenClassification

from biocache.engine.corpora.base import TASKS
from biocache.engine.corpora.encoding import encode
from biocache.engine.corpora.readers import read_corpus
from biocache.engine.corpora.task import Sample
from biocache.engine.corpora.tokenizers import load_tokenizer
from biocache.engine.finetuning.examples import Examples
from biocache.engine.finetuning.scores import word_classes
from biocache.engine.finetuning.targets import NO_LABEL, Targets

FAMILIES = ("bert", "gpt2", "biogpt")
VIEWS = {"ner": "sentence", "nli": "pair"}


def tags(*names: str) -> Targets:
    return Targets(by_word=True, names=names, scheme="bio", iob2=True)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("task", ["ner", "nli"])
def test_ids_types_and_labels_are_those_of_a_loop_over_words(toy: Toy, family: str, task: str) -> None:
    corpus = read_corpus(task, str(toy.corpus / task))
    samples = corpus.splits["test"]
    encoding = encode(load_tokenizer(toy.models[family]), samples, TASKS[task], VIEWS[task], 64)
    targets = Targets.of(corpus, "bio")
    examples = Examples(encoding, samples, targets)
    plain = AutoTokenizer.from_pretrained(toy.models[family])
    expected = plain_training.items(plain, toy.corpus, task, "test", targets.names)
    assert len(examples) == len(expected) == len(samples)
    several_tokens = 0
    for index, item in enumerate(expected):
        fed = dict(examples[index])
        assert fed.pop("input_ids") == item.ids
        assert fed.pop("attention_mask") == [1] * len(item.ids)
        assert fed.pop("labels") == (item.labels if task == "ner" else item.labels[0])
        assert fed == ({"token_type_ids": item.types} if family == "bert" else {})
        several_tokens += len(item.ids) > len(samples[index].tags or item.ids) + 2
    assert task == "nli" or several_tokens > 0


@pytest.mark.parametrize("family", FAMILIES)
def test_a_word_teaches_at_its_first_token_only(toy: Toy, family: str) -> None:
    """Names with hyphens and decoders' tokens, on which an alignment by ``##`` or by position drifts."""
    sample = Sample("s", (("the", "IL-2", "enhancer", ",", "p53"),), tags=("O", "B-protein", "B-DNA", "O", "O"))
    labels = ("O", "B-DNA", "B-protein")
    tokenizer = load_tokenizer(toy.models[family])
    encoding = encode(tokenizer, [sample], TASKS["ner"], "sentence", 64)
    row = np.array(Examples(encoding, [sample], tags(*labels))[0]["labels"])
    taught = encoding.word[row != NO_LABEL]
    assert taught.tolist() == [0, 1, 2, 3, 4]
    assert row[row != NO_LABEL].tolist() == [0, 2, 1, 0, 0]
    assert (row[encoding.special] == NO_LABEL).all()
    assert all(place == np.flatnonzero(encoding.word == encoding.word[place])[0] for place in np.flatnonzero(row >= 0))


def test_what_is_ignored_is_what_torch_and_the_collator_ignore(toy: Toy) -> None:
    assert torch.nn.CrossEntropyLoss().ignore_index == NO_LABEL
    collator = DataCollatorForTokenClassification(load_tokenizer(toy.models["bert"]))
    assert collator.label_pad_token_id == NO_LABEL


@pytest.mark.parametrize("family", FAMILIES)
def test_sentences_of_one_word_and_one_token_keep_a_label_a_token(toy: Toy, family: str) -> None:
    samples = [Sample(str(number), (("the",),), tags=("O",)) for number in range(3)]
    encoding = encode(load_tokenizer(toy.models[family]), samples, TASKS["ner"], "sentence", 64)
    examples = Examples(encoding, samples, tags("O"))
    assert all(isinstance(examples[index]["labels"], list) for index in range(3))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("max_length", [64, 9])
def test_words_are_read_at_their_first_token_and_lost_ones_are_outside(toy: Toy, family: str, max_length: int) -> None:
    samples = read_corpus("ner", str(toy.corpus / "ner")).splits["test"]
    encoding = encode(load_tokenizer(toy.models[family]), samples, TASKS["ner"], "sentence", max_length)
    labels = ("B-DNA", "O", "B-protein")
    rng = np.random.default_rng(0)
    order = rng.permutation(len(samples))
    rows = rng.integers(0, 3, (len(samples), int(encoding.token_count.max())))
    classes = word_classes(encoding, rows[np.argsort(order)], labels.index("O"))
    word = token = lost = 0
    for sample, count in enumerate(encoding.word_count.tolist()):
        row = rows[order.tolist().index(sample)]
        owners = encoding.word[token : token + encoding.token_count[sample]].tolist()
        for number in range(word, word + count):
            expected = row[owners.index(number)] if number in owners else labels.index("O")
            lost += number not in owners
            assert classes[number] == expected
        word, token = word + count, token + len(owners)
    assert word == len(classes)
    assert (lost > 0) == (max_length == 9)
