"""The page: its contents, and the templates that render them."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bokeh.resources import Resources
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from biocache.engine.report.inventory import Inventory
from biocache.engine.report.packing import packed_json, script_json
from biocache.engine.report.paper import MARKERS, strokes
from biocache.engine.report.section import Section
from biocache.engine.report.story import GLOSSARY, ToldStudy, shared_limits, told
from biocache.engine.report.viewer import Viewer
from biocache.store.storage import Storage
from biocache.store.text import format_bytes

__all__ = ["Page", "render"]

_TEMPLATES = Path(__file__).parent / "templates"
_SCRIPTS = ("page.js", "figures.js", "viewer.js")


@dataclass(frozen=True)
class Page:
    """The contents of a page.

    Attributes
    ----------
    store
        Folder of the store.
    inventory
        Its runs.
    sections
        The results.
    viewer
        Single samples.
    other_notes
        What is absent, incomplete, damaged or left out, of runs and results.
    """

    store: Storage
    inventory: Inventory
    sections: Sequence[Section]
    viewer: Viewer
    other_notes: tuple[str, ...]

    @property
    def notes(self) -> tuple[str, ...]:
        """What is absent, incomplete, damaged or left out, also of the viewer."""
        return (*self.other_notes, *self.viewer.notes)

    @property
    def studies(self) -> list[ToldStudy]:
        """What was found, by task, dataset and model."""
        return told(statement for section in self.sections for statement in section.statements)


def render(page: Page) -> str:
    """Write a page as HTML. Every text of the store is escaped by the templates, or packed."""
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["bytes"] = format_bytes
    environment.filters["thousands"] = lambda number: "-" if number is None else f"{number:,}"
    environment.filters["number"] = _number
    environment.filters["strokes"] = strokes
    environment.filters["outline"] = MARKERS.__getitem__
    # The pictures escape their own texts.
    environment.filters["drawn"] = Markup
    environment.globals["zip"] = zip
    scripts = [_bokeh(), *(_source(name) for name in _SCRIPTS)]
    return environment.get_template("page.html").render(
        page=page,
        created=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        version=version("biocache"),
        glossary=GLOSSARY,
        shared_limits=shared_limits,
        policy=_policy(scripts),
        # Markup of this package and of Bokeh, and text that cannot hold markup.
        style=Markup(_source("style.css")),
        scripts=[Markup(script) for script in scripts],
        viewer_index=Markup(script_json(page.viewer.index)),
        blobs={name: Markup(text) for name, text in _blobs(page).items()},
        store_name=str(page.store.absolute()).rpartition("/")[2],
    )


def _blobs(page: Page) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for section in page.sections:
        for figure in section.figures:
            found[f"{figure.name}-data"] = packed_json(figure.data.to_json())
            for place, variant in enumerate(figure.variants):
                found[f"{figure.name}-variant-{place}"] = packed_json(variant.to_json())
    return found | dict(page.viewer.blobs)


def _bokeh() -> str:
    # Only the core: no widgets, tables, WebGL or MathJax.
    return "\n".join(Resources(mode="inline", components=["bokeh"]).js_raw)


def _source(name: str) -> str:
    return (_TEMPLATES / name).read_text(encoding="utf-8")


def _policy(scripts: Sequence[str]) -> str:
    """Return the page's Content-Security-Policy: nothing is fetched, and only these scripts run."""
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" for script in scripts
    )
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )


def _number(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.3f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
