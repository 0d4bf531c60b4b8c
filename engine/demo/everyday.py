"""Sentences about everyday life, for models pre-trained without biology."""

import random

from biocache.engine.demo.grammar import Rules, fill, text_of

__all__ = ["everyday"]

_RULES: Rules = {
    "person": (
        "the neighbour", "my sister", "the baker", "a young teacher", "our captain", "the old sailor", "the driver",
        "a tall woman", "the gardener", "his uncle", "the mayor", "a student", "the two brothers", "her friend",
    ),
    "place": (
        "the market", "the harbour", "the station", "the village", "a small café", "the library", "the garden",
        "the mountains", "the next town", "the kitchen", "the river bank", "the old school",
    ),
    "thing": (
        "a red bicycle", "the letter", "fresh bread", "a wooden table", "the last ticket", "an umbrella", "two apples",
        "a map of 1902", "the blue coat", "a heavy suitcase", "the piano", "some coffee", "a good book",
    ),
    "did": ("bought", "found", "sold", "carried", "forgot", "repaired", "painted", "borrowed", "lost", "showed"),
    "went": ("walked to", "drove to", "came back from", "waited near", "lived in", "looked for", "ran to"),
    "when": (
        "on Monday", "in the morning", "after 3 hours", "at 6 o'clock", "before winter", "last year", "every summer",
        "as soon as it rained", "when the sun came out", "for 20 minutes",
    ),
    "weather": ("it rained", "the sun was shining", "snow fell", "a storm came up", "the wind was strong"),
    "quality": ("cheap", "beautiful", "broken", "warm", "late", "quiet", "full of people", "closed", "very old"),
    "clause": (
        "{person} {did} {thing}", "{person} {went} {place}", "{person} {did} {thing} in {place}",
        "{thing} was {quality}", "{place} was {quality} {when}", "{person} saw {person} {when}", "{weather} {when}",
        "{person} did not like {thing}", "there is no {place} without {thing}", "{person} and {person} {went} {place}",
        "{person} has {thing} rather than {thing}", "not {thing} but {thing} was {quality}",
        "{person} was told that {place} is {quality}", "{person} has {thing} , not {thing}",
        "{thing} ( {quality} ) was found by {person}", "in {place} there is {thing}", "the price of {thing} was 12 %",
    ),
    "joint": (", and", ", but", "because", ", so", "while", ", whereas", "; then", "although", ", which means that"),
}  # fmt: skip

_TEMPLATES = ("{clause} .", "{clause} {joint} {clause} .", "{when} {clause} .", "{clause} {joint} {clause} {when} .")


def everyday(choices: random.Random) -> str:
    """Make a sentence."""
    return text_of(fill(choices, choices.choice(_TEMPLATES), _RULES))
