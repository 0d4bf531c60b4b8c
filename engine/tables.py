"""Tables of results for people: one way to write a cell, and files for papers, notebooks and other programs."""

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from biocache.engine.exporting import as_cell, check_target, replacing
from biocache.store.text import printable

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["TABLES", "export_table", "table_cells", "with_facts"]

# Whole numbers that are names: written without separators.
_NAMES = {"seed", "layer", "head"}
# Facts of a result that its rows do not always have, in the order of their columns.
_FACTS = ("task", "dataset", "view", "split", "labels", "probe")
# Rows above which a table of LaTeX goes over several pages.
_PAGE = 45


def table_cells(frame: "pd.DataFrame", signed: Collection[str] = ()) -> tuple[list[str], list[list[str | int]]]:
    """Return titles and cells of a table, each value with its spread and interval in one cell.

    Parameters
    ----------
    frame
        The table; see `biocache.engine.analysis.Analysis.frame` for the names of its columns.
    signed
        Columns whose positive numbers have a sign too.
    """
    names = [str(name) for name in frame]
    beside = {f"{name}{end}" for name in names for end in ("_ci_low", "_ci_high", "_spread")}
    shown = [name for name in names if name not in beside]
    rows = [[_cell(row, name, "+" if name in signed else "") for name in shown] for row in frame.to_dict("records")]
    return [name.replace("_", " ") for name in shown], rows


def _cell(row: Mapping[Any, Any], name: str, sign: str) -> str | int:
    value = row[name]
    if isinstance(value, bool) or type(value).__name__ == "bool":
        return name.replace("_", " ") if value else ""
    if isinstance(value, int):
        return str(value) if name in _NAMES else int(value)
    if not isinstance(value, float):
        return "" if value is None else str(value)
    if math.isnan(value):
        return "-" if f"{name}_ci_low" in row else ""
    text = _number(value, sign)
    spread, low, high = (row.get(f"{name}{end}", math.nan) for end in ("_spread", "_ci_low", "_ci_high"))
    text += "" if math.isnan(spread) else f" ± {_number(spread)}"
    return text if math.isnan(low) else f"{text} [{_number(low, sign)}, {_number(high, sign)}]"


def _number(value: float, sign: str = "") -> str:
    if abs(value) >= 1000:
        return f"{value:{sign},.0f}"
    return f"{value:{sign}.3f}" if abs(value) >= 0.001 or not value else f"{value:{sign}.1e}"


def with_facts(frame: "pd.DataFrame", facts: Mapping[str, Any]) -> "pd.DataFrame":
    """Return a table with columns for what its rows do not say of their result, such as the dataset and the probe."""
    missing = {name: facts[name] for name in _FACTS if name in facts and name not in frame}
    return frame.assign(**missing)[[*missing, *frame]]


def export_table(
    path: Path, whole: "pd.DataFrame", summary: "pd.DataFrame", caption: str, signed: Collection[str] = ()
) -> None:
    """Write a table to a file, which appears whole and replaces one that was there.

    Parameters
    ----------
    path
        Where to. ``.csv``, its text as `as_cell`, and ``.parquet``: all columns. ``.tex``, for the package booktabs,
        and ``.md``: what a terminal shows, with the caption.
    whole, summary
        All columns, and what a terminal shows; see `biocache.engine.analysis.Analysis`.
    caption
        What the table is of, so that it can be read alone.
    signed
        As `table_cells`.

    Raises
    ------
    SettingError
        As `biocache.engine.exporting.check_target`.
    ResourceError
        If it cannot be written.
    """
    check_target(path, TABLES, "output")
    with replacing(path) as made:
        match path.suffix.lower():
            case ".csv":
                whole.map(as_cell).rename(columns=as_cell).to_csv(made, index=False)
            case ".parquet":
                whole.to_parquet(made, index=False)
            case suffix:
                titles, rows = table_cells(summary, signed)
                texts = [[printable(f"{cell:,}" if isinstance(cell, int) else cell) for cell in row] for row in rows]
                made.write_text(_WRITERS[suffix](list(map(printable, titles)), texts, caption), encoding="utf-8")


def _latex(titles: Sequence[str], rows: Sequence[Sequence[str]], caption: str) -> str:
    import pandas as pd

    frame = pd.DataFrame(rows, columns=list(titles), dtype=str)
    written: str = frame.to_latex(
        index=False, escape=True, caption=_escaped(caption), position="htbp", longtable=len(rows) > _PAGE
    )
    return f"% Needs \\usepackage{{booktabs}}{' and {longtable}' if len(rows) > _PAGE else ''}.\n{written}"


def _escaped(text: str) -> str:
    """Escape what LaTeX reads as commands; pandas does it for cells alone."""
    escapes = {"\\": r"\textbackslash ", "~": r"\textasciitilde ", "^": r"\textasciicircum "}
    return "".join(escapes.get(letter, f"\\{letter}" if letter in "&%$#_{}" else letter) for letter in text)


def _markdown(titles: Sequence[str], rows: Sequence[Sequence[str]], caption: str) -> str:
    def line(cells: Iterable[str]) -> str:
        return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n"

    body = "".join(map(line, rows))
    return f"{line(titles)}{line('---' for _ in titles)}{body}\n{caption}\n"


_WRITERS: dict[str, Callable[[Sequence[str], Sequence[Sequence[str]], str], str]] = {".tex": _latex, ".md": _markdown}
#: Suffixes of files that `export_table` writes.
TABLES = (".csv", ".parquet", *_WRITERS)
