"""Labels of samples: what means none, classes and numbers, class names, several labels."""

import json
from pathlib import Path
from typing import Any

import pytest
from reading import message, pair, read, write

from biocache.engine.corpora.base import Corpus


def labelled(folder: Path, *labels: Any, other: tuple[Any, ...] = (), **settings: Any) -> Corpus:
    """Read texts with some labels in the train split, and others in the test split."""
    files = {
        name: "".join(json.dumps({"text": f"{name} {at}", "label": label}) + "\n" for at, label in enumerate(values))
        for name, values in (("train.jsonl", labels), ("test.jsonl", other))
        if values
    }
    return read("text", write(folder / "x", files), **settings)


def labels_of(corpus: Corpus, split: str = "train") -> list[Any]:
    return [one.label for one in corpus.splits[split]]


@pytest.mark.parametrize("none", ["", " ", "-", "_", "NA", None, -1, "-1", -1.0, -100, float("nan")])
@pytest.mark.parametrize("label", ["x", 2, "2", 2.5, True])
def test_what_means_no_label_beside_any_label(tmp_path: Path, none: Any, label: Any) -> None:
    corpus = labelled(tmp_path, label, none)
    assert labels_of(corpus)[1] is None
    assert labels_of(corpus)[0] is not None
    assert corpus.notes == {"train": {"unlabelled": 1}}


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (("a", "b "), ["a", "b"]),
        ((0, 1), ["0", "1"]),
        (("0", 1, 2.0), ["0", "1", "2"]),
        ((True, False), ["True", "False"]),
        ((2.6, 4), [2.6, 4.0]),
        (("2.6", 4, "1e-3", 3.0), [2.6, 4.0, 0.001, 3.0]),
        ((2.5, "x"), ["2.5", "x"]),
        ((-0.5, -1, 1), [-0.5, -1.0, 1.0]),
        ((-2, -1, 1), ["-2", "-1", "1"]),
        (("1_0", "2.5"), ["1_0", "2.5"]),
        ((["b", "a"], ["c"]), ["b,a", "c"]),
        (([0, 1, 1], [0, 0, 0]), ["0,1,1", "0,0,0"]),
        (("None", "none"), ["None", "none"]),
    ],
)
def test_classes_and_numbers(tmp_path: Path, labels: tuple[Any, ...], expected: list[Any]) -> None:
    found = labels_of(labelled(tmp_path, *labels))
    assert found == expected
    assert [type(one) for one in found] == [type(one) for one in expected]


def test_the_type_is_that_of_all_splits_and_can_be_named(tmp_path: Path) -> None:
    corpus = labelled(tmp_path, 1, 2, 3, other=(1.5,))
    assert labels_of(corpus) == [1.0, 2.0, 3.0]
    assert corpus.remarks == (
        "labels are numbers, because all are and some have fractions; --label-type=class names classes",
    )
    corpus = labelled(tmp_path, 1, 2, 3, other=(1.5,), label_type="class")
    assert (labels_of(corpus), labels_of(corpus, "test"), corpus.remarks) == (["1", "2", "3"], ["1.5"], ())
    corpus = labelled(tmp_path / "y", 1, 2, "3", -1)
    assert labels_of(corpus) == ["1", "2", "3", None]
    assert corpus.remarks == ("labels are 3 classes named by numbers; --label-type=number reads numbers",)
    corpus = labelled(tmp_path / "y", 1, 2, "3", -1, label_type="number")
    assert (labels_of(corpus), corpus.remarks) == ([1.0, 2.0, 3.0, None], ())


def test_a_label_that_is_no_number_is_refused_with_its_line(tmp_path: Path) -> None:
    lines = pair(label="2.5") + pair("D", label="high")
    folder = write(tmp_path / "x", {"train.jsonl": lines})
    text = message("nli", folder, label_type="number")
    assert text.startswith(f"{folder}/train.jsonl:2: label 'high' is not a number; correct it, or pass label_type=")


def test_class_names_beside_the_corpus(tmp_path: Path) -> None:
    rows = [{"sentence": "a b", "label": 1}, {"sentence": "c", "label": "0"}, {"sentence": "d", "label": -1}]
    files = {"train.json": json.dumps(rows), "labels.txt": "false\ntrue\n\n"}
    folder = write(tmp_path / "x", files)
    assert labels_of(read("text", folder)) == ["true", "false", None]
    (folder / "train.csv").write_text("text,label\na,1\nb,true\nc,0\n")
    assert labels_of(read("text", folder / "train.csv")) == ["true", "true", "false"]
    (folder / "train.json").write_text(json.dumps([rows[0], {"sentence": "c", "label": 2}]))
    assert "train.json:1: class 2 is not one of the 2 that are named" in message("text", folder / "train.json")
    (folder / "labels.txt").write_text("a\n\nb\n")
    assert "labels.txt:2: a class without a name" in message("text", folder)
    (folder / "labels.txt").write_text("a\nb\na")
    assert "labels.txt:3: class 'a' was named before" in message("text", folder)


def test_numbers_of_tags_need_names(tmp_path: Path) -> None:
    row = {"tokens": ["a", "b", "c"], "ner_tags": [1, -100, 0]}
    folder = write(tmp_path / "x", {"train.json": json.dumps(row)})
    text = message("ner", folder)
    assert text.startswith(f"{folder}/train.json:1: class 1 is a plain number and nothing names the classes; name them")
    assert "labels.txt" in text
    write(folder, {"labels.txt": "O\nB-x\nI-x\n"})
    assert read("ner", folder).splits["train"][0].tags == ("B-x", None, "O")
