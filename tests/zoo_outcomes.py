"""What an extraction makes of a checkpoint, held against plain transformers, one sample at a time."""

import inspect
import shutil
import traceback
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from extractions import request
from numpy.typing import NDArray
from zoo_corpus import Samples, samples, texts_of, write_corpus

from biocache.engine import extract
from biocache.engine.models.shape import quiet_transformers
from biocache.store import Run, Store
from biocache.store.errors import BiocacheError

BOTH = ("hidden", "attention")
SPLITS = ("train", "test")
#: Largest error that counts as exact, relative to the largest absolute value of the layer.
EXACT = 1e-5


@dataclass(frozen=True)
class Outcome:
    """What became of an extraction.

    Attributes
    ----------
    kind
        ``exact``, ``refused`` with one of biocache's errors, ``WRONG`` or ``TRACEBACK``.
    error
        Largest error relative to the scale of its layer.
    message
        Where the largest error is, the refusal, or the end of the traceback.
    maps
        Whether the maps of ``all``, ``some`` or ``no`` layers are stored.
    padded
        Whether samples of different lengths went through the model together.
    """

    kind: str
    error: float = 0.0
    message: str = ""
    maps: str = ""
    padded: bool = True

    @property
    def sound(self) -> bool:
        """Whether nothing wrong was stored, and what was refused was refused in words."""
        return self.kind in {"exact", "refused"}


class WrongError(AssertionError):
    """What is stored is not what the model says."""

    def __init__(self, message: str, error: float = float("inf")) -> None:
        super().__init__(message)
        self.error = error


def plain_model(folder: Path) -> Any:
    """Load a checkpoint as plain transformers do, with the class that it names."""
    import transformers

    with quiet_transformers():
        kind = getattr(transformers, transformers.AutoConfig.from_pretrained(folder).architectures[0])
        model = kind.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32).eval()
    # A model of pictures and texts has its text model inside.
    inside = [getattr(model, name) for name in ("language_model", "text_model") if hasattr(model, name)]
    return inside[0] if inside else model


