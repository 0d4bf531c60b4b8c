"""Tables for papers, notebooks and other programs: whole, escaped, and to be read alone."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from biocache.engine.tables import export_table, table_cells, with_facts
from biocache.store.errors import SettingError

WHOLE = pd.DataFrame(
    {
        "model": ["b_1", "b_1", "=gpt|2"],
        "seed": [42, 42, 42],
        "layer": [0, 1, 0],
        "rows": [12_345, 12_345, 7],
        "accuracy": [0.5, 0.75, np.nan],
        "accuracy_ci_low": [0.4, 0.7, np.nan],
        "accuracy_ci_high": [0.6, 0.8, np.nan],
        "change": [0.25, -0.25, 0.0001],
        "best": [False, True, False],
    }
)
CAPTION = "Probes (ner, my_corpus & others, test). Settings: C 1, 100 %."


def test_a_cell_holds_a_value_with_its_interval() -> None:
    titles, rows = table_cells(WHOLE, signed=("change",))
    assert titles == ["model", "seed", "layer", "rows", "accuracy", "change", "best"]
    assert rows == [
        ["b_1", "42", "0", 12345, "0.500 [0.400, 0.600]", "+0.250", ""],
        ["b_1", "42", "1", 12345, "0.750 [0.700, 0.800]", "-0.250", "best"],
        ["=gpt|2", "42", "0", 7, "-", "+1.0e-04", ""],
    ]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_other_programs_get_all_columns(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"t{suffix}"
    export_table(path, WHOLE, WHOLE.head(1), CAPTION)
    read = pd.read_csv(path) if suffix == ".csv" else pd.read_parquet(path)
    expected = WHOLE.assign(model=["b_1", "b_1", "'=gpt|2"]) if suffix == ".csv" else WHOLE
    pd.testing.assert_frame_equal(read, expected)


def test_latex_has_booktabs_and_escapes(tmp_path: Path) -> None:
    export_table(tmp_path / "t.tex", WHOLE, WHOLE, CAPTION)
    text = (tmp_path / "t.tex").read_text()
    assert text.startswith("% Needs \\usepackage{booktabs}.\n\\begin{table}[htbp]")
    for expected in ("\\toprule", "\\midrule", "\\bottomrule", "b\\_1", "my\\_corpus \\& others", "100 \\%", "12,345"):
        assert expected in text
    assert text.count("\\\\\n") == 4
    long = pd.concat([WHOLE] * 20)
    export_table(tmp_path / "long.tex", long, long, CAPTION)
    assert "\\begin{longtable}" in (tmp_path / "long.tex").read_text()


def test_markdown_is_a_table_with_its_caption(tmp_path: Path) -> None:
    export_table(tmp_path / "t.md", WHOLE, WHOLE, CAPTION)
    lines = (tmp_path / "t.md").read_text().splitlines()
    assert lines[0] == "| model | seed | layer | rows | accuracy | change | best |"
    assert lines[1] == "| --- | --- | --- | --- | --- | --- | --- |"
    assert lines[4].startswith("| =gpt\\|2 | 42 | 0 | 7 | - |")
    assert lines[5:] == ["", CAPTION]


def test_rows_say_what_they_are_of() -> None:
    facts = {"task": "ner", "dataset": "jnlpba", "probe": "logistic", "resamples": 1000, "model": "other"}
    frame = with_facts(WHOLE, facts)
    assert list(frame)[:4] == ["task", "dataset", "probe", "model"]
    assert set(frame.dataset) == {"jnlpba"}
    assert frame.model.tolist() == WHOLE.model.tolist()


def test_another_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"end it in \.csv, \.parquet, \.tex, \.md"):
        export_table(tmp_path / "t.xlsx", WHOLE, WHOLE, CAPTION)
