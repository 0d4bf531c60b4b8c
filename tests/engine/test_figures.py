"""Figures are ready for print: their width, the size of their text, fonts, dots, and colours that can be told apart."""

import re
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from matplotlib import colormaps, image
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text

from biocache.engine.analyses.heatmaps import heat_figure
from biocache.engine.figures import drawing, new_panels, parse_width, save_figure
from biocache.engine.palette import CHANGE, DIFFERENCE, GREY, SIMILARITY, Colors, line_style
from biocache.store.errors import SettingError

STYLES = [line_style(place) for place in range(6)]
# The darkest ground of the page.
PAPER, DARK = (1.0, 1.0, 1.0), to_rgb("#15181d")


def heat(layers: int, heads: int, sizes: int, metrics: int) -> Figure:
    """Draw a result of random values in [0, 1]."""
    shape = {"metric": metrics, "training_size": sizes, "layer": layers, "head": heads}
    coords = {
        "metric": [f"metric-{number}" for number in range(metrics)],
        "training_size": [10 * number for number in range(sizes)],
        "layer": range(1, layers + 1),
        "head": range(heads),
        "title": ("metric", [f"Jensen-Shannon divergence {number}" for number in range(metrics)]),
    }
    values = xr.DataArray(np.random.default_rng(0).random(tuple(shape.values())), coords, tuple(shape))
    facts = {
        "baseline_model": "biobert",
        "baseline_training_size": 0,
        "model": "biobert",
        "dataset": "jnlpba",
        "split": "test",
        "samples": 3856,
        "level": "word",
    }
    dataset = xr.Dataset({"mean": values}, attrs=facts)
    return heat_figure(dataset, values, ("layer", "head"), "mean over samples", lambda *_: Colors(0, 1, SIMILARITY))


def texts(figure: Figure) -> list[Text]:
    """Return the texts that are seen."""
    figure.draw_without_rendering()
    found = figure.findobj(Text)
    return [text for text in found if isinstance(text, Text) and text.get_visible() and text.get_text().strip()]


def boxes(found: list[Any]) -> list[Any]:
    return [text.get_window_extent() for text in found if text.get_text()]


def faults(figure: Figure, width: float) -> list[str]:
    """Return what makes a figure unfit for print: another width, small text, text outside, ticks that overlap."""
    shown = [text for text in texts(figure) if text.axes is None or text.axes.get_visible()]
    edge = figure.bbox
    found = [] if figure.get_figwidth() == width else [f"{figure.get_figwidth()} in wide"]
    found += [f"{text.get_text()!r} is small" for text in shown if text.get_fontsize() < 6]
    for text in shown:
        if text.axes is None or text in (text.axes.title, *text.axes.texts):
            box = text.get_window_extent()
            if box.x0 < edge.x0 - 1 or box.x1 > edge.x1 + 1:
                found.append(f"{text.get_text()!r} is cut")
    for axes in figure.findobj(lambda artist: hasattr(artist, "get_xticklabels")):
        if not axes.get_visible():
            continue
        across, down = boxes(axes.get_xticklabels()), boxes(axes.get_yticklabels())
        found += ["ticks overlap" for one, other in pairwise(across) if one.x1 > other.x0 + 1]
        found += ["ticks overlap" for one, other in pairwise(down) if one.y0 < other.y1 - 1 and other.y0 < one.y1 - 1]
    return found


@pytest.mark.slow
@pytest.mark.parametrize("width", [3.3, 6.3])
@pytest.mark.parametrize(
    ("layers", "heads", "sizes", "metrics"),
    [(2, 3, 2, 2), (12, 12, 4, 1), (12, 12, 5, 3), (24, 16, 5, 1), (24, 16, 5, 8), (6, 12, 1, 1), (40, 40, 2, 2)],
)
def test_heat_maps_of_any_shape_are_printable(layers: int, heads: int, sizes: int, metrics: int, width: float) -> None:
    with drawing(width):
        assert faults(heat(layers, heads, sizes, metrics), width) == []


def test_what_cannot_be_printed_is_found() -> None:
    with drawing(3.3):
        figure = heat(4, 4, 1, 1)
    panel = next(axes for axes in figure.findobj(lambda artist: hasattr(artist, "imshow")) if axes.images)
    panel.set_title("x" * 200, fontsize=5)
    panel.set_xticks([0, 0.05], ["first", "second"])
    assert {text.split()[-1] for text in faults(figure, 6.3)} == {"wide", "small", "cut", "overlap"}


def test_values_are_written_where_they_can_be_read() -> None:
    def written(*shape: int) -> bool:
        with drawing():
            figure = heat(*shape)
        return any(re.fullmatch(r"\d\.\d\d", text.get_text()) and text.get_fontsize() == 6 for text in texts(figure))

    assert written(12, 12, 4, 1)
    assert not written(40, 40, 2, 2)