def outcome(
    folder: Path,
    tmp_path: Path,
    keep: tuple[str, ...] = BOTH,
    truth: Any = None,
    chosen: Samples | None = None,
    task: str = "ner",
    **settings: Any,
) -> Outcome:
    """Extract with a checkpoint and compare everything that was stored.

    Parameters
    ----------
    folder
        The checkpoint.
    tmp_path
        A folder for the corpus and the store; the store is removed afterwards.
    keep
        What to keep.
    truth
        The model whose states are right; None for what plain transformers load, False where nothing but a refusal is.
    chosen
        The samples; None for those of the zoo.
    task
        ``ner``, or ``nli`` for pairs.
    settings
        Further fields of the request.
    """
    store = tmp_path / "store"
    shutil.rmtree(store, ignore_errors=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            if settings.get("part"):
                truth = plain_model(folder).get_encoder()
            return _outcome(folder, store, tmp_path / "corpus", keep, truth, chosen or samples(), task, settings)
        finally:
            shutil.rmtree(store, ignore_errors=True)


def _outcome(
    folder: Path,
    store: Path,
    corpus: Path,
    keep: tuple[str, ...],
    truth: Any,
    chosen: Samples,
    task: str,
    settings: dict[str, Any],
) -> Outcome:
    write_corpus(corpus, chosen, task)
    views = ("sentence",) if task == "ner" else ("pair",)
    asked: dict[str, Any] = {
        "task": task,
        "views": views,
        "attention_views": views,
        "splits": SPLITS,
        "attention_splits": SPLITS,
        "dtype": "float32",
        "batch_tokens": 240,
        "keep": keep,
        **settings,
    }
    try:
        extract(store, request(corpus, folder, **asked))
    except BiocacheError as error:
        return Outcome("refused", message=str(error))
    except Exception:
        return Outcome("TRACEBACK", message=end_of_traceback())
    if truth is False:
        return Outcome("WRONG", float("inf"), "it was stored and should have been refused")
    try:
        error = _largest_error(store, folder, keep, truth, chosen, task)
        spec = Store.open(store).select()[0].spec
        maps = "no" if "attention" not in spec.keep else "some" if spec.without_maps else "all"
        return Outcome("exact", error, maps=maps, padded=spec.padded)
    except WrongError as wrong:
        return Outcome("WRONG", wrong.error, str(wrong))
    except Exception:
        return Outcome("WRONG", float("inf"), f"stored, and no reference can be computed: {end_of_traceback()}")


def end_of_traceback() -> str:
    lines = traceback.format_exc().strip().splitlines()
    place = next((line.strip() for line in reversed(lines) if line.strip().startswith("File ")), "")
    return f"{lines[-1]} ({place})"


def _largest_error(store: Path, folder: Path, keep: tuple[str, ...], truth: Any, chosen: Samples, task: str) -> float:
    from transformers import AutoTokenizer

    with quiet_transformers():
        # A folder of sentence-transformers has it inside.
        tokenizer = AutoTokenizer.from_pretrained(Store.open(store).select()[0].provenance.tokenizer_source)
    model = plain_model(folder) if truth is None else truth
    worst, where, split = 0.0, "", ""
    for run in Store.open(store).select():
        texts = texts_of(chosen, task, run.key.split)
        _require(run.counts.samples == len(texts), f"{run.counts.samples} samples of {len(texts)} are stored")
        for number, sample in enumerate(_samples(run)):
            plain = _encoded(tokenizer, texts[number], run.spec.max_length)
            split = split or _words_differ(tokenizer, plain, sample, f"{run.key.split} sample {number}")
            expected = _forward(model, sample.ids, keep, tokenizer.model_input_names, plain.types)
            for name in run.spec.keep:
                layers = run.spec.variable_layers(name)
                error, place = _compare(run.read_sample(name, number), _chosen(model, expected, name, layers), name)
                if not error <= worst:
                    worst, where = error, f"{place} of {run.key.split} sample {number} ({len(sample.ids)} tokens)"
    if not worst <= EXACT:
        raise WrongError(f"off by {worst:.1e} in {where}", worst)
    if split:
        raise WrongError(split, worst)
    return worst


@dataclass(frozen=True)
class _Sample:
    """Tokens of a stored sample, and the word (counted in the sample) of each; -1 for none."""

    ids: list[int]
    words: list[int]


def _samples(run: Run) -> Iterator[_Sample]:
    columns = {
        name: run.column(name)
        for name in ("samples/token_start", "samples/token_count", "samples/word_start", "tokens/token_id")
    }
    word = run.column("tokens/word")
    starts, counts = columns["samples/token_start"].tolist(), columns["samples/token_count"].tolist()
    for start, count, first in zip(starts, counts, columns["samples/word_start"].tolist(), strict=True):
        part = slice(start, start + count)
        yield _Sample(
            columns["tokens/token_id"][part].tolist(),
            [row - first if row >= 0 else -1 for row in word[part].tolist()],
        )


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise WrongError(message)


def joined(tokenizer: Any, words: list[str]) -> str:
    """Return the text of some words for a fast tokenizer."""
    # A byte-level vocabulary knows a word by the space before it, and the first one has none.
    return (" " if "ByteLevel" in tokenizer.backend_tokenizer.to_str() else "") + " ".join(words)


@dataclass(frozen=True)
class _Plain:
    """What a tokenizer makes of the texts of a sample; `words` is None where it has no offsets."""

    ids: list[int] | None
    words: list[int] | None
    types: list[int] | None
    count: int


def _encoded(tokenizer: Any, texts: tuple[list[str], ...], most: int) -> _Plain:
    """Encode joined texts, and find the words of the tokens by offsets."""
    count = sum(map(len, texts))
    if not tokenizer.is_fast:
        # Where its template puts nothing between two texts, biocache puts something.
        ids = tokenizer(" ".join(texts[0]), truncation=True, max_length=most)["input_ids"] if len(texts) == 1 else None
        return _Plain(ids, None, None, count)
    full = [joined(tokenizer, words) for words in texts]
    encoded = tokenizer(*full, return_offsets_mapping=True, truncation=True, max_length=most)
    owners = [_owners(text) for text in full]
    words = [
        -1 if text is None else owners[text][begin] + text * len(texts[0])
        for (begin, _), text in zip(encoded["offset_mapping"], encoded.sequence_ids(0), strict=True)
    ]
    ids = list(encoded["input_ids"])
    if len(texts) == 2 and tokenizer.num_special_tokens_to_add(pair=True) == 0:
        place = encoded.sequence_ids(0).count(0)
        ids.insert(place, tokenizer.eos_token_id)
        words.insert(place, -1)
        return _Plain(ids, words, None, count)
    return _Plain(ids, words, encoded.get("token_type_ids"), count)


def _owners(text: str) -> list[int]:
    """Return the word of every character; a space belongs to the word after it."""
    owners, word = [], 0
    for place, character in enumerate(text):
        word += place > 0 and character == " "
        owners.append(word)
    return owners


def _words_differ(tokenizer: Any, plain: _Plain, sample: _Sample, where: str) -> str:
    """Say how tokens and their words differ from those of the joined texts."""
    if plain.words is None and sorted(set(sample.words) - {-1}) != [*range(plain.count)]:
        return f"words are lost in {where}"
    if plain.ids is None:
        return ""
    if sample.ids != plain.ids:
        ours, theirs = (tokenizer.convert_ids_to_tokens(ids) for ids in (sample.ids, plain.ids))
        return f"tokens of {where} are {ours}, those of its text {theirs}"
    if plain.words is not None and sample.words != plain.words:
        return f"tokens of {where} belong to the words {sample.words}, by offsets {plain.words}"
    return ""


def _forward(
    model: Any, ids: list[int], keep: tuple[str, ...], names: list[str], types: list[int] | None
) -> dict[str, Any]:
    taken = inspect.signature(model.forward).parameters
    inputs = {"input_ids": torch.tensor([ids])}
    if "attention_mask" in taken:
        inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    if "token_type_ids" in names and "token_type_ids" in taken:
        inputs["token_type_ids"] = torch.tensor([types or [0] * len(ids)])
    with torch.inference_mode():
        if "use_cache" in taken:
            inputs["use_cache"] = False
        out = model(**inputs, output_hidden_states=True, output_attentions="attention" in keep, return_dict=True)
    return {"hidden": out.hidden_states, "attention": getattr(out, "attentions", None) if "attention" in keep else None}


def _chosen(model: Any, expected: dict[str, Any], name: str, layers: tuple[int, ...]) -> list[Any]:
    """Return what a model gives of some layers; of maps those of the blocks that its configuration calls attention."""
    given, blocks = expected[name], len(expected["hidden"]) - 1
    if name == "hidden":
        return [given[layer] for layer in layers]
    if len(given) == blocks:
        return [given[layer - 1] for layer in layers]
    kinds = getattr(model.config, "layer_types", None) or model.config.layers_block_type
    places = [place for place, kind in enumerate(kinds, start=1) if "attention" in kind and "linear" not in kind]
    return [given[places.index(layer)] for layer in layers]


def _compare(stored: NDArray[Any], expected: Any, name: str) -> tuple[float, str]:
    """Return the largest error of all layers, relative to the largest value of its layer, and where it is."""
    _require(expected is not None, f"the model gives no {name} and it was stored")
    layers = [None if layer is None else layer.detach().float().numpy() for layer in expected]
    _require(len(stored) == len(layers), f"{name} of {len(stored)} layers is stored, the model gives {len(layers)}")
    worst, where = 0.0, f"{name}"
    for number, (ours, theirs) in enumerate(zip(stored, layers, strict=True)):
        layer = number + (name == "attention")
        _require(theirs is not None, f"the model gives no {name} of layer {layer} and it was stored")
        if name == "hidden" and theirs.ndim == 3:
            # Some families pad a sample themselves, and return the padding.
            theirs = theirs[:, : ours.shape[0]]
        shape = (1, *ours.shape)
        _require(theirs.shape == shape, f"{name} of layer {layer} is {shape}, the model's is {theirs.shape}")
        scale = float(np.abs(theirs).max())
        _require(scale > 0, f"the model's {name} of layer {layer} is zero, which shows nothing")
        errors = np.abs(ours.astype(np.float64) - theirs[0]) / scale
        error = float(errors.max()) if np.isfinite(errors).all() else float("inf")
        if not error <= worst:
            place = tuple(int(index) for index in np.unravel_index(int(np.nan_to_num(errors).argmax()), errors.shape))
            worst, where = error, f"{name}, layer {layer} at {place}"
    return worst, where
