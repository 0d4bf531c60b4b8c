"""Which files are which splits, what is said of the others, and what is refused and when."""

import os
from pathlib import Path

import pytest
from reading import in_splits, message, pair, read, write

from biocache.engine.corpora.readers import read_corpus
from biocache.store.errors import BiocacheError, SettingError

CONLL = "IL-2\tB-DNA\ngene\tI-DNA\nbinds\tO\n\nNF-kB\tB-protein\n"


@pytest.mark.parametrize(
    ("name", "split"),
    [
        *((f"{word}.conll", "validation") for word in ("validation", "valid", "val", "dev", "devel", "development")),
        ("Train.conll", "train"),
        ("training.conll", "train"),
        ("TEST.txt", "test"),
        ("snli_1.0_train.tsv", "train"),
        ("jnlpba-test-v2.iob2", "test"),
        ("SICK_train.txt", "train"),
        ("train_set.tsv.gz", "train"),
        ("nl_x-ud-dev.conllu", "validation"),
        ("train-00000-of-00001.conll", "train"),
    ],
)
def test_names_of_splits(tmp_path: Path, name: str, split: str) -> None:
    corpus = read("ner", write(tmp_path / "x", {name: CONLL}))
    assert (list(corpus.splits), corpus.remarks) == ([split], ())


@pytest.mark.parametrize("pattern", ["{}.jsonl", "mli_{}_v1.jsonl", "snli_1.0_{}.jsonl", "{}.json", "x.{}.jsonl.gz"])
def test_names_of_published_pairs(tmp_path: Path, pattern: str) -> None:
    files = {pattern.format(name): pair(pairID=name) for name in ("train", "dev", "test")}
    corpus = read("nli", write(tmp_path / "x", files))
    assert {split: samples[0].id for split, samples in corpus.splits.items()} == {
        "train": "train",
        "validation": "dev",
        "test": "test",
    }


def test_a_plain_name_goes_before_a_longer_one_and_the_others_are_named(tmp_path: Path) -> None:
    files = in_splits("{}.tsv", CONLL, ("train", "devel", "test", "train_dev", "old_test")) | {
        "classes.tsv": "x",
        "README.txt": "x",
        "other.conll": CONLL,
        "notes.md": "x",
    }
    corpus = read("ner", write(tmp_path / "x", files))
    assert list(corpus.splits) == ["train", "validation", "test"]
    assert corpus.remarks == ("old_test.tsv, other.conll, train_dev.tsv are not read; --split-files can name it",)


def test_splits_of_other_formats_are_named(tmp_path: Path) -> None:
    files = {"train.jsonl": pair(), "test.xlsx": b"x", "dev.conll": CONLL, "test.py": "x", "train.log": "x"}
    folder = write(tmp_path / "x", files)
    write(folder / "valid", {"a.txt": "x"})
    corpus = read("nli", folder)
    assert list(corpus.splits) == ["train"]
    assert corpus.remarks == ("dev.conll, test.xlsx, valid not read: no format of nli",)


def test_of_files_of_one_name_one_format_is_read(tmp_path: Path) -> None:
    files = in_splits("snli_1.0_{}.jsonl", pair()) | in_splits("snli_1.0_{}.txt", "gold_label\tx\n")
    corpus = read("nli", write(tmp_path / "x", files))
    assert [len(samples) for samples in corpus.splits.values()] == [1, 1, 1]
    assert corpus.remarks == (
        "snli_1.0_dev.txt, snli_1.0_test.txt, snli_1.0_train.txt are not read; --split-files can name it",
    )


def test_shards_follow_each_other(tmp_path: Path) -> None:
    files = {f"train-0000{at}-of-00003.jsonl": pair(premise=f"p{at}") for at in (2, 0, 1)}
    corpus = read("nli", write(tmp_path / "x", files))
    assert [(one.id, one.texts[0]) for one in corpus.splits["train"]] == [
        (f"train-{at}", (f"p{at}",)) for at in range(3)
    ]
    (tmp_path / "x" / "train-00001-of-00003.jsonl").write_text('{"premise": "a", "hypothesis": "b"}\n')
    assert "train-00001-of-00003.jsonl:1: other columns than" in message("nli", tmp_path / "x")


