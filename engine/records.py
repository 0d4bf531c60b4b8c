"""The table of a result as records of JSON, each with the run that it is about."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from biocache.engine.exporting import plain_value
from biocache.store.errors import SettingError
from biocache.store.keys import RunKey

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["records"]

_PARTS = RunKey.names()


def records(frame: "pd.DataFrame", facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of a table as JSON values; NaN and infinity are null.

    Parameters
    ----------
    frame
        The table of a result; see `biocache.engine.analysis.Analysis.frame`.
    facts
        The attributes of the result: parts of the key that its rows share; ``runs``, the paths of its runs, where a row
        does not have all parts of theirs; ``baseline_run``, what they were compared with.

    Returns
    -------
    list of dict
        A row that is about a model begins with the path of its ``run`` and with the parts of the run's key, which are
        null where the row is about several runs, such as those of several seeds. A row about a pair of models has the
        parts that both share.
    """
    shared = {name: facts[name] for name in _PARTS if name in facts}
    if "views" in facts:
        shared["view"] = facts["views"]
    runs = [RunKey.from_path(path) for path in _listed(facts.get("runs"))]
    baselines = {"baseline_run": _single(_listed(facts["baseline_run"]))} if "baseline_run" in facts else {}
    known: dict[tuple[Any, ...], dict[str, Any]] = {}
    found = []
    for row in frame.to_dict("records"):
        own = {str(name): plain_value(value) for name, value in row.items()}
        parts = shared | {name: own[name] for name in _PARTS if name in own}
        place = tuple(parts.values())
        if place not in known:
            known[place] = (_run(parts, runs) if "model" in parts else parts) | baselines
        found.append(known[place] | {name: value for name, value in own.items() if name not in _PARTS})
    return found


def _run(parts: Mapping[str, Any], runs: list[RunKey]) -> dict[str, Any]:
    """Return the path and the parts of a row's run; None where it has several."""
    whole: dict[str, Any] = dict.fromkeys(_PARTS) | {"trained_on": ""} | dict(parts)
    alike = {key for key in runs if all(getattr(key, name) == value for name, value in parts.items())}
    if len(alike) == 1:
        (key,) = alike
        return {"run": key.path, **dict(key.items())}
    try:
        return {"run": None if runs or None in whole.values() else RunKey(**whole).path, **whole}
    except SettingError:
        # The views of a pair of texts are several runs.
        return {"run": None, **whole}


def _listed(text: str | None) -> list[str]:
    return list(dict.fromkeys(text.split(", "))) if text else []


def _single(paths: list[str]) -> str | None:
    return paths[0] if len(paths) == 1 else None
