"""Trials of the commands on a tiny corpus and tiny models: forked from a process that has imported all they need."""

import importlib
import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import pkgutil
import random
import re
import shutil
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from corpora import corpus_texts
from extractions import request
from trials import Place, Trial, call

import biocache.cli
import biocache.engine
from biocache.cli.copy import copy as copy_command
from biocache.cli.rm import rm as rm_command
from biocache.engine import (
    AttentionRequest,
    FinetuneRequest,
    ProbeRequest,
    compare_attention,
    extract,
    finetune,
    probe,
    write_report,
)
from biocache.engine.demo.checkpoints import write_checkpoint
from biocache.engine.demo.corpus import write_corpus
from biocache.engine.extraction import planning
from biocache.engine.finetuning.checkpoint import Checkpoint, checkpoint_folders
from biocache.store import Run, Store, schema
from biocache.store.results import read_result, result_files
from biocache.store.storage import open_storage

# Windows of two packs, so that several processes share a run.
PACK = 64
SETTINGS = {"splits": ("train", "test"), "batch_tokens": 64, "window_tokens": 128}
SIZES = {"train": 16, "validation": 8, "test": 10}
PROBE = ProbeRequest(task="ner", models=("tiny",), resamples=10)
COMPARE = AttentionRequest(model="tiny", against="other", training_sizes=(0,), split="test", resamples=10)
# Wall times: two computations of the same numbers differ in them.
TIMES = ("seconds", "samples_per_second", "fit_seconds")
PAGE = "report.html"


def load_everything() -> None:
    """Import what the commands import as they run: a process that is forked then starts in no time."""
    for package in (biocache.engine, biocache.cli):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    for name in ("models.bert.modeling_bert", "models.bert.tokenization_bert", "trainer", "data.data_collator"):
        importlib.import_module(f"transformers.{name}")
    for name in ("accelerate", "bokeh.embed", "bokeh.plotting", "matplotlib.pyplot", "sklearn.linear_model", "seqeval"):
        importlib.import_module(name)


@dataclass(frozen=True)
class Asked:
    """The settings of one of the two kinds of everything: `OLD` is there, `NEW` replaces it."""

    name: str
    seed: int
    stored: dict[str, Any]
    learning_rate: float

    def extraction(self, place: Place, **settings: Any) -> Any:
        models = (f"tiny={place.kept / f'model-{self.seed}'}",)
        asked: dict[str, Any] = SETTINGS | self.stored | {"models": models} | settings
        return request(place.kept / "corpus", place.kept / "model-0", **asked)

    def tuning(self, place: Place, **settings: Any) -> FinetuneRequest:
        return FinetuneRequest(
            task="ner",
            dataset=f"toy={place.kept / 'corpus' / 'ner'}",
            models=(f"tiny={place.kept / 'model-0'}",),
            training_sizes=(50,),
            epochs=1,
            learning_rate=self.learning_rate,
            batch_size=2,
            device="cpu",
            save_steps=1,
            max_duplicates=1.0,
            checkpoints=place.home / "checkpoints",
            **settings,
        )

    def source(self, place: Place) -> Path:
        """Folder of what the commands make of these settings when nobody kills them."""
        return place.kept / self.name


OLD = Asked("old", 0, {"dtype": "float16"}, 1e-3)
# What OLD has not: codes with their scales, rows of words, value norms.
CODES = {"dtype": "int8", "attention_dtype": "uint8", "level": "word", "keep": ("hidden", "attention", "norms")}
NEW = Asked("new", 1, CODES, 4e-3)


def run_extract(asked: Asked, place: Place, **settings: Any) -> None:
    extract(place.store, asked.extraction(place, **settings))


def run_finetune(asked: Asked, place: Place, **settings: Any) -> None:
    finetune(place.store, asked.tuning(place, **settings))


def run_probe(place: Place) -> xr.Dataset:
    return probe(place.store, PROBE)


def run_compare(place: Place) -> xr.Dataset:
    return compare_attention(place.store, COMPARE)


def run_report(place: Place) -> None:
    write_report(place.store, place.home / PAGE)


def run_copy(place: Place) -> None:
    copy_command.main([str(OLD.source(place) / "store"), str(place.store)], standalone_mode=False)


def run_rm(place: Place) -> None:
    rm_command.main(["--store", str(place.store), "--all", "--results", "--yes"], standalone_mode=False)


