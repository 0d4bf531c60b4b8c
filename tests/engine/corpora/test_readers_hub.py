"""Hub datasets, in memory: columns, class names, splits and what is said of those that do not fit."""

import logging
from typing import Any

import datasets
import pytest
from reading import message, read

from biocache.engine.corpora.readers import read_corpus
from biocache.store.errors import SettingError

TAGS = datasets.ClassLabel(names=["O", "B-DNA", "I-DNA"])
ENTAILMENT = datasets.ClassLabel(names=["entailment", "neutral", "contradiction"])


class Hub:
    """Stands for the hub: hands out one dataset and records how it was asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.answers: list[Any] = []
        monkeypatch.setattr(datasets, "load_dataset", self.load)

    def load(self, hub_id: str, **options: Any) -> Any:
        self.calls.append((hub_id, options))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Hub:
    return Hub(monkeypatch)


def table(features: dict[str, Any] | None = None, /, **columns: list[Any]) -> datasets.Dataset:
    whole = datasets.Dataset.from_dict(columns)
    return whole.cast(datasets.Features({**whole.features, **(features or {})}))


def test_default_ner_uses_the_published_coding(hub: Hub) -> None:
    codes = list(range(11))
    words = [f"w{code}" for code in codes]
    hub.answers = [datasets.DatasetDict(train=table(tokens=[words], tags=[codes]))]
    corpus = read_corpus("ner", None)
    assert hub.calls == [("tner/bionlp2004", {"revision": "refs/convert/parquet"})]
    assert (corpus.name, corpus.source) == ("bionlp2004", "tner/bionlp2004")
    assert corpus.splits["train"][0].texts == (tuple(words),)
    assert corpus.splits["train"][0].tags == (
        *("O", "B-DNA", "I-DNA", "B-protein", "I-protein", "B-cell_type", "I-cell_type"),
        *("B-cell_line", "I-cell_line", "B-RNA", "I-RNA"),
    )


@pytest.mark.parametrize("words", ["tokens", "words"])
@pytest.mark.parametrize("tags", ["tags", "ner_tags", "labels"])
def test_ner_class_labels_are_decoded(hub: Hub, words: str, tags: str) -> None:
    columns = {words: [["a", "b"], ["c"]], tags: [[1, 2], [0]], "id": ["x", "y"]}
    hub.answers = [datasets.DatasetDict(test=table({tags: datasets.Sequence(TAGS)}, **columns))]
    corpus = read_corpus("ner", "Org/Some.Set")
    assert hub.calls == [("Org/Some.Set", {})]
    assert corpus.name == "some.set"
    assert [(sample.id, sample.tags) for sample in corpus.splits["test"]] == [("x", ("B-DNA", "I-DNA")), ("y", ("O",))]


def test_ner_string_tags_empty_rows_and_repairs(hub: Hub) -> None:
    rows = table(tokens=[["a"], [], ["b", "c"]], tags=[["B-DNA"], [], ["I-RNA", "I-RNA"]])
    hub.answers = [datasets.DatasetDict(train=rows)]
    corpus = read_corpus("ner", "mine=org/x")
    assert corpus.name == "mine"
    assert corpus.notes == {"train": {"repaired_tags": 1, "empty_samples": 1}}
    assert corpus.remarks == ("samples without a word skipped: 1 (org/x[train] row 1)",)
    assert corpus.splits["train"][1].tags == ("B-RNA", "I-RNA")


@pytest.mark.parametrize("texts", [("sentence1", "sentence2"), ("premise", "hypothesis")])
@pytest.mark.parametrize("label", ["gold_label", "label"])
@pytest.mark.parametrize("column", ["pairID", "pair_id", "id", "uid", None])
def test_nli_columns(hub: Hub, texts: tuple[str, str], label: str, column: str | None) -> None:
    columns: dict[str, list[Any]] = {
        texts[0]: ["A b", "C", "D"],
        texts[1]: ["e", "f g", "h"],
        label: [2, -1, 0],
    }
    if column:
        columns[column] = [10, 11, 12]
    hub.answers = [datasets.DatasetDict(dev=table({label: ENTAILMENT}, **columns))]
    corpus = read_corpus("nli", "org/x")
    assert corpus.notes == {"validation": {"unlabelled": 1}}
    samples = corpus.splits["validation"]
    assert [sample.id for sample in samples] == (
        ["10", "11", "12"] if column else [f"validation-{at}" for at in range(3)]
    )
    assert [sample.label for sample in samples] == ["contradiction", None, "entailment"]
    assert samples[0].texts == (("A", "b"), ("e",))


@pytest.mark.parametrize("name", ["validation", "dev", "valid"])
def test_split_names(hub: Hub, name: str) -> None:
    rows = table(tokens=[["a"]], tags=[["O"]])
    hub.answers = [datasets.DatasetDict({"test": rows, name: rows, "train": rows, "extra": rows})]
    corpus = read_corpus("ner", "org/x")
    assert list(corpus.splits) == ["train", "validation", "test"]
    assert corpus.remarks == ("split extra not read; --split-files can name it",)


def test_splits_of_any_name(hub: Hub) -> None:
    rows = table(premise=["a"], hypothesis=["b"], label=["x"])
    splits = {"train": rows, "validation_matched": rows, "validation_mismatched": rows}
    hub.answers = [datasets.DatasetDict(splits)] * 3
    assert "validation_matched and validation_mismatched are both the validation split" in message("nli", "org/x")
    assert list(read("nli", "org/x", ["train"]).splits) == ["train"]
    corpus = read("nli", "org/x", split_files=["validation=validation_matched"])
    assert list(corpus.splits) == ["train", "validation"]
    assert corpus.remarks == ("split validation_mismatched not read; --split-files can name it",)
    hub.answers = [datasets.DatasetDict(splits)]
    assert "no split 'dev' (it has train, validation_matched, validation_mismatched)" in message(
        "nli", "org/x", split_files=["validation=dev"]
    )


def test_configurations(hub: Hub) -> None:
    rows = datasets.DatasetDict(train=table(premise=["a"], hypothesis=["b"], label=["x"]))
    hub.answers = [rows, RuntimeError("Dataset scripts are no longer supported"), rows]
    read("nli", "org/x", config="mnli")
    read("nli", "org/x", config="mnli")
    script = {"name": "mnli", "revision": "refs/convert/parquet"}
    assert hub.calls == [("org/x", {"name": "mnli"}), ("org/x", {"name": "mnli"}), ("org/x", script)]
    hub.answers = [ValueError("Config name is missing.\nPlease pick one among: ['a', 'b']")]
    assert "among: ['a', 'b']); name one in config" in message("nli", "org/x")


def test_an_only_split_of_another_name_is_train(hub: Hub) -> None:
    hub.answers = [datasets.DatasetDict(all=table(tokens=[["a"]], tags=[["O"]]))]
    corpus = read_corpus("ner", "org/x")
    assert (list(corpus.splits), corpus.remarks) == (
        ["train"],
        ("all is the train split, the only one; --split-files names it otherwise",),
    )


def test_loading_scripts_are_read_from_their_conversion(hub: Hub) -> None:
    script = RuntimeError("Dataset scripts are no longer supported, but found x.py")
    hub.answers = [script, datasets.DatasetDict(train=table(tokens=[["a"]], tags=[["O"]]))]
    assert read_corpus("ner", "org/x").splits["train"][0].texts == (("a",),)
    assert hub.calls == [("org/x", {}), ("org/x", {"revision": "refs/convert/parquet"})]


def test_never_runs_remote_code(hub: Hub) -> None:
    hub.answers = [RuntimeError("script"), datasets.DatasetDict(train=table(tokens=[["a"]], tags=[["O"]]))]
    read_corpus("ner", "org/x")
    assert all("trust_remote_code" not in options for _, options in hub.calls)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ConnectionError("Couldn't reach\n  the Hub\n(timeout)"), "(Couldn't reach the Hub (timeout))"),
        (FileNotFoundError(""), "(FileNotFoundError)"),
        (ValueError("No\ndata"), "(No data)"),
    ],
)
def test_hub_that_cannot_give_it(hub: Hub, error: Exception, reason: str) -> None:
    hub.answers = [error]
    text = message("ner", "org/Missing")
    assert text.startswith("org/Missing: neither a folder nor a dataset")
    assert reason in text
    assert text.endswith("check the id and the network, or pass a folder")
    assert "Traceback" not in text


def test_log_level_of_the_hub_library_is_put_back(hub: Hub) -> None:
    log = logging.getLogger("huggingface_hub")
    before = log.level
    hub.answers = [ConnectionError("no")]
    message("ner", "org/x")
    assert log.level == before


PLAIN = "class 1 is a plain number and nothing names the classes"
MALFORMED = [
    pytest.param("ner", table(tokens=[["a"]], tags=[[1]]), f"[train] row 0: {PLAIN}", id="unnamed tags"),
    pytest.param(
        *("ner", table(tokens=[["a"], ["b", "c"]], tags=[["O"], ["O"]])),
        *("[train] row 1: 2 words but 1 tag;",),
        id="unequal columns",
    ),
    pytest.param("ner", table(tokens=[["a", "b"]], tags=[["O", "X-Q"]]), "row 0: tag 'X-Q' is not", id="bad tag"),
    pytest.param("ner", table(tokens=[["a b"]], tags=[["O"]]), "row 0: word 'a b' holds white", id="spaced word"),
    pytest.param("ner", table(tokens=[["a", ""]], tags=[["O", "O"]]), "row 0: empty word", id="empty word"),
    pytest.param("ner", table(tokens=[["a", None]], tags=[["O", "O"]]), "row 0: None among the words", id="null word"),
    pytest.param("ner", table(tokens=[[1]], tags=[["O"]]), "row 0: 1 among the words is not text", id="number"),
    pytest.param("ner", table(tokens=[1], tags=[["O"]]), "row 0: tokens are 1, not a list", id="number for words"),
    pytest.param("ner", table(x=["a"]), "no column of words, such as tokens or words (it has x)", id="no words"),
    pytest.param("nli", table(premise=["a"], label=["x"]), "no column of premise and hypothesis", id="no text"),
    pytest.param("ner", table(tokens=[[]], tags=[[]]), "the train split has no sample with a word", id="nothing in it"),
]


@pytest.mark.parametrize(("task", "rows", "substance"), MALFORMED)
def test_malformed(hub: Hub, task: str, rows: datasets.Dataset, substance: str) -> None:
    hub.answers = [datasets.DatasetDict(train=rows)]
    text = message(task, "org/x")
    assert text.startswith("org/x[train]")
    assert substance in text


def test_class_numbers_beyond_the_names(hub: Hub) -> None:
    rows = table({"tags": datasets.Sequence(TAGS)}, tokens=[["a", "b"]], tags=[[0, 7]])
    hub.answers = [datasets.DatasetDict(train=rows)]
    assert "row 0: class 7 is not one of the 3 that are named" in message("ner", "org/x")


def test_splits_that_cannot_be_found(hub: Hub) -> None:
    rows = table(tokens=[["a"]], tags=[["O"]])
    hub.answers = [datasets.DatasetDict(all=rows, more=rows)]
    text = message("ner", "org/x")
    assert "no split train, validation or test (it has all, more); name them: split_files='train=NAME'" in text


def test_hub_id_that_cannot_name_a_dataset() -> None:
    assert "NAME=HUB_ID" in message("ner", "org/_x", SettingError)
