"""Files with random damage: they are read or refused in one line with their place, and no span is lost."""

import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from standoff import Written, write_bioc_json, write_bioc_xml, write_brat, write_pubtator

from biocache.engine.corpora.readers import read_corpus
from biocache.engine.corpora.standoff.bioc import looks_like_bioc
from biocache.engine.corpora.standoff.brat import looks_like_brat
from biocache.engine.corpora.standoff.pubtator import looks_like_pubtator
from biocache.engine.corpora.standoff.reading import open_bioc, open_pubtator
from biocache.engine.corpora.table import Table
from biocache.store.errors import DataError

DOCUMENTS = [
    Written("1", "IL-2 in E. coli", "We saw p53. \u03b2 <fell> & rose.", (("Gene", ((0, 4),)), ("Gene", ((23, 26),)))),
    Written("2", "A", "The \U0001d6fc gene.", (("Gene", ((6, 7),)),)),
]
FILES = 300

FORMATS: dict[str, Callable[[Path, list[Written]], Path]] = {
    "train.pubtator": write_pubtator,
    "train.xml": write_bioc_xml,
    "train.json": write_bioc_json,
    "train": write_brat,
}
TOKENS = (
    b"\t",
    b"\n",
    b"|t|",
    b"\r",
    b"-1",
    b"9" * 5000,
    b"null",
    b"[",
    b"{}",
    b"<",
    b"</text>",
    b"&x;",
    b"\xff",
    b";",
    b"\x00",
)


def damaged(data: bytes, chance: random.Random) -> bytes:
    for _ in range(chance.randint(1, 4)):
        start = chance.randrange(len(data) + 1)
        end = min(len(data), start + chance.choice((0, 1, 3, 20)))
        lines = data.split(b"\n")
        kind = chance.randrange(6)
        if kind == 0:
            data = data[:start] + data[end:]
        elif kind == 1:
            data = data[:start] + chance.choice(TOKENS) + data[start:]
        elif kind == 2:
            data = data[:start] + bytes([chance.randrange(256)]) + data[end:]
        elif kind == 3:
            data = data[:start]
        elif kind == 4:
            chance.shuffle(lines)
            data = b"\n".join(lines)
        else:
            lines[chance.randrange(len(lines))] = chance.choice(lines)
            data = b"\n".join(lines)
    return data


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
def test_damage_is_refused_in_one_line_or_does_no_harm(tmp_path: Path, name: str) -> None:
    chance = random.Random(name)
    path = FORMATS[name](tmp_path / name, DOCUMENTS)
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    intact = {file: file.read_bytes() for file in files}
    refused = 0
    for _ in range(FILES):
        for file, data in intact.items():
            file.write_bytes(data)
        file = chance.choice(files)
        file.write_bytes(damaged(intact[file], chance))
        looks = looks_like_pubtator(file), looks_like_bioc(file), looks_like_brat(path)
        assert {type(look) for look in looks} == {bool}
        try:
            read_corpus("ner", f"x={path}")
        except DataError as error:
            refused += 1
            (message,) = str(error).splitlines()
            assert re.match(rf"{re.escape(str(path))}(/[12]\.(ann|txt))?:\d+: .*; ", message), message
            assert len(message) < 1000
    assert FILES // 10 < refused < FILES


@pytest.mark.parametrize("open_table", [open_pubtator, open_bioc])
@pytest.mark.parametrize(
    "data", [b"\x00" * 100, bytes(range(128, 256)), b"PK\x03\x04", b"\x1f\x8b\x08", b"{}", b"[]", b"<a/>", b"<"]
)
def test_files_of_other_kinds_are_refused(tmp_path: Path, open_table: Callable[[Path], Table], data: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(data)
    table = open_table(path)
    with pytest.raises(DataError) as caught:
        list(table.rows(table.columns))
    assert str(caught.value).startswith(f"{path}:1: ")
