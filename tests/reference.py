"""What extraction must reproduce: a plain Hugging Face forward, one sample at a time, without biocache's code."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModel, AutoTokenizer

VIEWS = {"ner": ("sentence",), "nli": ("premise", "hypothesis", "pair")}


@dataclass(frozen=True)
class Row:
    """One sample as its file has it."""

    id: str
    texts: tuple[tuple[str, ...], ...]
    labels: tuple[str, ...]

    def view(self, name: str) -> tuple[tuple[str, ...], ...]:
        """Return the texts of a view."""
        return {"premise": self.texts[:1], "hypothesis": self.texts[1:]}.get(name, self.texts)


def read_rows(corpus: Path, task: str, split: str) -> list[Row]:
    """Read the samples of a split; labels are entity types by word, or the pair's one."""
    if task == "ner":
        blocks = (corpus / "ner" / f"{split}.conll").read_text(encoding="utf-8").strip("\n").split("\n\n")
        tagged = [[line.split("\t") for line in block.split("\n")] for block in blocks]
        return [
            Row(f"{split}-{i}", (tuple(word for word, _ in lines),), tuple(tag.split("-", 1)[-1] for _, tag in lines))
            for i, lines in enumerate(tagged)
        ]
    lines = (corpus / "nli" / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
    return [
        Row(r["pairID"], (tuple(r["sentence1"].split()), tuple(r["sentence2"].split())), (r["gold_label"],))
        for r in map(json.loads, lines)
    ]


@dataclass(frozen=True)
class Plain:
    """What the model says of one sample."""

    ids: list[int]
    token_texts: list[str]
    truncated: bool
    hidden: NDArray[Any]
    attention: NDArray[Any]
    last: NDArray[Any]


class Reference:
    """A checkpoint, run with batch size 1 and without padding."""

    def __init__(self, checkpoint: Path, dtype: torch.dtype = torch.float32) -> None:
        self.model = AutoModel.from_pretrained(checkpoint, attn_implementation="eager", dtype=dtype).eval()
        options = {"add_prefix_space": True} if self.model.config.model_type == "gpt2" else {}
        self.tokenizer = AutoTokenizer.from_pretrained(checkpoint, **options)
        self._known: dict[Any, Plain] = {}

    def encode(self, texts: tuple[tuple[str, ...], ...], max_length: int | None) -> dict[str, list[int]]:
        """Tokenise words; GPT-2, whose template has nothing between two texts, gets its end-of-text token there."""
        options: dict[str, Any] = {"is_split_into_words": True}
        words = [list(text) for text in texts]
        by_hand = len(words) == 2 and self.model.config.model_type == "gpt2"
        if max_length is not None:
            options |= {"truncation": "longest_first", "max_length": max_length - by_hand}
        encoded = self.tokenizer(*words, **options)
        if not by_hand:
            return dict(encoded)
        ids, first = encoded["input_ids"], encoded.sequence_ids(0).count(0)
        joined = [*ids[:first], self.tokenizer.eos_token_id, *ids[first:]]
        return {"input_ids": joined, "attention_mask": [1] * len(joined)}

    def __call__(self, texts: tuple[tuple[str, ...], ...], max_length: int | None = None) -> Plain:
        """Run one sample, the first time it is asked for."""
        key = (texts, max_length)
        if key not in self._known:
            self._known[key] = self._run(texts, max_length)
        return self._known[key]

    def _run(self, texts: tuple[tuple[str, ...], ...], max_length: int | None) -> Plain:
        inputs = self.encode(texts, max_length)
        tensors = {name: torch.tensor([values]) for name, values in inputs.items()}
        with torch.inference_mode():
            out = self.model(**tensors, output_hidden_states=True, output_attentions=True)
        return Plain(
            ids=inputs["input_ids"],
            token_texts=self.tokenizer.convert_ids_to_tokens(inputs["input_ids"]),
            truncated=inputs["input_ids"] != self.encode(texts, None)["input_ids"],
            hidden=torch.cat(out.hidden_states).float().numpy(),
            attention=torch.cat(out.attentions).float().numpy(),
            last=out.last_hidden_state[0].float().numpy(),
        )


def assert_equals_plain(stored: NDArray[Any], plain: NDArray[Any], *, relative: float = 2**-10) -> None:
    """Assert equality within the rounding of float16 (or of `relative`), layer by layer."""
    assert stored.shape == plain.shape
    values = stored.astype(np.float64)
    largest = np.abs(plain).max(axis=tuple(range(1, plain.ndim)), keepdims=True)
    excess = np.abs(values - plain) - (relative * np.abs(plain) + 1e-5 * largest)
    worst = np.unravel_index(excess.argmax(), excess.shape)
    assert excess[worst] <= 0, f"off by {excess[worst]} more than rounding at {worst}"
