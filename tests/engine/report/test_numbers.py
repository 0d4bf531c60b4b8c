"""The numbers on the page are those of the results, and the attention that of the runs."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_factory import LABELS, SIZES, Page, add_scores, maps_by_hand, shown_maps

from biocache.engine import AttentionRequest, ProbeRequest, compare_attention, probe, write_report
from biocache.store import Store
from biocache.store.results import save_result

SCORES = ("accuracy", "macro_f1", "micro_f1", "merged_entity_f1")
TUNED = ("accuracy", "macro_f1", "micro_f1", "entity_f1")


def same(shown: Any, value: Any) -> bool:
    """Return whether a number was written to seven digits; one that is not known is null."""
    return shown is None if np.isnan(value) else shown == pytest.approx(value, rel=1e-6, abs=1e-9)


def test_results_of_the_same_settings_are_one_figure(page: Page) -> None:
    figures = [name.removesuffix("-data") for name in page.names if name.endswith("-data")]
    assert figures == ["probes-1", "probes-2", "attention-1", "attention-2", "fine-tuning-1"]
    places = {(row["model"], row["training_size"], row["layer"]) for row in page.rows("probes-1")}
    bert = {("bert", size, layer) for size in (0, 10) for layer in (0, 1, 2)} | {("bert", 100, 0), ("bert", 100, 2)}
    assert places == bert | {("gpt2", 0, 0), ("gpt2", 0, 2)}


@pytest.mark.parametrize("name", SCORES)
def test_scores_are_those_of_the_result(page: Page, full: Path, name: str) -> None:
    data = probe(full, ProbeRequest(task="ner", models=("bert", "gpt2"), layers=(0, 2), resamples=50))
    rows = {(row["model"], row["training_size"], row["layer"]): row for row in page.rows("probes-1")}
    compared = 0
    for model, size, layer in [("bert", 0, 0), ("bert", 10, 2), ("bert", 100, 2), ("gpt2", 0, 2)]:
        at = data.sel(model=model, training_size=size, seed=42, layer=layer)
        row = rows[model, size, layer]
        assert same(row[name], at[name].mean().item())
        for bound in ("ci_low", "ci_high", "majority"):
            assert same(row[f"{name}_{bound}"], at[bound].sel(score=name).item())
        compared += 1
    assert compared == 4


def test_a_later_result_without_a_control_keeps_the_selectivity(page: Page, full: Path) -> None:
    request = ProbeRequest(task="ner", models=("bert",), training_sizes=(0, 10), control=True, resamples=50)
    data = probe(full, request)
    for row in page.rows("probes-1"):
        if row["model"] == "bert" and row["training_size"] < 100:
            at = data.sel(training_size=row["training_size"], layer=row["layer"]).squeeze()
            for name in SCORES:
                assert same(row[f"selectivity_{name}"], at.selectivity.sel(score=name).item())
                assert same(row[f"selectivity_{name}_ci_low"], at.selectivity_ci_low.sel(score=name).item())
        else:
            assert row["selectivity_accuracy"] is None


def test_comparisons_are_those_of_the_results(page: Page, full: Path) -> None:
    rows = page.rows("attention-1")
    assert {row["training_size"] for row in rows} == {10, 100}
    for size in (10, 100):
        data = compare_attention(full, AttentionRequest(task="ner", model="bert", training_sizes=(size,), resamples=40))
        own = [row for row in rows if row["training_size"] == size]
        assert len(own) == data["mean"].size
        for row in own:
            at = data.sel({dim: row[dim] for dim in ("metric", "training_size", "layer", "head")})
            for name in ("mean", "std", "ci_low", "ci_high", "chance", "above_chance", "count"):
                assert same(row[name], at[name].item())


def test_plots_hold_the_same_numbers(page: Page) -> None:
    variant = page.json("attention-1-variant-0")
    assert [panel["title"] for panel in variant["panels"]] == ["training size 10 %", "training size 100 %"]
    for panel, size in zip(variant["panels"], (10, 100), strict=True):
        (values,) = found(panel["item"]["doc"], "mean")
        own = [r for r in page.rows("attention-1") if (r["metric"], r["training_size"]) == ("cosine", size)]
        assert values == [row["mean"] for row in own]
    curves = page.json("probes-1-variant-0")["panels"][0]
    shown = sorted(tuple(ys) for ys in found(curves["item"]["doc"], "y"))
    rows = [row for row in page.rows("probes-1") if row["model"] == "bert"]
    scores = [[row["merged_entity_f1"] for row in rows if row["training_size"] == size] for size in SIZES]
    assert shown == sorted(map(tuple, scores))


def found(document: Any, column: str) -> list[list[float]]:
    """Return a column of every source of a Bokeh document."""
    if isinstance(document, dict):
        entries = document.get("entries")
        own = [values for name, values in entries if name == column] if isinstance(entries, list) else []
        return own + [values for part in document.values() for values in found(part, column)]
    if isinstance(document, list):
        return [values for part in document for values in found(part, column)]
    return []


def test_what_can_have_a_chance_level_has_a_view_above_it(page: Page) -> None:
    switches = ("cosine, above chance", "js, above chance", "entropy, above chance")
    assert [text in page.text for text in switches] == [True, True, False]
    scale = page.json("attention-1-variant-1")["scale"]
    assert (scale["low"], scale["high"]) == (-1.0, 1.0)


def brightness(color: str) -> float:
    red, green, blue = (int(color[place : place + 2], 16) / 255 for place in (1, 3, 5))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_the_bright_end_is_that_of_equal_maps(page: Page) -> None:
    cosine, js = (page.json(f"attention-1-variant-{place}")["scale"] for place in (0, 2))
    assert (cosine["high"], js["low"]) == (1.0, 0.0)
    for scale, equal, unlike in ((cosine, -1, 0), (js, 0, -1)):
        assert brightness(scale["colors"][equal]) > 0.7 > 0.3 > brightness(scale["colors"][unlike])


def test_scores_of_fine_tuning_are_on_the_page(page: Page, full: Path) -> None:
    rows = page.rows("fine-tuning-1")
    assert len(rows) == 4
    for result in Store.open(full).results("finetune"):
        data, size = result.load(), result.inputs["checkpoint"]["training_size"]
        for row in rows:
            if row["training_size"] == size:
                assert all(same(row[name], data[name].sel(split=row["split"]).item()) for name in TUNED)


def test_the_best_are_picked_by_their_rules(page: Page) -> None:
    rows = [row for row in page.rows("probes-1") if (row["model"], row["training_size"]) == ("bert", 0)]
    best = max(rows, key=lambda row: (row["merged_entity_f1"], -row["layer"]))
    cells = ("bert", "0 %", "42", str(best["layer"]), "merged-entity F1", f"{best['merged_entity_f1']:.3f}")
    assert "\n".join(cells) in "\n".join(page.text.split("\n")).replace("      ", "")
    assert f"{best['merged_entity_f1_ci_low']:.3f} to {best['merged_entity_f1_ci_high']:.3f}" in page.text


def test_the_viewer_offers_every_test_run_with_attention(page: Page) -> None:
    groups = [(g["task"], g["model"], g["view"], g["sizes"]) for g in page.viewer["groups"]]
    assert groups == [
        ("ner", "bert", "sentence", [0, 10, 100]),
        ("ner", "gpt2", "sentence", [0]),
        ("nli", "bert", "pair", [0, 10, 100]),
    ]


@pytest.mark.slow
def test_attention_between_words_is_that_of_the_run(page: Page, full: Path) -> None:
    store = Store.open(full)
    for place, group in enumerate(page.viewer["groups"]):
        assert group["samples"]
        for number, sample in enumerate(group["samples"]):
            maps = shown_maps(page, place, number) / page.viewer["levels"]
            for size, shown in zip(group["sizes"], maps, strict=True):
                names = {name: group[name] for name in ("task", "model", "view")}
                run = store.run(**names, training_size=size, split="test")
                np.testing.assert_allclose(shown, maps_by_hand(run, sample["position"]), atol=0.5 / 255 + 1e-6)


def test_words_and_labels_are_those_of_the_corpus(page: Page, full: Path) -> None:
    store = Store.open(full)
    for group in page.viewer["groups"]:
        run = store.run(**{name: group[name] for name in ("task", "model", "view")}, training_size=0, split="test")
        words = run.words()
        for sample in group["samples"]:
            own = words.where(words["sample"] == sample["position"], drop=True)
            assert sample["words"] == own.text.values.tolist()
            assert sample["sample_id"] == run.column("samples/sample_id")[sample["position"]]
            if group["task"] == "ner":
                assert sample["labels"] == own.label.values.tolist()
                assert set(sample["labels"]) <= set(LABELS)
            else:
                assert sample["label"] == run.samples().label.values[sample["position"]]


def test_matrices_and_classes_are_those_of_the_best_layers(page: Page, full: Path) -> None:
    data = probe(full, ProbeRequest(task="nli", features="pair", resamples=50))
    best = {
        size: int(data.accuracy.mean("probe_seed").sel(training_size=size).squeeze().argmax("layer")) for size in SIZES
    }
    variants = [page.json(name) for name in page.names if name.startswith("probes-2-variant")]
    (matrices,) = [own for own in variants if own["scale"]]
    assert [panel["title"] for panel in matrices["panels"]] == [
        f"{size} %, seed 42: layer {data.layer.values[best[size]]}" for size in SIZES
    ]
    for panel, size in zip(matrices["panels"], SIZES, strict=True):
        own = data.sel(training_size=size).isel(layer=best[size]).squeeze()
        counts = own.confusion.to_numpy()
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        (shown,) = found(panel["item"]["doc"], "share")
        np.testing.assert_allclose(shown, shares.ravel(), rtol=1e-6)
        for label, f1 in zip(own.label.values, own.class_f1.values, strict=True):
            cells = [str(size), "42", str(own.layer.item()), str(label), str(int(own.support.sel(label=label)))]
            text = "\n".join(line.strip() for line in page.text.split("\n"))
            assert "\n".join(cells) in text
            assert f"{f1:.3f}" in text


def test_matched_heads_and_means_by_label_are_on_the_page(store: Path, tmp_path: Path) -> None:
    request = AttentionRequest(task="ner", model="bert", metrics=("js",), by="gold", match_heads=True, resamples=20)
    data = compare_attention(store, request)
    write_report(store, tmp_path / "report.html")
    text = "\n".join(line.strip() for line in Page(tmp_path / "report.html").text.split("\n"))
    moved = (data.matched_head != data["head"]).where(data.matched_head.notnull())
    known = int(data.matched_head.notnull().sum())
    assert f"Matched heads: {int(moved.sum())} of {known} heads are matched with a head of another number" in text
    own = data.label_mean.sel(metric="js", training_size=10, layer=1)
    for label in data.label.values:
        means = own.sel(label=label).to_numpy()
        numbers = [f"{value:.3f}" for value in (means.mean(), means.min(), means.max())]
        assert "\n".join(["js", "10", "1", str(label), *numbers]) in text


def test_losses_of_fine_tuning_are_on_the_page(tmp_path: Path) -> None:
    steps = np.arange(1, 501)
    scores = add_scores(tmp_path / "first.zarr", training_size=10).assign(
        loss=("step", 2.0 / steps), validation_loss=("evaluation_step", [0.5, np.nan, 0.25])
    )
    (made,) = Store.open(tmp_path / "first.zarr").results("finetune")
    scores = scores.assign_coords(step=steps, evaluation_step=[100, 200, 300])
    save_result(tmp_path / "s.zarr", "finetune", dict(made.inputs), scores)
    write_report(tmp_path / "s.zarr", tmp_path / "report.html")
    rows = Page(tmp_path / "report.html").rows("fine-tuning-2")
    training = {row["step"]: row["loss"] for row in rows if row["part"] == "training"}
    # No more than 200 steps of a long training.
    assert list(training) == steps[::3].tolist()
    assert list(training.values()) == pytest.approx((2.0 / steps[::3]).tolist(), rel=1e-6)
    assert {row["step"]: row["loss"] for row in rows if row["part"] == "validation"} == {100: 0.5, 300: 0.25}
