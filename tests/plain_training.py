"""What fine-tuning must reach: a plain loop over batches with transformers' classes, without biocache's code."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    get_linear_schedule_with_warmup,
)


@dataclass(frozen=True)
class Item:
    """One sample: token ids by hand, and the label of each token or the one label in a list."""

    ids: list[int]
    types: list[int]
    labels: list[int]


def read(corpus: Path, task: str, split: str) -> list[tuple[list[list[str]], list[str]]]:
    """Return the texts of every sample, as words, and its labels."""
    if task == "ner":
        blocks = (corpus / "ner" / f"{split}.conll").read_text(encoding="utf-8").strip().split("\n\n")
        rows = [[line.split("\t") for line in block.splitlines()] for block in blocks]
        return [([[word for word, _ in row]], [tag for _, tag in row]) for row in rows]
    lines = (corpus / "nli" / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
    pairs = [json.loads(line) for line in lines]
    return [([pair["sentence1"].split(), pair["sentence2"].split()], [pair["gold_label"]]) for pair in pairs]


def tokenize(tokenizer: Any, texts: list[list[str]]) -> tuple[list[int], list[int], list[int | None]]:
    """Return ids, token types and the first text's word of every token, word by word for every family."""
    family = type(tokenizer).__name__
    pieces = [
        [tokenizer.encode(f" {word}" if "GPT2" in family else word, add_special_tokens=False) for word in text]
        for text in texts
    ]
    inner: list[list[tuple[int, int | None]]] = [
        [(token, number) for number, word in enumerate(text) for token in word] for text in pieces
    ]
    if "GPT2" in family:
        rows = inner[0] + ([(tokenizer.eos_token_id, None), *inner[1]] if len(inner) > 1 else [])
    elif "BioGpt" in family:
        rows = [row for text in inner for row in [(tokenizer.sep_token_id, None), *text]]
    else:
        rows = [(tokenizer.cls_token_id, None)]
        rows += [row for text in inner for row in [*text, (tokenizer.sep_token_id, None)]]
    first = len(inner[0]) + 2
    types = [int("Bert" in family and len(texts) > 1 and place >= first) for place in range(len(rows))]
    return [token for token, _ in rows], types, [word for _, word in rows]


def items(tokenizer: Any, corpus: Path, task: str, split: str, classes: Sequence[str]) -> list[Item]:
    """Encode a split."""
    out = []
    for texts, labels in read(corpus, task, split):
        ids, types, words = tokenize(tokenizer, texts)
        if task == "nli":
            out.append(Item(ids, types, [classes.index(labels[0])]))
            continue
        row, before = [], None
        for word in words:
            row.append(-100 if word is None or word == before else classes.index(labels[word]))
            before = word
        out.append(Item(ids, types, row))
    return out


def batch(rows: Sequence[Item], pad: int, task: str, token_types: bool) -> dict[str, torch.Tensor]:
    """Pad a batch on the right."""
    width = max(len(row.ids) for row in rows)
    fed = {
        "input_ids": torch.tensor([row.ids + [pad] * (width - len(row.ids)) for row in rows]),
        "attention_mask": torch.tensor([[1] * len(row.ids) + [0] * (width - len(row.ids)) for row in rows]),
    }
    if token_types:
        fed["token_type_ids"] = torch.tensor([row.types + [0] * (width - len(row.ids)) for row in rows])
    if task == "ner":
        fed["labels"] = torch.tensor([row.labels + [-100] * (width - len(row.ids)) for row in rows])
    else:
        fed["labels"] = torch.tensor([row.labels[0] for row in rows])
    return fed


def train(
    checkpoint: Path, corpus: Path, task: str, classes: Sequence[str], *, epochs: int, rate: float, size: int
) -> float:
    """Fine-tune on the whole train split and return the accuracy on the test split."""
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    kind = AutoModelForTokenClassification if task == "ner" else AutoModelForSequenceClassification
    model = kind.from_pretrained(checkpoint, num_labels=len(classes))
    model.config.pad_token_id = pad
    token_types = "token_type_ids" in tokenizer.model_input_names
    rows = items(tokenizer, corpus, task, "train", classes)
    steps = epochs * -(-len(rows) // size)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.01)
    schedule = get_linear_schedule_with_warmup(optimizer, int(0.1 * steps), steps)
    model.train()
    for _ in range(epochs):
        order = torch.randperm(len(rows)).tolist()
        for begin in range(0, len(rows), size):
            chosen = [rows[place] for place in order[begin : begin + size]]
            model(**batch(chosen, pad, task, token_types)).loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
    return accuracy(model, items(tokenizer, corpus, task, "test", classes), pad, task, token_types)


@torch.no_grad()
def accuracy(model: Any, rows: Sequence[Item], pad: int, task: str, token_types: bool) -> float:
    """Score a model sample by sample, without padding."""
    model.eval()
    right = total = 0
    for row in rows:
        fed = batch([row], pad, task, token_types)
        labels = fed.pop("labels").reshape(-1)
        guessed = model(**fed).logits.argmax(-1).reshape(-1)
        counted = labels != -100
        right += int((guessed == labels)[counted].sum())
        total += int(counted.sum())
    return right / total
