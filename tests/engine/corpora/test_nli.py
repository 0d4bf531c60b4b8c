"""Pairs: words, ids, groups, and labels, whatever the source calls its columns."""

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reading import message, pair, read, write

from biocache.engine.corpora.json_tables import open_json
from biocache.engine.corpora.table import MISSING
from biocache.store.text import shown

TEXTS = st.text(min_size=1, max_size=20)
LABELS = st.sampled_from(["entailment", " neutral\n", "contradiction", "-", "-1", "", None, -1])
NONE = ("-", "-1", "", None, -1)


@pytest.mark.slow
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.lists(st.tuples(TEXTS, TEXTS, LABELS), min_size=1, max_size=6).filter(
        lambda rows: any(a.split() and b.split() for a, b, _ in rows)
    ),
    st.booleans(),
    st.booleans(),
)
def test_round_trip_through_a_file(
    tmp_path: Path, rows: list[tuple[str, str, str | None]], with_ids: bool, escaped: bool
) -> None:
    objects = [
        {"sentence1": premise, "sentence2": hypothesis, "gold_label": label}
        | ({"pairID": number * 3} if with_ids else {})
        for number, (premise, hypothesis, label) in enumerate(rows)
    ]
    lines = [json.dumps(row, ensure_ascii=escaped) for row in objects]
    (tmp_path / "test.jsonl").write_bytes("\n".join(lines).encode())
    corpus = read("nli", f"x={tmp_path}")
    kept = [(number, row) for number, row in enumerate(rows) if row[0].split() and row[1].split()]
    assert [(sample.id, sample.texts, sample.label) for sample in corpus.splits["test"]] == [
        (
            str(number * 3) if with_ids else f"test-{order}",
            (tuple(premise.split()), tuple(hypothesis.split())),
            None if label in NONE else str(label).strip(),
        )
        for order, (number, (premise, hypothesis, label)) in enumerate(kept)
    ]
    notes = corpus.notes.get("test", {})
    assert notes.get("unlabelled", 0) == sum(label in NONE for _, (_, _, label) in kept)
    assert notes.get("empty_samples", 0) == len(rows) - len(kept)


def test_jsonl_folder(tmp_path: Path) -> None:
    lines = pair("A  fever\tis", "No fever", "entailment") + "\n" + pair(label="-") + pair(label="neutral ")
    corpus = read("nli", write(tmp_path / "pairs", {"train.jsonl": lines}))
    assert corpus.notes == {"train": {"unlabelled": 1, "duplicates": 1}}
    first, second, third = corpus.splits["train"]
    assert (first.id, first.texts) == ("train-0", (("A", "fever", "is"), ("No", "fever")))
    assert (first.label, first.tags, second.label) == ("entailment", None, None)
    assert (third.id, third.label) == ("train-2", "neutral")


def test_a_split_without_any_label_is_a_split(tmp_path: Path) -> None:
    folder = write(tmp_path / "x", {"train.jsonl": pair(), "test.jsonl": pair(label=-1) + pair("D", label=-1)})
    corpus = read("nli", folder)
    assert [one.label for one in corpus.splits["test"]] == [None, None]
    assert corpus.notes == {"test": {"unlabelled": 2, "also_in_train": 1}}


def test_unicode_line_separators_inside_a_text_do_not_end_a_line(tmp_path: Path) -> None:
    line = '{"sentence1": "a\u2028b\u0085c", "sentence2": "d", "gold_label": "neutral"}\n'
    corpus = read("nli", write(tmp_path / "u", {"train.jsonl": line}))
    assert corpus.splits["train"][0].texts == (("a", "b", "c"), ("d",))


def test_samples_without_a_word_are_skipped_with_their_places(tmp_path: Path) -> None:
    empty = pair(premise="") + pair(hypothesis=" \t\u2003") + pair(premise=None)
    corpus = read("nli", write(tmp_path / "x", {"train.jsonl": pair() + empty + pair(premise=[]) + pair("D")}))
    assert [one.id for one in corpus.splits["train"]] == ["train-0", "train-1"]
    assert corpus.notes == {"train": {"empty_samples": 4}}
    path = tmp_path / "x" / "train.jsonl"
    assert corpus.remarks == (f"samples without a word skipped: 4 ({path}:2, {path}:3, {path}:4, ...)",)


