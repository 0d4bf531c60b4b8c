"""`biocache probe`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from biocache.cli.options import (
    TASKS,
    force_option,
    list_option,
    result_options,
    scheduler_options,
    store_option,
)
from biocache.cli.values import BYTES, FOLDER, INTEGERS, LAYERS, NAMES

if TYPE_CHECKING:
    import xarray as xr

    from biocache.engine.probing.request import ProbeRequest

__all__ = ["probe"]

PROBES = ("svc", "logistic", "linear-svc", "mlp", "bilstm-crf")
POOLINGS = ("mean", "first", "last", "max")
FEATURES = ("separate", "pair")
COMBINES = ("concat", "full")
SCORES = ("accuracy", "macro_f1", "micro_f1", "entity_f1", "merged_entity_f1")
_COUNT = click.IntRange(min=1)
_ABOVE_ZERO = click.FloatRange(min=0, min_open=True)
_CLASSIFIER = ("c", "gamma", "hidden_size", "epochs", "learning_rate", "batch_size", "max_iterations")

_EXAMPLES = """\b
Examples, in the folder that a demo made:
  biocache probe --task ner --model bert,biobert --training-size 0,100 --max-train-samples 50 --plot layers.png
  biocache probe --task nli --features pair --probe svc --layers 0,3 --seeds 2 --max-train-samples 99 --compare"""


@click.command(epilog=_EXAMPLES, short_help="Measure what a classifier reads from each layer.")
@store_option
@click.option("--task", type=click.Choice(TASKS), required=True, help="Whose labels are read.")
@click.option("--dataset", metavar="NAME", help="Data set.  [default: the only one of the task]")
@list_option("--model", "models", items=NAMES, text="Models.  [default: all in the store]")
@list_option(
    "--training-size",
    "training_sizes",
    items=INTEGERS,
    text="Percents of the train split that the models were fine-tuned on.  [default: all]",
)
@list_option("--seed", "run_seeds", items=INTEGERS, text="Seeds of the runs.  [default: all]")
@click.option("--probe", type=click.Choice(PROBES), default="logistic", show_default=True, help="The classifier.")
@list_option("--layers", items=LAYERS, text="Layers, such as 0,6,12 or 0-12; 0 is always among them.  [default: all]")
@click.option(
    "--pooling",
    type=click.Choice(POOLINGS),
    default="mean",
    show_default=True,
    help="How the tokens of a word or text become one row.",
)
@click.option(
    "--features",
    type=click.Choice(FEATURES),
    default="separate",
    show_default=True,
    help="Premise and hypothesis encoded alone, or as a pair.",
)
@click.option(
    "--combine",
    type=click.Choice(COMBINES),
    default="concat",
    show_default=True,
    help="(u, v) of premise and hypothesis, or (u, v, |u-v|, u*v).",
)
@click.option("--seeds", type=_COUNT, metavar="N", default=1, show_default=True, help="Seeds of the probe, from 0.")
@click.option(
    "--max-train-samples", type=_COUNT, metavar="N", help="Samples of the train split to fit on.  [default: all]"
)
@click.option("--control", is_flag=True, help="Also fit a control task: selectivity.")
@click.option("--mdl", is_flag=True, help="Also measure the online code length of the labels.")
@click.option("--compare", is_flag=True, help="Also compare training sizes and layers in pairs.")
@click.option(
    "--score",
    type=click.Choice(SCORES),
    help="Score to mark, compare and draw.  [default: that of entities for ner, accuracy for nli]",
)
@click.option(
    "--resamples",
    type=_COUNT,
    metavar="N",
    default=1000,
    show_default=True,
    help="Bootstrap resamples of test samples.",
)
@click.option(
    "--C", "c", type=_ABOVE_ZERO, default=1.0, show_default=True, help="Inverse penalty of svc and the linear."
)
@click.option("--gamma", type=_ABOVE_ZERO, help="Kernel width of svc.  [default: 1 / (features x variance)]")
@click.option(
    "--hidden-size",
    type=_COUNT,
    metavar="N",
    default=256,
    show_default=True,
    help="Units of mlp; of each LSTM direction.",
)
@click.option("--epochs", type=_COUNT, metavar="N", default=10, show_default=True, help="Passes of mlp and bilstm-crf.")
@click.option("--learning-rate", type=_ABOVE_ZERO, default=1e-3, show_default=True, help="Step of mlp and bilstm-crf.")
@click.option(
    "--batch-size", type=_COUNT, metavar="N", help="Rows of a step of mlp [default: 200], sentences of bilstm-crf [32]."
)
@click.option(
    "--max-iterations", type=_COUNT, metavar="N", default=1000, show_default=True, help="Of logistic and linear-svc."
)
@click.option(
    "--max-memory", type=BYTES, help="Memory of all fits at once, such as 8G.  [default: half of the machine's]"
)
@result_options
@click.option("--plot-confusion", type=FOLDER, metavar="FILE", help="Draw the best layers' errors.")
@scheduler_options
@force_option
def probe(
    store: Path,
    *,
    compare: bool,
    score: str | None,
    output: Path | None,
    plot: Path | None,
    plot_confusion: Path | None,
    as_json: bool,
    workers: int | None,
    scheduler_address: str | None,
    force: bool,
    **settings: Any,
) -> None:
    """Fit a classifier to the labels on the features of each layer, and score it on the test split.

    It needs the train and test runs of a store, and no model. `ner` reads words, `nli` pairs. The table has the 95 %
    interval of each score over the test samples, the majority baseline and, with several --seeds, the standard
    deviation over them; the best layer is marked. What the store has the result of is not computed again.
    """
    request = _request(store, settings)
    from biocache.cli.probe_report import print_result
    from biocache.cli.render import Bars, note
    from biocache.engine.figures import check_places
    from biocache.engine.probing.comparing import compare_probes
    from biocache.engine.probing.probe import chosen_score, find_probe, probe_scores
    from biocache.engine.probing.probe import probe as run_probe

    if score is not None:
        chosen_score(probe_scores(store, request), score)
    check_places(output, plot, plot_confusion)
    if request.seeds > 1 and not request.is_random:
        note(
            f"the scores of {request.probe} are the same for all --seeds, since nothing in its fit is random without "
            "--max-train-samples"
        )
    found = None if force else find_probe(store, request)
    machines: dict[str, Any] = {"workers": workers, "scheduler_address": scheduler_address}
    with Bars("fits") as bars:
        progress: dict[str, Any] = {"on_progress": lambda done, total: bars.update("fits", done, total)}
        result = run_probe(store, request, force=force, **machines, **progress) if found is None else found
        pairs = compare_probes(store, request, score, **machines, **progress) if compare else None
    score = chosen_score(result.score.to_numpy().tolist(), score)
    print_result(result, pairs, score, from_store=found is not None, as_json=as_json)
    _write(result, score, output, plot, plot_confusion)


def _request(store: Path, settings: dict[str, Any]) -> "ProbeRequest":
    from biocache.cli.selection import selection
    from biocache.engine.probing.request import ClassifierOptions, ProbeRequest

    options = ClassifierOptions(**{name: settings.pop(name) for name in _CLASSIFIER})
    dataset = (settings["dataset"],) if settings["dataset"] else None
    (names,) = selection((), store, {"dataset": dataset, "model": settings.pop("models")})
    models = names.get("model")
    settings["dataset"] = names.get("dataset")
    return ProbeRequest(
        options=options, models=(models,) if isinstance(models, str) else models and tuple(models), **settings
    )


def _write(
    result: "xr.Dataset", score: str, output: Path | None, plot: Path | None, plot_confusion: Path | None
) -> None:
    from biocache.engine.exporting import export_dataset
    from biocache.engine.figures import save_figure
    from biocache.engine.probing.assembling import flattened
    from biocache.engine.probing.figures import draw_confusion, draw_scores

    if output is not None:
        export_dataset(flattened(result) if output.suffix.lower() == ".csv" else result, output)
    if plot is not None:
        save_figure(draw_scores(result, score), plot)
    if plot_confusion is not None:
        save_figure(draw_confusion(result, score), plot_confusion)
