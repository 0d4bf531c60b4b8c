import json
from collections import Counter

import pytest

from biocache.engine.demo.sentences import NER_SIZES, NLI_SIZES, write_corpus
from biocache.store.errors import SettingError

TYPES = {"protein", "DNA", "RNA", "cell_type", "cell_line"}


def sentences(folder, split):
    text = (folder / "ner" / f"{split}.conll").read_text(encoding="utf-8")
    return [[line.split("\t") for line in block.splitlines()] for block in text.split("\n\n")]


def pairs(folder, split):
    text = (folder / "nli" / f"{split}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def test_sizes_and_lengths(corpus_folder):
    for split, size in NER_SIZES.items():
        lengths = [len(sentence) for sentence in sentences(corpus_folder, split)]
        assert len(lengths) == size
        assert min(lengths) < 8
        assert 35 < max(lengths) <= 45
    for split, size in NLI_SIZES.items():
        assert len(pairs(corpus_folder, split)) == size


def test_every_type_is_in_every_split_and_tags_are_iob2(corpus_folder):
    for split in NER_SIZES:
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
    assert {"protein", "DNA", "RNA"} <= kinds["IL-2"]
    assert {"cell_type", "cell_line"} <= kinds["cells"]


def test_no_sample_occurs_twice(corpus_folder):
    texts = [tuple(w for w, _ in s) for split in NER_SIZES for s in sentences(corpus_folder, split)]
    assert max(Counter(texts).values()) == 1
    rows = [row for split in NLI_SIZES for row in pairs(corpus_folder, split)]
    assert max(Counter((row["sentence1"], row["sentence2"]) for row in rows).values()) == 1
    assert len({row["pairID"] for row in rows}) == len(rows)


def test_labels_are_balanced(corpus_folder):
    for split, size in NLI_SIZES.items():
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


def test_more_than_the_grammar_can_make_is_refused(tmp_path):
    with pytest.raises(SettingError, match=r"ran out of new samples after \d+ of 100000 for 'train'"):
        write_corpus(tmp_path, ner_sizes={}, nli_sizes={"train": 100_000})
