"""Configurations and tokenizers of any shape: a model that is exact, or one of biocache's errors, never another."""

import json
import math
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from extractions import only_run, request
from shapes import STRANGE

from biocache.engine import extract
from biocache.engine.corpora.tokenizers import load_tokenizer
from biocache.engine.extraction import forward
from biocache.engine.models import trial
from biocache.engine.models.shape import choose_max_length, load_shape
from biocache.engine.models.sources import ModelSource
from biocache.engine.recompute import recompute_samples
from biocache.store import Run, Store
from biocache.store.errors import BiocacheError, ModelError


def edited(folder: Path, to: Path, file: str, **changes: Any) -> Path:
    """Copy a checkpoint with some values of one of its JSON files changed."""
    shutil.copytree(folder, to)
    values = json.loads((to / file).read_bytes())
    (to / file).write_text(json.dumps(values | changes), encoding="utf-8")
    return to


def only(store: Path) -> Run:
    """Return the first run of a store."""
    return Store.open(store).select()[0]


def extracted(corpus: Path, checkpoint: Path, store: Path) -> None:
    extract(store, request(corpus, checkpoint, limit=2))


@pytest.mark.parametrize("name", ["hidden_size", "num_attention_heads", "num_hidden_layers"])
@pytest.mark.parametrize("value", [0, -4, "48", 10**9, 1.5, True, None, [], {}])
def test_a_size_that_is_none_is_one_line(
    corpus_folder: Path, checkpoints: Mapping[str, Path], tmp_path: Path, name: str, value: Any
) -> None:
    folder = edited(checkpoints["bert"], tmp_path / "m", "config.json", **{name: value})
    with pytest.raises(ModelError) as raised:
        extracted(corpus_folder, folder, tmp_path / "s")
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "s").exists()


CONFIGS = [
    *("max_position_embeddings", "vocab_size", "type_vocab_size", "pad_token_id", "intermediate_size", "model_type"),
    *("hidden_act", "architectures", "layer_norm_eps", "is_decoder", "is_encoder_decoder", "id2label", "dtype"),
]


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
def test_any_value_of_a_configuration_is_read_or_refused(
    corpus_folder: Path, checkpoints: Mapping[str, Path], tmp_path: Path, name: str
) -> None:
    exact = 0
    for number, strange in enumerate(value for value in STRANGE if value != "\ud800"):
        folder = edited(checkpoints["bert"], tmp_path / f"m{number}", "config.json", **{name: strange})
        with suppress(BiocacheError):
            extracted(corpus_folder, folder, tmp_path / f"s{number}")
            run = only_run(tmp_path / f"s{number}")
            assert list(recompute_samples(run, 2, device="cpu")) == []
            exact += 1
    assert exact < len(STRANGE)


@pytest.mark.parametrize("text", ["", "[", "null", "[]", "[" * 100_000, '{"model_type": "bert"', "\xff"])
@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json", "tokenizer.json"])
def test_files_that_are_no_json_are_one_line(
    corpus_folder: Path, checkpoints: Mapping[str, Path], tmp_path: Path, file: str, text: str
) -> None:
    folder = Path(shutil.copytree(checkpoints["bert"], tmp_path / "m"))
    (folder / file).write_bytes(text.encode("latin-1"))
    with pytest.raises(ModelError) as raised:
        extracted(corpus_folder, folder, tmp_path / "s")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("value", ["long", [], {}, True])
def test_a_longest_input_that_is_no_number_is_refused(
    checkpoints: Mapping[str, Path], tmp_path: Path, value: Any
) -> None:
    source = ModelSource("tiny", str(checkpoints["bert"]), 0, 42)
    tokenizer = load_tokenizer(checkpoints["bert"])
    tokenizer.model_max_length = value
    with pytest.raises(ModelError, match="as its model_max_length, which is not a number"):
        choose_max_length(None, source, load_shape(source), tokenizer)


@pytest.mark.parametrize("value", ["long", True, [512]])
def test_a_longest_input_that_is_no_length_is_refused(
    corpus_folder: Path, checkpoints: Mapping[str, Path], tmp_path: Path, value: Any
) -> None:
    folder = edited(checkpoints["bert"], tmp_path / "m", "tokenizer_config.json", model_max_length=value)
    with pytest.raises(ModelError) as raised:
        extracted(corpus_folder, folder, tmp_path / "s")
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "s").exists()


@pytest.mark.slow
@pytest.mark.parametrize("value", [10**30, 1e30, None, math.inf, math.nan, 0, -5])
def test_a_longest_input_without_a_bound_is_that_of_the_model(
    corpus_folder: Path, checkpoints: Mapping[str, Path], tmp_path: Path, value: Any
) -> None:
    folder = edited(checkpoints["bert"], tmp_path / "m", "tokenizer_config.json", model_max_length=value)
    extracted(corpus_folder, folder, tmp_path / "s")
    extracted(corpus_folder, checkpoints["bert"], tmp_path / "plain")
    assert only(tmp_path / "s").spec.max_length == only(tmp_path / "plain").spec.max_length


def test_token_ids_beyond_the_embeddings_are_refused_before_a_weight_is_loaded(
    corpus_folder: Path, checkpoints: Mapping[str, Path], tmp_path: Path
) -> None:
    folder = edited(checkpoints["bert"], tmp_path / "m", "config.json", vocab_size=9)
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"gives the token id \d+, and the model has embeddings of 9 ids"):
        extracted(corpus_folder, folder, tmp_path / "s")


def test_a_forward_that_fails_is_one_line(
    corpus_folder: Path, checkpoints: Mapping[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise IndexError("index out of range\n in self")

    with monkeypatch.context() as patched:
        patched.setattr(forward, "call", fail)
        with pytest.raises(
            ModelError, match=r"model \(bert\) of run ner/.* failed on 2 samples, .*index out of range in s"
        ):
            extracted(corpus_folder, checkpoints["bert"], tmp_path / "s")
    # It fails when it is tried, before anything is stored.
    monkeypatch.setattr(trial, "call", fail)
    with pytest.raises(
        ModelError, match=r"model .* \(bert\) fails on a sample of \d+ tokens \(IndexError: index out of"
    ):
        extracted(corpus_folder, checkpoints["bert"], tmp_path / "t")
    assert not (tmp_path / "t").exists()


@pytest.mark.slow
def test_a_head_that_was_trained_for_a_task_is_kept_with_the_run(
    corpus_folder: Path, checkpoints: Mapping[str, Path], tmp_path: Path
) -> None:
    for number, (names, head) in enumerate(
        [
            (["BertForTokenClassification"], "BertForTokenClassification"),
            (["BertModel", "BertForQuestionAnswering"], "BertForQuestionAnswering"),
            (["BertForMaskedLM"], ""),
            (["BertForPreTraining"], ""),
            (None, ""),
        ]
    ):
        folder = edited(checkpoints["bert"], tmp_path / f"m{number}", "config.json", architectures=names)
        extracted(corpus_folder, folder, tmp_path / f"s{number}")
        assert only_run(tmp_path / f"s{number}").provenance.task_head == head
