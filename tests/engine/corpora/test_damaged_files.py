"""Files of every format, damaged at random: each is read, or refused in one line with the file and the line or row."""

import gzip
import io
import json
import random
import re
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from reading import pair, read

from biocache.store.errors import DataError

CONLL = "-DOCSTART- -X- O O\n\nIL-2 NN B-NP B-DNA\ngene NN I-NP I-DNA\n\nβ-cells NNS B-NP O\n" * 3
CONLLU = "# newdoc id = x\n1-2\tdu\t_\t_\t_\t_\t_\t_\t_\t_\n" + "".join(
    f"{at}\t{word}\t_\tNOUN\t_\t_\t_\t_\t_\t_\n" for at, word in enumerate(["de", "le", "vin"], start=1)
)
ROWS = [
    {"id": f"p{at}", "premise": f"Cells {at} grow .", "hypothesis": 'They "do" .', "label": "yes"} for at in range(6)
]
TABLE = pa.table({name: [row[name] for row in ROWS] for name in ROWS[0]})


def parquet() -> bytes:
    sink = io.BytesIO()
    pq.write_table(TABLE, sink, row_group_size=2)
    return sink.getvalue()


def arrow() -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, TABLE.schema) as writer:
        writer.write_table(TABLE, max_chunksize=2)
    return sink.getvalue()


def separated(mark: str) -> bytes:
    rows = [
        mark.join(ROWS[0]),
        *(mark.join(f'"{value.replace(chr(34), chr(34) * 2)}"' for value in row.values()) for row in ROWS),
    ]
    return "\n".join(rows).encode()


FILES: dict[str, tuple[str, bytes]] = {
    "train.conll": ("ner", CONLL.encode()),
    "train.tsv": ("ner", CONLL.replace(" ", "\t").encode()),
    "train.conll.gz": ("ner", gzip.compress(CONLL.encode())),
    "train.conllu": ("tokens", CONLLU.encode()),
    "train.jsonl": ("nli", "".join(pair(at, pairID=at) for at in "abcdef").encode()),
    "train.json": ("nli", json.dumps({"data": ROWS}, indent=1).encode()),
    "array_train.json": ("nli", json.dumps(ROWS).encode()),
    "ids_train.json": ("nli", json.dumps({row["id"]: row for row in ROWS}, indent=2).encode()),
    "train.csv": ("nli", separated(",")),
    "table_train.tsv": ("nli", separated("\t")),
    "train.jsonl.gz": ("nli", gzip.compress("".join(map(pair, "abcdef")).encode())),
    "train.parquet": ("nli", parquet()),
    "train.arrow": ("nli", arrow()),
}

TOKENS = [
    b"\t",
    b"\n",
    b" ",
    b'"',
    b",",
    b"{",
    b"}",
    b"[",
    b"]",
    b"\xff",
    b"\xc3",
    b"\x00",
    b"\r",
    b"\\ud800",
    b"null",
    b"#",
]


def cut(data: bytes, chance: random.Random) -> bytes:
    return data[: chance.randrange(len(data))]


def dropped(data: bytes, chance: random.Random) -> bytes:
    begin = chance.randrange(len(data))
    return data[:begin] + data[begin + chance.randint(1, 12) :]


def inserted(data: bytes, chance: random.Random) -> bytes:
    begin = chance.randrange(len(data))
    return data[:begin] + b"".join(chance.choices(TOKENS, k=chance.randint(1, 3))) + data[begin:]


def changed(data: bytes, chance: random.Random) -> bytes:
    made = bytearray(data)
    for _ in range(chance.randint(1, 6)):
        made[chance.randrange(len(made))] = chance.randrange(256)
    return bytes(made)


def shuffled(data: bytes, chance: random.Random) -> bytes:
    lines = data.split(b"\n")
    chance.shuffle(lines)
    return b"\n".join(lines[: chance.randint(1, len(lines))])


DAMAGES: tuple[Callable[[bytes, random.Random], bytes], ...] = (cut, dropped, inserted, changed, shuffled)


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_damaged_files(tmp_path: Path, name: str) -> None:
    task, whole = FILES[name]
    path, chance = tmp_path / name, random.Random(name)
    path.write_bytes(whole)
    assert read(task, path).splits["train"]
    refused = 0
    for turn in range(60):
        data = whole
        for _ in range(chance.randint(1, 2)):
            data = DAMAGES[turn % len(DAMAGES)](data, chance) if data else data
        path.write_bytes(data)
        try:
            read(task, path)
        except DataError as error:
            refused += 1
            text = error.message
            assert re.match(rf"{re.escape(str(path))}(:[1-9][0-9]*| row [0-9]+): ", text), (text, data)
            assert len(text.splitlines()) == 1, text
            assert text.isprintable(), text
            assert ";" in text, text
    assert refused > 5
