"""BioC as XML and JSON: what is read, and the places of what is refused."""

import json
from pathlib import Path

import pytest
from standoff import Written, bioc_objects, fates, split_of, write_bioc_json, write_bioc_xml

from biocache.engine.corpora.standoff.bioc import looks_like_bioc
from biocache.engine.corpora.standoff.reading import open_bioc
from biocache.store.errors import DataError

HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE collection SYSTEM "BioC.dtd">\n<collection>\n'
DOCUMENT = Written("7", "IL-2 & p53.", "We saw it. It fell.", (("Gene", ((0, 4),)), ("Gene", ((7, 10),))))


def write(path: Path, text: str) -> Path:
    path.write_bytes(text.encode())
    return path


def annotation(offset: object, length: object, text: str = "", more: str = "") -> str:
    location = f'<location offset="{offset}" length="{length}"/>{more}'
    return f'<annotation id="T1"><infon key="type">Gene</infon>{location}{text and f"<text>{text}</text>"}</annotation>'


def xml(passages: str, name: str = "7") -> str:
    return f"{HEAD}<document>\n<id>{name}</id>\n{passages}\n</document>\n</collection>\n"


def passage(inner: str, offset: object = 0) -> str:
    return f"<passage><offset>{offset}</offset>\n{inner}</passage>"


@pytest.mark.slow
def test_words_tags_and_places(tmp_path: Path) -> None:
    inner = f"<text>IL-2 &amp; p53\nfell. The\nend.</text>{annotation(0, 4, 'IL-2')}{annotation(7, 3, 'p53')}"
    path = write(tmp_path / "a.xml", xml(passage(inner)))
    raw = split_of(open_bioc, path)
    assert [row["words"] for row in raw.rows] == [
        ["IL", "-", "2", "&", "p53", "fell", "."],
        ["The", "end", "."],
    ]
    assert raw.rows[0]["tags"] == ["B-Gene", "I-Gene", "I-Gene", "O", "B-Gene", "O", "O"]
    assert [place.at() for place in raw.places] == [f"{path}:7", f"{path}:8"]
    assert fates(raw) == {"labelled": 2}


def test_sentences_of_the_file_are_kept(tmp_path: Path) -> None:
    def sentence(offset: int, text: str, more: str = "") -> str:
        return f"<sentence><offset>{offset}</offset><text>{text}</text>{more}</sentence>\n"

    parts = sentence(10, "One. Two", annotation(15, 3, "Two")) + sentence(20, "three.")
    path = write(tmp_path / "a.xml", xml(passage(parts + annotation(20, 5, "three"), 10)))
    raw = split_of(open_bioc, path)
    assert [row["words"] for row in raw.rows] == [["One", ".", "Two"], ["three", "."]]
    assert [row["tags"] for row in raw.rows] == [["O", "O", "B-Gene"], ["B-Gene", "O"]]
    given_twice = passage("<text>One. Two\nthree.</text>" + parts, 10)
    assert [row["words"] for row in split_of(open_bioc, write(path, xml(given_twice))).rows] == [
        ["One", ".", "Two"],
        ["three", "."],
    ]
    of_the_passage = passage(f"<text>One. Two.</text>{sentence(10, 'One.', annotation(10, 3, 'One'))}", 10)
    raw = split_of(open_bioc, write(path, xml(of_the_passage)))
    assert [row["words"] for row in raw.rows] == [["One", "."], ["Two", "."]]
    assert raw.rows[0]["tags"] == ["B-Gene", "O"]


def test_several_locations_are_one_span_where_white_space_parts_them(tmp_path: Path) -> None:
    def two(first: int, second: int) -> str:
        return annotation(first, 3, more=f'<location offset="{second}" length="3"/>')

    text = "<text>big old red bug</text>"
    raw = split_of(open_bioc, write(tmp_path / "a.xml", xml(passage(text + two(4, 0) + two(0, 8)))))
    assert raw.rows[0]["tags"] == ["B-Gene", "I-Gene", "O", "O"]
    assert fates(raw) == {"labelled": 1, "discontinuous": 1}


def test_annotations_are_found_by_offset_wherever_they_are_listed(tmp_path: Path) -> None:
    passages = passage(f"<text>IL-2</text>{annotation(100, 3, 'p53')}") + passage("<text>p53 is</text>", 100)
    raw = split_of(open_bioc, write(tmp_path / "a.xml", xml(passages + annotation(0, 4, "IL-2"))))
    assert [row["tags"] for row in raw.rows] == [["B-Gene", "I-Gene", "I-Gene"], ["B-Gene", "O"]]


