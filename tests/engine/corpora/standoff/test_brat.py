"""Folders of brat: texts with annotations beside them."""

from pathlib import Path

import pytest
from standoff import fates, split_of

from biocache.cli.extract import phrase
from biocache.engine.corpora.standoff.brat import looks_like_brat
from biocache.engine.corpora.standoff.reading import open_brat
from biocache.engine.corpora.standoff.tagging import NOTES
from biocache.store.errors import DataError

TEXT = "IL-2 in mice\n\nThe p53 gene,\ni.e. a long\none, died. It did.\n"
ANNOTATIONS = """\
T1\tGene 0 4\tIL-2
T2\tGene 18 21;22 26\tp53 gene
T3\tDisease 18 21;40 43\tp53 one
T4\tOrganism 8 12\tmice
R1\tCauses Arg1:T1 Arg2:T2
E1\tDeath:T3 Theme:T2
A1\tNegation T1
M1\tSpeculation T1
N1\tReference T1 UniProt:P60568\tIL2
*\tEquiv T1 T2
#1\tAnnotatorNotes T1\tcheck
"""


def write(folder: Path, **files: str) -> Path:
    """Write files named as `a_txt` for ``a.txt``."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / ".".join(name.rsplit("_", 1))).write_bytes(text.encode())
    return folder


def test_words_tags_places_and_notes(tmp_path: Path) -> None:
    folder = write(tmp_path, a_txt=TEXT, a_ann=ANNOTATIONS)
    raw = split_of(open_brat, folder)
    assert [" ".join(row["words"]) for row in raw.rows] == [
        "IL - 2 in mice",
        "The p53 gene , i . e . a long one , died .",
        "It did .",
    ]
    assert [" ".join(row["tags"]) for row in raw.rows] == [
        "B-Gene I-Gene I-Gene O B-Organism",
        "O B-Gene I-Gene O O O O O O O O O O O",
        "O O O",
    ]
    assert [place.at() for place in raw.places] == [f"{folder / 'a.txt'}:{line}" for line in (1, 3, 5)]
    assert [(row["id"], row["group"]) for row in raw.rows] == [("a-0", "a"), ("a-1", "a"), ("a-2", "a")]
    assert {name: count for name, count in raw.notes.items() if count} == {
        "spans_labelled": 3,
        "spans_discontinuous": 1,
        "skipped_relations": 1,
        "skipped_events": 1,
        "skipped_attributes": 2,
        "skipped_normalizations": 1,
        "skipped_equivalences": 1,
        "skipped_comments": 1,
    }
    assert phrase(raw.notes).startswith("3 spans labelled, 1 span of several parts left out, ")
    assert raw.notes.keys() <= NOTES.keys()


def test_documents_come_in_the_order_of_their_names_with_their_folders(tmp_path: Path) -> None:
    write(tmp_path / "x", b_txt="B.", b_ann="")
    write(
        tmp_path,
        c_txt="C.",
        a_txt="A p53.",
        a_a1="T1\tGene 2 5\tp53\n",
        a_a2="T2\tTrigger 0 1\tA\nE1\tTrigger:T2 Theme:T1\n",
    )
    (tmp_path / "annotation.conf").write_text("[entities]")
    raw = split_of(open_brat, tmp_path)
    assert [row["group"] for row in raw.rows] == ["a", "c", "x/b"]
    assert raw.rows[0]["tags"] == ["B-Trigger", "B-Gene", "O"]
    assert raw.notes["documents_without_annotations"] == 1


@pytest.mark.parametrize("moved", [False, True])
def test_carriage_returns_of_the_text(tmp_path: Path, moved: bool) -> None:
    text = "One.\r\nTwo.\r\nThe p53 is.\r\n"
    start = text.index("p53") - 2 * moved
    raw = split_of(open_brat, write(tmp_path, a_txt=text, a_ann=f"T1\tGene {start} {start + 3}\tp53\r\n"))
    assert [row["tags"] for row in raw.rows] == [["O", "O"], ["O", "O"], ["O", "B-Gene", "O", "O"]]
    assert raw.notes.get("documents_in_short_line_breaks", 0) == moved
    assert [place.number for place in raw.places] == [1, 2, 3]


def test_carriage_returns_that_the_text_has_lost(tmp_path: Path) -> None:
    raw = split_of(open_brat, write(tmp_path, a_txt="One.\nTwo.\nThe p53 is.\n", a_ann="T1\tGene 16 19\tp53\n"))
    assert raw.rows[2]["tags"] == ["O", "B-Gene", "O", "O"]
    assert raw.notes["documents_in_long_line_breaks"] == 1


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("T1\tGene 0 4", "has 2 columns"),
        ("T1", "has 1 column,"),
        ("T1\tGene\tIL-2", "'' is not a start and an end"),
        ("T1\tGene 0\tIL-2", "'0' is not a start and an end"),
        ("T1\tGene 0 x\tIL-2", "'0 x' is not"),
        ("T1\tGene 0 4;\tIL-2", "'' is not"),
        ("T1\tGene 0 -4\tIL-2", "'0 -4' is not"),
        ("T1\tGene 4 0\tIL-2", "before its start"),
        ("T1\t 0 4\tIL-2", "is not a start and an end"),
        ("IL-2\tB-Gene", "is no line of brat"),
        ("R1 Causes", "is no line of brat"),
    ],
)
def test_malformed_lines_are_refused_with_their_place(tmp_path: Path, line: str, words: str) -> None:
    folder = write(tmp_path, a_txt=TEXT, a_ann=f"T9\tGene 0 4\tIL-2\n\n{line}\n")
    with pytest.raises(DataError) as caught:
        split_of(open_brat, folder)
    message = str(caught.value)
    assert message.startswith(f"{folder / 'a.ann'}:3: ")
    assert words in message
    assert ";" in message


def test_annotations_without_a_text_are_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "a", a_txt=TEXT, b_ann="")
    with pytest.raises(DataError, match=r"b\.ann:1: no b\.txt beside it; add the text"):
        split_of(open_brat, folder)


def test_a_folder_without_texts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no \.txt file here; "):
        split_of(open_brat, tmp_path)
    with pytest.raises(DataError, match=r"no \.txt file here; "):
        split_of(open_brat, tmp_path / "absent")


def test_annotations_in_a_folder_or_below_are_the_sign_of_the_format(tmp_path: Path) -> None:
    assert not looks_like_brat(write(tmp_path / "a", a_txt=""))
    assert looks_like_brat(write(tmp_path / "b", a_ann=""))
    assert looks_like_brat(tmp_path)
    assert not looks_like_brat(tmp_path / "b" / "a.ann")
    assert fates(split_of(open_brat, tmp_path / "a")) == {}