def test_duplicates_inside_and_between_splits(tmp_path: Path) -> None:
    train = pair("a", "b") + pair("a  b", "c") + pair("a b", "c", label="x") + pair("a", "b c")
    folder = write(
        tmp_path / "x", {"train.jsonl": train, "dev.jsonl": pair("a", "b"), "test.jsonl": pair("a", "b") * 2}
    )
    corpus = read("nli", folder)
    assert corpus.notes == {
        "train": {"duplicates": 1},
        "validation": {"also_in_train": 1},
        "test": {"duplicates": 1, "also_in_train": 2, "also_in_validation": 2},
    }


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        pytest.param(pair(pairID="a") + pair(), "2: no pairID, which other rows have", id="on some rows"),
        pytest.param(pair() + pair(pairID="a"), "1: no pairID, which other rows have", id="not on the first"),
        pytest.param(pair(pairID="a") + pair(pairID=None), "2: no pairID, which other rows have", id="null"),
        pytest.param(pair(pairID=[1]) + pair(), "1: pairID is [1], not text or a whole number", id="a list"),
        pytest.param(pair(pairID=True) + pair(), "1: pairID is True, not text or a whole number", id="a bool"),
        pytest.param(pair(pairID="7") + pair(pairID=7), "2: pairID '7' was used before, at {path}:1", id="twice"),
    ],
)
def test_ids_that_are_none(tmp_path: Path, lines: str, why: str) -> None:
    """A guess is given up, with a remark; a column that was named is refused."""
    folder = write(tmp_path / "x", {"train.jsonl": lines})
    path = folder / "train.jsonl"
    why = f"{path}:{why.format(path=path)}"
    corpus = read("nli", folder)
    assert [one.id for one in corpus.splits["train"]] == ["train-0", "train-1"]
    assert corpus.remarks == (f"samples are numbered: {why}",)
    assert message("nli", folder, id_column="pairID").startswith(f"{why}; ")


def test_groups(tmp_path: Path) -> None:
    lines = pair(promptID="p1", doc=3) + pair("D", promptID=2.0, doc=None)
    folder = write(tmp_path / "x", {"train.jsonl": lines})
    assert [one.group for one in read("nli", folder).splits["train"]] == ["p1", "2"]
    assert [one.group for one in read("nli", folder, group_column="doc").splits["train"]] == ["3", None]


@pytest.mark.parametrize(
    ("content", "line", "substance"),
    [
        pytest.param(pair() + "{'a': 1}\n", 2, "is not JSON", id="not JSON"),
        pytest.param(pair() + "[" * 100_000 + "\n", 2, "is not JSON", id="too deep"),
        pytest.param(pair() + '{"n": ' + "9" * 5000 + "}\n", 2, "is not JSON", id="number too long"),
        pytest.param(pair() + "\n[1]\n", 3, "'[1]' is not a JSON object", id="a list"),
        pytest.param('{"sentence1": "a", "gold_label": "x"}\n', 1, "no column of premise and hypothesis", id="no text"),
        pytest.param(pair() + '{"sentence1": "a", "gold_label": "x"}\n', 2, "sentence2 is missing", id="less text"),
        pytest.param(pair(premise=3), 1, "sentence1 is 3, not text", id="number for text"),
        pytest.param(pair() + pair(hypothesis={"a": 1}), 2, "sentence2 is {'a': 1}, not text", id="object for text"),
        pytest.param(pair(label={"a": 1}), 1, "gold_label is {'a': 1}, not text or a number", id="object for label"),
        pytest.param(pair(label=float("inf")), 1, "gold_label is inf; write a finite number", id="no finite number"),
        pytest.param(pair(premise="a\ud800"), 1, r"half a character, '\ud800'", id="lone surrogate"),
        pytest.param(pair(label="a\ud800"), 1, r"half a character, '\ud800'", id="lone surrogate in a label"),
        pytest.param(pair(pairID="a\ud800"), 1, r"half a character, '\ud800'", id="lone surrogate in an id"),
        pytest.param(pair().encode() + b'{"\xc3', 2, "byte 0xc3 is not UTF-8", id="cut in a character"),
        pytest.param("", 1, "file is empty", id="empty"),
        pytest.param("\n", 1, "no column of premise", id="blank"),
        pytest.param(pair(premise=" "), 1, "the train split has no sample with a word, 1 without one", id="no words"),
    ],
)
def test_malformed_jsonl(tmp_path: Path, content: str | bytes, line: int, substance: str) -> None:
    text = message("nli", write(tmp_path / "x", {"train.jsonl": content}))
    assert text.startswith(f"{tmp_path}/x/train.jsonl:{line}: ")
    assert substance in text
    assert len(text) < len(str(tmp_path)) + 300


@pytest.mark.parametrize(
    ("value", "text"),
    [("a\nb", r"'a\nb'"), ("\ud800\u2028", r"'\ud800\u2028'"), (3, "3"), ("x" * 99, f"'{'x' * 59}...")],
)
def test_values_in_messages_are_one_short_line(value: object, text: str) -> None:
    assert shown(value) == text


def test_records_are_what_json_reads(tmp_path: Path) -> None:
    """Most lines are decoded by another library, which refuses some of what `json` takes."""
    plain = ["1e400", "NaN", "-0", "0.1", "1" + "0" * 40, "9007199254740993.0", '"\\ud83d\\ude00"', '"\\ud83d"', "null"]
    lines = [f'{{"x": {value}, "y": ["a", {{"b": {value}}}], "x{at}": true}}' for at, value in enumerate(plain)]
    path = tmp_path / "train.jsonl"
    path.write_text("\n\n".join([*lines, ' {"x": 1, "x": 2} ']) + "\r\n", encoding="utf-8")
    table = open_json(path)
    expected = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]
    assert table.columns == tuple(dict.fromkeys(name for record in expected for name in record))
    found = [dict(zip(table.columns, values, strict=True)) for _, values in table.rows(table.columns)]
    known = [{name: value for name, value in record.items() if value is not MISSING} for record in found]
    assert repr(known) == repr(expected)
    assert [place.number for place, _ in table.rows([])] == [*range(1, 2 * len(expected), 2)]
