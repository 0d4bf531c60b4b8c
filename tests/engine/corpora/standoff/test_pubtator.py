"""PubTator files, with the words and tags worked out by hand."""

from pathlib import Path

import pytest
from standoff import fates, split_of

from biocache.engine.corpora.standoff.pubtator import looks_like_pubtator
from biocache.engine.corpora.standoff.reading import open_pubtator
from biocache.store.errors import DataError

CORPUS = """\
11|t|IL-2 in E. coli
11|a|The p53-null mice, i.e. B6, died. None of the controls did.
11\t0\t4\tIL-2\tGene\t3558
11\t8\t15\tE. coli\tSpecies\t562
11\t20\t23\tp53\tGene\t7157
11\tCID\tD003000\tD008750

12|t|Breast and ovarian cancer
12|a|
12\t0\t25\tBreast and ovarian cancer\tDisease Class\tD1|D2\tbreast cancer|ovarian cancer
"""


def write(path: Path, text: str) -> Path:
    path.write_bytes(text.encode())
    return path


def test_words_tags_ids_groups_places_and_notes(tmp_path: Path) -> None:
    path = write(tmp_path / "a.pubtator", CORPUS)
    raw = split_of(open_pubtator, path)
    rows = [(" ".join(row["words"]), " ".join(row["tags"]), row["id"], row["group"]) for row in raw.rows]
    assert rows == [
        ("IL - 2 in E . coli", "B-Gene I-Gene I-Gene O B-Species I-Species I-Species", "11-0", "11"),
        ("The p53 - null mice , i . e . B6 , died .", "O B-Gene O O O O O O O O O O O O", "11-1", "11"),
        ("None of the controls did .", "O O O O O O", "11-2", "11"),
        ("Breast and ovarian cancer", "B-Disease_Class I-Disease_Class I-Disease_Class I-Disease_Class", "12-0", "12"),
    ]
    assert [place.at() for place in raw.places] == [f"{path}:{line}" for line in (1, 2, 2, 8)]
    assert {name: count for name, count in raw.notes.items() if count} == {
        "spans_labelled": 4,
        "skipped_relations": 1,
        "types_renamed": 1,
    }


@pytest.mark.parametrize("change", [lambda text: text.replace("\n", "\r\n"), lambda text: "\ufeff\n\n" + text.rstrip()])
def test_line_ends_do_not_matter(tmp_path: Path, change) -> None:
    raw = split_of(open_pubtator, write(tmp_path / "a.txt", change(CORPUS)))
    plain = split_of(open_pubtator, write(tmp_path / "b.txt", CORPUS))
    assert (raw.rows, raw.notes) == (plain.rows, plain.notes)


def test_documents_need_no_blank_line_between_and_may_share_an_id(tmp_path: Path) -> None:
    raw = split_of(open_pubtator, write(tmp_path / "a.txt", "1|t|One. Two.\n1|t|Three.\n2|t| \n2|a| \n"))
    assert [(row["id"], row["group"]) for row in raw.rows] == [("1-0", "1"), ("1-1", "1"), ("1-2", "1")]
    assert raw.notes["documents_with_a_used_id"] == 1
    assert raw.notes["documents_without_words"] == 1


# Each position of the span is in the unit of the name; the text has characters of 1, 2 and 4 bytes.
@pytest.mark.parametrize(("start", "unit"), [(7, None), (11, "utf8_bytes"), (8, "utf16_units"), (9, "mismatched")])
def test_other_units_are_found_by_the_text_of_the_spans(tmp_path: Path, start: int, unit: str | None) -> None:
    text = f"1|t|\u03b2 \U0001d6fc and p53 fell\n1\t{start + 1}\t{start + 4}\tp53\tGene\n"
    raw = split_of(open_pubtator, write(tmp_path / "a.txt", text))
    if unit == "mismatched":
        assert fates(raw) == {"mismatched": 1}
        assert raw.rows[0]["tags"] == ["O"] * 5
    else:
        assert raw.rows[0]["tags"] == ["O", "O", "O", "B-Gene", "O"]
        assert {name for name in raw.notes if name.startswith("documents_in")} == (
            {f"documents_in_{unit}"} if unit else set()
        )


def test_characters_are_counted_where_they_explain_as_much(tmp_path: Path) -> None:
    text = "1|t|\u03b2 p53 p53 p53\n1\t2\t5\tp53\tGene\n1\t7\t10\tp53\tGene\n"
    raw = split_of(open_pubtator, write(tmp_path / "a.txt", text))
    assert fates(raw) == {"labelled": 1, "mismatched": 1}
    assert raw.rows[0]["tags"] == ["O", "B-Gene", "O", "O"]


