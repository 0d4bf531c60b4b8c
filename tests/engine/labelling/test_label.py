"""`label`: files joined to the text of a store, and labels made by rules."""

import gzip
import json
import math
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from store_factory import synthetic

from biocache.engine import LabelRequest, label
from biocache.store import Run, Store
from biocache.store.digests import sample_rows
from biocache.store.errors import BiocacheError, SettingError, SpecMismatchError

# No sample without words, which no file can have.
LENGTHS = (3, 4, 9, 2, 5, 2)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return synthetic(LENGTHS).write_all(tmp_path / "s.zarr")


@pytest.fixture
def root(run: Run) -> Path:
    return run.path.parents[6]


def sentences(run: Run) -> list[tuple[str, list[str]]]:
    return [(name, list(words)) for name, (words,) in sample_rows(run)]


def tag_of(word: str) -> str:
    return "even" if int(word[1:]) % 2 == 0 else "odd"


def truth(run: Run) -> list[str]:
    return [tag_of(word) for _, words in sentences(run) for word in words]


def conll(run: Run, sep: str = "\t") -> str:
    return "\n\n".join("\n".join(f"{w}{sep}{tag_of(w)}" for w in words) for _, words in sentences(run)) + "\n"


def jsonl(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def files(run: Run, folder: Path) -> dict[str, Path]:
    """Write one labelling of words in every form."""
    own = sentences(run)
    by_word = [
        {"sample_id": name, "word": at, "tag": tag_of(word)} for name, words in own for at, word in enumerate(words)
    ]
    lists = [{"id": name, "tokens": words, "tags": [tag_of(word) for word in words]} for name, words in own]
    made = {
        "x.conll": conll(run),
        "x.bio": conll(run, " "),
        "x.tsv": conll(run),
        "positions.csv": pd.DataFrame(by_word[::-1]).to_csv(index=False),
        "positions.tsv": pd.DataFrame(by_word).to_csv(index=False, sep="\t"),
        "lists.jsonl": jsonl(lists[::-1]),
        "order.jsonl": jsonl([{"tokens": row["tokens"], "tags": row["tags"]} for row in lists]),
        "lists.json": json.dumps(lists),
    }
    paths = {}
    for name, text in made.items():
        paths[name] = folder / name
        paths[name].write_text(text)
    paths["x.conll.gz"] = folder / "x.conll.gz"
    paths["x.conll.gz"].write_bytes(gzip.compress(conll(run).encode()))
    paths["lists.parquet"] = folder / "lists.parquet"
    pd.DataFrame(lists).to_parquet(paths["lists.parquet"])
    return paths


@pytest.mark.slow
def test_every_form_of_a_file_gives_the_same_labels(run: Run, root: Path, tmp_path: Path) -> None:
    for number, (name, path) in enumerate(files(run, tmp_path).items()):
        (found,) = label(root, f"parity{number}", LabelRequest(file=path, splits=("test",)))
        assert found.remarks == (), name
        assert Run.open(root, run.key).labels(f"parity{number}").texts.tolist() == truth(run), name
        assert found.labels.source == str(path)


def test_labels_of_samples_by_id_and_in_order(run: Run, root: Path, tmp_path: Path) -> None:
    own = sentences(run)
    ids = pd.DataFrame({"sample_id": [name for name, _ in own], "score": np.arange(len(own)) / 2})
    texts = pd.DataFrame({"text": [" ".join(words) for _, words in own], "score": np.arange(len(own)) / 2})
    texts.to_csv(tmp_path / "texts.csv", index=False)
    ids.iloc[::-1].to_csv(tmp_path / "ids.csv", index=False)
    ids.iloc[:3].to_json(tmp_path / "part.jsonl", orient="records", lines=True)
    for name, known in (("texts.csv", len(own)), ("ids.csv", len(own)), ("part.jsonl", 3)):
        request = LabelRequest(file=tmp_path / name, splits=("test",), level="sample", overwrite=True)
        (found,) = label(root, "score", request)
        assert found.labels.kind == "number"
        expected = [place / 2 if place < known else np.nan for place in range(len(own))]
        np.testing.assert_array_equal(Run.open(root, run.key).labels("score").values, expected)
        assert "labels are numbers" in found.remarks
        assert len(found.remarks) == 1 + (known < len(own))


def test_iob2_tags_are_found(run: Run, root: Path, tmp_path: Path) -> None:
    path = tmp_path / "tags.conll"
    path.write_text(conll(run).replace("\teven", "\tB-gene").replace("\todd", "\tO"))
    (found,) = label(root, "other", LabelRequest(file=path, splits=("test",)))
    assert (found.labels.kind, found.labels.names) == ("iob2", ("O", "B-gene"))
    path.write_text(conll(run).replace("\teven", "\tB-gene"))
    with pytest.raises(BiocacheError, match="tag 'odd' is not IOB2; use O, B-TYPE or I-TYPE, or leave iob2 out"):
        label(root, "third", LabelRequest(file=path, splits=("test",), iob2=True))
    (found,) = label(root, "third", LabelRequest(file=path, splits=("test",)))
    assert found.labels.kind == "class"


def test_a_folder_has_a_file_for_each_split(root: Path, run: Run, tmp_path: Path) -> None:
    train = synthetic(LENGTHS, split="train").write_all(root)
    folder = tmp_path / "labels"
    folder.mkdir()
    (folder / "train.conll").write_text(conll(train))
    (folder / "test.conll").write_text(conll(run))
    assert [one.place.split for one in label(root, "parity", LabelRequest(file=folder))] == ["train", "test"]
    assert train.labels("parity").texts.tolist() == truth(train)


BROKEN = {
    "another word": (lambda text: text.replace("w3\t", "x\t"), r"x.conll:\d+: word 'x', and sample .* has 'w3' there"),
    "a word less": (lambda text: text.replace("w1\todd\n", "", 1), r"x.conll:\d+: (\d words|word 'w2'), and sample"),
    "a sentence more": (lambda text: text + "\nx\ty\n", "7 sentences, and ner corpus test of the store has 6"),
    "no labels": (lambda text: text.replace("\teven", "\t-").replace("\todd", "\t-"), "labels no word of"),
    "columns": (lambda text: text.replace("w3\t", "w3\tmore\t"), r"x.conll:\d+: "),
    "empty": (lambda _: "", "x.conll"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_file_of_another_text_is_refused_at_its_place(run: Run, root: Path, tmp_path: Path, name: str) -> None:
    change, says = BROKEN[name]
    path = tmp_path / "x.conll"
    path.write_text(change(conll(run)))
    with pytest.raises(BiocacheError, match=says) as caught:
        label(root, "parity", LabelRequest(file=path, splits=("test",)))
    assert "\n" not in str(caught.value)
    assert Store.open(root).labels() == []


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([{"sample_id": "s9", "label": "x"}], r"x.jsonl:1: ner corpus test of the store has no sample 's9'"),
        ([{"sample_id": "s0", "label": "x"}] * 2, "x.jsonl:2: sample 's0' has a label already"),
        ([{"sample_id": "s0", "label": ["a", {}]}], "is neither text nor a number"),
        ([{"a": 1, "b": 2}], "which of a, b holds the labels"),
        ([{"label": "x"}] * 6, "neither sample ids nor texts"),
        ([{"sample_id": "s0", "word": 99, "label": "x"}], "x.jsonl:1: sample 's0' has no word 99"),
        ([{"sample_id": "s0", "word": "a", "label": "x"}], "x.jsonl:1: 'a' is not the position of a word"),
        ([{"sample_id": "s0", "label": "x"}, {"sample_id": "s1", "label": 4}], r"holds text \('x'\) and numbers"),
    ],
)
def test_tables_that_cannot_be_joined(root: Path, tmp_path: Path, rows: list[Any], says: str) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(jsonl(rows))
    with pytest.raises(BiocacheError, match=says) as caught:
        label(root, "parity", LabelRequest(file=path, splits=("test",)))
    assert "\n" not in str(caught.value)


def test_another_set_of_the_name_is_kept_unless_replaced(root: Path, run: Run) -> None:
    label(root, "is", LabelRequest(from_words="w1.*"))
    label(root, "is", LabelRequest(from_words="w1.*"))
    with pytest.raises(SpecMismatchError, match="labels samples in another way"):
        label(root, "is", LabelRequest(from_words="w2.*"))
    label(root, "is", LabelRequest(from_words="w2.*", overwrite=True))
    assert run.labels("is").texts[2] == "yes"


# Rules


def test_a_regular_expression_matches_whole_words(root: Path, run: Run) -> None:
    label(root, "one", LabelRequest(from_words="w[13]"))
    words = run.column("words/word_text")
    assert run.labels("one").texts.tolist() == ["yes" if word in ("w1", "w3") else "no" for word in words]
    label(root, "named", LabelRequest(from_words="(?P<short>w.)|(?P<long>w..)"))
    assert run.labels("named").texts.tolist() == ["short" if len(word) == 2 else "long" for word in words]
    with pytest.raises(SettingError, match=r"from_words '\(' is neither a file nor a regular expression"):
        label(root, "bad", LabelRequest(from_words="("))


def test_a_lexicon_matches_the_longest_term(root: Path, run: Run, tmp_path: Path) -> None:
    lexicon = tmp_path / "terms.txt"
    lexicon.write_text("W1\tone\nw1 w2\ttwo\n\nw4\n")
    label(root, "term", LabelRequest(from_words=str(lexicon)))
    expected = []
    for _, words in sentences(run):
        at = 0
        while at < len(words):
            if words[at : at + 2] == ["w1", "w2"]:
                expected += ["two", "two"]
                at += 2
                continue
            expected.append({"w1": "one", "w4": "yes"}.get(words[at], "no"))
            at += 1
    assert run.labels("term").texts.tolist() == expected
    for text, says in (
        ("a\tx\nA\ty\n", r"terms.txt:2: 'A' is 'y' here and 'x' before"),
        ("\tx\n", r":1: .* has no term"),
    ):
        lexicon.write_text(text)
        with pytest.raises(BiocacheError, match=says):
            label(root, "bad", LabelRequest(from_words=str(lexicon)))


def test_properties(root: Path, run: Run) -> None:
    synthetic(LENGTHS, split="train").write_all(root)
    for name in ("length", "position", "frequency", "capitals"):
        label(root, name if name != "position" else "place", LabelRequest(property=name))
    words = [word for _, own in sentences(run) for word in own]
    assert run.labels("length").values.tolist() == [len(word) for word in words]
    assert run.labels("place").values.tolist() == [at for _, own in sentences(run) for at in range(len(own))]
    runs = [Store.open(root).run(split=split) for split in ("train", "test")]
    both = Counter(word for each in runs for _, own in sentences(each) for word in own)
    assert run.labels("frequency").values.tolist() == [math.log10(both[word]) for word in words]
    assert set(run.labels("capitals").texts) == {"lower"}


def test_a_function_of_the_users(root: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mylabels.py").write_text(
        "def vowel(word, sentence):\n    assert word in sentence\n    return len(sentence) if word != 'w0' else None\n"
        "def size(words):\n    return 'long' if len(words) > 2 else 'short'\n"
        "def bad(word, sentence):\n    return [1]\n"
        "def fails(word, sentence):\n    raise KeyError('oh\\nno')\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "mylabels", raising=False)
    label(root, "of", LabelRequest(from_python="mylabels:vowel"))
    expected = [len(own) if word != "w0" else np.nan for _, own in sentences(run) for word in own]
    np.testing.assert_array_equal(run.labels("of").values, expected)
    label(root, "size", LabelRequest(from_python="mylabels:size", level="sample"))
    assert run.labels("size").texts.tolist() == ["long" if len(own) > 2 else "short" for _, own in sentences(run)]
    for name, says in (
        ("mylabels:bad", r"failed for word 'w0' of .* is neither text nor a number"),
        ("mylabels:fails", "failed for word 'w0'"),
        ("mylabels:nothing", "cannot be imported"),
        ("nomodule:x", "cannot be imported"),
        ("mylabels", "is not MODULE:FUNCTION"),
    ):
        with pytest.raises(BiocacheError, match=says) as caught:
            label(root, "bad", LabelRequest(from_python=name))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({}, "labels come from nowhere; give one of file, from_words, from_python, property"),
        ({"property": "length", "from_words": "x"}, "labels come from from_words and property"),
        ({"property": "colour"}, "property 'colour' is not one of"),
        ({"property": "length", "level": "sample"}, "property labels words, and level is sample"),
        ({"property": "length", "column": "x"}, "column is for a file"),
    ],
)
def test_requests_that_make_no_sense(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingError, match=says):
        LabelRequest(**settings)