def test_two_files_for_one_split(tmp_path: Path) -> None:
    folder = write(tmp_path / "x", in_splits("{}.jsonl", pair(), ("dev", "validation", "train")))
    text = message("nli", folder)
    assert "dev.jsonl and" in text
    assert "validation.jsonl are both the validation split; name its file: split_files='validation=FILE'" in text
    assert message("nli", folder, splits=["train", "validation"]) == text
    assert list(read("nli", folder, ["train"]).splits) == ["train"]
    assert list(read("nli", folder, split_files=["validation=dev.jsonl"]).splits) == ["train", "validation"]


def test_a_name_of_two_splits(tmp_path: Path) -> None:
    folder = write(tmp_path / "x", {"train_devel.tsv": CONLL, "test.tsv": CONLL})
    text = message("ner", folder)
    assert "train_devel.tsv could be the train or the validation split; name its file: split_files=" in text
    corpus = read("ner", folder, ["test"])
    assert list(corpus.splits) == ["test"]
    corpus = read("ner", folder, split_files=["train=train_devel.tsv"])
    assert (list(corpus.splits), corpus.remarks) == (["train", "test"], ())


def test_named_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write(tmp_path / "x", {"Genia4ERtask1.iob2": CONLL, "Genia4EReval1.iob2": CONLL})
    write(tmp_path / "more", {"a.tsv": "x\tO\n", "b.tsv": "y\tO\n"})
    text = message("ner", folder)
    assert "no ner file here whose name tells its split; name them: split_files='train=Genia4EReval1.iob2'" in text
    named = ["train=Genia4ERtask1.iob2", "test=Genia4EReval1.iob2"]
    corpus = read("ner", folder, split_files=named)
    assert (list(corpus.splits), corpus.remarks) == (["train", "test"], ())
    monkeypatch.chdir(tmp_path)
    corpus = read("ner", folder, split_files=[*named, "validation=more/a.tsv", f"validation={tmp_path}/more/b.tsv"])
    assert [one.texts[0] for one in corpus.splits["validation"]] == [("x",), ("y",)]
    assert "nothing.tsv: does not exist; name a file" in message("ner", folder, split_files=["test=nothing.tsv"])


@pytest.mark.parametrize("text", ["dev=x.tsv", "train", "train=", "=x"])
def test_named_files_that_name_no_split(tmp_path: Path, text: str) -> None:
    folder = write(tmp_path / "x", {"train.tsv": CONLL})
    assert "is not SPLIT=FILE; the splits are train, validation, test" in message(
        "ner", folder, SettingError, split_files=[text]
    )


@pytest.mark.parametrize(
    ("name", "split", "dataset"),
    [("bc5_test.tsv", "test", "bc5_test"), ("genes.tsv.gz", "train", "genes"), ("x.1.conll", "train", "x.1")],
)
def test_one_file(tmp_path: Path, name: str, split: str, dataset: str) -> None:
    folder = write(tmp_path / "x", {name: CONLL, "other.tsv": CONLL})
    corpus = read("ner", folder / name)
    assert (corpus.name, list(corpus.splits)) == (dataset, [split])
    assert corpus.remarks == (f"{name} is the {split} split; --split-files names files of others",)
    corpus = read("ner", folder / name, split_files=["validation=other.tsv", f"{split}={name}"])
    assert set(corpus.splits) == {split, "validation"}
    assert corpus.remarks == ()


def test_a_file_of_another_format(tmp_path: Path) -> None:
    folder = write(tmp_path / "x", {"a.docx": "x", "b.conll": CONLL, "c.parquet.gz": b"x"})
    assert "a.docx: not a format of ner (.conll, .conllu, .bio" in message("ner", folder / "a.docx")
    assert "b.conll: not a format of nli (.jsonl, .json, .csv" in message("nli", folder / "b.conll")
    assert "c.parquet.gz: not a format of nli" in message("nli", folder / "c.parquet.gz")


def test_a_split_that_is_not_asked_for_is_not_read(tmp_path: Path) -> None:
    folder = write(tmp_path / "x", {"train.tsv": CONLL, "test.tsv": "a\tO\nbad\tX-Y\n", "dev.tsv": ""})
    assert list(read("ner", folder, ["train"]).splits) == ["train"]
    assert "test.tsv:2: tag 'X-Y'" in message("ner", folder, splits=["train", "test"])
    assert "dev.tsv:1: the file is empty" in message("ner", folder)
    (folder / "test.tsv").write_text("a\t_\nb\t_\n")
    assert read("ner", folder, ["train", "test"]).splits["test"][0].tags is None


