"""Figures of a comparison: which panels they have, what is written in the cells, and that they can be written."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from attention_factory import source

from biocache.engine import AttentionRequest, compare_attention
from biocache.engine.analyses.attention.figures import above_chance_figure, mean_figure
from biocache.engine.figures import save_figure


@pytest.fixture
def compared(tmp_path: Path) -> Any:
    def run(**settings: Any) -> xr.Dataset:
        for size in (0, 10, 30):
            source(training_size=size, maps=size, head_count=3).write_all(tmp_path)
        return compare_attention(tmp_path, AttentionRequest(model="tiny", **settings))

    return run


def panels(figure: Any) -> list[Any]:
    return [axes for axes in figure.axes if axes.get_xlabel() in ("head", "other layer")]


def written(panel: Any) -> list[str]:
    return [text.get_text() for text in panel.texts]


@pytest.mark.slow
def test_a_panel_for_each_metric_and_size_with_the_values_in_its_cells(compared: Any) -> None:
    result = compared(metrics=("cosine", "entropy"))
    drawn = panels(mean_figure(result))
    assert len(drawn) == 4
    shown = [("cosine", 10), ("cosine", 30), ("entropy", 10), ("entropy", 30)]
    for panel, (metric, size) in zip(drawn, shown, strict=True):
        assert panel.get_title() == f"training size {size} %"
        assert panel.figure.get_suptitle().startswith(result["title"].sel(metric=metric).item())
        values = result["mean"].sel(metric=metric, training_size=size).transpose("layer", "head").values
        assert written(panel) == [f"{round(value, 2) + 0.0:.2f}" for value in values.ravel()]
        assert [label.get_text() for label in panel.get_yticklabels()] == ["1", "2"]
    # A change is drawn evenly about no change.
    low, high = drawn[-1].images[0].get_clim()
    assert low == -high


@pytest.mark.slow
def test_above_chance_is_drawn_where_there_is_a_chance_level(compared: Any) -> None:
    result = compared(metrics=("cosine", "entropy"))
    figure = above_chance_figure(result)
    assert figure is not None
    drawn = panels(figure)
    assert [panel.get_title() for panel in drawn] == ["training size 10 %", "training size 30 %"]
    values = result["above_chance"].isel(metric=0, training_size=0).values
    assert written(drawn[0]) == [f"{round(value, 2) + 0.0:.2f}" for value in values.ravel()]
    assert above_chance_figure(compared(metrics=("entropy",))) is None


@pytest.mark.slow
def test_all_pairs_are_drawn_layer_by_layer(compared: Any) -> None:
    result = compared(metrics=("js",), all_pairs=True)
    figure = mean_figure(result)
    assert above_chance_figure(result) is None
    panel = panels(figure)[0]
    mean = result["pair_mean"].isel(metric=0, training_size=0).transpose("layer", "other_layer", "head", "other_head")
    best = mean.values.min(axis=3).mean(axis=2)
    assert written(panel) == [f"{value:.2f}" for value in np.round(best, 2).ravel()]


@pytest.mark.slow
def test_cells_without_a_value_are_empty(compared: Any) -> None:
    result = compared(metrics=("cosine",))
    result["mean"][0, 0, 0, 1] = np.nan
    assert len(written(panels(mean_figure(result))[0])) == 5


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_figures_are_written(compared: Any, tmp_path_factory: pytest.TempPathFactory, suffix: str) -> None:
    result = compared(metrics=("cosine", "js"))
    path = tmp_path_factory.mktemp("figures") / f"heads{suffix}"
    save_figure(mean_figure(result), path)
    assert path.stat().st_size > 1000
