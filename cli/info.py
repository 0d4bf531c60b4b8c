"""`biocache info`."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from biocache.cli.options import json_option, run_selectors, store_option
from biocache.cli.render import cell_text, described_certificate, print_fields, print_json, run_facts
from biocache.cli.selection import selection
from biocache.store.text import format_bytes

if TYPE_CHECKING:
    from biocache.store import Run
    from biocache.store.storage import Storage

__all__ = ["info"]

_EXAMPLES = """\b
Examples, in the folder that a demo made:
  biocache info ner/demo/bert/size-000/seed-42/sentence/test
  biocache info --task ner --model bert --training-size 100 --split test --json"""


@click.command(epilog=_EXAMPLES, short_help="Show all that is known of one run.")
@click.argument("run", required=False)
@store_option
@run_selectors
@json_option
def info(run: str | None, store: "Storage", *, as_json: bool, **selectors: Any) -> None:
    """Show the spec, the origin and the sizes of one run.

    RUN is its path as `biocache ls` prints it; selectors that match one run do as well.
    """
    from biocache.store import Store

    (wanted,) = selection((run,) if run else (), store, selectors)
    found = Store.open(store).run(**wanted)
    facts = _facts(found)
    if as_json:
        # The parts of the key are beside the path, as in every record of a run.
        print_json([run_facts(found.key) | {name: value for name, value in facts.items() if name != "key"}])
    else:
        print_fields(_fields(facts | {"rounding": described_certificate(facts["rounding"])}))


def _facts(run: "Run") -> dict[str, Any]:
    from biocache.store.sweeping import stored_bytes

    records = run.records()
    raw = run.spec.activation_bytes(run.plan, sorted(records))
    chunks = sum(record.stored_bytes for record in records.values())
    return {
        "run": str(run.key),
        "path": run.group.where,
        "packs_done": len(records),
        "complete": len(records) == run.counts.packs,
        "key": dict(run.key.items()),
        "counts": {name: count for name, count in asdict(run.counts).items() if count is not None},
        "sizes": {
            "disk_bytes": stored_bytes(run.group.storage, run.group.folder),
            "stored_bytes": chunks,
            "activation_bytes": raw,
            "compression_ratio": raw / chunks if chunks else None,
        },
        "rounding": run.certificate(records) if records else {},
        "spec": {**run.spec.to_json(), "level": run.spec.level},
        "provenance": asdict(run.provenance),
    }


def _fields(facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in facts.items():
        if not isinstance(value, Mapping):
            yield name, _text(name, value)
            continue
        yield "", ""
        yield name, ""
        for inner, part in value.items():
            yield f"  {inner}", _text(inner, part)


def _text(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name.endswith("_bytes"):
        return f"{value:,} ({format_bytes(value)})"
    if isinstance(value, Mapping):
        return ", ".join(f"{inner} {part}" for inner, part in value.items()) or "-"
    if isinstance(value, list | tuple):
        return _ranges(value) if name == "layers" else ", ".join(map(str, value)) or "-"
    return str(value) if name == "seed" else cell_text(name, value) or "-"


def _ranges(layers: Sequence[int]) -> str:
    """Write layers as ranges, such as ``0-12`` or ``0,6,12``."""
    parts: list[list[int]] = []
    for layer in layers:
        if parts and layer == parts[-1][-1] + 1:
            parts[-1].append(layer)
        else:
            parts.append([layer])
    return ",".join(f"{part[0]}-{part[-1]}" if len(part) > 2 else ",".join(map(str, part)) for part in parts)
