"""`biocache finetune`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from biocache.cli.options import json_option, request_options, store_option
from biocache.cli.render import Bars, note, print_json
from biocache.engine.finetuning.request import FinetuneRequest
from biocache.engine.request import build

if TYPE_CHECKING:
    from biocache.engine.finetuning.checkpoint import Checkpoint

__all__ = ["finetune"]

_EXAMPLES = """\b
Examples, in the folder that a demo made:
  biocache finetune --task ner --dataset demo=corpus/ner --model models/bert --training-size 20
  biocache finetune --task nli --dataset demo=corpus/nli --model models/gpt2 --training-size 20 --patience 1"""


@click.command(epilog=_EXAMPLES, short_help="Fine-tune models on parts of the train split.")
@store_option
@request_options(FinetuneRequest)
@json_option
def finetune(store: Path, *, as_json: bool, **settings: Any) -> None:
    """Fine-tune models on nested parts of the train split, and score them on the validation and test splits.

    A checkpoint goes to TASK/DATASET/MODEL/size-SSS/seed-N below --checkpoints, where `biocache extract
    --training-size` finds it. One that is there already is not made again; an interrupted one is finished from its last
    saved step. For ner the head reads a word's label at the word's first token. Scores are kept beside the weights and
    in the store.
    """
    from biocache.cli.checkpoint_report import checkpoint_facts, print_checkpoints, warn_of_duplicates
    from biocache.engine.finetuning.finetune import finetune as run

    request = build(FinetuneRequest, settings)
    if 0 in request.training_sizes:
        note("training size 0 is the pre-trained model: it needs no checkpoint, `biocache extract` takes it as it is")
    finished: list[tuple[Checkpoint, bool]] = []
    if any(request.training_sizes):
        with Bars("steps") as bars:
            run(
                store,
                request,
                on_progress=lambda at: bars.update(at.checkpoint, at.steps_done, at.steps_total),
                on_checkpoint=lambda checkpoint, found: finished.append((checkpoint, found)),
            )
    warn_of_duplicates(checkpoint for checkpoint, _ in finished)
    if as_json:
        print_json([{**checkpoint_facts(checkpoint), "found": found} for checkpoint, found in finished])
    elif finished:
        states = ["found" if found else "made" for _, found in finished]
        print_checkpoints([checkpoint for checkpoint, _ in finished], states)
