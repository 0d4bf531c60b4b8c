"""Tokenizers of every family, prepared for words that are already split."""

import hashlib
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from biocache.store.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["load_tokenizer", "tokenizer_digest"]


def load_tokenizer(source: str | Path) -> "PreTrainedTokenizerBase":
    """Load a tokenizer and prepare it for words that are already split.

    Padding and truncation are on the right, a missing pad token becomes the end-of-text token, settings
    for truncation and padding saved with the tokenizer are dropped, and byte-level tokenizers put a space
    before every word, without which ``is_split_into_words`` glues words together. Code that comes with a
    checkpoint is never run.

    Parameters
    ----------
    source
        A local folder or a Hugging Face model id.

    Returns
    -------
    PreTrainedTokenizerBase

    Raises
    ------
    ModelError
        If there is no tokenizer, if it holds no vocabulary, or if it can neither pad nor end a text.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(str(source), trust_remote_code=False)
    # A damaged or foreign file raises the errors of its parser.
    except Exception as error:
        cause = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelError(
            f"no tokenizer can be loaded from {str(source)!r} ({cause}): give a folder with the files of a "
            "tokenizer or the id of a model on the Hugging Face hub, and check the connection"
        ) from error
    # A folder without a tokenizer gives, without an error, one that has only special tokens.
    if len(tokenizer) <= len(set(tokenizer.all_special_ids)):
        raise ModelError(
            f"the tokenizer of {str(source)!r} has no vocabulary: save the tokenizer beside the model "
            "(tokenizer.json, or the vocabulary files of its family)"
        )
    tokenizer.padding_side = tokenizer.truncation_side = "right"
    if tokenizer.pad_token is None:
        if tokenizer.eos_token is None:
            raise ModelError(
                f"the tokenizer of {str(source)!r} has neither a pad nor an end-of-text token: set its pad_token"
            )
        tokenizer.pad_token = tokenizer.eos_token
    if tokenizer.is_fast:
        tokenizer.backend_tokenizer.no_truncation()
        tokenizer.backend_tokenizer.no_padding()
        _put_space_before_words(tokenizer)
    return tokenizer


def _put_space_before_words(tokenizer: "PreTrainedTokenizerBase") -> None:
    from tokenizers import normalizers, pre_tokenizers

    backend = tokenizer.backend_tokenizer
    pre = backend.pre_tokenizer
    if isinstance(pre, pre_tokenizers.ByteLevel):
        pre.add_prefix_space = True
        backend.pre_tokenizer = pre
        tokenizer.add_prefix_space = tokenizer.init_kwargs["add_prefix_space"] = True
    elif isinstance(pre, pre_tokenizers.Sequence) and b'"ByteLevel"' in pre.__getstate__():
        # After another splitter the flag would put a space before every piece, not before every word.
        prepend = normalizers.Prepend(" ")
        current = backend.normalizer
        if current is None:
            backend.normalizer = prepend
        elif prepend.__getstate__() not in current.__getstate__():
            backend.normalizer = normalizers.Sequence([prepend, current])


def tokenizer_digest(tokenizer: "PreTrainedTokenizerBase") -> str:
    """Return the SHA-256 (hexadecimal) of everything that decides the token ids of a text.

    Settings for truncation and padding, which `encode` overrides, do not count.

    Parameters
    ----------
    tokenizer
        As `load_tokenizer` returns it.
    """
    named = {name: tokenizer.convert_tokens_to_ids(t) for name, t in tokenizer.special_tokens_map.items()}
    state: dict[str, Any] = {"class": type(tokenizer).__name__, "special": named}
    if tokenizer.is_fast:
        backend = json.loads(tokenizer.backend_tokenizer.to_str())
        state["backend"] = backend | {"truncation": None, "padding": None}
        if (backend["post_processor"] or {}).get("type") == "RobertaProcessing":
            # It affects offsets only, and takes the pre-tokenizer's value when a tokenizer is saved and loaded again.
            del backend["post_processor"]["add_prefix_space"]
    else:
        state["added"] = tokenizer.get_added_vocab()
        with tempfile.TemporaryDirectory() as folder:
            files = sorted(Path(name) for name in tokenizer.save_vocabulary(folder))
            state["files"] = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()
