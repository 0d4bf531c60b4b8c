"""Windows as loops make them: word after word, from what a tokenizer of Hugging Face returns for the whole text."""

import itertools
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from reference import read_rows
from transformers import AutoModel, AutoTokenizer, T5EncoderModel

MAX_LENGTH, STRIDE = 20, 6


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


class Plain:
    """A model and its tokenizer as transformers loads them."""

    def __init__(self, folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        kind = T5EncoderModel if config["model_type"] == "t5" else AutoModel
        self.model = kind.from_pretrained(folder, attn_implementation="eager").eval()
        spaced = {"add_prefix_space": True} if config["model_type"] in {"gpt2", "roberta", "t5"} else {}
        self.tokenizer = AutoTokenizer.from_pretrained(folder, **spaced)

    def windows(
        self, texts: tuple[tuple[str, ...], ...], max_length: int = MAX_LENGTH, stride: int | None = STRIDE
    ) -> list[Window]:
        words = [list(text) for text in texts]
        return plain_windows(self.tokenizer, words, max_length, stride)

    def is_cut(self, texts: tuple[tuple[str, ...], ...]) -> bool:
        """Return whether a word of a long sample is longer than a window."""
        (whole,) = self.windows(texts, 10_000, None)
        words = Counter(zip(whole.texts, whole.words, strict=True))
        special = words.pop((None, None), 0)
        return len(whole.ids) > MAX_LENGTH and max(words.values()) > MAX_LENGTH - special

    def forward(self, window: Window) -> tuple[np.ndarray, np.ndarray]:
        """Return hidden states (layer, token, feature) and maps (layer, head, query, key) of a window alone."""
        inputs = {"input_ids": torch.tensor([window.ids])}
        if self.model.config.model_type == "bert":
            second = np.cumsum([text == 1 for text in window.texts]) > 0
            inputs["token_type_ids"] = torch.tensor(second.astype(int)[np.newaxis])
        with torch.inference_mode():
            out = self.model(**inputs, output_hidden_states=True, output_attentions=True)
        return torch.cat(out.hidden_states).numpy(), torch.cat(out.attentions).numpy()


def pairs_that_fit(corpus: Path, folder: Path) -> Path:
    """Write pairs with a long premise and a short hypothesis, or the other way round."""
    (folder / "nli").mkdir(parents=True)
    rows = [row.texts[0] for row in read_rows(corpus, "nli", "test")]
    for split in ("train", "test"):
        lines = []
        for place, (one, other) in enumerate(itertools.pairwise(rows)):
            texts = [" ".join([*one, *other][: 3 + 5 * (place % 7)]), " ".join(other[:1])]
            first, second = texts if place % 2 else texts[::-1]
            row = {"pairID": f"{split}-{place}", "sentence1": first, "sentence2": second, "gold_label": "neutral"}
            lines.append(json.dumps(row))
        (folder / "nli" / f"{split}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return folder
