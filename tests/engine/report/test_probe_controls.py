"""The page shows selectivities with their intervals, codes beside the prior code, and how C was set."""

from pathlib import Path

import numpy as np
import pytest
from planted import split_runs, write
from report_factory import Page

from biocache.engine import ProbeRequest, probe, write_report


@pytest.mark.slow
def test_controls_codes_and_the_choice_of_c_are_on_the_page(tmp_path: Path) -> None:
    root = tmp_path / "s.zarr"
    validation = split_runs("validation", lengths=(5, 9, 4, 7, 8, 6), seed=5)
    write(root, [split_runs("train"), split_runs("test"), validation])
    request = ProbeRequest(task="ner", label_scheme="bio", control=True, mdl=True, resamples=20)
    result = probe(root, request).squeeze()
    write_report(root, tmp_path / "report.html")
    page = Page(tmp_path / "report.html")
    rows = sorted(page.rows("probes-1"), key=lambda row: row["layer"])
    for name in ("c", "prior_compression", "prior_code_length", "control_code_length"):
        assert [row[name] for row in rows] == pytest.approx(result[name].values.tolist(), rel=1e-6)
    assert "C chosen on validation" in page.text
    assert "a control task, a random label of each word type, which only memorising helps" in page.text
    assert "up to 1 the probe read nothing from the layer" in page.text
    for place, (score, title) in enumerate({"entity_f1": "entity F1", "accuracy": "accuracy"}.items()):
        panels = page.json(f"probes-1-variant-{place}")["panels"]
        assert [panel["title"] for panel in panels] == ["tiny", "tiny: selectivity", "tiny: compression"]
        own = result.sel(score=score)
        assert [row[f"selectivity_{score}"] for row in rows] == pytest.approx(own.selectivity.values, abs=1e-6)
        text = str(panels[1]["item"])
        assert f"{title} minus control" in text
        # The band is that of the intervals.
        assert str(np.float64(rows[1][f"selectivity_{score}_ci_low"])) in text
