"""Corpora in local folders: what is read, and the one line that every malformed input gets."""

import json
import time
from pathlib import Path

import pytest

from biocache.engine.corpora.readers import read_corpus
from biocache.store.errors import BiocacheError, DataError, SettingError

DATA = Path(__file__).resolve().parents[4] / "shared" / "data"

CONLL = "IL-2\tB-DNA\ngene\tI-DNA\nbinds\tO\n\nNF-kB\tB-protein\n"


def pair(premise: object = "A b.", hypothesis: object = "C.", label: object = "neutral", **more: object) -> str:
    return json.dumps({"sentence1": premise, "sentence2": hypothesis, "gold_label": label, **more}) + "\n"


def write(folder: Path, **files: str | bytes) -> Path:
    """Write files named as `train_conll` for ``train.conll``."""
    folder.mkdir(exist_ok=True)
    for key, content in files.items():
        data = content if isinstance(content, bytes) else content.encode()
        (folder / ".".join(key.rsplit("_", 1))).write_bytes(data)
    return folder


def message(task: str, dataset: object, kind: type[BiocacheError] = DataError, **options: object) -> str:
    with pytest.raises(kind) as caught:
        read_corpus(task, None if dataset is None else str(dataset), **options)  # type: ignore[arg-type]
    text = str(caught.value)
    assert len(text.splitlines()) == 1, text
    assert ";" in text, f"no next step: {text}"
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return text


def test_conll_folder(tmp_path: Path) -> None:
    folder = write(tmp_path / "genes", train_conll=CONLL, test_conll="x\tO\ny\tB-DNA\n")
    corpus = read_corpus("ner", str(folder))
    assert (corpus.name, corpus.source, corpus.task.name) == ("genes", str(folder), "ner")
    assert (corpus.labels, corpus.label_scheme, corpus.notes) == (("O", "DNA", "protein"), "type", {})
    assert list(corpus.splits) == ["train", "test"]
    first, second = corpus.splits["train"]
    assert (first.id, first.texts, first.label) == ("train-0", (("IL-2", "gene", "binds"),), None)
    assert first.tags == ("DNA", "DNA", "O")
    assert (second.id, second.texts, second.tags) == ("train-1", (("NF-kB",),), ("protein",))
    assert corpus.splits["test"][0].id == "test-0"


def test_jsonl_folder(tmp_path: Path) -> None:
    lines = pair("A  fever\tis", "No fever", "entailment") + "\n" + pair(label="-") + pair(label="neutral")
    corpus = read_corpus("nli", str(write(tmp_path / "pairs", train_jsonl=lines)))
    assert (corpus.labels, corpus.label_scheme) == (("entailment", "neutral"), "type")
    assert corpus.notes == {"train": {"skipped_pairs": 1}}
    first, second = corpus.splits["train"]
    assert (first.id, first.texts) == ("train-0", (("A", "fever", "is"), ("No", "fever")))
    assert (first.label, first.tags) == ("entailment", None)
    assert (second.id, second.label) == ("train-1", "neutral")


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(CONLL.replace("\n", "\r\n"), id="crlf"),
        pytest.param(b"\xef\xbb\xbf" + CONLL.encode(), id="byte order mark"),
        pytest.param(CONLL.rstrip("\n"), id="no final newline"),
        pytest.param(CONLL.replace("\n", "\r\n").rstrip("\n"), id="final carriage return"),
        pytest.param("\n\n" + CONLL.replace("\n\n", "\n \n\n") + "\n\n\n", id="more blank lines"),
    ],
)
def test_line_ends_and_blank_lines_do_not_matter(tmp_path: Path, content: str | bytes) -> None:
    plain = read_corpus("ner", str(write(tmp_path / "a", train_conll=CONLL)))
    other = read_corpus("ner", str(write(tmp_path / "b", train_conll=content)))
    assert other.splits == plain.splits
    assert other.digest("train") == plain.digest("train")
    assert other.notes == {}


def test_document_starts_are_skipped_and_end_sentences(tmp_path: Path) -> None:
    content = "-DOCSTART-\tO\n\na\tO\n-DOCSTART- -X- O O\nb\tO\n-DOCSTART-like\tO\n"
    corpus = read_corpus("ner", str(write(tmp_path / "d", train_conll=content)))
    assert [sample.texts[0] for sample in corpus.splits["train"]] == [("a",), ("b", "-DOCSTART-like")]
    assert corpus.notes == {"train": {"docstart_lines": 2}}