@pytest.mark.parametrize(("width", "columns"), [(3.3, 1), (6.3, 2), (12.0, 3)])
def test_as_many_panels_stand_in_a_row_as_have_room(width: float, columns: int) -> None:
    with drawing(width):
        figure, panels = new_panels(6, least=2.2, height=1.9, margin=(1.0, 0.4), most=3)
    assert len(panels) == 6
    assert panels[0].get_subplotspec().get_gridspec().ncols == columns  # type: ignore[union-attr]
    assert figure.get_figwidth() == width


def test_a_width_is_that_of_columns_or_inches() -> None:
    assert [parse_width(text) for text in ("single", "double", "5", "4.25")] == [3.3, 6.3, 5.0, 4.25]
    for text in ("wide", "0", "nan", "1e9", "-3"):
        with pytest.raises(SettingError, match="single"):
            parse_width(text)


@pytest.mark.slow
def test_files_have_true_type_fonts_and_300_dots_an_inch(tmp_path: Path) -> None:
    with drawing(3.3):
        figure = heat(4, 4, 1, 1)
        for suffix in ("pdf", "png"):
            save_figure(figure, tmp_path / f"f.{suffix}")
    written = (tmp_path / "f.pdf").read_bytes()
    # Matplotlib does not compress the dictionaries of fonts, only their data.
    assert b"/Type3" not in written
    assert b"/FontFile2" in written
    assert image.imread(tmp_path / "f.png").shape[1] == 990


def luminance(color: tuple[float, float, float]) -> float:
    """Return the relative luminance of WCAG 2.2."""
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in color]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: tuple[float, float, float], other: tuple[float, float, float]) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_every_line_is_seen_on_white_and_on_the_dark_page() -> None:
    for color in (*(style.color for style in STYLES), GREY):
        assert contrast(to_rgb(color), PAPER) >= 3
        assert contrast(to_rgb(color), DARK) >= 3


def test_lines_are_told_apart_without_colour() -> None:
    assert len({style.marker for style in STYLES}) == len(STYLES)
    assert len({style.page_marker for style in STYLES}) == len(STYLES)
    assert len({style.dash for style in STYLES}) == len(STYLES)
    assert line_style(6) == line_style(0)


# Of linear RGB, for people without one of two cones: G. M. Machado, M. M. Oliveira and L. A. F. Fernandes, "A
# physiologically-based model for simulation of color vision deficiency", IEEE TVCG 15(6), 2009.
# https://doi.org/10.1109/TVCG.2009.113
BLIND = {
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
}


def lab(linear: np.ndarray) -> np.ndarray:
    """Return CIE L*a*b* of linear sRGB under D65."""
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = to_xyz @ np.clip(linear, 0, 1) / [0.95047, 1.0, 1.08883]
    part = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * part[1] - 16, 500 * (part[0] - part[1]), 200 * (part[1] - part[2])])


@pytest.mark.parametrize("kind", BLIND)
def test_the_first_four_lines_differ_for_the_colour_blind(kind: str) -> None:
    linear = [
        np.array([part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in to_rgb(style.color)])
        for style in STYLES[:4]
    ]
    seen = [lab(np.array(BLIND[kind]) @ color) for color in linear]
    # A difference of 2 is just seen.
    assert min(float(np.linalg.norm(one - other)) for one, other in combinations(seen, 2)) > 10


def test_no_colour_map_means_two_things() -> None:
    assert len({SIMILARITY, DIFFERENCE, CHANGE}) == 3
    shades = {name: colormaps[name](np.linspace(0, 1, 9))[:, :3] for name in (SIMILARITY, DIFFERENCE, CHANGE)}
    for one, other in combinations(shades.values(), 2):
        assert np.abs(one - other).max(axis=1).mean() > 0.2
        assert np.abs(one[::-1] - other).max(axis=1).mean() > 0.2
    # The brightest end is what is identical, similar or not.
    light = {name: [luminance(tuple(color)) for color in colors] for name, colors in shades.items()}
    assert np.argmax(light[SIMILARITY]) == 8
    assert np.argmax(light[DIFFERENCE]) == 0
    assert np.argmax(light[CHANGE]) == 4


def test_paper_and_page_have_the_same_colours() -> None:
    from biocache.engine.report.plots import MAPS, keys_of

    for name, colors in MAPS.items():
        for end, place in ((0, 0.0), (-1, 1.0)):
            np.testing.assert_allclose(to_rgb(colors[end]), colormaps[name](place)[:3], atol=0.06)
    keys = keys_of([0, 10, 100])
    assert [key.color for key in keys.values()] == [style.color for style in STYLES[:3]]
