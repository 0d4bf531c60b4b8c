"""What a store and a run say of themselves, as text and in a notebook."""

from collections.abc import Iterable
from html import escape
from typing import TYPE_CHECKING

from biocache.store.keys import RunKey
from biocache.store.text import printable

if TYPE_CHECKING:
    from biocache.store.reading import Run

__all__ = ["as_html", "as_text", "run_facts", "store_facts"]

Facts = list[tuple[str, str]]


def run_facts(run: "Run") -> Facts:
    """Describe a run: sizes, arrays, origin. Reads no activations."""
    spec, counts, provenance = run.spec, run.counts, run.provenance
    shapes = {
        "hidden": (("token", counts.tokens), ("feature", spec.feature_size)),
        "attention": (("head", spec.head_count), ("pair", counts.pairs)),
    }
    arrays = []
    for name in spec.keep:
        sizes = (("layer", len(spec.variable_layers(name))), *shapes[name])
        text = ", ".join(f"{dim}: {size}" for dim, size in sizes)
        arrays.append((name, f"({text}) {spec.dtype}, in blocks of one layer of one pack, dimensionless"))
    random = "random weights, " if provenance.random_weights else ""
    return [
        ("samples", f"{counts.samples:,} with {counts.words:,} words and {counts.tokens:,} tokens"),
        ("packs", f"{len(run.committed()):,} of {counts.packs:,} are there"),
        *arrays,
        ("layers", ", ".join(map(str, spec.layers))),
        ("labels", ", ".join(spec.label_names) or "none"),
        ("model", f"{random}{provenance.model_source}, SHA-256 {spec.model_digest[:12]}"),
        ("dataset", f"{provenance.dataset_source}, SHA-256 {spec.dataset_digest[:12]}"),
        ("created", f"{provenance.created} on {provenance.host} ({provenance.device})"),
        ("versions", ", ".join(f"{name} {version}" for name, version in provenance.versions.items())),
    ]


def store_facts(keys: Iterable[RunKey]) -> Facts:
    """Describe a store by the values that the parts of its keys have."""
    parts: dict[str, dict[str, None]] = {name: {} for name in RunKey.names()}
    count = 0
    for key in keys:
        count += 1
        for name, value in key.items():
            parts[name][str(value)] = None
    return [("runs", f"{count:,}"), *((name, ", ".join(values)) for name, values in parts.items() if values)]


def as_text(title: str, facts: Facts) -> str:
    """Write facts as lines below a title."""
    width = max(len(name) for name, _ in facts) + 2
    return "\n".join([f"<{printable(title)}>", *(f"  {name:<{width}}{printable(text)}" for name, text in facts)])


def as_html(title: str, facts: Facts) -> str:
    """Write facts as a table below a title."""
    rows = "".join(
        f'<tr><th style="text-align: left">{escape(name)}</th><td style="text-align: left">{escape(text)}</td></tr>'
        for name, text in facts
    )
    return f"<div><strong>{escape(title)}</strong><table>{rows}</table></div>"