def test_unicode_line_separators_inside_a_text_do_not_end_a_line(tmp_path: Path) -> None:
    line = '{"sentence1": "a\u2028b\u0085c", "sentence2": "d", "gold_label": "neutral"}\n'
    corpus = read_corpus("nli", str(write(tmp_path / "u", train_jsonl=line)))
    assert corpus.splits["train"][0].texts == (("a", "b", "c"), ("d",))


@pytest.mark.parametrize("name", ["validation.conll", "dev.conll", "valid.conll"])
def test_names_of_the_ner_validation_split(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(CONLL)
    assert list(read_corpus("ner", f"x={tmp_path}").splits) == ["validation"]


@pytest.mark.parametrize("pattern", ["{}.jsonl", "mli_{}_v1.jsonl", "snli_1.0_{}.jsonl"])
def test_names_of_published_nli_files(tmp_path: Path, pattern: str) -> None:
    for name in ("train", "dev", "test"):
        (tmp_path / pattern.format(name)).write_text(pair(pairID=name))
    corpus = read_corpus("nli", f"x={tmp_path}")
    assert {split: samples[0].id for split, samples in corpus.splits.items()} == {
        "train": "train",
        "validation": "dev",
        "test": "test",
    }


def test_labels_come_from_all_splits_without_a_train_split(tmp_path: Path) -> None:
    folder = write(tmp_path / "x", dev_conll="a\tB-RNA\n", test_conll="b\tB-DNA\n")
    assert read_corpus("ner", str(folder), splits=["test"]).labels == ("O", "DNA", "RNA")


def test_splits_and_limit_change_neither_labels_nor_checks(tmp_path: Path) -> None:
    train = CONLL + "\nx\tI-RNA\n"
    folder = write(tmp_path / "x", train_conll=train, test_conll=CONLL)
    whole = read_corpus("ner", str(folder))
    corpus = read_corpus("ner", str(folder), splits=("test",), limit=1)
    assert corpus.labels == whole.labels == ("O", "DNA", "RNA", "protein")
    assert corpus.splits == {"test": whole.splits["test"][:1]}
    assert (corpus.notes, whole.notes) == ({}, {"train": {"repaired_tags": 1}})
    assert read_corpus("ner", str(folder), limit=99).splits == whole.splits
    (folder / "test.conll").write_text(CONLL + "\nbad\tX\n")
    assert f"{folder}/test.conll:7: tag 'X'" in message("ner", folder, splits=("train",), limit=1)


MALFORMED_NER = [
    pytest.param("a\tO\nb\tX-DNA\n", 2, "tag 'X-DNA' of word 'b' is not IOB2", id="bad tag"),
    pytest.param("a\tO\nb\tb-DNA\n", 2, "'b-DNA'", id="lower case tag"),
    pytest.param("a\tO\n\nb\tO\nc\tB-\n", 4, "'B-'", id="no type"),
    pytest.param("a\tB-O\n", 1, "'B-O'", id="a type called O"),
    pytest.param("a\tO \n", 1, "'O '", id="trailing space"),
    pytest.param("a\t\n", 1, "tag ''", id="empty tag"),
    pytest.param("a\tO\nb O\n", 2, "'b O' has no tag", id="space for tab"),
    pytest.param("a\tO\n\nb\n", 3, "'b' has no tag", id="no tag"),
    pytest.param("a\tNN\tO\n", 1, "3 columns", id="three columns"),
    pytest.param("a\tO\n\tO\n", 2, "empty word", id="empty word"),
    pytest.param("a\tO\nb\x0bc\tO\n", 2, r"'b\x0bc' holds white space", id="control character"),
    pytest.param("a\tO\nb\u00a0c\tO\n", 2, r"'b\xa0c' holds white space", id="no-break space"),
    pytest.param("a\tO\n\u2003\tO\n", 2, r"'\u2003' holds white space", id="em space"),
    pytest.param("a\rb\tO\n", 1, r"'a\rb' holds white space", id="carriage return inside"),
    pytest.param(b"a\tO\n\nb\xff\tO\n", 3, "byte 0xff is not UTF-8", id="not UTF-8"),
    pytest.param(b"\xef\xbb\xbfa\tO\n\xe9\tO\n", 2, "byte 0xe9", id="Latin-1 after a byte order mark"),
    pytest.param("", 1, "file is empty", id="empty"),
    pytest.param(b"\xef\xbb\xbf", 1, "file is empty", id="byte order mark only"),
    pytest.param("\n\n", 1, "no sentence in the train split", id="blank lines only"),
    pytest.param("-DOCSTART-\tO\n", 1, "no sentence", id="document start only"),
]

MALFORMED_NLI = [
    pytest.param(pair() + "{'a': 1}\n", 2, "is not JSON", id="not JSON"),
    pytest.param(pair() + "[" * 100_000 + "\n", 2, "is not JSON", id="too deep"),
    pytest.param('{"n": ' + "9" * 5000 + "}\n", 1, "is not JSON", id="number too long"),
    pytest.param("\n[1]\n", 2, "'[1]' is not a JSON object", id="a list"),
    pytest.param('{"sentence1": "a", "gold_label": "x"}\n', 1, "field sentence2 is missing", id="no text"),
    pytest.param('{"sentence1": "a", "sentence2": "b"}\n', 1, "field gold_label is missing", id="no label"),
    pytest.param(pair(premise=3), 1, "sentence1 is 3, not text", id="number for text"),
    pytest.param(pair(label=None), 1, "gold_label is None, not text", id="null label"),
    pytest.param(pair() + pair(label=" "), 2, "gold_label is empty", id="empty label"),
    pytest.param(pair(premise=""), 1, "sentence1 has no words", id="empty text"),
    pytest.param(pair() + pair(hypothesis=" \t\u2003"), 2, "sentence2 has no words", id="blank text"),
    pytest.param(pair(premise="a\ud800"), 1, r"half a character, '\ud800'", id="lone surrogate"),
    pytest.param(pair(pairID="p") + pair(), 2, "no pairID, which other rows have", id="id on some"),
    pytest.param(pair(label="-") + pair(pairID="p"), 1, "no pairID", id="id not on the first"),
    pytest.param(pair(pairID="p") + pair(pairID=None), 2, "no pairID", id="null id"),
    pytest.param(pair(pairID=[1]), 1, "pairID is [1], not text or a whole number", id="list for id"),
    pytest.param(pair(pairID=True), 1, "pairID is True", id="bool for id"),
    pytest.param(pair().encode() + b'{"\xc3', 2, "byte 0xc3 is not UTF-8", id="cut in a character"),
    pytest.param("", 1, "file is empty", id="empty"),
    pytest.param("\n", 1, "no labelled pair in the train split", id="blank"),
    pytest.param(pair(label="-"), 1, "no labelled pair", id="no gold label at all"),
]


@pytest.mark.parametrize(("content", "line", "substance"), MALFORMED_NER)
def test_malformed_conll(tmp_path: Path, content: str | bytes, line: int, substance: str) -> None:
    text = message("ner", write(tmp_path / "x", train_conll=content))
    assert text.startswith(f"{tmp_path}/x/train.conll:{line}: ")
    assert substance in text


@pytest.mark.parametrize(("content", "line", "substance"), MALFORMED_NLI)
def test_malformed_jsonl(tmp_path: Path, content: str | bytes, line: int, substance: str) -> None:
    text = message("nli", write(tmp_path / "x", train_jsonl=content))
    assert text.startswith(f"{tmp_path}/x/train.jsonl:{line}: ")
    assert substance in text
    assert len(text) < len(str(tmp_path)) + 250


def test_duplicate_ids_name_both_lines(tmp_path: Path) -> None:
    lines = pair(pairID="a") + pair(pairID="7") + pair(pairID="b") + pair(pairID=7)
    text = message("nli", write(tmp_path / "x", train_jsonl=lines))
    path = tmp_path / "x" / "train.jsonl"
    assert text.startswith(f"{path}:4: pairID '7' was used before, at {path}:2;")


@pytest.mark.parametrize("scheme", ["type", "bio"])
def test_ner_label_absent_from_train(tmp_path: Path, scheme: str) -> None:
    folder = write(tmp_path / "x", train_conll=CONLL, test_conll=CONLL + "\na\tO\nb\tB-RNA\n")
    text = message("ner", folder, label_scheme=scheme, splits=["train"])
    assert text.startswith(f"{folder}/test.conll:8: label '{'RNA' if scheme == 'type' else 'B-RNA'}' is not in")


def test_bio_label_absent_from_train_although_its_type_is_there(tmp_path: Path) -> None:
    folder = write(tmp_path / "x", train_conll=CONLL, dev_conll="a\tB-protein\nb\tI-protein\n")
    assert read_corpus("ner", str(folder)).labels == ("O", "DNA", "protein")
    assert message("ner", folder).startswith(f"{folder}/dev.conll:2: label 'I-protein'")


def test_nli_label_absent_from_train(tmp_path: Path) -> None:
    folder = write(tmp_path / "x", train_jsonl=pair(label="yes\nno"), valid_jsonl=pair(label="yes\nno") + pair())
    assert r"valid.jsonl:2: label 'neutral' is not in the train split, which has 'yes\nno';" in message("nli", folder)


def test_two_files_for_one_split(tmp_path: Path) -> None:
    folder = write(tmp_path / "x", dev_jsonl=pair(), validation_jsonl=pair())
    assert "validation.jsonl and dev.jsonl are both the validation split" in message("nli", folder)


def test_split_that_does_not_exist(tmp_path: Path) -> None:
    folder = write(tmp_path / "x", train_conll=CONLL, dev_conll=CONLL)
    assert "no split 'test'; it has train, validation" in message("ner", folder, splits=["train", "test"])


def test_missing_folder_is_shown_resolved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = message("ner", "./missing")
    assert text.startswith(f"{tmp_path}/missing: does not exist;")
    assert "train.conll" in text


def test_file_for_a_folder(tmp_path: Path) -> None:
    folder = write(tmp_path / "x", train_conll=CONLL)
    assert "train.conll: is not a folder;" in message("ner", folder / "train.conll")


@pytest.mark.parametrize(("task", "expected"), [("ner", "validation.conll"), ("nli", "mli_{train,dev,test}_v1")])
def test_folder_without_corpus_files_lists_what_is_expected(tmp_path: Path, task: str, expected: str) -> None:
    text = message(task, write(tmp_path / "x", train_txt="a"))
    assert text.startswith(f"{tmp_path}/x: no {task} file here")
    assert expected in text


def test_unreadable_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write(tmp_path / "x", train_conll=CONLL)

    def refuse(path: Path, *_: str) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)
    assert "train.conll:1: cannot be read (Permission denied);" in message("ner", folder)