def test_a_split_that_does_not_exist(tmp_path: Path) -> None:
    folder = write(tmp_path / "x", {"train.conll": CONLL, "dev.conll": CONLL})
    text = message("ner", folder, splits=["train", "test"])
    assert "no split 'test' (it has train, validation); name others in split, or its file in split_files" in text


def test_what_is_neither_file_nor_folder(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert message("ner", tmp_path / "pipe").startswith(f"{tmp_path}/pipe: is neither a file nor a folder;")


def test_an_unreadable_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write(tmp_path / "x", {"train.conll": CONLL})

    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "iterdir", refuse)
    assert message("nli", folder) == f"{folder}: cannot be read (Permission denied); check the folder's permissions"


def test_missing_folder_is_shown_resolved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = message("ner", "./missing")
    assert text.startswith(f"{tmp_path}/missing: does not exist;")
    assert "train.conll" in text


@pytest.mark.parametrize(("task", "expected"), [("ner", "validation.conll"), ("nli", "mli_{train,dev,test}_v1")])
def test_folder_without_corpus_files_lists_what_is_expected(tmp_path: Path, task: str, expected: str) -> None:
    text = message(task, write(tmp_path / "x", {"train.pdf": "a"}))
    assert text.startswith(f"{tmp_path}/x: no {task} file here")
    assert expected in text


def test_config_is_of_the_hub(tmp_path: Path) -> None:
    folder = write(tmp_path / "x", {"train.conll": CONLL})
    assert "config is for datasets of the hub" in message("ner", folder, SettingError, config="a")


def test_mednli_says_where_to_get_it() -> None:
    text = message("nli", None)
    for part in ("cannot be downloaded freely", "https://physionet.org/content/mednli/", "dataset='FOLDER'"):
        assert part in text
    for name in ("mli_train_v1.jsonl", "mli_dev_v1.jsonl", "mli_test_v1.jsonl"):
        assert name in text


@pytest.mark.parametrize("task", ["tokens", "text"])
def test_tasks_without_a_default(task: str) -> None:
    assert message(task, None).startswith(f"task {task} has no default dataset; pass dataset='FOLDER'")


def test_name_is_that_of_the_folder_however_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write(tmp_path / "Genes-1.0", {"train.conll": CONLL})
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(tmp_path))
    for text in (".", "../Genes-1.0", f"{folder}/", "~/Genes-1.0"):
        assert read("ner", text).name == "Genes-1.0", text
    monkeypatch.chdir(tmp_path)
    assert read("ner", "Genes-1.0").source == str(folder)
    assert read("ner", "mine=Genes-1.0").name == "mine"


def test_folder_with_an_equals_sign(tmp_path: Path) -> None:
    folder = write(tmp_path / "k=v", {"train.conll": CONLL})
    assert "'k=v' cannot name a dataset" in message("ner", folder, SettingError)
    assert read("ner", f"kv={folder}").name == "kv"


@pytest.mark.parametrize("dataset", ["", "a b=.", "=.", ".hidden=x/y", "x=", "../é"])
def test_datasets_that_cannot_be_named(dataset: str) -> None:
    with pytest.raises(BiocacheError):
        read("ner", dataset)


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"task": "qa"}, "'qa'"),
        ({"limit": 0}, "limit 0"),
        ({"splits": []}, "no split was asked for"),
        ({"text_column": "x"}, "text_column is for text, and task is ner; leave it out"),
        ({"task": "nli", "tag_column": "x"}, "tag_column is for ner and tokens, and task is nli"),
        ({"task": "nli", "pair_columns": ["a", "b", "c"]}, "pair_columns names 3 columns; name the two of a pair"),
    ],
)
def test_settings_that_cannot_be_used(tmp_path: Path, options: dict[str, object], part: str) -> None:
    folder = write(tmp_path / "x", {"train.conll": CONLL})
    assert part in message(str(options.pop("task", "ner")), folder, SettingError, **options)  # type: ignore[arg-type]


def test_limit_keeps_the_first_samples(tmp_path: Path) -> None:
    folder = write(tmp_path / "x", {"train.conll": CONLL})
    whole = read("ner", folder)
    corpus = read_corpus("ner", str(folder), limit=1)
    assert corpus.splits == {"train": whole.splits["train"][:1]}
    assert read_corpus("ner", str(folder), limit=99).splits == whole.splits
