"""Pairs: words, ids and skipped labels, whatever the source calls its columns."""

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from biocache.engine.corpora.nli import read_pairs
from biocache.engine.corpora.readers import read_corpus
from biocache.engine.corpora.task import Place, RawSplit, Row
from biocache.store.errors import DataError
from biocache.store.text import shown

TEXTS = st.text(min_size=1, max_size=20).filter(lambda text: text.strip())
LABELS = st.sampled_from(["entailment", "neutral", "contradiction", "-"])


def split_of(*rows: dict[str, object], columns: dict[str, str] | None = None) -> RawSplit:
    places = [Row(Place("t row ", number), fields) for number, fields in enumerate(rows)]
    return RawSplit("t", places, columns or {name: name for name in ("premise", "hypothesis", "label", "id")})


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.lists(st.tuples(TEXTS, TEXTS, LABELS), min_size=1, max_size=6).filter(
        lambda rows: any(label != "-" for *_, label in rows)
    ),
    st.booleans(),
    st.booleans(),
)
def test_round_trip_through_a_file(
    tmp_path: Path, rows: list[tuple[str, str, str]], with_ids: bool, escaped: bool
) -> None:
    objects = [
        {"sentence1": premise, "sentence2": hypothesis, "gold_label": label}
        | ({"pairID": number * 3} if with_ids else {})
        for number, (premise, hypothesis, label) in enumerate(rows)
    ]
    lines = [json.dumps(row, ensure_ascii=escaped) for row in objects]
    (tmp_path / "test.jsonl").write_bytes("\n".join(lines).encode())
    corpus = read_corpus("nli", f"x={tmp_path}")
    kept = [(number, row) for number, row in enumerate(rows) if row[2] != "-"]
    assert [(sample.id, sample.texts, sample.label) for sample in corpus.splits["test"]] == [
        (
            str(number * 3) if with_ids else f"test-{order}",
            (tuple(premise.split()), tuple(hypothesis.split())),
            label,
        )
        for order, (number, (premise, hypothesis, label)) in enumerate(kept)
    ]
    skipped = len(rows) - len(kept)
    assert corpus.notes == ({"test": {"skipped_pairs": skipped}} if skipped else {})


def test_columns_are_named_in_messages() -> None:
    columns = {"premise": "left", "hypothesis": "right", "label": "class", "id": "key"}
    raw = split_of({"premise": "a", "hypothesis": 5, "label": "x", "id": "k"}, columns=columns)
    with pytest.raises(DataError, match=r"^t row 0: right is 5, not text; "):
        read_pairs("train", raw)


def test_skipped_pairs_may_lack_text_but_not_ids() -> None:
    kept = {"premise": "a", "hypothesis": "b", "label": "x", "id": "1"}
    read = read_pairs("train", split_of({"label": "-", "premise": "", "id": "0"}, kept))
    assert ([sample.id for sample in read.samples], read.notes) == (["1"], {"skipped_pairs": 1})
    assert [place.at() for place in read.places] == ["t row 1"]


def test_ids_of_skipped_pairs_may_repeat() -> None:
    kept = {"premise": "a", "hypothesis": "b", "label": "x", "id": "1"}
    read = read_pairs("train", split_of(kept, {**kept, "label": "-"}))
    assert len(read.samples) == 1


@pytest.mark.parametrize(
    ("value", "text"),
    [("a\nb", r"'a\nb'"), ("\ud800\u2028", r"'\ud800\u2028'"), (3, "3"), ("x" * 99, f"'{'x' * 59}...")],
)
def test_values_in_messages_are_one_short_line(value: object, text: str) -> None:
    assert shown(value) == text