@pytest.mark.parametrize(
    ("spans", "tags", "counts"),
    [
        pytest.param([(0, 3, "Gene"), (0, 3, "Drug")], "B-Drug O O O O O", {"labelled": 1, "nested": 1}, id="equal"),
        pytest.param([(4, 9, "A"), (4, 6, "B")], "O B-A I-A O O O", {"labelled": 1, "nested": 1}, id="nested"),
        pytest.param([(0, 6, "A"), (4, 9, "B")], "B-A I-A O O O O", {"labelled": 1, "overlapping": 1}, id="first"),
        pytest.param(
            [(0, 6, "A"), (4, 11, "B")], "O B-B I-B I-B I-B O", {"labelled": 1, "overlapping": 1}, id="longest"
        ),
        pytest.param([(0, 2, "A")], "B-A O O O O O", {"cutting_words": 1}, id="cut at its end"),
        pytest.param([(1, 3, "A")], "B-A O O O O O", {"cutting_words": 1}, id="cut at its start"),
        pytest.param(
            [(0, 1, "A"), (2, 3, "B")], "B-A O O O O O", {"cutting_words": 1, "overlapping": 1}, id="one word"
        ),
        pytest.param([(0, 4, "A")], "B-A O O O O O", {"labelled": 1}, id="white space at its end"),
        pytest.param([(3, 4, "A"), (5, 5, "B")], "O O O O O O", {"without_words": 2}, id="no words"),
        pytest.param([(10, 17, "A")], "O O O O O O", {"across_sentences": 1}, id="two sentences"),
        pytest.param([(0, 3, "A"), (4, 6, "A")], "B-A B-A O O O O", {"labelled": 2}, id="side by side"),
    ],
)
def test_what_becomes_of_spans(
    tmp_path: Path, spans: list[tuple[int, int, str]], tags: str, counts: dict[str, int]
) -> None:
    text = "p53 in mi-e."
    whole = f"{text} Two."
    lines = [f"1|t|{text}", "1|a|Two."]
    lines += [f"1\t{start}\t{end}\t{whole[start:end]}\t{kind}" for start, end, kind in spans]
    raw = split_of(open_pubtator, write(tmp_path / "a.txt", "\n".join(lines)))
    assert raw.rows[0]["words"] == ["p53", "in", "mi", "-", "e", "."]
    assert " ".join(raw.rows[0]["tags"]) == tags
    assert fates(raw) == counts


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("", 1, "no document"),
        ("\n \n", 1, "no document"),
        ("word\tB-Gene\n", 1, "in no document"),
        ("1|a|An abstract.\n", 1, "in no document"),
        ("1\t0\t1\tA\tGene\n", 1, "in no document"),
        ("1|t|A\n\n1\t0\t1\tA\tGene\n", 3, "in no document"),
        ("1|t|A\n2|a|B\n", 2, "'2' in document '1'"),
        ("1|t|A\n1|a|B\n1|a|C\n", 3, "second abstract"),
        ("1|t|A\n2\t0\t1\tA\tGene\n", 2, "'2' in document '1'"),
        ("1|t|A\n1\t0\t1\n", 2, "3 columns"),
        ("1|t|A\n1\t0\t1\tA\n", 2, "no type"),
        ("1|t|A\n1\t0\t1\tA\t \n", 2, "no type"),
        ("1|t|A\n1\tx0\t1\tA\tGene\n", 2, "'x0' is not a whole number"),
        ("1|t|A\n1\t-1\t1\tA\tGene\n", 2, "'-1' is not a whole number"),
        ("1|t|A\n1\t0\t" + "9" * 5000 + "\tA\tGene\n", 2, "is not a whole number"),
        ("1|t|A\n1\t1\t0\tA\tGene\n", 2, "before its start"),
        ("|t|A\n", 1, "no id"),
    ],
)
def test_malformed_lines_are_refused_with_their_place(tmp_path: Path, text: str, line: int, words: str) -> None:
    path = write(tmp_path / "a.pubtator", text)
    with pytest.raises(DataError) as caught:
        split_of(open_pubtator, path)
    message = str(caught.value)
    assert message.startswith(f"{path}:{line}: ")
    assert words in message
    assert ";" in message


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.txt:1: cannot be read"):
        split_of(open_pubtator, tmp_path / "a.txt")
    (tmp_path / "a.txt").write_bytes(b"1|t|A\n1|a|\xe9\n")
    with pytest.raises(DataError, match=r"a\.txt:2: byte 0xe9 is not UTF-8; "):
        split_of(open_pubtator, tmp_path / "a.txt")


@pytest.mark.parametrize(
    ("text", "expected"),
    [(CORPUS, True), (f"\ufeff\n{CORPUS}", True), ("1|a|B\n", False), ("a\tO\n", False), ("", False), ("<x>|t|", True)],
)
def test_a_title_line_is_the_sign_of_the_format(tmp_path: Path, text: str, expected: bool) -> None:
    assert looks_like_pubtator(write(tmp_path / "a.txt", text)) is expected
    assert not looks_like_pubtator(tmp_path / "absent.txt")
