"""`biocache finetune`: its options, and what it prints of checkpoints: scores, and duplicates between the splits."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from biocache.cli.extract import phrase, task_head_note
from biocache.cli.options import json_option, request_options, store_option
from biocache.cli.progress import Bars
from biocache.cli.render import note, print_facts, print_json
from biocache.engine.finetuning.request import FinetuneRequest
from biocache.engine.finetuning.updates import unequal_steps
from biocache.engine.request import build
from biocache.engine.stages import stage
from biocache.store.text import counted

if TYPE_CHECKING:
    from biocache.engine.finetuning.checkpoint import Checkpoint
    from biocache.store.storage import Storage

__all__ = ["checkpoint_facts", "finetune", "print_checkpoints"]

_SPLITS = ("validation", "test")
_SCORES = {"accuracy": "accuracy", "macro_f1": "macro F1", "entity_f1": "entity F1"}
# Parts of the key of a run that a checkpoint has.
_KEY = ("task", "dataset", "model", "training_size", "seed")
_DUPLICATES = "duplicates_in_"

_EXAMPLES = """\b
Examples, in the folder that a demo made:
  biocache finetune --task ner --dataset demo=corpus/ner --model models/bert --training-size 20
  biocache finetune --task nli --dataset demo=corpus/nli --model models/gpt2 --training-size 20 --patience 1"""


@click.command(epilog=_EXAMPLES, short_help="Fine-tune models on parts of the train split.")
@store_option
@request_options(FinetuneRequest)
@json_option
def finetune(store: "Storage", *, as_json: bool, **settings: Any) -> None:
    """Fine-tune models on nested parts of the train split, and score them on the validation and test splits.

    A checkpoint goes to TASK/DATASET/MODEL/size-SSS/seed-N below --checkpoints, where `biocache extract
    --training-size` finds it. A checkpoint that is there is not made again; an interrupted one is finished from its
    last saved step. For ner the head predicts a word's label at the word's first token. Scores are kept beside the
    weights and in the store.
    """
    request = build(FinetuneRequest, settings)
    if 0 in request.training_sizes:
        note("training size 0 is the pre-trained model: it needs no checkpoint, `biocache extract` takes it as it is")
    finished: list[tuple[Checkpoint, bool]] = []
    if any(request.training_sizes):
        with Bars("steps") as bars:
            with stage("starting"):
                from biocache.engine.finetuning.finetune import finetune as run

            run(
                store,
                request,
                on_progress=lambda at: bars.update(at.checkpoint, at.steps_done, at.steps_total),
                on_checkpoint=lambda checkpoint, found: finished.append((checkpoint, found)),
                on_corpus=lambda corpus: bars.notes(f"{corpus.name}: {remark}" for remark in corpus.remarks),
            )
    made = [checkpoint for checkpoint, _ in finished]
    for line in dict.fromkeys(line for checkpoint in made for line in _warnings(checkpoint, request)):
        note(line)
    for line in _unequal_updates(made):
        note(line)
    facts = [{**checkpoint_facts(checkpoint), "found": found} for checkpoint, found in finished]
    if as_json:
        print_json(facts)
    elif facts:
        print_checkpoints(facts)


def checkpoint_facts(checkpoint: "Checkpoint") -> dict[str, Any]:
    """Return the facts of a checkpoint, as JSON."""
    scores = checkpoint.scores()
    by_split = [name for name, array in scores.data_vars.items() if array.dims == ("split",)]
    return {
        "checkpoint": checkpoint.spec.path.as_posix(),
        "folder": str(checkpoint.folder),
        **{name: getattr(checkpoint.spec, name) for name in _KEY},
        "train_samples": checkpoint.spec.train_samples,
        "steps": checkpoint.steps(),
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


def print_checkpoints(facts: Sequence[Mapping[str, Any]]) -> None:
    """Write checkpoints and their scores as a table, a row each; and where it is known, whether each was ``found``."""
    known = {(split, name) for fact in facts for split, scores in fact["scores"].items() for name in scores}
    shown = [(split, name) for split in _SPLITS for name in _SCORES if (split, name) in known]
    columns = {"checkpoint": "checkpoint", "samples": "train_samples", "steps": "steps"}
    columns |= {f"{split} {_SCORES[name]}": f"{split} {name}" for split, name in shown}
    columns |= {"samples/s": "rate"} | ({"state": "state"} if "found" in facts[0] else {})
    print_facts(columns, [_with_cells(fact, shown) for fact in facts])


def _with_cells(fact: Mapping[str, Any], shown: Sequence[tuple[str, str]]) -> dict[str, Any]:
    return {
        **fact,
        **{f"{split} {name}": fact["scores"].get(split, {}).get(name) for split, name in shown},
        "rate": f"{fact['samples_per_second']:.1f}",
        "state": "found" if fact.get("found") else "made",
    }


def _unequal_updates(checkpoints: "Sequence[Checkpoint]") -> Iterator[str]:
    """Yield a line for each model (and seed) whose training sizes differ in optimiser steps."""
    several = len({checkpoint.spec.seed for checkpoint in checkpoints}) > 1
    by_model: dict[str, list[Checkpoint]] = {}
    for checkpoint in checkpoints:
        spec = checkpoint.spec
        # With early stopping the steps depend on the seed.
        seed = f", seed {spec.seed}" if several and spec.patience is not None else ""
        by_model.setdefault(f"{spec.dataset}, {spec.model}{seed}", []).append(checkpoint)
    for model, own in by_model.items():
        line = unequal_steps({made.spec.training_size: made.steps() for made in own})
        if line:
            largest = max(made.spec.training_size for made in own)
            stopped = any(made.spec.patience is not None for made in own)
            yield f"{model}: {line}" + ("" if stopped else f"; --steps-of {largest} trains all of them equally long")


def _warnings(checkpoint: "Checkpoint", request: FinetuneRequest) -> Iterator[str]:
    """Yield the duplicates between the splits, and what of the train split was repaired, left out or cut."""
    spec, notes = checkpoint.spec, checkpoint.origin.notes
    where = f"{spec.dataset}, training size {spec.training_size}"
    if len(request.seeds) > 1:
        where += f", seed {spec.seed}"
    yield from checkpoint.origin.remarks
    if checkpoint.origin.base_task_head:
        yield task_head_note(spec.model, checkpoint.origin.base_task_head, "it was fine-tuned from there")
    for name, count in notes.items():
        if name.startswith(_DUPLICATES):
            split = name.removeprefix(_DUPLICATES)
            yield f"{where}: {counted(count, 'sample')} of the {split} split also in the train part, word for word"
    if rest := phrase({name: count for name, count in notes.items() if not name.startswith(_DUPLICATES)}):
        yield f"{where}, {spec.model}: {rest} (max length {spec.max_length} tokens)"
