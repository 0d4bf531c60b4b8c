"""The sentences at the head of the page hold the numbers, and claim no difference that the intervals do not show."""

from typing import Any

import pytest
from report_factory import Page

from biocache.engine.analyses.attention.story import attention_statements
from biocache.engine.analyses.probing.story import probe_statements
from biocache.engine.grouping import ONE_SEED
from biocache.engine.report.figure import Figure, Table
from biocache.engine.report.section import told_apart
from biocache.engine.report.story import Number, Statement, Study, changed, told, unlike

NAN = float("nan")
STUDY = Study("ner", "corpus", "bert")


def probe_row(size: int, layer: int, score: float, half: float, seed: int = 1, **changes: Any) -> dict[str, Any]:
    return {
        **{"model": "bert", "trained_on": "", "training_size": size, "seed": seed, "layer": layer},
        **{"random_weights": False, "accuracy": score, "accuracy_majority": 0.5},
        **{"accuracy_ci_low": score - half, "accuracy_ci_high": score + half, **changes},
    }


def probe_text(rows: list[dict[str, Any]], heads: dict[str, str] | None = None) -> str:
    settings = {"task": "ner", "dataset": "corpus", "labels": "gold"}
    (statement,) = probe_statements(settings, rows, "accuracy", heads or {})
    assert statement.study == STUDY
    return statement.text


def test_the_best_layer_is_named_with_what_it_is_above() -> None:
    rows = [probe_row(0, 0, 0.6, 0.01), probe_row(0, 1, 0.7, 0.02), probe_row(0, 2, 0.69, 0.01)]
    rows += [probe_row(100, 0, 0.6, 0.01), probe_row(100, 1, 0.8, 0.01), probe_row(100, 2, 0.9, 0.01)]
    assert probe_text(rows) == (
        "Before fine-tuning (0 %), a probe reads the labels best from layer 1: accuracy 0.700 (0.680 to 0.720), 0.100 "
        "above layer 0, which has no context, and 0.200 above always answering the most frequent label; layer 2 is not "
        "told apart from it. Fine-tuned on 100 %, a probe reads the labels best from layer 2: accuracy 0.900 (0.890 to "
        "0.910), 0.300 above layer 0, which has no context, and 0.400 above always answering the most frequent label. "
        "From 0 % to 100 %, the best score rose by 0.200."
    )


def test_where_intervals_overlap_no_difference_is_claimed() -> None:
    rows = [probe_row(size, layer, 0.52 + layer / 100 + size / 1000, 0.2) for size in (0, 100) for layer in (0, 1, 2)]
    text = probe_text(rows)
    assert text.count("the other layers are not told apart from it") == 2
    assert text.count("most frequent label (not told apart)") == 2
    assert "the two are not told apart by these data (difference +0.100)" in text
    assert "rose" not in text


def test_without_intervals_nothing_is_told_apart() -> None:
    unknown = {"accuracy_ci_low": NAN, "accuracy_ci_high": NAN}
    text = probe_text([probe_row(size, layer, 0.1 + size, 0, **unknown) for size in (0, 1) for layer in (0, 1)])
    assert "accuracy 0.100, 0.400 below always" in text
    assert "not told apart by these data" in text


def test_a_model_with_a_trained_head_is_not_said_to_be_before_fine_tuning() -> None:
    text = probe_text([probe_row(0, 1, 0.9, 0.01)], {"bert": "BertForTokenClassification"})
    assert text.startswith("As it was loaded (0 %; it has a trained BertForTokenClassification), a probe reads")
    assert "fine-tuning" not in text


def test_seeds_are_averaged_within_the_widest_interval() -> None:
    text = probe_text([probe_row(10, 1, 0.6, 0.05, 1), probe_row(10, 1, 0.8, 0.1, 2)])
    assert "accuracy 0.700 (0.550 to 0.900)" in text


@pytest.mark.parametrize("changes", [{"random_weights": True}, {"layer": "mix"}, {"accuracy": NAN}])
def test_what_is_no_layer_of_the_model_is_not_the_best(changes: dict[str, Any]) -> None:
    other = probe_row(0, 2, 0.99, 0.0) | changes
    assert "best from layer 1" in probe_text([probe_row(0, 1, 0.6, 0.01), other])


def head_row(size: int, layer: int, head: int, mean: float, layer_mean: float, half: float = 0.01) -> dict[str, Any]:
    return {
        **{"metric": "cosine", "title": "cosine similarity of maps", "unit": "1", "identity": 1.0},
        **{"training_size": size, "layer": layer, "head": head, "mean": mean, "chance": 0.25},
        **{"ci_low": mean - half, "ci_high": mean + half, "layer_mean": layer_mean, "layer_chance": 0.5},
        **{"layer_ci_low": layer_mean - half, "layer_ci_high": layer_mean + half},
    }


def attention_texts(rows: list[dict[str, Any]], **changes: Any) -> list[str]:
    settings = {
        **{"task": "ner", "dataset": "corpus", "model": "bert", "trained_on": "", "baseline_model": "bert"},
        **{"baseline_training_size": 0, "exclude_special": False, "seeds": "42", **changes},
    }
    return [statement.text for statement in attention_statements(settings, rows, {"other": "OtherForX"})]


