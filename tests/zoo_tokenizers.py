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


def _unigram(kind: str, *special: str) -> Callable[[Counter[str], Path], Any]:
    """Return a maker of a tokenizer of scored pieces; characters that are not ASCII are unknown to it."""

    def maker(words: Counter[str], scratch: Path) -> Any:
        import transformers

        tokens, _ = _learned(words, scratch)
        pieces = [token.replace("Ġ", "▁") for token in tokens if set(token) <= set(string.printable.strip()) | {"Ġ"}]
        vocab = [*((name, 0.0) for name in special), *((piece, len(piece) - 10.0) for piece in pieces)]
        return getattr(transformers, kind)(vocab=vocab)

    return maker


def _ctrl(words: Counter[str], scratch: Path) -> Any:
    """Make a tokenizer in Python that marks the pieces that a word goes on after."""
    import json

    from transformers import CTRLTokenizer

    moses: Any = FAMILIES["biogpt"](words, VOCABULARY, scratch)
    tokens = [token for token in moses.get_vocab() if token not in moses.all_special_tokens]
    spelled = [token.removesuffix("</w>") if token.endswith("</w>") else f"{token}@@" for token in tokens]
    merges = [*moses.bpe_ranks]
    (scratch / "ctrl.json").write_text(json.dumps(_numbered(["<unk>"], spelled)), encoding="utf-8")
    lines = "".join(f"{left} {right} 1\n" for left, right in merges)
    (scratch / "ctrl.txt").write_text(f"#version\n{lines}", encoding="utf-8")
    return CTRLTokenizer(str(scratch / "ctrl.json"), str(scratch / "ctrl.txt"), pad_token="<unk>")


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


def _bytes(words: Counter[str], scratch: Path) -> Any:
    from transformers import ByT5Tokenizer

    return ByT5Tokenizer()


def _mark_after(words: Counter[str], scratch: Path) -> Any:
    """Let a space go with the word before it, so that a word by itself has other tokens than in a text."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE(unk_token="<unk>"))
    backend.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(" ", "▁")])
    backend.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_previous")
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=["<unk>", "</s>"])
    backend.train_from_iterator([" ".join(words)] * 3, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>", eos_token="</s>")


#: Name to what makes a tokenizer of counted words and a folder for scratch files.
TOKENIZERS: dict[str, Callable[[Counter[str], Path], Any]] = {
    "wordpiece": _wordpiece,
    "byte-level": _byte_level,
    "moses": _moses,
    "roberta": _roberta,
    "llama": _llama,
    "llama3": _llama3,
    "gemma": _gemma,
    "xlnet": _unigram("XLNetTokenizer", "<unk>", "<s>", "</s>", "<cls>", "<sep>", "<pad>", "<mask>", "<eod>", "<eop>"),
    "xlm-roberta": _unigram("XLMRobertaTokenizer", "<s>", "<pad>", "</s>", "<unk>", "<mask>"),
    "camembert": _unigram(
        "CamembertTokenizer", "<s>NOTUSED", "<pad>", "</s>NOTUSED", "<unk>", "<unk>NOTUSED", "<s>", "</s>", "<mask>"
    ),
    "albert": _unigram("AlbertTokenizer", "<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"),
    "ctrl": _ctrl,
    "bytes": _bytes,
    "mark after": _mark_after,
}
