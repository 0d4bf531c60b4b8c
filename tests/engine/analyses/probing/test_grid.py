"""Which runs are probed, and what is refused in one line."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import store_factory
from planted import ner_store, nli_store, split_runs, write
from store_factory import Synthetic

from biocache.engine import ProbeRequest, probe
from biocache.engine.analyses.probing.grid import find_cells, probed_layers
from biocache.engine.metrics import chosen_score, score_names
from biocache.store import Store
from biocache.store.errors import (
    AmbiguousRunError,
    BiocacheError,
    IncompleteRunError,
    RunNotFoundError,
    SettingError,
    SpecMismatchError,
)


def refusal(store: Path, request: ProbeRequest, kind: type[BiocacheError]) -> str:
    with pytest.raises(kind) as caught:
        probe(store, request)
    text = str(caught.value)
    assert "\n" not in text
    return text


@pytest.fixture
def grid(tmp_path: Path) -> Store:
    """Return a store of two models: one at two sizes, one of more layers at one."""
    for size in (0, 100):
        ner_store(tmp_path, model="b", training_size=size)
    return ner_store(tmp_path, model="a", training_size=0, change={"train": deeper, "test": deeper})


def deeper(source: Synthetic) -> Synthetic:
    """Add a layer."""
    spec = replace(source.spec, layers=(*source.spec.layers, 3))
    return replace(source, spec=spec, hidden=[np.concatenate([states, states[-1:]]) for states in source.hidden])


@pytest.mark.slow
def test_cells_are_ordered_by_model_size_and_seed(grid: Store) -> None:
    found = find_cells(grid, ProbeRequest(task="ner", label_scheme="bio"))
    assert [(cell.model, cell.training_size) for cell in found] == [("a", 0), ("b", 0), ("b", 100)]
    asked = find_cells(grid, ProbeRequest(task="ner", label_scheme="bio", models=("b", "a"), training_sizes=(0,)))
    assert [(cell.model, cell.training_size) for cell in asked] == [("b", 0), ("a", 0)]


@pytest.mark.slow
def test_layer_0_is_always_beside_the_others(grid: Store) -> None:
    request = ProbeRequest(task="ner", label_scheme="bio", layers=(3,))
    cells = find_cells(grid, request)
    assert list(probed_layers(cells, request).values()) == [(0, 3), (0,), (0,)]


@pytest.mark.slow
def test_what_a_model_does_not_have_is_not_a_number(grid: Store) -> None:
    result = probe(grid.path, ProbeRequest(task="ner", label_scheme="bio"))
    assert dict(result.accuracy.sizes) == {"model": 2, "training_size": 2, "seed": 1, "layer": 4, "probe_seed": 1}
    there = result.accuracy.notnull().squeeze()
    assert there.sel(model="a", training_size=0).all()
    assert not there.sel(model="a", training_size=100).any()
    assert there.sel(model="b").sum("layer").values.tolist() == [3, 3]


@pytest.mark.slow
def test_a_randomly_initialised_model_is_marked(grid: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_factory, "PROVENANCE", replace(store_factory.PROVENANCE, random_weights=True))
    ner_store(grid.path, model="b-random", training_size=0)
    result = probe(grid.path, ProbeRequest(task="ner", label_scheme="bio", training_sizes=(0,)))
    assert dict(zip(result.model.values, result.random_weights.values, strict=True)) == {"a": 0, "b": 0, "b-random": 1}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"models": ("c",)}, "no model c among the train and test runs for ner"),
        ({"training_sizes": (0, 10)}, "no training size 10"),
        ({"run_seeds": (7,)}, "no seed 7"),
        ({"dataset": "genia"}, "for ner of genia; `Store.catalog()` lists what there is"),
        ({"layers": (1, 9)}, "layer 9 is in no run of a, b; stored are 0, 1, 2, 3"),
    ],
)
def test_what_is_not_there_is_named(grid: Store, settings: dict[str, Any], says: str) -> None:
    assert says in refusal(grid.path, ProbeRequest(task="ner", label_scheme="bio", **settings), RunNotFoundError)


@pytest.mark.slow
def test_a_missing_split_or_view_is_named(tmp_path: Path) -> None:
    write(tmp_path / "ner", [split_runs("test")])
    assert "tiny at training size 30 %, seed 42 has no train run; extract it with split='train'" in refusal(
        tmp_path / "ner", ProbeRequest(task="ner", label_scheme="bio"), RunNotFoundError
    )
    nli_store(tmp_path / "nli", ("premise",))
    assert "no train run of view hypothesis" in refusal(tmp_path / "nli", ProbeRequest(task="nli"), RunNotFoundError)


@pytest.mark.slow
def test_of_several_data_sets_one_must_be_named(tmp_path: Path) -> None:
    for dataset in ("one", "two"):
        ner_store(tmp_path, dataset=dataset)
    assert "holds ner runs of one, two; name one with dataset" in refusal(
        tmp_path, ProbeRequest(task="ner", label_scheme="bio"), AmbiguousRunError
    )
    assert probe(tmp_path, ProbeRequest(task="ner", label_scheme="bio", dataset="two")).attrs["dataset"] == "two"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"model_digest": "x" * 64}, "their model digest differ (mmmmmmmmmmmm... and xxxxxxxxxxxx...)"),
        ({"max_length": 32}, "their max length differ (64 and 32)"),
        ({"layers": (0, 1)}, "their layers differ (0, 1, 2 and 0, 1)"),
        ({"feature_size": 8}, "their feature size differ (6 and 8)"),
        ({"tokenizer_digest": "x" * 64}, "their tokenizer digest differ"),
        ({"compute_dtype": "bfloat16"}, "their compute dtype differ"),
        ({"dtype": "float32"}, "their dtype differ"),
    ],
)
def test_train_and_test_runs_of_different_specs_are_refused(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    write(tmp_path, [split_runs("train"), split_runs("test", planted=None, **change)])
    text = refusal(tmp_path, ProbeRequest(task="ner", label_scheme="bio"), SpecMismatchError)
    assert says in text
    assert text.endswith("; extract both with the same settings")


@pytest.mark.slow
def test_splits_may_differ_in_what_is_kept_beside_the_states(tmp_path: Path) -> None:
    kept = {"keep": ("hidden", "attention"), "attention_implementation": "eager"}
    write(tmp_path, [split_runs("train", attention_implementation="sdpa"), split_runs("test", **kept)])
    assert probe(tmp_path, ProbeRequest(task="ner", label_scheme="bio")).accuracy.notnull().all()


@pytest.mark.slow
def test_views_and_models_of_other_data_are_refused(tmp_path: Path) -> None:
    ner_store(tmp_path, model="a")
    ner_store(tmp_path, model="b", dataset_digest="other" * 8)
    assert "their dataset digest differ" in refusal(
        tmp_path, ProbeRequest(task="ner", label_scheme="bio"), SpecMismatchError
    )
    assert probe(tmp_path, ProbeRequest(task="ner", label_scheme="bio", models=("b",))).accuracy.notnull().all()


def test_an_incomplete_run_is_refused(tmp_path: Path) -> None:
    source = split_runs("train")
    run = source.create(tmp_path)
    source.write(run, [0])
    source.keep_labels(tmp_path)
    write(tmp_path, [split_runs("test")])
    assert "is incomplete: 1 of" in refusal(tmp_path, ProbeRequest(task="ner", label_scheme="bio"), IncompleteRunError)


@pytest.mark.slow
def test_a_run_without_states_is_refused(tmp_path: Path) -> None:
    write(tmp_path, [split_runs("train"), split_runs("test", keep=("attention",))])
    assert "no hidden; extract it with keep='hidden'" in refusal(
        tmp_path, ProbeRequest(task="ner", label_scheme="bio"), RunNotFoundError
    )


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"task": "pos"}, "task 'pos' is not one of ner, tokens, nli, text"),
        ({"probe": "forest"}, "probe 'forest' is not one of svc, logistic, linear-svc, mlp, bilstm-crf"),
        ({"task": "nli", "features": "pair", "combine": "full"}, "needs two texts"),
        ({"seeds": 0}, "seeds 0 is not a whole number from 1"),
        ({"layers": ()}, "layers is empty"),
    ],
)
def test_requests_that_make_no_sense(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingError, match=says.replace("(", r"\(")):
        ProbeRequest(**{"task": "ner", **settings})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"pooling": "max"}, "pooling 'max' is not for words; use mean, first or last"),
        ({"features": "pair"}, "are for labels of pairs, and the rows of labels of ner are words; leave both out"),
        ({"combine": "full"}, "are for labels of pairs"),
        (
            {"task": "nli", "probe": "bilstm-crf"},
            "reads the words of a sentence, and a row of labels of nli is a sample",
        ),
        ({"probe": "svc", "mdl": True}, "which svc does not give; use logistic, mlp, bilstm-crf"),
        ({"probe": "ridge"}, "probe 'ridge' predicts numbers, and labels are classes; use svc, logistic"),
        ({"score": "r2"}, "'r2' is not one of accuracy, macro_f1, micro_f1, merged_entity_f1, those of these labels"),
        ({"labels": "pos"}, "has no label set 'pos' for ner corpus train (it has gold); add it with"),
    ],
)
def test_requests_that_do_not_fit_the_labels(tmp_path: Path, settings: dict[str, Any], says: str) -> None:
    if settings.get("task") == "nli":
        nli_store(tmp_path, lengths=(4, 5))
    else:
        ner_store(tmp_path, lengths=(4, 5))
    with pytest.raises(BiocacheError) as caught:
        probe(tmp_path, ProbeRequest(**{"task": "ner", **settings}))
    assert says in str(caught.value)


def test_scores_belong_to_labels() -> None:
    assert chosen_score(score_names("bio"), None) == "entity_f1"
    assert chosen_score(score_names("type"), None) == "merged_entity_f1"
    assert chosen_score(score_names(None), None) == "accuracy"
    assert chosen_score(score_names("bio"), "macro_f1") == "macro_f1"
    with pytest.raises(SettingError, match=r"'f2' is not one of accuracy, macro_f1, micro_f1, those of these labels$"):
        chosen_score(score_names(None), "f2")
    with pytest.raises(SettingError, match=r"'entity_f1' is not one of .*; it is of IOB2 tags with label_scheme='bio'"):
        chosen_score(score_names("type"), "entity_f1")