def make_kept(place: Place) -> None:
    """Make the corpus, the models, and what all commands must make of them, each in a process of its own."""
    load_everything()
    planning.token_capacity = lambda *_: PACK
    corpus = place.kept / "corpus"
    write_corpus(corpus, ner_sizes=SIZES, nli_sizes=dict.fromkeys(SIZES, 3))
    for seed in (0, 1, 2):
        model, size = place.kept / f"model-{seed}", {"hidden_size": 8, "layers": 1, "vocab_size": 200}
        call(
            place,
            lambda _, m=model, s=seed, z=size: str(write_checkpoint("bert", m, corpus_texts(corpus), seed=s, **z)),
        )
    for asked in (OLD, NEW):
        shutil.rmtree(place.home, ignore_errors=True)
        place.home.mkdir()
        call(place, partial(run_extract, asked))
        other = {"models": (f"other={place.kept / 'model-2'}",), "splits": ("test",)}
        call(place, lambda here, o=other: run_extract(OLD, here, **o))
        call(place, partial(run_finetune, asked))
        shutil.copytree(place.home, asked.source(place))
        for command in (run_probe, run_compare, run_report):
            call(place, command)
        shutil.copytree(place.home, place.kept / f"{asked.name}-analysed")


# What is there before.


def have_nothing(place: Place, rng: random.Random) -> None:
    """Begin with an empty folder."""


def have_runs(place: Place, rng: random.Random) -> None:
    """Begin with complete runs, without results."""
    shutil.copytree(OLD.source(place) / "store", place.store)
    shutil.rmtree(place.store / "results")


def have_all(place: Place, rng: random.Random) -> None:
    """Begin with complete runs, checkpoints and results."""
    shutil.copytree(place.kept / "old-analysed", place.home, dirs_exist_ok=True)
    (place.home / PAGE).unlink()


def have_page(place: Place, rng: random.Random) -> None:
    """Begin with runs and results, and with or without an old page."""
    have_all(place, rng)
    if rng.random() < 0.5:
        (place.home / PAGE).write_text("an old page")


# What may and must be there.


@cache
def known_runs(kept: Path) -> dict[tuple[str, str], Run]:
    """Return all runs that may be somewhere, by what identifies them."""
    runs = [run for name in ("old", "new") for run in Store.open(kept / name / "store").select()]
    return {(run.identity["run"], run.identity["spec"]): run for run in runs}


@cache
def known_results(kept: Path) -> dict[str, xr.Dataset]:
    """Return all results that may be somewhere, by their folders in the store."""
    places = [open_storage(kept / f"{name}-analysed" / "store") for name in ("old", "new")]
    return {folder: read_result(place, folder).load() for place in places for folder in result_files(place)}


def without_times(result: xr.Dataset) -> xr.Dataset:
    """Return a result without wall times."""
    plain = result.drop_vars([name for name in TIMES if name in result])
    plain.attrs = {name: value for name, value in result.attrs.items() if name not in TIMES}
    return plain


def check_store(place: Place, *, complete: bool = True) -> list[Run]:
    """Assert that all runs and results are such that a command wrote, value by value; return the runs."""
    if not (place.store / "zarr.json").exists():
        assert not complete, "the store is gone"
        return []
    runs = Store.open(place.store).select()
    for run in runs:
        expected = known_runs(place.kept)[run.identity["run"], run.identity["spec"]]
        for variable in schema.columns():
            np.testing.assert_array_equal(run.column(variable.path), expected.column(variable.path))
        for name in run.spec.keep:
            ours, theirs = run.chunks(name), expected.chunks(name)
            for pack in run.committed():
                for index in range(len(ours.layers)):
                    values = [chunks.read_committed(index, pack) for chunks in (ours, theirs)]
                    np.testing.assert_array_equal(*values)
        assert run.complete or not complete, f"{run.key} is neither the old run nor the new one"
    storage = open_storage(place.store)
    for folder in result_files(storage):
        stored = read_result(storage, folder).load()
        xr.testing.assert_identical(without_times(stored), without_times(known_results(place.kept)[folder]))
    return runs


def names(runs: list[Run]) -> list[tuple[str, str]]:
    """Return what identifies runs, sorted."""
    return sorted((run.identity["run"], run.identity["spec"]) for run in runs)


def check_same(source: Path, place: Place) -> None:
    """Assert that the store has the runs and results of another one, no more and no fewer."""
    expected = Store.open(source / "store")
    runs = check_store(place)
    assert names(runs) == names(expected.select())
    assert result_files(open_storage(place.store)) == result_files(expected.storage)


