import re
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from biocache.store.text import one_line, printable, shortened, shown

CONTROLS = {"Cc", "Cs", "Zl", "Zp"}
BIDIRECTIONAL = {"\u061c", "\u200e", "\u200f", *map(chr, range(0x202A, 0x202F)), *map(chr, range(0x2066, 0x206A))}


@given(st.text(st.characters(), max_size=30))
@example("\x1b]0;title\x07\x9b2J\u202e")
def test_nothing_that_a_terminal_obeys_is_left(text):
    safe = printable(text)
    assert not any(unicodedata.category(letter) in CONTROLS or letter in BIDIRECTIONAL for letter in safe)
    safe.encode()


@pytest.mark.parametrize("text", ["IL-2", "β-catenin", "日本", "न्‍य", "", "a b", "\\x1b", "é"])
def test_text_that_is_printed_stays_as_it_is(text):
    assert printable(text) == text


def test_an_escape_says_what_was_there():
    assert printable("a\x1b[31m\n\u202e\udc80") == r"a\x1b[31m\n\u202e\udc80"


def test_a_message_is_one_line_of_bounded_length():
    assert one_line("a\n  b\tc") == "a b c"
    assert one_line(ValueError()) == "ValueError"
    assert one_line(f"value {'x' * 5000!r} is bad; pass y") == f"value '{'x' * 59}... is bad; pass y"
    many = one_line(f"begin {'word ' * 2000} end")
    assert re.fullmatch(r"begin word .* \.\.\. .* word end", many)
    assert len(many) < 2100


def test_values_in_messages():
    assert shortened("d" * 64) == "d" * 12 + "..."
    assert shortened((0, 1)) == "(0, 1)"
    assert shown("x\x1b") == r"'x\x1b'"
    assert len(shown("y" * 999)) < 70
