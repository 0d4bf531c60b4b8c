import json
import random
from collections import Counter

import pytest

from biocache.engine.demo import notes
from biocache.engine.demo.corpus import SIZES, read_before, write_corpus
from biocache.store.errors import SettingError

TYPES = {"protein", "DNA", "RNA", "cell_type", "cell_line"}


def sentences(folder, split):
    text = (folder / "ner" / f"{split}.conll").read_text(encoding="utf-8")
    return [[line.split("\t") for line in block.splitlines()] for block in text.split("\n\n")]


def pairs(folder, split):
    text = (folder / "nli" / f"{split}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def test_sizes_and_lengths(corpus_folder):
    for split, size in SIZES.items():
        lengths = [len(sentence) for sentence in sentences(corpus_folder, split)]
        assert len(lengths) == size
        assert min(lengths) < 9
        assert 25 < max(lengths) <= 45
    for split, size in SIZES.items():
        assert len(pairs(corpus_folder, split)) == size


def test_every_type_is_in_every_split_and_tags_are_iob2(corpus_folder):
    for split in SIZES:
        seen = set()
        for sentence in sentences(corpus_folder, split):
            before = "O"
            for word, tag in sentence:
                assert word
                assert word.split() == [word]
                if tag.startswith("I-"):
                    assert before[2:] == tag[2:]
                seen.add(tag)
                before = tag
        assert seen == {"O"} | {f"{prefix}-{kind}" for prefix in "BI" for kind in TYPES}


def test_some_words_have_more_than_one_type(corpus_folder):
    kinds = {}
    for sentence in sentences(corpus_folder, "train"):
        for word, tag in sentence:
            kinds.setdefault(word, set()).add(tag[2:])
    genes = [found for found in kinds.values() if {"protein", "DNA", "RNA"} <= found]
    assert len(genes) > 10
    assert {"cell_type", "cell_line"} <= kinds["cells"]


def test_the_same_words_follow_and_contradict():
    # What a bag of words cannot tell: entailment and contradiction differ in the order of two findings.
    orders = {}
    for text in notes_of("entailment") + notes_of("contradiction"):
        orders.setdefault(frozenset(text.lower().split()), set()).add(text)
    assert sum(len(texts) > 1 for texts in orders.values()) > 20


def notes_of(label):
    choices = random.Random(0)
    return [notes.pair(choices, label)[1] for _ in range(400)]


def test_twins_have_read_of_different_things():
    general, biomedical = (" ".join(read_before(domain, 300)) for domain in ("general", "biomedical"))
    for word in ("protein", "mRNA", "cells", "diabetes"):
        assert word not in general
        assert word in biomedical
    assert "bicycle" in general
    assert "bicycle" not in biomedical
    assert read_before("general", 20) == read_before("general", 20) != read_before("biomedical", 20)


def test_hardly_a_test_sentence_was_read_before(tmp_path):
    write_corpus(tmp_path, ner_sizes={"train": 240, "test": 120}, nli_sizes={})
    known = set(read_before("biomedical", 4000))
    again = [sentence for sentence in sentences(tmp_path, "test") if " ".join(word for word, _ in sentence) in known]
    assert len(again) <= 6


def test_no_sample_occurs_twice(corpus_folder):
    texts = [tuple(w for w, _ in s) for split in SIZES for s in sentences(corpus_folder, split)]
    assert max(Counter(texts).values()) == 1
    rows = [row for split in SIZES for row in pairs(corpus_folder, split)]
    assert max(Counter((row["sentence1"], row["sentence2"]) for row in rows).values()) == 1
    assert len({row["pairID"] for row in rows}) == len(rows)


def test_labels_are_balanced(corpus_folder):
    for split, size in SIZES.items():
        counts = Counter(row["gold_label"] for row in pairs(corpus_folder, split))
        assert set(counts) == {"entailment", "neutral", "contradiction"}
        assert max(counts.values()) - min(counts.values()) <= 1, size


def test_same_seed_gives_the_same_bytes(tmp_path, corpus_folder):
    write_corpus(tmp_path / "same")
    write_corpus(tmp_path / "other", seed=1)
    for path in corpus_folder.rglob("*.*"):
        name = path.relative_to(corpus_folder)
        assert (tmp_path / "same" / name).read_bytes() == path.read_bytes()
        assert (tmp_path / "other" / name).read_bytes() != path.read_bytes()


def test_more_than_the_grammar_can_make_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(notes, "pair", lambda *_: ("One premise .", "One hypothesis ."))
    with pytest.raises(SettingError, match="ran out of new samples after 3 of 4 for 'train': ask for fewer"):
        write_corpus(tmp_path, ner_sizes={}, nli_sizes={"train": 4})
