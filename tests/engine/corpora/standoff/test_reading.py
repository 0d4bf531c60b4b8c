"""Standoff corpora as they are published: which files are which splits, and the corpus that is read of them."""

import gzip
import json
from pathlib import Path

import pytest
from reading import message, read, write
from standoff import Written, bioc_objects, write_bioc_json, write_bioc_xml, write_brat, write_pubtator

from biocache.engine.corpora.base import Corpus

TRAIN = [
    Written("1", "IL-2 in mice.", "We saw p53. It fell.", (("Gene", ((0, 4),)), ("Gene", ((21, 24),)))),
    Written("2", "Two.", "The end.", ()),
]
OTHER = [Written("3", "A gene.", "The p53.", (("Gene", ((12, 15),)),))]


def summary(corpus: Corpus) -> dict[str, list[tuple[object, ...]]]:
    return {
        split: [(sample.id, sample.group, sample.texts, sample.tags) for sample in samples]
        for split, samples in corpus.splits.items()
    }


def write_json_lines(path: Path, documents: list[Written]) -> Path:
    path.write_text("\n".join(map(json.dumps, bioc_objects(documents))), encoding="utf-8")
    return path


# Names of the files of a train and a test split, and what writes them.
NAMES = {
    "{train}.pubtator": write_pubtator,
    "CDR_{Training}Set.PubTator.txt": write_pubtator,
    "NCBI{train}set_corpus.txt": write_pubtator,
    "CDR_{Training}Set.BioC.xml": write_bioc_xml,
    "{train}.xml.gz": write_bioc_xml,
    "{train}.json": write_bioc_json,
    "{train}.jsonl": write_json_lines,
    "x_{train}.pubtator.gz": write_pubtator,
    "{train}": write_brat,
    "corpus.v1_{train}": write_brat,
}


def write_splits(folder: Path, name: str) -> Path:
    folder.mkdir()
    for documents, split in ((TRAIN, "train"), (OTHER, "test")):
        title = {"train": "Training", "test": "Test"}[split]
        path = NAMES[name](folder / name.format(train=split, Training=title), documents)
        if path.suffix == ".gz":
            path.write_bytes(gzip.compress(path.read_bytes()))
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_every_format_is_one_corpus(tmp_path: Path, name: str) -> None:
    corpus = read("ner", write_splits(tmp_path / "x", name))
    assert corpus.remarks == ()
    assert corpus.notes == {"train": {"spans_labelled": 2}, "test": {"spans_labelled": 1}}
    assert summary(corpus) == {
        "train": [
            ("1-0", "1", (("IL", "-", "2", "in", "mice", "."),), ("B-Gene", "I-Gene", "I-Gene", "O", "O", "O")),
            ("1-1", "1", (("We", "saw", "p53", "."),), ("O", "O", "B-Gene", "O")),
            ("1-2", "1", (("It", "fell", "."),), ("O", "O", "O")),
            ("2-0", "2", (("Two", "."),), ("O", "O")),
            ("2-1", "2", (("The", "end", "."),), ("O", "O", "O")),
        ],
        "test": [
            ("3-0", "3", (("A", "gene", "."),), ("O", "O", "O")),
            ("3-1", "3", (("The", "p53", "."),), ("O", "B-Gene", "O")),
        ],
    }


@pytest.mark.parametrize("name", NAMES)
def test_one_file_or_folder_is_one_split(tmp_path: Path, name: str) -> None:
    folder = write_splits(tmp_path / "x", name)
    (path,) = (path for path in folder.iterdir() if "test" in path.name.lower())
    corpus = read("ner", f"x={path}")
    assert list(corpus.splits) == ["test"]
    assert [sample.group for sample in corpus.splits["test"]] == ["3", "3"]


def test_a_folder_of_brat_whose_name_tells_nothing_is_the_train_split(tmp_path: Path) -> None:
    corpus = read("ner", write_brat(tmp_path / "corpus", TRAIN))
    assert list(corpus.splits) == ["train"]
    assert corpus.remarks == ("corpus is the train split; --split-files names files of others",)


