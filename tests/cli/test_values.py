from pathlib import Path
from typing import Any

import click
import pytest

from biocache.cli.values import BYTES, INTEGERS, LAYERS, NAMES


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("512", 512),
        ("512B", 512),
        ("1k", 2**10),
        ("500M", 500 * 2**20),
        ("8G", 8 * 2**30),
        ("8GB", 8 * 10**9),
        ("8gib", 8 * 2**30),
        ("1.5GiB", 3 * 2**29),
        (".5 T", 2**39),
        (" 2 MB ", 2 * 10**6),
    ],
)
def test_a_size_is_read_in_its_unit(text: str, size: int) -> None:
    assert BYTES.convert(text, None, None) == size


@pytest.mark.parametrize("text", ["", "8 apples", "G", "-1G", "8Gi", "0", "0.1", "1e9", "8GiB8", "inf"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match=r"is not a size|less than one byte"):
        BYTES.convert(text, None, None)


@pytest.mark.parametrize(
    ("text", "layers"), [("0", (0,)), ("0,6,12", (0, 6, 12)), ("0-3", (0, 1, 2, 3)), ("0, 2-3 ,5-5", (0, 2, 3, 5))]
)
def test_layers_are_numbers_and_ranges(text: str, layers: tuple[int, ...]) -> None:
    assert LAYERS.convert(text, None, None) == layers


@pytest.mark.parametrize("text", ["", "1,,2", "1,", "3-1", "a", "-1", "1-", "1.5", "0-99999999999"])
def test_what_are_no_layers_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter):
        LAYERS.convert(text, None, None)


def test_only_layers_have_ranges() -> None:
    with pytest.raises(click.BadParameter, match="'0-10' is not a whole number"):
        INTEGERS.convert("0-10", None, None)


def test_names_with_folders_are_split_at_their_commas(tmp_path: Path) -> None:
    assert NAMES.convert("bert=a/b,gpt2,x/y", None, None) == ("bert=a/b", "gpt2", "x/y")
    folder = tmp_path / "a,b"
    folder.mkdir()
    whole: list[Any] = [f"bert={folder}", str(folder)]
    for text in whole:
        assert NAMES.convert(text, None, None) == (text,)
