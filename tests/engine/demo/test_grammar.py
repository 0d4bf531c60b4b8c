import random

import pytest

from biocache.engine.demo.grammar import fill, text_of

RULES = {"gene": ("p53", "IL-2"), "cells": ("T cells",), "DNA": ("[DNA {gene} promoter]",), "note": ("( {gene} )",)}


def filled(template, seed=0):
    return fill(random.Random(seed), template, RULES)


def test_brackets_tag_what_slots_bring_into_them():
    words, tags = zip(*filled("the [protein {gene} receptor] of {cells} ."), strict=True)
    assert words[1] in RULES["gene"]
    assert (words[0], *words[2:]) == ("The", "receptor", "of", "T", "cells", ".")
    assert tags == ("O", "B-protein", "I-protein", "O", "O", "O", "O")


def test_slots_hold_slots_and_brackets():
    (name, first), (rest, second) = filled("{DNA}")
    assert name in RULES["gene"]
    assert (first, rest, second) == ("B-DNA", "promoter", "I-DNA")
    assert filled("of {note}")[1] == ("(", "O")


def test_neighbouring_entities_are_two():
    assert [tag for _, tag in filled("[A x y][A z]")] == ["B-A", "I-A", "B-A"]


def test_a_name_comes_once_while_there_are_others():
    for seed in range(20):
        words = text_of(filled("{gene} and {gene}", seed)).lower().split()
        assert words[0] != words[2]
    assert len(filled("{gene} {gene} {gene}")) == 3


def test_the_first_word_has_a_capital_unless_it_is_a_name():
    assert text_of(filled("the end")) == "The end"
    assert text_of(filled("[protein {gene}] binds")).startswith(("p53", "IL-2"))


def test_an_unknown_slot_is_an_error():
    with pytest.raises(KeyError):
        filled("{nothing}")
