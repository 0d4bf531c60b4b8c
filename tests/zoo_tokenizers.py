"""Small tokenizers of the kinds that checkpoints come with, learned from the zoo's corpus."""

import string
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from biocache.engine.demo.checkpoints import FAMILIES

VOCABULARY = 420


def _learned(words: Counter[str], scratch: Path) -> tuple[list[str], list[tuple[str, str]]]:
    """Learn a byte-level vocabulary; return its tokens in the order of their ids, and its merges."""
    import json

    tokenizer: Any = FAMILIES["gpt2"](words, VOCABULARY, scratch)
    model = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].get)
    merges = [tuple(merge.split(" ")) if isinstance(merge, str) else tuple(merge) for merge in model["merges"]]
    return [token for token in tokens if token != "<|endoftext|>"], merges


def _numbered(*groups: Sequence[str]) -> dict[str, int]:
    return {token: number for number, token in enumerate(dict.fromkeys(token for group in groups for token in group))}


def _wordpiece(words: Counter[str], scratch: Path) -> Any:
    return FAMILIES["bert"](words, VOCABULARY, scratch)


def _byte_level(words: Counter[str], scratch: Path) -> Any:
    return FAMILIES["gpt2"](words, VOCABULARY, scratch)


def _moses(words: Counter[str], scratch: Path) -> Any:
    return FAMILIES["biogpt"](words, VOCABULARY, scratch)


def _roberta(words: Counter[str], scratch: Path) -> Any:
    from transformers import RobertaTokenizer

    tokens, merges = _learned(words, scratch)
    return RobertaTokenizer(vocab=_numbered(["<s>", "<pad>", "</s>", "<unk>"], tokens, ["<mask>"]), merges=merges)


def _pieces(words: Counter[str], scratch: Path) -> tuple[list[str], list[tuple[str, str]]]:
    """Spell a byte-level vocabulary as SentencePiece does; characters that are not ASCII fall back to bytes."""
    tokens, merges = _learned(words, scratch)
    plain = set(string.printable.strip()) | {"Ġ"}
    kept = [(left, right) for left, right in merges if set(left + right) <= plain]
    pieces = [token for token in tokens if set(token) <= plain]
    fallback = [f"<0x{byte:02X}>" for byte in range(256)]
    spelled = [token.replace("Ġ", "▁") for token in pieces]
    return [*fallback, *spelled], [(left.replace("Ġ", "▁"), right.replace("Ġ", "▁")) for left, right in kept]


def _llama(words: Counter[str], scratch: Path) -> Any:
    from transformers import LlamaTokenizer

    tokens, merges = _pieces(words, scratch)
    return LlamaTokenizer(vocab=_numbered(["<unk>", "<s>", "</s>"], tokens), merges=merges)


def _gemma(words: Counter[str], scratch: Path) -> Any:
    from transformers import GemmaTokenizer

    tokens, merges = _pieces(words, scratch)
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    return GemmaTokenizer(vocab=_numbered(special, tokens), merges=merges)


def _unigram(words: Counter[str], scratch: Path) -> Any:
    from transformers import XLNetTokenizer

    tokens, _ = _learned(words, scratch)
    plain = set(string.printable.strip()) | {"Ġ"}
    pieces = [token.replace("Ġ", "▁") for token in tokens if set(token) <= plain]
    special = ["<unk>", "<s>", "</s>", "<cls>", "<sep>", "<pad>", "<mask>", "<eod>", "<eop>"]
    return XLNetTokenizer(vocab=[*((name, 0.0) for name in special), *((p, -10.0 + len(p)) for p in pieces)])


def _llama3(words: Counter[str], scratch: Path) -> Any:
    """Split by a pattern before bytes, and nothing but an end-of-text token is special."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    tokens, merges = _learned(words, scratch)
    backend = Tokenizer(models.BPE(vocab=_numbered(tokens), merges=merges))
    pattern = Regex(r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s+(?!\S)|\s+")
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(pattern, behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken("<|end_of_text|>", special=True)])
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|end_of_text|>")


#: Name to what makes a tokenizer of counted words and a folder for scratch files.
TOKENIZERS: dict[str, Callable[[Counter[str], Path], Any]] = {
    "wordpiece": _wordpiece,
    "byte-level": _byte_level,
    "moses": _moses,
    "roberta": _roberta,
    "llama": _llama,
    "llama3": _llama3,
    "gemma": _gemma,
    "unigram": _unigram,
}