def test_mednli_says_where_to_get_it() -> None:
    text = message("nli", None)
    for part in ("cannot be downloaded freely", "https://physionet.org/content/mednli/", "dataset='FOLDER'"):
        assert part in text
    for name in ("mli_train_v1.jsonl", "mli_dev_v1.jsonl", "mli_test_v1.jsonl"):
        assert name in text


def test_name_is_that_of_the_folder_however_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write(tmp_path / "Genes-1.0", train_conll=CONLL)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(tmp_path))
    for text in (".", "../Genes-1.0", f"{folder}/", "~/Genes-1.0"):
        assert read_corpus("ner", text).name == "Genes-1.0", text
    monkeypatch.chdir(tmp_path)
    assert read_corpus("ner", "Genes-1.0").source == str(folder)
    assert read_corpus("ner", "mine=Genes-1.0").name == "mine"


def test_folder_with_an_equals_sign(tmp_path: Path) -> None:
    folder = write(tmp_path / "k=v", train_conll=CONLL)
    assert "'k=v' cannot name a dataset" in message("ner", folder, SettingError)
    assert read_corpus("ner", f"kv={folder}").name == "kv"


@pytest.mark.parametrize("dataset", ["", "a b=.", "=.", ".hidden=x/y", "x=", "../é"])
def test_datasets_that_cannot_be_named(dataset: str) -> None:
    with pytest.raises(BiocacheError):
        read_corpus("ner", dataset)


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"task": "qa"}, "'qa'"),
        ({"label_scheme": "iob"}, "'iob'"),
        ({"limit": 0}, "limit 0"),
        ({"splits": []}, "no split was asked for"),
    ],
)
def test_settings_that_cannot_be_used(tmp_path: Path, options: dict[str, object], part: str) -> None:
    folder = write(tmp_path / "x", train_conll=CONLL)
    assert part in message(str(options.pop("task", "ner")), folder, SettingError, **options)


@pytest.mark.slow
@pytest.mark.skipif(not DATA.is_dir(), reason="the real corpora are not beside this checkout")
def test_jnlpba_counts_and_speed() -> None:
    start = time.perf_counter()
    corpus = read_corpus("ner", str(DATA / "jnlpba"))
    seconds = time.perf_counter() - start
    counts = {
        split: (len(samples), sum(len(sample.texts[0]) for sample in samples))
        for split, samples in corpus.splits.items()
    }
    assert counts == {"train": (16_807, 445_090), "validation": (1_739, 47_461), "test": (3_856, 101_039)}
    assert corpus.labels == ("O", "DNA", "RNA", "cell_line", "cell_type", "protein")
    assert seconds < 10, "reading takes about a second; this is not a slow machine but another algorithm"


@pytest.mark.slow
@pytest.mark.skipif(not DATA.is_dir(), reason="the real corpora are not beside this checkout")
def test_real_nli_counts() -> None:
    corpus = read_corpus("nli", str(DATA / "nli"))
    assert [len(samples) for samples in corpus.splits.values()] == [2_309, 490, 474]
    assert corpus.labels == ("contradiction", "entailment", "neutral")
