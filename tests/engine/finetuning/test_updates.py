"""The optimiser steps behind the models that an analysis compares: in its result, and said where they differ."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from store_factory import PROVENANCE, synthetic

from biocache.engine import AttentionRequest, ProbeRequest, compare_attention, probe
from biocache.engine.analysis import ANALYSES
from biocache.engine.finetuning.updates import unequal_steps
from biocache.store.creating import create_run

STEPS = {0: None, 10: 4, 100: 31, 50: None}


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Return a store of runs of four training sizes, of which one does not say for how long it was trained."""
    for size, steps in STEPS.items():
        for split in ("train", "test"):
            source = synthetic([3, 4, 9, 2, 1, 2] * 4, 40, training_size=size, split=split, seed=size)
            made = create_run(
                tmp_path, source.spec, replace(PROVENANCE, training_steps=steps), source.plan, source.tables
            )
            source.write(made)
            source.keep_labels(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ({}, ""),
        ({0: 0, 10: 4}, ""),
        ({10: 4, 100: 4}, ""),
        ({10: 4, 100: None}, ""),
        ({10: 4, 100: math.nan, 50: 4.0}, ""),
        ({100: 3100.0, 10: 4, 0: 0}, "(10 %: 4, 100 %: 3,100)"),
    ],
)
def test_only_known_steps_that_differ_are_said(steps: dict[int, float | None], said: str) -> None:
    line = unequal_steps(steps)
    assert said in line
    assert bool(line) == bool(said)


@pytest.mark.slow
def test_a_probe_says_where_its_models_differ_in_steps(store: Path) -> None:
    request = ProbeRequest(task="ner", layers=(0,))
    result = probe(store, request)
    np.testing.assert_array_equal(result.training_steps.sel(model="tiny").squeeze(), [0, 4, np.nan, 31])
    line = "tiny, seed 42: the training sizes differ in optimiser steps (10 %: 4, 100 %: 31), and steps alone change a "
    assert line + "model" in list(ANALYSES["probe"].notes(result, request))
    one = replace(request, training_sizes=(0, 10))
    assert not [text for text in ANALYSES["probe"].notes(probe(store, one), one) if "optimiser" in text]
    # A result that an earlier release kept has no steps.
    before = result.drop_vars("training_steps")
    assert not [text for text in ANALYSES["probe"].notes(before, request) if "optimiser" in text]


@pytest.mark.slow
def test_a_comparison_of_attention_does_too(store: Path) -> None:
    request = AttentionRequest(task="ner", model="tiny", split="test", metrics=("js",))
    result = compare_attention(store, request)
    np.testing.assert_array_equal(result.training_steps, [4, np.nan, 31])
    notes = list(ANALYSES["compare-attention"].notes(result, request))
    assert "the training sizes differ in optimiser steps (10 %: 4, 100 %: 31), and steps alone change a model" in notes