def check_runs(wanted: dict[str, Asked], results: tuple[str, ...], place: Place) -> None:
    """Assert that the store has just the runs of models with some settings, and results of some kinds."""
    expected = {
        identity
        for model, asked in wanted.items()
        for identity in names(Store.open(asked.source(place) / "store").select(model=model))
    }
    assert names(check_store(place)) == sorted(expected)
    assert sorted({folder.split("/")[1] for folder in result_files(open_storage(place.store))}) == sorted(results)


def check_keys(place: Place) -> list[Run]:
    """Assert that each run that was there is there, the old one or the new one."""
    runs = check_store(place)
    assert {run.key for run in runs} == {run.key for run in known_runs(place.kept).values()}
    return runs


def check_partial(place: Place) -> None:
    check_store(place, complete=False)


def check_checkpoint(may_be: tuple[Asked, ...], place: Place, *, absent: bool) -> None:
    """Assert that the checkpoint is one of these, file by file, or absent."""
    found = checkpoint_folders(place.home / "checkpoints") if (place.home / "checkpoints").exists() else []
    assert absent or found, "the checkpoint is gone"
    for folder in found:
        checkpoint = Checkpoint.read(folder)
        checkpoint.require_whole()
        known = [Checkpoint.read(asked.source(place) / folder.relative_to(place.home)) for asked in may_be]
        (expected,) = [one for one in known if one.spec == checkpoint.spec]
        files = [{name: f for name, f in one.files.items() if name != "scores.json"} for one in (checkpoint, expected)]
        assert files[0] == files[1]
        xr.testing.assert_identical(without_times(checkpoint.scores()), without_times(expected.scores()))


def check_tuning(place: Place, *, may_be: tuple[Asked, ...], absent: bool) -> None:
    check_partial(place)
    check_checkpoint(may_be, place, absent=absent)


def check_tuned(place: Place) -> None:
    check_store(place)
    check_checkpoint((NEW,), place, absent=False)
    scores = result_files(open_storage(NEW.source(place) / "store"), "finetune")
    assert set(scores) <= set(result_files(open_storage(place.store), "finetune"))


def read_page(page: Path) -> str | None:
    """Return a page without the time at which it was written; None where there is none."""
    return re.sub(r"[0-9-]{10} [0-9:]{5} UTC", "", page.read_text(encoding="utf-8")) if page.exists() else None


def check_page(place: Place, *, also: tuple[str | None, ...]) -> None:
    check_same(place.kept / "old-analysed", place)
    assert read_page(place.home / PAGE) in (*also, read_page(place.kept / "old-analysed" / PAGE)), "the page is torn"


def check_removed(place: Place) -> None:
    store = Store.open(place.store)
    assert not list(store.keys())
    assert not result_files(store.storage)


def check_some_removed(place: Place) -> None:
    check_store(place)


TINY, BOTH = {"tiny": OLD}, {"tiny": OLD, "other": OLD}
REPLACED = {"tiny": NEW, "other": OLD}

COMMAND_TRIALS = {
    "extract": Trial(
        partial(run_extract, OLD), have_nothing, check_partial, partial(check_runs, TINY, ()), (1, 1, 2, 3, 4)
    ),
    "extract --overwrite": Trial(
        partial(run_extract, NEW, overwrite=True), have_runs, check_keys, partial(check_runs, REPLACED, ())
    ),
    "finetune": Trial(
        partial(run_finetune, NEW),
        have_nothing,
        partial(check_tuning, may_be=(NEW,), absent=True),
        check_tuned,
        (1, 1, 2),
    ),
    "finetune --overwrite": Trial(
        partial(run_finetune, NEW, overwrite=True),
        have_all,
        partial(check_tuning, may_be=(OLD, NEW), absent=False),
        check_tuned,
        (1, 1, 2),
    ),
    "probe": Trial(run_probe, have_runs, check_store, partial(check_runs, BOTH, ("probe", "probe-fit")), (1, 1, 2)),
    "compare-attention": Trial(
        run_compare, have_runs, check_store, partial(check_runs, BOTH, ("compare-attention",)), (1, 1, 2)
    ),
    "report": Trial(
        run_report,
        have_page,
        partial(check_page, also=(None, "an old page")),
        partial(check_page, also=()),
        (1, 1, 2),
    ),
    "copy": Trial(run_copy, have_nothing, check_partial, partial(check_runs, BOTH, ()), (1, 2)),
    "rm": Trial(run_rm, have_all, check_some_removed, check_removed, (1, 1, 2)),
}
