"""Entities: tags of any scheme become IOB2, whatever splits are read together."""

from pathlib import Path

import pytest
from reading import message, read, write


def tagged(*sentences: str) -> str:
    """Write sentences of tags; words are w0, w1, ..."""
    lines = [[f"w{at}\t{tag}" for at, tag in enumerate(one.split())] for one in sentences]
    return "\n\n".join("\n".join(one) for one in lines) + "\n"


@pytest.mark.parametrize(
    ("train", "test", "expected", "said"),
    [
        ("B-a I-a O", "B-b O", "B-b O", ""),
        ("I-a I-a B-a O", "I-b B-b", "B-b B-b", "tags are IOB1, converted to IOB2"),
        ("B-a E-a S-b O", "B-b I-b E-b", "B-b I-b I-b", "tags are IOBES, converted to IOB2"),
        ("B-a L-a U-b O", "O O", "O O", "tags are BILOU, converted to IOB2"),
        ("I-a I-a O", "I-b I-b", "B-b I-b", "tags are IO, converted to IOB2"),
        ("B I O", "O B", "O B-entity", "tags have no type: it is named entity"),
        ("a a O", "O b", "O B-b", "tags are IO, converted to IOB2"),
    ],
)
def test_the_scheme_is_that_of_all_splits(tmp_path: Path, train: str, test: str, expected: str, said: str) -> None:
    corpus = read("ner", write(tmp_path / "x", {"train.conll": tagged(train), "test.conll": tagged(test)}))
    assert [" ".join(map(str, one.tags or ())) for one in corpus.splits["test"]] == [expected]
    assert (said in corpus.remarks) if said else corpus.remarks == ()
    assert corpus.notes == {}


def test_repairs_are_counted_by_split_and_stay_in_their_sentence(tmp_path: Path) -> None:
    files = {"train.conll": tagged("B-a", "I-a I-a O B-b"), "test.conll": tagged("B-a I-b I-b", "O I-a", "B-a B-a")}
    corpus = read("ner", write(tmp_path / "x", files))
    assert {split: notes["repaired_tags"] for split, notes in corpus.notes.items()} == {"train": 1, "test": 2}
    assert [one.tags for one in corpus.splits["train"]] == [("B-a",), ("B-a", "I-a", "O", "B-b")]
    assert corpus.remarks == ()


def test_the_samples_of_a_split_do_not_depend_on_the_others(tmp_path: Path) -> None:
    folder = write(tmp_path / "x", {"train.conll": tagged("B-a E-a S-a"), "test.conll": tagged("B-a I-a O", "I-a")})
    assert read("ner", folder, ["test"]).splits["test"] == read("ner", folder).splits["test"]


@pytest.mark.parametrize(
    ("content", "line", "substance"),
    [
        ("B-a L-a S-a", 3, "tag 'S-a': no scheme has S beside B, L"),
        ("B-a E-a U-a", 3, "tag 'U-a': no scheme has U beside B, E"),
        ("M-a O L-b", 1, "tag 'M-a': no scheme has M beside L"),
        ("B-a Q-a", 2, "tag 'Q-a' is not an entity tag"),
    ],
)
def test_what_fits_no_scheme_is_refused_at_its_line(tmp_path: Path, content: str, line: int, substance: str) -> None:
    text = message("ner", write(tmp_path / "x", {"train.conll": tagged("O", content)}))
    assert text.startswith(f"{tmp_path}/x/train.conll:{line + 2}: {substance}")


def test_a_corpus_without_tags_is_a_corpus(tmp_path: Path) -> None:
    corpus = read("ner", write(tmp_path / "x", {"train.txt": "a\nb\n\nc\n", "test.txt": "d\t_\ne\t_\n"}))
    assert [(one.texts, one.tags) for one in corpus.splits["train"]] == [((("a", "b"),), None), ((("c",),), None)]
    assert [(one.texts, one.tags) for one in corpus.splits["test"]] == [((("d", "e"),), None)]
    assert corpus.remarks == (
        "train: no column of labels (it has 1 without names, numbered from 1); --tag-column can name one",
    )


@pytest.mark.parametrize("missing", ["_", "-", "NA", "", "-1", "-100"])
def test_words_without_a_tag(tmp_path: Path, missing: str) -> None:
    corpus = read("ner", write(tmp_path / "x", {"train.conll": f"a\tB-x\nb\t{missing}\nc\tI-x\nd\t O \n"}))
    assert corpus.splits["train"][0].tags == ("B-x", None, "B-x", "O")
    assert corpus.notes == {"train": {"repaired_tags": 1}}


def test_tokens_take_any_tag(tmp_path: Path) -> None:
    corpus = read("tokens", write(tmp_path / "x", {"train.conll": "a\tNN\nb\tI-x\nc\t_\n\nd\t,\n"}))
    assert [one.tags for one in corpus.splits["train"]] == [("NN", "I-x", None), (",",)]
    assert (corpus.remarks, corpus.notes) == ((), {})