def test_folders_and_files_are_named_by_the_user(tmp_path: Path) -> None:
    folder = tmp_path / "x"
    write_brat(folder / "first", TRAIN)
    write_pubtator(folder / "second.txt", OTHER)
    assert "split_files='train=first' (it has first, second.txt)" in message("ner", folder)
    corpus = read("ner", folder, split_files=("train=first", "test=second.txt"))
    assert {split: len(samples) for split, samples in corpus.splits.items()} == {"train": 5, "test": 2}
    assert "does not exist" in message("ner", folder, split_files=("train=third",))


def test_a_split_of_brat_may_have_no_annotations(tmp_path: Path) -> None:
    folder = write_splits(tmp_path / "x", "{train}")
    (folder / "test" / "3.ann").unlink()
    (folder / "figures").mkdir()
    corpus = read("ner", folder)
    assert corpus.notes["test"] == {"documents_without_annotations": 1}
    assert {tag for sample in corpus.splits["test"] for tag in sample.tags or ()} == {"O"}
    assert corpus.remarks == ()
    assert list(read("ner", folder, split_files=("validation=test",)).splits) == ["train", "validation"]


def test_annotations_without_their_text_are_refused(tmp_path: Path) -> None:
    folder = write_splits(tmp_path / "x", "{train}")
    (folder / "test" / "3.txt").unlink()
    assert message("ner", folder).startswith(f"{folder / 'test' / '3.ann'}:1: no 3.txt beside it; ")


def test_two_formats_of_one_split_are_read_once(tmp_path: Path) -> None:
    folder = write_splits(tmp_path / "x", "CDR_{Training}Set.PubTator.txt")
    write_bioc_xml(folder / "CDR_TrainingSet.BioC.xml", TRAIN)
    corpus = read("ner", folder)
    assert [sample.id for sample in corpus.splits["train"]] == ["1-0", "1-1", "1-2", "2-0", "2-1"]
    assert corpus.remarks == ("CDR_TrainingSet.BioC.xml is not read; --split-files can name it",)


def test_what_only_looks_alike_is_read_as_before(tmp_path: Path) -> None:
    files = {
        "train.txt": "a|t|x\tO\np53\tB-Gene\n",
        "test.json": '[{"tokens": ["passages"], "ner_tags": ["O"]}]',
    }
    corpus = read("ner", write(tmp_path / "x", files))
    assert [sample.texts for split in corpus.splits.values() for sample in split] == [
        (("a|t|x", "p53"),),
        (("passages",),),
    ]


def test_a_readme_in_a_folder_of_brat_is_no_document(tmp_path: Path) -> None:
    folder = write_brat(tmp_path / "train", TRAIN)
    (folder / "README.txt").write_text("Read me.")
    (folder / "more.txt").write_text("One more.")
    corpus = read("ner", folder)
    assert {sample.group for sample in corpus.splits["train"]} == {"1", "2", "more"}
    assert corpus.notes["train"]["documents_without_annotations"] == 1


@pytest.mark.parametrize("name", ["train.pubtator", "train.xml"])
def test_damage_of_the_system_or_of_the_compression_has_a_place(tmp_path: Path, name: str) -> None:
    writer = write_pubtator if name == "train.pubtator" else write_bioc_xml
    data = writer(tmp_path / "plain", TRAIN * 200).read_bytes()
    path = tmp_path / f"{name}.gz"
    path.write_bytes(gzip.compress(data)[:-200])
    text = message("ner", f"x={path}")
    assert text.startswith(f"{path}:")
    assert "cannot be decompressed" in text


def test_other_xml_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "x", {"train.xml": "<html>\n</html>"})
    assert message("ner", folder).startswith(f"{folder / 'train.xml'}:1: the element 'html' is no collection of BioC; ")
