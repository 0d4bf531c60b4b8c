"""`biocache label`."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from biocache.cli.options import json_option, request_options, store_option
from biocache.cli.render import note, print_facts, print_json
from biocache.engine.labelling.request import LabelRequest
from biocache.engine.request import build

if TYPE_CHECKING:
    from biocache.store.label_sets import LabelPlace
    from biocache.store.labels import LabelSet
    from biocache.store.storage import Storage

__all__ = ["label", "label_facts", "print_labels"]

_COLUMNS = {
    "label set": "label_set",
    "of": "level",
    "labels": "labels",
    "labelled": "labelled",
    "without": "unlabelled",
    "source": "source",
}

_EXAMPLES = """\b
Examples, in the folder that a demo made:
  biocache label acronym --from-words "[A-Z]{2,}[0-9]*" --task ner
  biocache label length --property length --task ner"""


@click.command(epilog=_EXAMPLES, short_help="Add labels to the text of a store.")
@click.argument("name")
@store_option
@request_options(LabelRequest)
@json_option
def label(name: str, store: "Storage", *, as_json: bool, **settings: Any) -> None:
    """Add a label set NAME to the text that runs of the store have read, for `probe --labels NAME` and the views.

    Labels are read from a --file: tagged words of the same text, or a table with the columns sample_id and label, for
    words also word, the position in the sample from 0. With --level span it has start and end, the first word and the
    one after the last; with --level relation start1, end1, start2 and end2 of two spans. Or labels are made on the
    spot. A file of another text is refused with the first word that differs. What has no label is left out of analyses.
    No model is needed.
    """
    from biocache.engine.labelling.label import label as run

    found = run(store, name, build(LabelRequest, settings))
    for one in found:
        for remark in one.remarks:
            note(f"{one.place}: {remark}")
    facts = [label_facts(one.place, one.labels) for one in found]
    if as_json:
        print_json(facts)
    else:
        print_labels(facts)


def label_facts(place: "LabelPlace", labels: "LabelSet") -> dict[str, Any]:
    """Return the facts of a label set, as JSON."""
    labelled = int(labels.known.sum())
    return {
        "label_set": str(place),
        **asdict(place),
        "level": labels.level,
        "kind": labels.kind,
        "classes": list(labels.names),
        "labelled": labelled,
        "unlabelled": len(labels.values) - labelled,
        "source": labels.source,
    }


def print_labels(facts: list[dict[str, Any]]) -> None:
    """Write label sets as a table, a row each."""
    print_facts(_COLUMNS, [{**fact, "labels": _labels(fact)} for fact in facts])


def _labels(fact: dict[str, Any]) -> str:
    if fact["kind"] == "number":
        return "numbers"
    return f"{len(fact['classes'])} {'IOB2 tags' if fact['kind'] == 'iob2' else 'classes'}"
