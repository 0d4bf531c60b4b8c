"""Tiny models and their tokenizers, of every family, made offline."""

import heapq
import itertools
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from biocache.engine.machine import seeded
from biocache.engine.models.shape import quiet_transformers
from biocache.store.atomic import replacing
from biocache.store.errors import SettingError

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedTokenizerBase

__all__ = ["FAMILIES", "write_checkpoint"]

_Symbols = tuple[str, ...]
_Merge = tuple[str, str]


def write_checkpoint(
    family: str,
    folder: Path,
    texts: Iterable[Sequence[str]],
    *,
    seed: int = 42,
    hidden_size: int = 32,
    layers: int = 2,
    heads: int = 2,
    max_positions: int = 128,
    vocab_size: int = 600,
    initializer_range: float = 0.2,
) -> Path:
    """Write a small model with random weights and a tokenizer trained on some texts.

    The folder loads offline with ``AutoModel`` and ``AutoTokenizer``. It is complete or absent. The same arguments
    give the same tokenizer and the same weights.

    Parameters
    ----------
    family
        ``bert``, ``gpt2`` or ``biogpt``.
    folder
        The new folder; must not exist.
    texts
        Word lists from which the tokenizer's vocabulary is learned.
    seed
        Seed of the weights.
    hidden_size
        Features of a hidden state; a multiple of `heads`.
    layers
        Number of blocks.
    heads
        Attention heads of a block.
    max_positions
        Maximum length of an input, in tokens.
    vocab_size
        Maximum size of the vocabulary; special tokens and single characters are always in it.
    initializer_range
        Standard deviation of the weights. With the usual 0.02, untrained layers are nearly equal and attention is
        nearly uniform.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    SettingError
        If the family is not known or the folder exists.
    """
    if family not in FAMILIES:
        raise SettingError(f"model family {family!r} is not known: choose from {', '.join(FAMILIES)}")
    if folder.exists():
        raise SettingError(f"folder {str(folder)!r} exists: remove it, or choose another")
    from transformers import AutoConfig

    words = Counter(word for text in texts for word in text)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with replacing(folder) as made:
        made.mkdir()
        tokenizer = FAMILIES[family](words, vocab_size, made.parent)
        tokenizer.model_max_length = max_positions
        tokenizer.save_pretrained(made)
        config = AutoConfig.for_model(
            family,
            vocab_size=len(tokenizer),
            hidden_size=hidden_size,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            max_position_embeddings=max_positions,
            initializer_range=initializer_range,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            # GPT-2 has no such setting: its inner layer is four times as wide as the others.
            **({} if family == "gpt2" else {"intermediate_size": 2 * hidden_size}),
        )
        _write_model(config, seed, made)
    return folder


def _write_model(config: "PreTrainedConfig", seed: int, folder: Path) -> None:
    from transformers import AutoModel

    with seeded(seed), quiet_transformers():
        AutoModel.from_config(config).eval().save_pretrained(folder)


def _bert_tokenizer(words: Counter[str], vocab_size: int, scratch: Path) -> "PreTrainedTokenizerBase":
    from transformers import BertTokenizer

    backend = BertTokenizer(do_lower_case=False).backend_tokenizer
    pieces: Counter[_Symbols] = Counter()
    for word, count in words.items():
        for piece, _ in backend.pre_tokenizer.pre_tokenize_str(backend.normalizer.normalize_str(word)):
            pieces[(piece[0], *(f"##{character}" for character in piece[1:]))] += count
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocab, _ = _learn(pieces, special, vocab_size, lambda left, right: left + right.removeprefix("##"))
    return BertTokenizer(vocab=vocab, do_lower_case=False)


