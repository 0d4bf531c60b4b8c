"""Checkpoints that have nothing but a SentencePiece model for a tokenizer, such as DeBERTa-v3's and Llama's."""

import json
from pathlib import Path

import pytest
import sentencepiece

from biocache.engine.corpora.base import TASKS
from biocache.engine.corpora.encoding import encode
from biocache.engine.corpora.task import Sample
from biocache.engine.corpora.tokenizers import load_tokenizer

TEXTS = [
    *["The IL-2 gene binds NF-kB in T cells ."] * 20,
    *["Expression of CD28 and CD4 in human T lymphocytes ."] * 20,
]
KINDS = {
    "deberta-v2": (
        ("spm", "unigram", "DebertaV2Tokenizer"),
        {
            **{"pad_id": 0, "bos_id": 1, "eos_id": 2, "unk_id": 3, "user_defined_symbols": ["[MASK]"]},
            **{"pad_piece": "[PAD]", "bos_piece": "[CLS]", "eos_piece": "[SEP]", "unk_piece": "[UNK]"},
        },
    ),
    "llama": (
        ("tokenizer", "bpe", "LlamaTokenizer"),
        {"unk_id": 0, "bos_id": 1, "eos_id": 2, "byte_fallback": True},
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_sentencepiece_model_alone_is_a_tokenizer(tmp_path: Path, kind: str) -> None:
    (name, algorithm, tokenizer_class), settings = KINDS[kind]
    (tmp_path / "texts.txt").write_text("\n".join(TEXTS), encoding="utf-8")
    folder = tmp_path / "model"
    folder.mkdir()
    sentencepiece.SentencePieceTrainer.train(
        input=str(tmp_path / "texts.txt"),
        model_prefix=str(folder / name),
        vocab_size=60 if algorithm == "unigram" else 330,
        hard_vocab_limit=False,
        model_type=algorithm,
        minloglevel=2,
        **settings,
    )
    (folder / "config.json").write_text(json.dumps({"model_type": kind}))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": tokenizer_class}))
    tokenizer = load_tokenizer(folder)
    words = ("IL-2", "and", "CD28", "bind", "T", "cells")
    encoding = encode(tokenizer, [Sample("a", (words,))], TASKS["ner"], "sentence", 64)
    pieces = ["".join(encoding.token_text[encoding.word == row]).replace("▁", "") for row in range(len(words))]
    assert pieces == list(words)
    processor = sentencepiece.SentencePieceProcessor(str(folder / f"{name}.model"))
    assert encoding.token_text[encoding.word >= 0].tolist() == processor.encode(" ".join(words), out_type=str)
