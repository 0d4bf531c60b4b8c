"""Windows as loops make them: word after word, from what a tokenizer of Hugging Face returns for the whole text."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Window:
    """Token ids of a window, and of each token the text and the word in it; None for special tokens."""

    ids: list[int]
    texts: list[int | None]
    words: list[int | None]


def words_in_windows(sizes: list[int], room: int, stride: int) -> list[list[int]]:
    """Return the words of each window, by their sizes in tokens."""
    windows = []
    begin = 0
    while True:
        window, used = [], 0
        for word in range(begin, len(sizes)):
            if used + sizes[word] > room:
                break
            window.append(word)
            used += sizes[word]
        windows.append(window)
        following = window[-1] + 1
        if following == len(sizes):
            return windows
        # Words are repeated until there are enough tokens of them, or no room for the next word.
        begin, repeated = following, 0
        while repeated < stride and repeated + sizes[begin - 1] + sizes[following] <= room:
            begin -= 1
            repeated += sizes[begin]


def plain_windows(tokenizer: Any, texts: list[list[str]], max_length: int, stride: int | None) -> list[Window]:
    """Return the windows of one sample, whose end-of-text token stands between texts where a template has nothing."""
    encoded = tokenizer(*texts, is_split_into_words=True)
    ids, of_text, of_word = encoded["input_ids"], encoded.sequence_ids(0), encoded.word_ids(0)
    if len(texts) == 2 and tokenizer.num_special_tokens_to_add(pair=True) == 0:
        place = of_text.count(0)
        ids = [*ids[:place], tokenizer.eos_token_id, *ids[place:]]
        of_text, of_word = ([*column[:place], None, *column[place:]] for column in (of_text, of_word))
    if len(ids) <= max_length or stride is None:
        return [Window(ids, of_text, of_word)]
    cut = 1 if of_text.count(1) > of_text.count(0) else 0
    room = max_length - (len(ids) - of_text.count(cut))
    own = [place for place, text in enumerate(of_text) if text == cut]
    tokens: dict[int, list[int]] = {}
    for place in own:
        tokens.setdefault(of_word[place], []).append(place)
    kept = [places[:room] for places in tokens.values()]
    windows = []
    for words in words_in_windows([len(places) for places in kept], room, stride):
        inner = [place for word in words for place in kept[word]]
        places = [*range(own[0]), *inner, *range(own[-1] + 1, len(ids))]
        windows.append(Window(*([column[place] for place in places] for column in (ids, of_text, of_word))))
    return windows


def context(windows: list[Window], text: int, word: int) -> int | None:
    """Return the window in which a word is farthest from the nearer end of its text, of equal ones the first."""
    best, found = -1, None
    for number, window in enumerate(windows):
        of_text = [owner for owner, of in zip(window.words, window.texts, strict=True) if of == text]
        if word in of_text:
            left = of_text.index(word)
            right = of_text[::-1].index(word)
            if min(left, right) > best:
                best, found = min(left, right), number
    return found
