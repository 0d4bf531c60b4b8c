"""What there is to say of fine-tuned checkpoints: their scores, and what flatters them."""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from biocache.cli.extraction_report import phrase, task_head_note
from biocache.cli.render import counted, note, print_table

if TYPE_CHECKING:
    from biocache.engine.finetuning.checkpoint import Checkpoint

__all__ = ["checkpoint_facts", "print_checkpoints", "warn_of_duplicates"]

_SPLITS = ("validation", "test")
_SCORES = {"accuracy": "accuracy", "macro_f1": "macro F1", "entity_f1": "entity F1"}
_DUPLICATES = "duplicates_in_"


def checkpoint_facts(checkpoint: "Checkpoint") -> dict[str, Any]:
    """Return what there is to say of a checkpoint, as JSON."""
    scores = checkpoint.scores()
    by_split = [name for name, array in scores.data_vars.items() if array.dims == ("split",)]
    return {
        "checkpoint": checkpoint.spec.path.as_posix(),
        "folder": str(checkpoint.folder),
        "train_samples": checkpoint.spec.train_samples,
        "scores": {
            str(split): {str(name): scores[name].sel(split=split).item() for name in by_split}
            for split in scores.split.values
        },
        "seconds": scores.seconds.item(),
        "samples_per_second": scores.samples_per_second.item(),
        "created": checkpoint.origin.created,
        "notes": dict(checkpoint.origin.notes),
        "spec": checkpoint.spec.to_json(),
    }


def print_checkpoints(checkpoints: "Sequence[Checkpoint]", states: Sequence[str] | None = None) -> None:
    """Write checkpoints and their scores as a table, a row each.

    Parameters
    ----------
    checkpoints
        The checkpoints.
    states
        What became of each, as a last column; None for no such column.
    """
    facts = [checkpoint_facts(checkpoint) for checkpoint in checkpoints]
    known = {(split, name) for fact in facts for split, scores in fact["scores"].items() for name in scores}
    shown = [(split, name) for split in _SPLITS for name in _SCORES if (split, name) in known]
    columns = ["checkpoint", "samples", *(f"{split} {_SCORES[name]}" for split, name in shown), "samples/s"]
    rows = [
        [
            fact["checkpoint"],
            fact["train_samples"],
            *(fact["scores"].get(split, {}).get(name) for split, name in shown),
            f"{fact['samples_per_second']:.1f}",
        ]
        for fact in facts
    ]
    if states is not None:
        columns.append("state")
        rows = [[*row, state] for row, state in zip(rows, states, strict=True)]
    print_table(columns, rows)


def warn_of_duplicates(checkpoints: "Iterable[Checkpoint]") -> None:
    """Say on stderr what flatters scores, and what of the train split was repaired, left out or cut."""
    for line in dict.fromkeys(line for checkpoint in checkpoints for line in _warnings(checkpoint)):
        note(line)


def _warnings(checkpoint: "Checkpoint") -> Iterator[str]:
    spec, notes = checkpoint.spec, checkpoint.origin.notes
    where = f"{spec.dataset}, training size {spec.training_size}"
    if checkpoint.origin.base_task_head:
        yield task_head_note(spec.model, checkpoint.origin.base_task_head, "it was fine-tuned from there")
    for name, count in notes.items():
        if name.startswith(_DUPLICATES):
            split = name.removeprefix(_DUPLICATES)
            yield f"{where}: {counted(count, 'sample')} of the {split} split also in the train part, word for word"
    if rest := phrase({name: count for name, count in notes.items() if not name.startswith(_DUPLICATES)}):
        yield f"{where}, {spec.model}: {rest} (max length {spec.max_length} tokens)"
