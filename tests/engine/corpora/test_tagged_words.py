"""Files of tagged words: separators, columns, headers, documents, CoNLL-U; and what is refused with its line."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from reading import message, read, write

from biocache.engine.corpora.tagged_words import open_tagged_words
from biocache.store.errors import DataError

CONLL = "IL-2\tB-DNA\ngene\tI-DNA\nbinds\tO\n\nNF-kB\tB-protein\n"
WIDE = "-DOCSTART- -X- O O\n\nIL-2 NN B-NP B-DNA\nbinds VB B-VP O\n\nX NN B-NP O\n"

CONLLU = """# newdoc id = pmid-7
# sent_id = s1
# text = du vin
1-2\tdu\t_\t_\t_\t_\t_\t_\t_\t_
1\tde\tde\tADP\tP\t_\t0\troot\t_\t_
2\tle\tle\tDET\tD\t_\t1\tdet\t_\t_
2.1\tnull\t_\tVERB\t_\t_\t_\t_\t_\t_
3\tvin\tvin\tNOUN\t_\t_\t1\tobl\t_\tSpaceAfter=No

# newdoc
1\t#\t#\tSYM\tX\t_\t0\troot\t_\t_

"""


def words_and_tags(corpus: object, split: str = "train") -> list[tuple[tuple[str, ...], object]]:
    return [(one.texts[0], one.tags) for one in corpus.splits[split]]  # type: ignore[attr-defined]


def test_a_folder_of_words_and_tags(tmp_path: Path) -> None:
    corpus = read("ner", write(tmp_path / "genes", {"train.conll": CONLL, "test.conll": "x\tO\ny\tB-DNA\n"}))
    assert (corpus.name, corpus.source, corpus.task.name) == ("genes", str(tmp_path / "genes"), "ner")
    assert (corpus.notes, corpus.remarks, list(corpus.splits)) == ({}, (), ["train", "test"])
    first, second = corpus.splits["train"]
    assert (first.id, first.texts, first.label, first.group) == ("train-0", (("IL-2", "gene", "binds"),), None, None)
    assert (first.tags, second.tags) == (("B-DNA", "I-DNA", "O"), ("B-protein",))
    assert [second.id, corpus.splits["test"][0].id] == ["train-1", "test-0"]


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(CONLL.replace("\n", "\r\n"), id="crlf"),
        pytest.param(b"\xef\xbb\xbf" + CONLL.encode(), id="byte order mark"),
        pytest.param(CONLL.rstrip("\n"), id="no final newline"),
        pytest.param(CONLL.replace("\n", "\r\n").rstrip("\n"), id="final carriage return"),
        pytest.param("\n\n" + CONLL.replace("\n\n", "\n \n\t\n\n") + "\n\n\n", id="more blank lines"),
        pytest.param(CONLL.replace("\t", " "), id="blanks"),
        pytest.param(CONLL.replace("\t", "   "), id="many blanks"),
        pytest.param(CONLL.replace("\t", "\tx\t"), id="a column between"),
        pytest.param(CONLL.replace("\n", "\t\n").replace("\n\t\n", "\n\n"), id="tabs at the ends"),
        pytest.param("word\ttag\n" + CONLL, id="a header"),
        pytest.param(CONLL.replace("\n\n", "\n\n# a comment\n"), id="a comment"),
    ],
)
def test_how_it_is_written_does_not_matter(tmp_path: Path, content: str | bytes) -> None:
    plain = read("ner", write(tmp_path / "a", {"train.conll": CONLL}))
    other = read("ner", write(tmp_path / "b", {"train.conll": content}))
    assert other.splits == plain.splits
    assert other.digest("train") == plain.digest("train")


@pytest.mark.parametrize("suffix", [".conll", ".tsv", ".txt", ".bio", ".iob", ".iob2", ".conll.gz", ".TSV", ".txt.gz"])
def test_suffixes(tmp_path: Path, suffix: str) -> None:
    corpus = read("ner", write(tmp_path / "x", {f"train{suffix}": CONLL}))
    assert words_and_tags(corpus)[1] == (("NF-kB",), ("B-protein",))


def test_more_columns_are_said_or_named(tmp_path: Path) -> None:
    folder = write(tmp_path / "x", {"train.txt": WIDE})
    corpus = read("ner", folder)
    assert words_and_tags(corpus) == [(("IL-2", "binds"), ("B-DNA", "O")), (("X",), ("O",))]
    assert corpus.remarks == ("read words and tags from columns 1, 4",)
    for column in ("2", "--"):
        settings = {"tag_column": column} if column != "--" else {"word_column": "1", "tag_column": "2"}
        corpus = read("tokens", folder, **settings)
        assert words_and_tags(corpus)[0] == (("IL-2", "binds"), ("NN", "VB"))
    assert corpus.remarks == ()
    assert "no column '5' (it has 4 without names, numbered from 1); name one of them in tag_column" in message(
        "tokens", folder, tag_column="5"
    )


def test_headers(tmp_path: Path) -> None:
    content = "Token\tPOS\tNER\tscore\nIL-2\tNN\tB-DNA\t1\n\nx\tVB\tO\t2\n"
    folder = write(tmp_path / "x", {"train.tsv": content})
    assert words_and_tags(read("ner", folder)) == [(("IL-2",), ("B-DNA",)), (("x",), ("O",))]
    assert words_and_tags(read("tokens", folder))[0] == (("IL-2",), ("NN",))
    assert words_and_tags(read("tokens", folder, tag_column="score"))[1] == (("x",), ("2",))
    assert words_and_tags(read("tokens", folder, tag_column="ner"))[1] == (("x",), ("O",))
    assert "no column 'lemma' (it has Token, POS, NER, score)" in message("ner", folder, tag_column="lemma")
    # Words that are names of columns in running text are no header.
    text = "The\tO\ntoken\tO\nlabel\tO\n"
    assert words_and_tags(read("ner", write(tmp_path / "y", {"train.tsv": text})))[0][0] == ("The", "token", "label")


def test_documents_are_groups(tmp_path: Path) -> None:
    content = "z\tO\n-DOCSTART-\tO\n\na\tO\n-DOCSTART- -X- O O\nb\tO\n-DOCSTART-like\tO\n"
    corpus = read("ner", write(tmp_path / "d", {"train.conll": content}))
    found = [(one.texts[0], one.group) for one in corpus.splits["train"]]
    assert found == [(("z",), None), (("a",), "train-1"), (("b", "-DOCSTART-like"), "train-2")]
    content = content.replace("-DOCSTART- -X- O O", "-DOCSTART- (8126)")
    assert read("ner", write(tmp_path / "e", {"train.conll": content})).splits["train"][2].group == "8126"
    content = "###MEDLINE:95369245\n\nIL-2\tB-DNA\n\nbinds\tO\n\n###MEDLINE:95333264\n\nx\tO\n"
    corpus = read("ner", write(tmp_path / "m", {"train.iob2": content}))
    assert [one.group for one in corpus.splits["train"]] == ["MEDLINE:95369245"] * 2 + ["MEDLINE:95333264"]
    assert corpus.notes == {}


def test_conllu(tmp_path: Path) -> None:
    folder = write(tmp_path / "x", {"x-ud-train.conllu": CONLLU, "x-ud-dev.conllu.gz": CONLLU})
    corpus = read("tokens", folder)
    assert words_and_tags(corpus) == [(("de", "le", "vin"), ("ADP", "DET", "NOUN")), (("#",), ("SYM",))]
    assert corpus.splits["train"] == tuple(
        type(one)(one.id.replace("validation", "train"), one.texts, tags=one.tags, group=group)
        for one, group in zip(corpus.splits["validation"], ("pmid-7", "train-2"), strict=True)
    )
    assert corpus.notes["train"] == {"multiword_tokens": 1, "empty_nodes": 1}
    assert corpus.remarks == ("read words and tags from FORM, UPOS",)
    assert words_and_tags(read("tokens", folder, tag_column="XPOS"))[0][1] == ("P", "D", None)
    assert words_and_tags(read("tokens", folder, tag_column="deprel"))[0][1] == ("root", "det", "obl")
    assert "train.conllu:5: tag 'ADP' is not an entity tag; write O" in message("ner", folder)
    # The same by its shape, whatever its name.
    other = read("tokens", write(tmp_path / "y", {"train.txt": CONLLU}))
    assert words_and_tags(other) == words_and_tags(corpus)


def test_conllu_plus_names_its_columns(tmp_path: Path) -> None:
    content = "# global.columns = ID FORM MY:NE UPOS\n1\ta\tB-x\tNOUN\n2\tb\tO\tVERB\n"
    folder = write(tmp_path / "x", {"train.conllu": content})
    assert words_and_tags(read("ner", folder, tag_column="MY:NE")) == [(("a", "b"), ("B-x", "O"))]
    assert words_and_tags(read("tokens", folder)) == [(("a", "b"), ("NOUN", "VERB"))]


def test_places_of_words_after_lines_that_are_none(tmp_path: Path) -> None:
    folder = write(tmp_path / "x", {"train.conllu": CONLLU.replace("\tvin\tvin", "\tv in\tvin")})
    assert message("tokens", folder).startswith(f"{folder}/train.conllu:8: word 'v in' holds white space")


@pytest.mark.parametrize(
    ("content", "line", "substance"),
    [
        pytest.param("a\tO\nb\tX-DNA\n", 2, "tag 'X-DNA' is not an entity tag", id="bad tag"),
        pytest.param("a\tO\nb\tb-DNA\n", 2, "'b-DNA'", id="lower case tag"),
        pytest.param("a\tO\n\nb\tO\nc\tB-\n", 4, "'B-'", id="no type"),
        pytest.param("a\tB-O\n", 1, "'B-O'", id="a type called O"),
        pytest.param("a\tO\nb O\n", 2, "'b O' has no tag", id="blank for tab"),
        pytest.param("a\tO\n\nb\n", 3, "'b' has no tag", id="no tag"),
        pytest.param("a\tNN\tO\nb\tNN\tO\nc\tO\n", 3, "2 columns, and most lines have 3", id="fewer columns"),
        pytest.param("a\tO\nb\tO\nc\tNN\tO\n", 3, "3 columns, and most lines have 2", id="more columns"),
        pytest.param("a O\nb O\nc\n", 3, "'c' has no tag; write the word, a blank", id="no tag after blanks"),
        pytest.param("a\tO\n\tO\n", 2, "empty word", id="empty word"),
        pytest.param("a\tO\nb\x0bc\tO\n", 2, r"'b\x0bc' holds white space", id="control character"),
        pytest.param("a\tO\nb\u00a0c\tO\n", 2, r"'b\xa0c' holds white space", id="no-break space"),
        pytest.param("a\tO\n\u2003\tO\n", 2, r"'\u2003' holds white space", id="em space"),
        pytest.param("a\rb\tO\n", 1, r"'a\rb' holds white space", id="carriage return inside"),
        pytest.param(b"a\tO\n\nb\xff\tO\n", 3, "byte 0xff is not UTF-8", id="not UTF-8"),
        pytest.param(b"\xef\xbb\xbfa\tO\n\xe9\tO\n", 2, "byte 0xe9", id="Latin-1 after a byte order mark"),
        pytest.param("", 1, "file is empty", id="empty"),
        pytest.param(b"\xef\xbb\xbf", 1, "file is empty", id="byte order mark only"),
        pytest.param("\n\n", 1, "the train split has no sample with a word", id="blank lines only"),
        pytest.param("-DOCSTART-\tO\n", 1, "no sample with a word", id="document start only"),
    ],
)
def test_malformed(tmp_path: Path, content: str | bytes, line: int, substance: str) -> None:
    text = message("ner", write(tmp_path / "x", {"train.conll": content}))
    assert text.startswith(f"{tmp_path}/x/train.conll:{line}: ")
    assert substance in text


def test_damaged_compression_has_a_line(tmp_path: Path) -> None:
    folder = write(tmp_path / "x", {"train.conll.gz": CONLL * 1000})
    path = folder / "train.conll.gz"
    path.write_bytes(path.read_bytes()[:-20])
    assert "cannot be decompressed" in message("ner", folder)
    path.write_bytes(CONLL.encode())
    assert message("ner", folder).startswith(f"{path}:1: cannot be decompressed")


def test_unreadable_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write(tmp_path / "x", {"train.conll": CONLL})

    def refuse(path: Path, *_: str) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)
    assert "train.conll:1: cannot be read (Permission denied);" in message("ner", folder)


# Lines that are no plain words of two columns, in the middle of some that are.
ODD = (
    ("a\tO\nb\tB-x\n", ""),
    ("", "\n"),
    ("# comment\na\tO\n", ""),
    ("#\tO\na\tO\n", ""),
    ("-DOCSTART-\tO\n\na\tO\n", ""),
    ("-\tO\n-x\tO\n", ""),
    ("a\tO\r\nb\tO\r\n\r\nc\tO\r\n", ""),
    ("a\tO\r\r\n", ""),
    ("a\t\n", ""),
    ("\tO\n", ""),
    ("\t\n", ""),
    (" \t \n", ""),
    ("a\n", ""),
    ("a\tO\tO\nb\n", ""),
    ("a\tO\n\n\n\nb\tO", ""),
    ("\n\n\na\tO", "\n"),
    ("é\tO\n", "\n\n"),
    ("a b\tO\n", ""),
)


@pytest.mark.parametrize("separator", ["\t", " "])
@pytest.mark.parametrize("block", [7, 1 << 20])
def test_blocks_are_read_as_lines_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int, separator: str
) -> None:
    plain = "IL-2\tB-DNA\ngene\tI-DNA\n\nbinds\tO\n\n"
    monkeypatch.setattr("biocache.engine.corpora.lines._BLOCK", block)
    monkeypatch.setattr("biocache.engine.corpora.tagged_words._HEAD", 12)
    for number, (middle, end) in enumerate(ODD):
        text = f"{plain * 3}{middle}\n{plain}{end}".replace("\t", separator)
        path = tmp_path / f"{number}.conll"
        path.write_bytes(text.encode())
        assert outcome(path) == outcome(path, by_line=True), text
        path.write_bytes(text.encode() + b"a\tO\n\xff\tO\n\n")
        found = outcome(path)
        assert found == outcome(path, by_line=True), text
        assert isinstance(found[-1], str), text


def outcome(path: Path, *, by_line: bool = False) -> list[object]:
    """Return the places and values of the sentences of a file, and the message of its refusal, if it is refused."""
    table = open_tagged_words(path)
    found: list[object] = []

    def unreadable(_path: Path) -> Iterator[str]:
        raise OSError
        yield ""

    with pytest.MonkeyPatch.context() as patch:
        if by_line:
            patch.setattr("biocache.engine.corpora.tagged_words.read_blocks", unreadable)
        try:
            for place, values in table.rows([*table.columns]):
                found.append(([place.at(at) for at in range(len(values[0]))], [*values]))
        except DataError as error:
            found.append(str(error))
    return [*found, dict(table.notes)] if not found or not isinstance(found[-1], str) else found
