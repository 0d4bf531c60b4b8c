"""What the figures show."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import store_factory
import xarray as xr
from planted import ner_store

from biocache.engine import ProbeRequest, probe
from biocache.engine.analyses.probing.figures import draw_confusion, draw_scores
from biocache.engine.analyses.probing.result import best_layers
from biocache.engine.analyses.probing.table import layer_rows
from biocache.engine.figures import save_figure

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> xr.Dataset:
    """Probe two models, one at two sizes, and the randomly initialised twin of that."""
    store = tmp_path_factory.mktemp("plots")
    for size, strength in ((0, 1.0), (100, 8.0)):
        ner_store(store, model="b", training_size=size, strength=strength)
    ner_store(store, model="a", training_size=0, planted=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store_factory, "PROVENANCE", replace(store_factory.PROVENANCE, random_weights=True))
        ner_store(store, model="b-random", training_size=0, planted=None)
    return probe(store, ProbeRequest(task="ner", label_scheme="bio", probe="linear-svc", seeds=2, max_train_samples=50))


def curves(axes: Any) -> dict[str, Any]:
    """Return the lines with a marker, by label."""
    return {line.get_label(): line for line in axes.lines if line.get_marker() != "None"}


def test_a_panel_a_model_and_a_curve_a_training_size(result: xr.Dataset) -> None:
    figure = draw_scores(result, "accuracy")
    panels = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_title() for axes in panels] == ["a", "b"]
    assert set(curves(panels[0])) == {"0 %"}
    assert set(curves(panels[1])) == {"0 %", "100 %", "random weights"}
    for label, size in (("0 %", 0), ("100 %", 100)):
        line = curves(panels[1])[label]
        means = result.accuracy.sel(model="b", training_size=size, seed=42).mean("probe_seed")
        np.testing.assert_array_equal(line.get_xdata(), [0, 1, 2])
        np.testing.assert_allclose(line.get_ydata(), means)
    random = result.accuracy.sel(model="b-random", training_size=0, seed=42).mean("probe_seed")
    np.testing.assert_allclose(curves(panels[1])["random weights"].get_ydata(), random)


def test_bands_are_the_intervals_and_baselines_are_drawn(result: xr.Dataset) -> None:
    axes = draw_scores(result, "entity_f1").axes[0]
    cell = result.sel(model="a", training_size=0, seed=42)
    (band,) = axes.collections
    corners = band.get_paths()[0].vertices[:, 1]
    assert corners.min() == pytest.approx(cell.ci_low.sel(score="entity_f1").min().item())
    assert corners.max() == pytest.approx(cell.ci_high.sel(score="entity_f1").max().item())
    lines = {line.get_label(): line.get_ydata()[0] for line in axes.lines if line.get_marker() == "None"}
    assert lines == {
        "majority": pytest.approx(cell.majority.sel(score="entity_f1").item()),
        "layer 0": pytest.approx(cell.entity_f1.sel(layer=0).mean().item()),
    }


def test_confusion_is_of_the_best_layer_as_shares_of_the_true_class(result: xr.Dataset) -> None:
    figure = draw_confusion(result, "accuracy")
    drawn = {axes.get_title(): axes for axes in figure.axes if axes.get_visible() and axes.get_title()}
    assert "b, 100 %\nlayer 1" in drawn
    assert "a, 0 %\nlayer 2" in drawn
    assert len(drawn) == 4
    shares = drawn["a, 0 %\nlayer 2"].images[0].get_array()
    counts = result.confusion.sel(model="a", training_size=0, seed=42, layer=2).sum("probe_seed")
    np.testing.assert_allclose(shares, counts / counts.sum("predicted_label"))
    np.testing.assert_allclose(shares.sum(axis=1), 1)


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_figures_are_files(result: xr.Dataset, tmp_path: Path, suffix: str) -> None:
    for name, draw in (("scores", draw_scores), ("confusion", draw_confusion)):
        save_figure(draw(result, "accuracy"), tmp_path / f"{name}{suffix}")
        assert (tmp_path / f"{name}{suffix}").stat().st_size > 5000


def test_best_layers_are_not_a_number_where_there_is_no_run(result: xr.Dataset) -> None:
    best = best_layers(result, "accuracy").squeeze()
    assert best.sel(model="b", training_size=100) == 1
    assert best.sel(model="a", training_size=0) == 2
    assert np.isnan(best.sel(model="a", training_size=100))


def test_a_table_has_a_row_a_layer(result: xr.Dataset) -> None:
    frame = layer_rows(result, "accuracy")
    # b at two sizes, a and b-random at one.
    assert len(frame) == 4 * 3
    where = {"model": "b", "training_size": 100, "seed": 42, "layer": 1}
    row = frame.set_index(list(where)).loc[tuple(where.values())]
    own = result.sel(where)
    assert row["accuracy"] == own.accuracy.mean().item()
    assert row["accuracy_spread"] == own.accuracy.std(ddof=1).item()
    assert row["macro_f1_ci_high"] == own.ci_high.sel(score="macro_f1").item()
    assert row["micro_f1_majority"] == own.majority.sel(score="micro_f1").item()
    assert row["class_f1_B-protein"] == own.class_f1.sel(label="B-protein").mean().item()
    best = best_layers(result, "accuracy").sel(model="b", training_size=100, seed=42)
    assert frame[(frame.model == "b") & (frame.training_size == 100) & frame.best].layer.tolist() == [best]
    assert set(frame[frame.random_weights].model) == {"b-random"}
