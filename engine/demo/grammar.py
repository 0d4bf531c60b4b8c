"""A grammar: templates with slots, filled at random from lists, and brackets around tagged entities."""

import random
import re
from collections.abc import Iterator, Mapping

__all__ = ["Rules", "Tagged", "fill", "text_of"]

#: Name of a slot to its possible texts, which may hold slots and brackets themselves.
Rules = Mapping[str, tuple[str, ...]]
#: A sentence: its words with their IOB2 tags.
Tagged = tuple[tuple[str, str], ...]

_PIECE = re.compile(r"\{(?P<slot>\w+)\}|\[(?P<kind>\w+) |(?P<close>\])|(?P<text>[^\s{}\[\]]+)")


def fill(choices: random.Random, template: str, rules: Rules) -> Tagged:
    """Make a sentence from a template.

    Parameters
    ----------
    choices
        Draws the texts of the slots; a text that the sentence already has is drawn again only if there is no other.
    template
        Words, slots ``{name}``, and brackets ``[type words]`` around an entity.
    rules
        Possible texts of the slots.

    Returns
    -------
    Tagged
        The words with their tags; the first word is capitalised unless it is part of an entity.
    """
    used: set[str] = set()
    # Rules may hold brackets, and brackets slots, so the slots are filled first.
    words = list(_tagged(_expanded(choices, template, rules, used)))
    if words and words[0][1] == "O":
        words[0] = (words[0][0][:1].upper() + words[0][0][1:], "O")
    return tuple(words)


def text_of(sentence: Tagged) -> str:
    """Return the words of a sentence, joined by spaces."""
    return " ".join(word for word, _ in sentence)


def _expanded(choices: random.Random, template: str, rules: Rules, used: set[str]) -> str:
    def expand(match: re.Match[str]) -> str:
        candidates = rules[match[1]]
        fresh = [rule for rule in candidates if rule not in used] or list(candidates)
        chosen = choices.choice(fresh)
        if "{" in chosen:
            return _expanded(choices, chosen, rules, used)
        used.add(chosen)
        return chosen

    return re.sub(r"\{(\w+)\}", expand, template)


def _tagged(text: str) -> Iterator[tuple[str, str]]:
    kind, begun = "", False
    for piece in _PIECE.finditer(text):
        if piece["kind"]:
            kind, begun = piece["kind"], True
        elif piece["close"]:
            kind = ""
        else:
            yield piece["text"], f"{'B' if begun else 'I'}-{kind}" if kind else "O"
            begun = False