def test_passages_may_all_begin_at_0(tmp_path: Path) -> None:
    passages = passage(f"<text>IL-2</text>{annotation(0, 4, 'IL-2')}") + passage("<text>p53 is</text>")
    raw = split_of(open_bioc, write(tmp_path / "a.xml", xml(passages)))
    assert [row["tags"] for row in raw.rows] == [["B-Gene", "I-Gene", "I-Gene"], ["O", "O"]]


def test_offsets_in_bytes_are_found_passage_by_passage(tmp_path: Path) -> None:
    first = f"<text>\u03b2 \u03b2 p53</text>{annotation(6, 3, 'p53')}"
    second = f"<text>\u03b2 IL</text>{annotation(13, 2, 'IL')}"
    raw = split_of(open_bioc, write(tmp_path / "a.xml", xml(passage(first) + passage(second, 10))))
    assert [row["tags"] for row in raw.rows] == [["O", "O", "B-Gene"], ["O", "B-Gene"]]
    assert raw.notes["documents_in_utf8_bytes"] == 1


def test_what_is_no_span_is_counted(tmp_path: Path) -> None:
    more = '<annotation id="M"><infon key="type">Gene</infon></annotation>'
    more += '<relation id="R"><node refid="T1" role=""/></relation>'
    raw = split_of(open_bioc, write(tmp_path / "a.xml", xml(passage(f"<text>IL-2</text>{more}") + "<relation/>")))
    assert raw.notes["skipped_annotations_without_location"] == 1
    assert raw.notes["skipped_relations"] == 2
    assert sum(fates(raw).values()) == 0


@pytest.mark.parametrize(
    "shape",
    [
        pytest.param(lambda objects: json.dumps({"documents": objects}), id="collection"),
        pytest.param(lambda objects: json.dumps({"PubTator3": objects}, indent=2), id="export"),
        pytest.param(lambda objects: json.dumps(objects), id="list"),
        pytest.param(lambda objects: json.dumps([{"documents": [one]} for one in objects]), id="collections"),
        pytest.param(lambda objects: "\n".join(map(json.dumps, objects)) + "\n", id="lines"),
        pytest.param(lambda objects: "\ufeff" + json.dumps({"documents": objects, "source": ""}), id="mark"),
    ],
)
def test_shapes_of_json(tmp_path: Path, shape) -> None:
    documents = [DOCUMENT, Written("8", "A.", "B [x]{y}.", ())]
    path = write(tmp_path / "a.json", shape(bioc_objects(documents)))
    raw, same = split_of(open_bioc, path), split_of(open_bioc, write_bioc_xml(tmp_path / "a.xml", documents))
    assert raw.rows == same.rows
    assert fates(raw) == fates(same) == {"labelled": 2}
    assert looks_like_bioc(path)


def test_a_document_of_json_has_a_line_and_may_have_a_number_for_its_id(tmp_path: Path) -> None:
    objects = bioc_objects([DOCUMENT])
    text = json.dumps({"documents": [objects[0], objects[0] | {"id": 8}]}, indent=1)
    raw = split_of(open_bioc, write(tmp_path / "a.json", text))
    second = text[: text.rindex('"id": 8')].count("\n")
    assert {row["group"]: place.number for row, place in zip(raw.rows, raw.places, strict=True)} == {
        "7": 3,
        "8": second,
    }


def broken(**changes: object) -> str:
    return json.dumps({"documents": [bioc_objects([DOCUMENT])[0] | changes]})


