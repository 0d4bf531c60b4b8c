"""Tables fit the terminal: every cell is there, none is cut, none is broken inside a word."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from hypothesis import given, settings
from hypothesis import strategies as st

from biocache.cli.tables import field_lines, table_lines, wrapped

Command = Callable[..., Result]

words = st.text("abcdefg0123456789.-", min_size=1, max_size=12)
cells = st.lists(words, min_size=1, max_size=4).map(" ".join)


def lines_of(titles: list[str], rows: list[list[str]], width: int | None) -> list[str]:
    return [line.text for line in table_lines(titles, rows, [False] * len(titles), width)]


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_whatever_the_width_all_words_are_there_and_fit(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 7))
    titles = data.draw(st.lists(cells, min_size=count, max_size=count, unique=True))
    # Few values, so that rows share some, as models and sizes do.
    values = st.sampled_from(data.draw(st.lists(cells, min_size=1, max_size=4)))
    rows = data.draw(st.lists(st.lists(values, min_size=count, max_size=count), min_size=1, max_size=8))
    width = data.draw(st.integers(20, 120))
    lines = lines_of(titles, rows, width)
    longest = max(len(word) for text in (*titles, *(cell for row in rows for cell in row)) for word in text.split())
    assert max(map(len, lines)) <= max(width, longest + 4)
    found = re.findall(r"[^\s,]+", "\n".join(lines))
    for text in (*titles, *(cell for row in rows for cell in row)):
        assert set(text.split()) <= set(found)


def test_where_there_is_room_a_row_is_a_line() -> None:
    assert lines_of(["run", "packs"], [["a", "1"], ["bb", "22"]], 80) == ["run  packs", "a    1", "bb   22"]
    wide = lines_of(["run", "what"], [["a" * 90, "b" * 90]], None)
    assert wide[1] == f"{'a' * 90}  {'b' * 90}"


def test_columns_of_one_value_are_a_line_above() -> None:
    rows = [["a", "0", "42", "0.5"], ["b", "1", "42", "0.6"]]
    assert lines_of(["model", "layer", "seed", "accuracy"], rows, 24) == [
        "seed 42",
        "",
        "model  layer  accuracy",
        "a      0      0.5",
        "b      1      0.6",
    ]


def test_leading_columns_are_headings_of_blocks() -> None:
    rows = [[model, str(layer), f"0.{layer}", f"0.{layer + 1}"] for model in ("bert", "gpt2") for layer in (0, 1)]
    assert lines_of(["model", "layer", "accuracy", "macro F1"], rows, 26) == [
        "model bert",
        "layer  accuracy  macro F1",
        "0      0.0       0.1",
        "1      0.1       0.2",
        "",
        "model gpt2",
        "layer  accuracy  macro F1",
        "0      0.0       0.1",
        "1      0.1       0.2",
    ]


def test_more_columns_than_fit_are_tables_one_below_the_other() -> None:
    rows = [[str(layer), f"0.{layer} [0.1, 0.2]", f"0.{layer} [0.3, 0.4]"] for layer in (0, 1)]
    assert lines_of(["layer", "accuracy", "macro F1"], rows, 26) == [
        "layer  accuracy",
        "0      0.0 [0.1, 0.2]",
        "1      0.1 [0.1, 0.2]",
        "",
        "layer  macro F1",
        "0      0.0 [0.3, 0.4]",
        "1      0.1 [0.3, 0.4]",
    ]


def test_a_long_name_heads_a_block_of_its_own() -> None:
    rows = [["ner/demo/bert/size-000/seed-42", "100", "2.5 MiB"], ["ner/demo/bert/size-100/seed-42", "90", "2.4 MiB"]]
    assert lines_of(["run", "samples", "bytes"], rows, 32) == [
        "ner/demo/bert/size-000/seed-42",
        "  samples  100",
        "  bytes    2.5 MiB",
        "",
        "ner/demo/bert/size-100/seed-42",
        "  samples  90",
        "  bytes    2.4 MiB",
    ]


def test_texts_are_broken_at_spaces_and_in_paths() -> None:
    assert wrapped("a path such as ner/demo/bert", 20) == ["a path such as ner/", "demo/bert"]
    assert wrapped("a" * 30, 20) == ["a" * 30]
    assert [line.text for line in field_lines([("path", "a/b"), ("digest", "f" * 30)], 34)] == [
        "path    a/b",
        "digest",
        f"    {'f' * 30}",
    ]


class Terminal:
    """A console of some columns, in place of rich's."""

    is_terminal = True

    def __init__(self, width: int) -> None:
        self.width = width


@pytest.mark.parametrize("width", [60, 80])
def test_what_commands_print_fits(
    command: Command, extracted: Path, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rich.console.Console", lambda: Terminal(width))
    key = "ner/demo/bert/size-000/seed-42/sentence/test"
    for arguments in (("ls",), ("info", key), ("probe", "--task", "ner", "--model", "bert")):
        shown = re.sub(r"\x1b\[\d*m", "", command(*arguments, "--store", extracted).stdout)
        digests = [line for line in shown.splitlines() if re.fullmatch(r"\s*[0-9a-f]{64}", line)]
        assert [line for line in shown.splitlines() if len(line) > width and line not in digests] == []
