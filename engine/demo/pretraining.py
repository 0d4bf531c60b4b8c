"""Language modelling: makes a tiny pre-trained language model."""

import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from biocache.engine.corpora.base import TASKS
from biocache.engine.corpora.encoding import encode
from biocache.engine.corpora.task import Sample
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
# More than the usual 15 %, so that a step of few texts has enough masked tokens to learn from (Wettig et al. 2023,
# doi:10.18653/v1/2023.eacl-main.217).
_MASKED = 0.4
_IGNORED = -100


def pretrain(source: Path, folder: Path, texts: Sequence[str], *, steps: int, seed: int = 42) -> Path:
    """Continue the pre-training of a checkpoint, and write it with its language-model head and tokenizer.

    A BERT learns to fill masked tokens, a causal model to predict the next one; without dropout, which a tiny model
    does not need. The folder is complete or absent. The same arguments give the same weights on the same machine.

    Parameters
    ----------
    source
        Folder of the model and the tokenizer to begin with.
    folder
        Where to write; must not exist.
    texts
        The training texts, at least 16.
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

    # One thread: more do not help so small a model, and would sum in another order.
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
    """Yield the inputs of a causal model for each step: token ids, mask and labels (text, token)."""
    import torch
    from torch.nn.utils.rnn import pad_sequence

    samples = [Sample(str(place), (tuple(text.split()),)) for place, text in enumerate(texts)]
    encoding = encode(tokenizer, samples, TASKS["ner"], "sentence", tokenizer.model_max_length)
    rows = list(torch.split(torch.from_numpy(encoding.token_id).long(), encoding.token_count.tolist()))
    rows.sort(key=len)
    choices = random.Random(seed)
    for _ in range(steps):
        # Neighbours have similar lengths, so there is little padding.
        first = choices.randrange(len(rows) - _BATCH + 1)
        batch = rows[first : first + _BATCH]
        ids = pad_sequence(batch, batch_first=True, padding_value=tokenizer.pad_token_id)
        seen = pad_sequence([torch.ones_like(row) for row in batch], batch_first=True)
        yield {"input_ids": ids, "attention_mask": seen, "labels": ids.masked_fill(seen == 0, _IGNORED)}


def _hide(batch: dict[str, "torch.Tensor"], tokenizer: "PreTrainedTokenizerBase") -> dict[str, "torch.Tensor"]:
    """Mask some tokens, and keep only their labels."""
    import torch

    ids = batch["input_ids"]
    special = torch.isin(ids, torch.tensor(tokenizer.all_special_ids))
    hidden = (torch.rand(ids.shape) < _MASKED) & ~special
    return {
        **batch,
        "input_ids": ids.masked_fill(hidden, tokenizer.mask_token_id),
        "labels": batch["labels"].masked_fill(~hidden, _IGNORED),
    }
