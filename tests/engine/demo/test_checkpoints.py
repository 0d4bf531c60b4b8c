import subprocess
import sys

import pytest
import torch
from transformers import AutoModel, AutoTokenizer
from transformers.utils import logging

from biocache.engine.demo.checkpoints import FAMILIES, write_checkpoint
from biocache.store.errors import SettingError

TEXTS = [
    ["NF-kappa", "B", "binds", "the", "IL-2", "gene", "."],
    ["IL-2", "&", "TNF-β", "bind", "(", "45", "%", ")"],
]


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("family", FAMILIES)
def test_model_and_tokenizer_load_and_fit(checkpoints, family):
    model, info = AutoModel.from_pretrained(checkpoints[family], output_loading_info=True)
    tokenizer = AutoTokenizer.from_pretrained(checkpoints[family])
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert model.config.model_type == family
    assert model.config.vocab_size == len(tokenizer) == 600
    assert tokenizer.model_max_length == 128
    assert tokenizer.is_fast == (family != "biogpt")


@pytest.mark.parametrize("family", FAMILIES)
def test_any_text_can_be_encoded(checkpoints, family):
    tokenizer = AutoTokenizer.from_pretrained(checkpoints[family])
    for text in ("漢字 ☃ \u200b β", "naïve β-catenin", "§ 12,5 % 'quoted' <tag> & co", "Ж"):
        ids = tokenizer(text)["input_ids"]
        assert ids
        assert all(0 <= i < len(tokenizer) for i in ids)


@pytest.mark.parametrize("family", FAMILIES)
def test_vocabulary_is_learned_from_the_texts(checkpoints, family):
    tokenizer = AutoTokenizer.from_pretrained(checkpoints[family])
    frequent = {"bert": "cells", "gpt2": "Ġcells", "biogpt": "cells</w>"}[family]
    assert tokenizer.tokenize("T cells")[-1] == frequent


@pytest.mark.parametrize("family", FAMILIES)
def test_layers_and_heads_differ_and_attention_is_not_uniform(checkpoints, family):
    model = AutoModel.from_pretrained(checkpoints[family], attn_implementation="eager")
    ids = torch.arange(10, 22)[None]
    with torch.inference_mode():
        out = model(ids, output_hidden_states=True, output_attentions=True)
    hidden = torch.stack(out.hidden_states)
    assert (hidden[1:] - hidden[:-1]).abs().mean() > 0.1
    maps = torch.stack(out.attentions)[:, 0]
    heads = maps.reshape(-1, 12, 12)
    for first in range(len(heads)):
        for second in range(first):
            assert (heads[first] - heads[second]).abs().max() > 0.05
    assert heads[:, -1].std(dim=-1).min() > 0.01


@pytest.mark.slow
def test_same_arguments_give_the_same_files_in_any_process(tmp_path):
    code = f"""
from pathlib import Path
from biocache.engine.demo.checkpoints import write_checkpoint
for family in {tuple(FAMILIES)!r}:
    write_checkpoint(family, Path({str(tmp_path)!r}) / "there" / family, {TEXTS!r}, seed=7, vocab_size=300)
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == done.stderr == ""
    for family in FAMILIES:
        here = write_checkpoint(family, tmp_path / "here" / family, TEXTS, seed=7, vocab_size=300)
        assert files(here) == files(tmp_path / "there" / family)
        other = write_checkpoint(family, tmp_path / "other" / family, TEXTS, seed=8, vocab_size=300)
        assert files(other)["model.safetensors"] != files(here)["model.safetensors"]


def test_sizes_are_the_ones_asked_for(tmp_path):
    folder = write_checkpoint(
        "gpt2", tmp_path / "m", TEXTS, hidden_size=48, layers=3, heads=4, max_positions=20, vocab_size=262
    )
    config = AutoModel.from_pretrained(folder).config
    assert (config.hidden_size, config.num_hidden_layers, config.num_attention_heads) == (48, 3, 4)
    assert (config.max_position_embeddings, config.vocab_size) == (20, 262)


def test_random_state_and_progress_bars_are_left_alone(tmp_path):
    state, bars = torch.random.get_rng_state(), logging.is_progress_bar_enabled()
    write_checkpoint("bert", tmp_path / "m", TEXTS)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert logging.is_progress_bar_enabled() == bars


def test_interrupted_write_leaves_nothing(tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("biocache.engine.demo.checkpoints._write_model", stop)
    with pytest.raises(KeyboardInterrupt):
        write_checkpoint("bert", tmp_path / "m", TEXTS)
    assert not list(tmp_path.iterdir())


def test_mistakes_are_refused(tmp_path):
    with pytest.raises(SettingError, match=r"family 't5' is not known: choose from bert, gpt2, biogpt"):
        write_checkpoint("t5", tmp_path / "m", TEXTS)
    with pytest.raises(SettingError, match="exists"):
        write_checkpoint("bert", tmp_path, TEXTS)
