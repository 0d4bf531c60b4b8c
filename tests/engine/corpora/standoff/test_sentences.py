"""Sentences and words: nothing lost, and the abbreviations of biomedical text."""

import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biocache.engine.corpora.standoff.sentences import split_sentences, split_words

SENTENCES = (
    ("Several kinases, e.g. MAPK and Src, were inhibited.", "Others (i.e. p38) were not."),
    ("The band is shown in Fig. 2 and Figs. 3A and 4.", "It is absent in controls (cf. Table 1)."),
    ("Growth of E. coli was arrested.", "S. aureus, C. elegans and Candida spp. were unaffected."),
    ("Rats received 5 mg/kg i.v. morphine and 0.5 ml saline i.p. twice.", "Controls did not."),
    ("Morphine was given i.v.", "The controls received saline."),
    ("The mean was 2.6 +/- 1.3 days (p < 0.0001 vs. control).", "2.5-fold more died."),
    ("Smith et al. reported a case.", "Jones et al. (1998) disagreed."),
    ("p53 is mutated.", "p21 is not.", "alpha-Tubulin was the control."),
    ("TNF activates NF-kappa B.", "This is known from E. Coli and from J. Virol. 65."),
    ("Does CD28 matter?", "It does!", "[3H]-naloxone bound.", "(1) Cells were washed."),
    ("Dr. Smith saw No. 5 at approx. 37 degrees C.", "She thanked J. D. Watson."),
    ("Data are means +/- S.E.M. of 3 experiments.", "Strains were typed to subsp. lactis."),
    ("The U.S. Food and Drug Administration approved it.", "Blood was drawn b.i.d. for 2 weeks."),
)


@pytest.mark.parametrize("sentences", SENTENCES)
def test_abbreviations_and_numbers_end_no_sentence(sentences: tuple[str, ...]) -> None:
    text = " ".join(sentences)
    assert [text[start:end] for start, end in split_sentences(text)] == list(sentences)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("A study of IL-2\nWe saw it.", 2),
        ("A study of\nthe gene", 1),
        ("A study of\r\nthe gene", 1),
        ("A study of\n\nthe gene", 2),
        ("A study of\r\n \r\nthe gene", 2),
        ("A study\u2028We saw it", 2),
        ("- one\n- two\n- three", 3),
        ("one\rTwo", 2),
        ("\n \t\r\n", 0),
        ("", 0),
    ],
)
def test_line_breaks_end_sentences_unless_text_is_wrapped(text: str, count: int) -> None:
    assert len(split_sentences(text)) == count


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("IL-2 (0.5 mg)", "IL - 2 ( 0 . 5 mg )"),
        ("i.v. TGF\u03b21_a 10\u207b\u00b3", "i . v . TGF\u03b21 _ a 10 \u207b \u00b3"),
        ("e\u0301tude [3H]-x", "e\u0301tude [ 3H ] - x"),
        ("\x1cCa2+\x85", "Ca2 +"),
    ],
)
def test_words_are_runs_of_letters_and_digits_or_one_other_character(text: str, words: str) -> None:
    assert [text[start:end] for start, end in split_words(text)] == words.split(" ")


@pytest.mark.slow
def test_every_character_of_unicode_is_white_space_or_in_a_word() -> None:
    characters = [chr(code) for code in range(sys.maxunicode + 1) if code < 0x2100 or code % 17 == 0]
    characters += [chr(code) for code in range(0x2100, sys.maxunicode + 1) if chr(code).isspace()]
    text = " ".join(characters)
    covered = {position for start, end in split_words(text) for position in range(start, end)}
    assert covered == {2 * place for place, character in enumerate(characters) if not character.isspace()}


PIECES = (
    *("Fig.", "e.g.", "i.v.", "E.", "coli", "B.", "0.5", "IL-2", "The", "a"),
    *(".", "...", "?", "!", "(", ")", "''", "\n", "\r\n", "\r", "\u2028", "\x1c"),
)
TEXTS = st.one_of(st.text(), st.lists(st.sampled_from(PIECES)).map(" ".join))


@settings(deadline=None)
@given(TEXTS)
def test_every_character_that_is_no_white_space_is_in_one_sentence_and_one_word(text: str) -> None:
    wanted = [position for position, character in enumerate(text) if not character.isspace()]
    sentences, words = split_sentences(text), split_words(text)
    inside = [position for start, end in sentences for position in range(start, end)]
    assert [position for position in inside if not text[position].isspace()] == wanted
    assert len(set(inside)) == len(inside)
    assert [position for start, end in words for position in range(start, end)] == wanted
    for start, end in sentences:
        assert text[start:end] == text[start:end].strip() != ""
    by_sentence = [word for start, end in sentences for word in split_words(text, start, end)]
    assert [text[start:end] for start, end in by_sentence if start == end] == []
    assert [position for start, end in by_sentence for position in range(start, end)] == wanted


@pytest.mark.parametrize("text", [" " * 200_000 + "x", "\n" * 200_000, ("a" + " " * 1000) * 200, "x." * 1_000_000])
def test_long_runs_take_no_quadratic_time(text: str) -> None:
    assert len(split_sentences(text)) <= 1


@pytest.mark.slow
def test_a_line_may_have_any_number_of_sentences() -> None:
    """Punkt by itself gives up after five seconds, which this takes it."""
    assert len(split_sentences("Cells grew. " * 300_000)) == 300_000