def _gpt2_tokenizer(words: Counter[str], vocab_size: int, scratch: Path) -> "PreTrainedTokenizerBase":
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import GPT2Tokenizer

    splitter = ByteLevel(add_prefix_space=True)
    pieces: Counter[_Symbols] = Counter()
    for word, count in words.items():
        for piece, _ in splitter.pre_tokenize_str(word):
            pieces[tuple(piece)] += count
    special = ["<|endoftext|>", *sorted(ByteLevel.alphabet())]
    vocab, merges = _learn(pieces, special, vocab_size, lambda left, right: left + right)
    return GPT2Tokenizer(vocab=vocab, merges=merges)


def _biogpt_tokenizer(words: Counter[str], vocab_size: int, scratch: Path) -> "PreTrainedTokenizerBase":
    from sacremoses import MosesTokenizer
    from transformers import BioGptTokenizer

    moses = MosesTokenizer(lang="en")
    pieces: Counter[_Symbols] = Counter()
    for word, count in words.items():
        for piece in moses.tokenize(word, aggressive_dash_splits=True, escape=True):
            pieces[(*piece[:-1], f"{piece[-1]}</w>")] += count
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    vocab, merges = _learn(pieces, special, vocab_size, lambda left, right: left + right)
    vocab_file, merges_file = scratch / "vocab.json", scratch / "merges.txt"
    vocab_file.write_text(json.dumps(vocab, ensure_ascii=False), encoding="utf-8")
    merges_file.write_text("".join(f"{left} {right}\n" for left, right in merges), encoding="utf-8")
    return BioGptTokenizer(str(vocab_file), str(merges_file))


# The trainers of the tokenizers library number tokens in the order of a hash table, which differs between processes.
def _learn(
    pieces: Counter[_Symbols], special: Sequence[str], size: int, join: Callable[[str, str], str]
) -> tuple[dict[str, int], list[_Merge]]:
    """Learn byte-pair merges, the most frequent first, ties in alphabetical order."""
    rows = [list(piece) for piece in sorted(pieces)]
    weights = [pieces[tuple(row)] for row in rows]
    found = {symbol for row in rows for symbol in row} - set(special)
    tokens = dict.fromkeys([*special, *sorted(found)])
    counts: Counter[_Merge] = Counter()
    holders: defaultdict[_Merge, set[int]] = defaultdict(set)
    for index, row in enumerate(rows):
        _count_pairs(row, weights[index], index, counts, holders)
    queue = [(-count, pair) for pair, count in counts.items()]
    heapq.heapify(queue)
    merges: list[_Merge] = []
    while queue and len(tokens) < size:
        negated, pair = heapq.heappop(queue)
        if counts[pair] != -negated or negated >= -1:
            continue
        merges.append(pair)
        tokens.setdefault(join(*pair))
        changed: Counter[_Merge] = Counter()
        for index in sorted(holders.pop(pair)):
            _count_pairs(rows[index], -weights[index], index, changed, holders)
            rows[index] = _merged(rows[index], pair, join(*pair))
            _count_pairs(rows[index], weights[index], index, changed, holders)
        for touched, change in changed.items():
            counts[touched] += change
            if change:
                heapq.heappush(queue, (-counts[touched], touched))
    return {token: number for number, token in enumerate(tokens)}, merges


def _count_pairs(
    row: list[str], weight: int, index: int, counts: Counter[_Merge], holders: defaultdict[_Merge, set[int]]
) -> None:
    for pair in itertools.pairwise(row):
        counts[pair] += weight
        holders[pair].add(index)


def _merged(row: list[str], pair: _Merge, joined: str) -> list[str]:
    out: list[str] = []
    at = 0
    while at < len(row):
        if tuple(row[at : at + 2]) == pair:
            out.append(joined)
            at += 2
        else:
            out.append(row[at])
            at += 1
    return out


#: Model family to what makes its tokenizer of counted words, a vocabulary size and a folder for scratch files.
FAMILIES: dict[str, Callable[[Counter[str], int, Path], "PreTrainedTokenizerBase"]] = {
    "bert": _bert_tokenizer,
    "gpt2": _gpt2_tokenizer,
    "biogpt": _biogpt_tokenizer,
}