@pytest.mark.parametrize(
    ("name", "text", "line", "words"),
    [
        ("a.xml", "<collection>", 1, "not XML"),
        ("a.xml", HEAD + "<document>\n<id>7</id>\n</collection>", 6, "mismatched tag"),
        ("a.xml", "<html>\n</html>", 1, "'html' is no collection"),
        ("a.xml", HEAD + "</collection>", 1, "no document"),
        ("a.xml", xml("<passage>\n<text>A</text></passage>"), 6, "offset None is no whole number"),
        ("a.xml", xml(passage("<text>A</text>", "x")), 6, "offset 'x' is no whole number"),
        (
            "a.xml",
            xml(passage("<text>A</text>\n<annotation id='1'><location offset='0' length='1'/></annotation>")),
            8,
            "type",
        ),
        ("a.xml", xml(passage("<text>A</text>\n" + annotation("x", 1))), 8, "offset 'x' and length '1'"),
        ("a.xml", xml(passage("<text>A</text>\n" + annotation(0, "-1"))), 8, "length '-1'"),
        ("a.xml", xml(passage("<text>A<b>c</b></text>")), 7, "'b' within 'text'"),
        ("a.xml", xml(passage("<text>A &alpha; B</text>")), 7, "&alpha; is defined in another file"),
        ("a.xml", xml(passage("<text>A</text>"), " "), 4, "no id"),
        ("a.xml", HEAD + "<document passages='x'><id>1</id></document></collection>", 4, "'x', not a list"),
        ("a.xml", '<?xml version="1.0" encoding="EBCDIC-X"?><collection/>', 1, "not XML"),
        ("a.json", "{\n", 2, "not JSON"),
        ("a.json", '{"documents": [\n{"id": "1",}]}', 2, "not JSON"),
        ("a.json", '{"documents": [\n{"id": "1"} {}]}', 2, "Expecting ','"),
        ("a.json", '{"documents": []}', 1, "no document"),
        ("a.json", "", 1, "no document"),
        ("a.json", '{"documents": [\n3]}', 2, "3 is no document"),
        ("a.json", "{1: 2}", 1, "property name"),
        ("a.json", "[" * 100_000, 1, "nested too deep"),
        ("a.json", '{"a": ' + "[" * 100_000, 1, "nested too deep"),
        ("a.json", '{"a": ' + "1" * 5000 + "}", 1, "too many digits"),
        ("a.json", '{"tokens": ["a"]}', 1, "the document's id is None"),
        ("a.json", broken(passages="x"), 1, "passages are 'x'"),
        ("a.json", broken(passages=[{"offset": True, "text": "A"}]), 1, "offset True"),
        ("a.json", broken(passages=[{"offset": 0, "text": 3}]), 1, "the text is 3"),
        ("a.json", broken(passages=[{"offset": 0, "text": "\ud800"}]), 1, "half a character"),
        ("a.json", broken(annotations=[{"id": 1, "infons": {"type": "A"}, "text": 3}]), 1, "has 3 for its text"),
        ("a.json", broken(id="\udfff"), 1, "half a character"),
    ],
)
def test_what_is_malformed_is_refused_with_its_place(
    tmp_path: Path, name: str, text: str, line: int, words: str
) -> None:
    path = write(tmp_path / name, text)
    with pytest.raises(DataError) as caught:
        split_of(open_bioc, path)
    message = str(caught.value)
    assert message.startswith(f"{path}:{line}: ")
    assert words in message
    assert ";" in message.removeprefix(str(path))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="absent:1: cannot be read"):
        split_of(open_bioc, tmp_path / "absent")
    (tmp_path / "a.xml").write_bytes(
        xml(passage("<text>\u03b2</text>")).encode("latin-1", "replace").replace(b"?</", b"\xe9</")
    )
    with pytest.raises(DataError, match=r"a\.xml:7: not XML"):
        split_of(open_bioc, tmp_path / "a.xml")


def test_entities_cannot_make_a_file_grow(tmp_path: Path) -> None:
    first = '<!ENTITY x0 "{}">'.format("lol" * 100)
    layers = [first, *('<!ENTITY x{} "{}">'.format(n, f"&x{n - 1};" * 10) for n in range(1, 10))]
    inner = passage("<text>&x9;</text>")
    text = f"<!DOCTYPE collection [{''.join(layers)}]><collection><document>{inner}</document></collection>"
    with pytest.raises(DataError, match="not XML"):
        split_of(open_bioc, write(tmp_path / "a.xml", text))


def test_latin_1_is_read_where_the_file_says_so(tmp_path: Path) -> None:
    text = xml(passage("<text>caf\u00e9</text>")).replace("UTF-8", "ISO-8859-1")
    (tmp_path / "a.xml").write_bytes(text.encode("latin-1"))
    assert split_of(open_bioc, tmp_path / "a.xml").rows[0]["words"] == ["caf\u00e9"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (xml(""), True),
        ("\n<!-- c --><collection>", True),
        ("<html><collection>", False),
        ('{"documents" : [', True),
        ('{"tokens": ["documents"], "ner_tags": [0]}', False),
        ("1|t|A", False),
        ("", False),
    ],
)
def test_the_beginning_is_the_sign_of_the_format(tmp_path: Path, text: str, expected: bool) -> None:
    assert looks_like_bioc(write(tmp_path / "a", text)) is expected


@pytest.mark.slow
def test_a_collection_is_read_by_documents(tmp_path: Path) -> None:
    documents = [Written(str(number), "IL-2 is.", "We saw.", ()) for number in range(2000)]
    for path in (write_bioc_xml(tmp_path / "a.xml", documents), write_bioc_json(tmp_path / "a.json", documents)):
        assert len(split_of(open_bioc, path).rows) == 4000