def test_the_head_that_moved_most_and_the_layer_that_moved_least() -> None:
    rows = [head_row(10, 1, 0, 0.9, 0.85), head_row(10, 1, 1, 0.8, 0.85)]
    rows += [head_row(10, 2, 0, 0.99, 0.985), head_row(10, 2, 1, 0.98, 0.985)]
    rows += [head_row(100, 1, 0, 0.6, 0.65), head_row(100, 1, 1, 0.7, 0.65)]
    rows += [head_row(100, 2, 0, 0.9, 0.85), head_row(100, 2, 1, 0.8, 0.85)]
    most, least = attention_texts(rows)
    assert most == (
        "At 100 %, compared with the model before fine-tuning (0 %), head 0 of layer 1 moved most: cosine similarity "
        "of maps 0.600 (0.590 to 0.610); 1 is unchanged, 0.250 chance. At 10 % it was 0.900 (0.890 to 0.910): it fell "
        "by 0.300. Of the layers, layer 1 moved most, with a mean over its heads of 0.650 (0.640 to 0.660)."
    )
    assert least == (
        "At 100 %, layer 2 moved least, with a mean over its heads of 0.850 (0.840 to 0.860); 1 is unchanged, 0.500 "
        "chance."
    )


def test_heads_and_layers_of_overlapping_intervals_are_not_told_apart() -> None:
    rows = [head_row(10, 1, 0, 0.9, 0.9, 0.3), head_row(10, 2, 0, 0.8, 0.8, 0.3)]
    most, least = attention_texts(rows, baseline_model="other")
    assert "compared with other as it was loaded (0 %; it has a trained OtherForX)" in most
    assert "It is not told apart from unchanged. Of the 1 other heads 1 is not told apart from it." in most
    assert "layer 1 is not told apart from it" in most
    assert "layer 2 is not told apart from it" in least


def test_a_value_within_chance_is_said_to_be() -> None:
    (most,) = attention_texts([head_row(10, 1, 0, 0.25, 0.3)])
    assert most.endswith("1 is unchanged, 0.250 chance. It is not told apart from chance.")


def test_numbers_are_apart_where_intervals_are() -> None:
    a, b, c = Number(0.5, 0.4, 0.6), Number(0.65, 0.6, 0.7), Number(0.8, 0.75, 0.85)
    assert [a.is_apart(b), a.is_apart(c), c.is_apart(a), a.is_apart(Number(0.9)), Number(0.9).is_apart(a)] == [
        *(False, True, True, False, False)
    ]
    assert changed("it", c, a) == "it fell by 0.300"
    five = {str(layer): b for layer in range(5)}
    assert unlike(b, five | {"9": c}, "layer") == "; 5 other layers are not told apart from it"


def test_a_study_is_told_once_with_what_limits_it() -> None:
    steps: dict[int, float | None] = {10: 18, 100: 150}
    given = [
        ("b", Statement(STUDY, 1, "Second", "later", (1,), frozenset({42}))),
        ("a", Statement(STUDY, 0, "First", "small", (1,), frozenset({42}), steps)),
        ("c", Statement(STUDY, 0, "First", "large", (2,), frozenset({42}), steps)),
        ("d", Statement(Study("ner", "corpus", "gpt2"), 0, "First", "other", (), frozenset({1, 2}))),
    ]
    bert, gpt2 = told(given)
    assert [(name, own.text) for name, own in bert.statements] == [("c", "large"), ("b", "later")]
    assert bert.limits[0][1:] == f"{ONE_SEED}."[1:]
    assert bert.limits[1].startswith("The training sizes differ in optimiser steps (10 %: 18, 100 %: 150)")
    assert (gpt2.study.model, list(gpt2.limits)) == ("gpt2", [])


def test_the_page_opens_with_sentences_of_its_own_numbers(page: Page) -> None:
    text = page.text[page.text.index("What it shows") :]
    rows = [r for r in page.rows("probes-1") if (r["model"], r["training_size"]) == ("bert", 0)]
    best = max(rows, key=lambda row: (row["merged_entity_f1"], -row["layer"]))
    low, high = best["merged_entity_f1_ci_low"], best["merged_entity_f1_ci_high"]
    assert f"best from layer {best['layer']}: merged-entity F1 {best['merged_entity_f1']:.3f} ({low:.3f} to " in text
    assert f"to {high:.3f})" in text
    heads = [r for r in page.rows("attention-1") if (r["metric"], r["training_size"]) == ("cosine", 100)]
    most = max(heads, key=lambda row: 1 - row["mean"])
    assert f"head {most['head']} of layer {most['layer']} moved most: " in text
    tuned = {r["training_size"]: r["entity_f1"] for r in page.rows("fine-tuning-1") if r["split"] == "test"}
    assert f"is {tuned[10]:.3f} fine-tuned on 10 % and {tuned[100]:.3f} fine-tuned on 100 %." in text
    for title in ("bert for ner on corpus", "gpt2 for ner on corpus", "bert for nli on corpus"):
        assert title in text


def test_equal_titles_say_what_differs() -> None:
    settings = ("words, C 1, seed 1", "words, C 2, seed 1", "words, C 2, seed 2")
    figures = [Figure("Probe", text, "", Table((), ())) for text in settings]
    others = [Figure("Other", "words, C 1", "", Table((), ())), Figure("Twin", "x", "", Table((), ()))]
    made = [figure.title for figure in told_apart([*figures, *others])]
    assert made == ["Probe (C 1, seed 1)", "Probe (C 2, seed 1)", "Probe (C 2, seed 2)", "Other", "Twin"]
