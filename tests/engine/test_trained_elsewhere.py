"""Models that were fine-tuned on one dataset and read another: extraction, the store, analyses and the report."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from elsewhere import Elsewhere, write_elsewhere
from extractions import request
from report_factory import Page

from biocache.engine import (
    AttentionRequest,
    ProbeRequest,
    ReportRequest,
    compare_attention,
    compare_probes,
    extract,
    probe,
    write_report,
)
from biocache.engine.analyses.probing.analysis import Probing
from biocache.store import Store
from biocache.store.copying import copy_run
from biocache.store.errors import AmbiguousRunError, ModelError, RunNotFoundError, SettingError


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, corpus_folder: Path, checkpoints: Mapping[str, Path]) -> Elsewhere:
    return write_elsewhere(tmp_path_factory.mktemp("elsewhere"), corpus_folder, checkpoints["bert"])


def test_runs_are_filed_by_what_their_models_were_trained_on(made: Elsewhere) -> None:
    store = Store.open(made.both)
    test = {key.path: store.run(**dict(key.items())) for key in store.keys(split="test")}
    assert list(test) == [
        "ner/ner/tiny/size-000/seed-42/sentence/test",
        "ner/ner/tiny/size-030/seed-42/sentence/test",
        "ner/ner/tiny/trained-on-first,size-030/seed-42/sentence/test",
        "ner/ner/tiny/trained-on-nli,pairs,size-030/seed-42/sentence/test",
    ]
    assert [run.spec.model_digest for run in test.values()][1:] == list(made.digests.values())
    assert [run.provenance.trained_on_source for run in test.values()] == ["", "ner/ner", "ner/first", "nli/pairs"]
    assert store.catalog(split="test")["trained_on"].tolist() == ["", "", "first", "nli/pairs"]
    words = store.run(trained_on="first", split="test").words()
    assert (words.attrs["trained_on"], words.attrs["training_size"]) == ("first", 30)
    assert {path.name for path in (made.both / "ner/ner/tiny").iterdir() if path.is_dir()} >= {
        "size-000",
        "trained-on-first,size-030",
    }


@pytest.mark.parametrize(
    ("selection", "found"),
    [
        ({}, [("", 0), ("", 30), ("first", 30), ("nli/pairs", 30)]),
        ({"trained_on": "first"}, [("first", 30)]),
        ({"trained_on": "ner/first"}, [("first", 30)]),
        ({"trained_on": "ner"}, [("", 30)]),
        ({"trained_on": ""}, [("", 0), ("", 30)]),
        ({"trained_on": ["ner", "nli/pairs"]}, [("", 30), ("nli/pairs", 30)]),
        # A pre-trained model is trained on nothing: its training size selects it.
        ({"trained_on": "first", "training_size": [0, 30]}, [("", 0), ("first", 30)]),
        ({"trained_on": "pairs"}, []),
    ],
)
def test_runs_are_selected_by_what_their_models_were_trained_on(made: Elsewhere, selection: Any, found: Any) -> None:
    keys = Store.open(made.both).keys(split="test", **selection)
    assert [(key.trained_on, key.training_size) for key in keys] == found


def test_runs_are_stacked_along_what_their_models_were_trained_on(made: Elsewhere) -> None:
    store = Store.open(made.both)
    stacked = store.stack("words", trained_on=["", "first"], training_size=30, split="test")
    assert stacked["hidden"].dims == ("trained_on", "layer", "word", "feature")
    for name in ("", "first"):
        alone = store.run(trained_on=name, training_size=30, split="test").words()
        np.testing.assert_array_equal(stacked["hidden"].sel(trained_on=name), alone["hidden"])


def test_checkpoints_are_looked_for_below_the_dataset_trained_on(
    made: Elsewhere, corpus_folder: Path, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {"checkpoints": made.checkpoints, "training_sizes": (30,), "limit": 2}
    with pytest.raises(
        ModelError, match=r"'tiny' trained on second at .*/ner/second/tiny/size-030/seed-42, "
    ) as caught:
        extract(tmp_path / "s", request(corpus_folder, made.base, trained_on="second", **settings))
    assert "\n" not in str(caught.value)
    with pytest.raises(ModelError, match=r"trained on nli/first .*/c/nli/first/tiny/size-030"):
        extract(tmp_path / "s", request(corpus_folder, made.base, trained_on="nli/first", **settings))
    with pytest.raises(SettingError, match="trained_on name"):
        extract(tmp_path / "s", request(corpus_folder, made.base, trained_on="a,b", **settings))
    with pytest.raises(SettingError, match="says what models were fine-tuned on, and none is asked for"):
        request(corpus_folder, made.base, trained_on="first")
    extract(tmp_path / "s", request(corpus_folder, made.base, trained_on="ner", **settings))
    keys = Store.open(tmp_path / "s").keys()
    assert [key.path for key in keys] == ["ner/ner/tiny/size-030/seed-42/sentence/test"]


def test_checkpoints_of_other_tools_are_filed_alike(made: Elsewhere, corpus_folder: Path, tmp_path: Path) -> None:
    place = made.checkpoints / "ner/first/tiny/size-030/seed-42"
    extract(
        tmp_path / "s",
        request(corpus_folder, made.base, finetuned=(f"{place}=55",), trained_on="first", limit=2),
    )
    keys = Store.open(tmp_path / "s").keys()
    assert [(key.trained_on, key.training_size) for key in keys] == [("", 0), ("first", 55)]


# Analyses


def probing(**settings: Any) -> ProbeRequest:
    return ProbeRequest(task="ner", layers=(0, 2), resamples=20, **settings)


@pytest.mark.slow
def test_probes_have_what_was_trained_elsewhere_as_a_dimension_where_there_is_such(made: Elsewhere) -> None:
    usual, both = probe(made.usual, probing()), probe(made.both, probing())
    assert "trained_on" not in usual.variables
    assert usual.accuracy.dims == ("model", "training_size", "seed", "layer", "probe_seed")
    assert both.accuracy.dims == ("model", "trained_on", "training_size", "seed", "layer", "probe_seed")
    assert both.trained_on.values.tolist() == ["", "first", "nli/pairs"]
    timed = ["fit_seconds"]
    same = both.sel(trained_on="", drop=True).drop_vars(timed)
    xr.testing.assert_equal(same, usual.drop_vars(timed))
    alone = probe(made.both, probing(trained_on=("first",)))
    assert alone.trained_on.values.tolist() == ["first"]
    at = {"trained_on": ["first"], "training_size": [30]}
    xr.testing.assert_equal(alone.drop_vars(timed), both.sel(at).drop_vars(timed))
    assert both.accuracy.sel(trained_on="first", training_size=0).isnull().all()
    assert both.accuracy.sel(trained_on="first", training_size=30).notnull().all()
    analysis = Probing()
    frame = analysis.frame(both, probing())
    assert list(frame.columns[:5]) == ["model", "trained_on", "training_size", "seed", "layer"]
    assert len(frame) == 4 * 2
    assert "trained_on" not in analysis.frame(usual, probing())
    table = analysis.summary(both, probing())
    assert table.groupby(["trained_on", "training_size"]).size().tolist() == [3, 3, 3, 3]
    titles = [axes.get_title() for axes in analysis.draw("scores", both, probing()).axes]
    assert [title for title in titles if title] == ["tiny", "tiny, trained on first", "tiny, trained on nli/pairs"]
    titles = [axes.get_title() for axes in analysis.draw("confusion", both, probing()).axes]
    assert any(title.startswith("tiny, 30 % of first, layer ") for title in titles)
    with pytest.raises(RunNotFoundError, match="no trained on other among"):
        probe(made.both, probing(trained_on=("other",)))


@pytest.mark.slow
def test_comparisons_of_probes_are_between_trainings(made: Elsewhere) -> None:
    usual, both = compare_probes(made.usual, probing()), compare_probes(made.both, probing())
    assert "trained_on_a" not in usual.variables
    assert both.sizes["comparison"] == 3 * 2 + 3 * 2 + 4
    names = ("between", "trained_on_a", "training_size_a", "trained_on_b", "training_size_b", "layer_a", "layer_b")
    pairs = list(zip(*(both[name].values.tolist() for name in names), strict=True))
    assert ("training_size", "", 0, "first", 30, 2, 2) in pairs
    assert ("trained_on", "", 30, "first", 30, 0, 0) in pairs
    assert ("trained_on", "first", 30, "nli/pairs", 30, 2, 2) in pairs
    assert ("layer", "first", 30, "first", 30, 0, 2) in pairs
    for place in range(both.sizes["comparison"]):
        row = both.isel(comparison=place)
        sides = [
            probe(made.both, probing())
            .accuracy.sel(
                trained_on=row[f"trained_on_{side}"].item(),
                training_size=row[f"training_size_{side}"].item(),
                layer=row[f"layer_{side}"].item(),
            )
            .mean()
            for side in "ab"
        ]
        if both.attrs["score"] == "accuracy":
            assert row.difference.item() == pytest.approx((sides[1] - sides[0]).item())


@pytest.mark.slow
def test_attention_of_what_was_trained_elsewhere_is_compared_with_the_base(made: Elsewhere) -> None:
    asked: dict[str, Any] = {"task": "ner", "metrics": ("js",), "resamples": 20}
    usual = compare_attention(made.usual, AttentionRequest(**asked))
    same = compare_attention(made.both, AttentionRequest(**asked))
    assert "trained_on" not in same.attrs
    xr.testing.assert_equal(usual, same)
    other = compare_attention(made.both, AttentionRequest(trained_on="first", **asked))
    assert other.attrs["trained_on"] == "first"
    assert other.attrs["baseline_run"] == "ner/ner/tiny/size-000/seed-42/sentence/test"
    assert other.attrs["runs"] == "ner/ner/tiny/trained-on-first,size-030/seed-42/sentence/test"
    assert not np.array_equal(other["mean"], usual["mean"])
    tuned = compare_attention(made.both, AttentionRequest(trained_on="nli/pairs", baseline=30, **asked))
    assert tuned.attrs["baseline_run"] == "ner/ner/tiny/size-030/seed-42/sentence/test"
    with pytest.raises(RunNotFoundError, match=r"extract\(.*trained_on='other', training_sizes=\(10, "):
        compare_attention(made.both, AttentionRequest(trained_on="other", **asked))


@pytest.mark.slow
def test_the_one_other_dataset_needs_no_name(made: Elsewhere, tmp_path: Path) -> None:
    store = Store.open(made.both)
    chosen = [key for key in store.keys(split="test") if key.trained_on == "first" or not key.training_size]
    for key in chosen:
        copy_run(store.run(**dict(key.items())), tmp_path / "s")
    asked: dict[str, Any] = {"task": "ner", "metrics": ("js",), "resamples": 20}
    assert compare_attention(tmp_path / "s", AttentionRequest(**asked)).attrs["trained_on"] == "first"
    copy_run(store.run(trained_on="nli/pairs", split="test"), tmp_path / "s")
    with pytest.raises(AmbiguousRunError, match="trained on first, nli/pairs; name one with trained_on"):
        compare_attention(tmp_path / "s", AttentionRequest(**asked))


# Report


@pytest.mark.slow
def test_the_report_says_what_was_trained_elsewhere(made: Elsewhere, tmp_path: Path) -> None:
    probe(made.both, probing())
    compare_attention(made.both, AttentionRequest(task="ner", trained_on="first", metrics=("js",), resamples=20))
    write_report(made.both, tmp_path / "all.html")
    page = Page(tmp_path / "all.html")
    assert "30 % of first" in page.text
    assert "30 % of nli/pairs" in page.text
    assert "Attention of tiny, trained on first, against itself at 0 %: ner on ner" in page.text
    shown = [(group["trained_on"], group["sizes"]) for group in page.viewer["groups"]]
    assert shown == [("", [0, 30]), ("first", [0, 30]), ("nli/pairs", [0, 30])]
    write_report(made.both, tmp_path / "first.html", ReportRequest(trained_on=("first",), training_sizes=(0, 30)))
    page = Page(tmp_path / "first.html")
    assert "30 % of first" in page.text
    assert "30 % of nli/pairs" not in page.text
    assert [group["trained_on"] for group in page.viewer["groups"]] == ["first"]
    probe(made.usual, probing())
    write_report(made.usual, tmp_path / "usual.html")
    assert "trained on" not in Page(tmp_path / "usual.html").text.replace("fine-tuned on", "")
