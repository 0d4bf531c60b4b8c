"""Language modelling, for long enough that a tiny model knows how its texts go on."""

import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from biocache.engine.corpora.tokenizers import load_tokenizer
from biocache.engine.machine import capped_threads, seeded
from biocache.engine.models.shape import quiet_transformers
from biocache.store.atomic import replacing

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

__all__ = ["pretrain"]

_BATCH = 16
_LEARNING_RATE = 5e-3
# More than the usual 15 %, since a step of so few texts else has little to learn from (Wettig et al. 2023,
# doi:10.18653/v1/2023.eacl-main.217).
_MASKED = 0.4
_IGNORED = -100


def pretrain(source: Path, folder: Path, texts: Sequence[str], *, steps: int, seed: int = 42) -> Path:
    """Go on with the pre-training of a checkpoint, and write it with its language-model head and tokenizer.

    A BERT learns to fill masked tokens, a causal model to go on; without dropout, since a tiny model has nothing to
    spare. The folder is complete or absent. The same arguments give the same weights on the same machine.

    Parameters
    ----------
    source
        Folder of the model and the tokenizer to begin with.
    folder
        Where to write; must not exist.
    texts
        What to learn from, at least 16 texts.
    steps
        Optimiser steps of 16 texts.
    seed
        Seed of the order of the texts, of the masks and of the weights of the head.

    Returns
    -------
    Path
        The folder.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, get_linear_schedule_with_warmup

    # One thread: so small a model gains nothing by more, and sums in another order with them.
    with seeded(seed), capped_threads(1), quiet_transformers():
        tokenizer = load_tokenizer(source)
        masked = tokenizer.mask_token_id is not None
        loader = AutoModelForMaskedLM if masked else AutoModelForCausalLM
        model = loader.from_pretrained(source).eval()
        optimizer = torch.optim.AdamW(model.parameters(), lr=_LEARNING_RATE, betas=(0.9, 0.98), fused=True)
        schedule = get_linear_schedule_with_warmup(optimizer, steps // 10, steps)
        for batch in _batches(tokenizer, texts, steps, seed):
            loss = model(**(_hide(batch, tokenizer) if masked else batch)).loss
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
        with replacing(folder) as made:
            model.save_pretrained(made)
            tokenizer.save_pretrained(made)
    return folder


def _batches(
    tokenizer: "PreTrainedTokenizerBase", texts: Sequence[str], steps: int, seed: int
) -> Iterator[dict[str, "torch.Tensor"]]:
    """Yield what a causal model takes of each step: token ids, mask and labels (text, token)."""
    import torch

    choices = random.Random(seed)
    rows = [tokenizer(text.split(), is_split_into_words=True, truncation=True)["input_ids"] for text in texts]
    rows.sort(key=len)
    for _ in range(steps):
        # Neighbours are of one length, so little is padding.
        first = choices.randrange(len(rows) - _BATCH + 1)
        batch = rows[first : first + _BATCH]
        length = len(batch[-1])
        ids = torch.tensor([[*row, *[tokenizer.pad_token_id] * (length - len(row))] for row in batch])
        seen = torch.tensor([[1] * len(row) + [0] * (length - len(row)) for row in batch])
        yield {"input_ids": ids, "attention_mask": seen, "labels": ids.masked_fill(seen == 0, _IGNORED)}


def _hide(batch: dict[str, "torch.Tensor"], tokenizer: "PreTrainedTokenizerBase") -> dict[str, "torch.Tensor"]:
    """Mask some tokens, and leave only those to be told."""
    import torch

    ids = batch["input_ids"]
    special = torch.isin(ids, torch.tensor(tokenizer.all_special_ids))
    hidden = (torch.rand(ids.shape) < _MASKED) & ~special
    return {
        **batch,
        "input_ids": ids.masked_fill(hidden, tokenizer.mask_token_id),
        "labels": batch["labels"].masked_fill(~hidden, _IGNORED),
    }
