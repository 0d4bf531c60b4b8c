import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import xarray as xr
from click.testing import Result
from filelock import FileLock

from biocache.cli.demo import python_lines
from biocache.cli.main import COMMANDS
from biocache.engine import compare_attention, probe
from biocache.engine.analysis import ANALYSES
from biocache.engine.demo.demo import SCORES, SIZES, Demo
from biocache.engine.demo.making import Step, make_demo
from biocache.engine.demo.models import MODELS, write_model
from biocache.store import Store
from biocache.store.atomic import PARTIAL

Command = Callable[..., Result]

#: Task -> score of its probes.
READ = {"ner": "merged_entity_f1", "nli": "accuracy"}


@pytest.fixture(scope="module")
def made(demo: tuple[Path, str]) -> Demo:
    return Demo(demo[0])


def commands_in(output: str) -> list[str]:
    """Return the commands that a demo showed, each on one line."""
    lines = output.replace("\\\n", " ").splitlines()
    return [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]


def test_the_demo_is_a_store_of_both_tasks_every_model_and_every_size(made: Demo) -> None:
    catalog = Store.open(made.store).catalog()
    assert len(catalog) == len(MODELS) * 5 * 2 * 2
    assert catalog.complete.all()
    assert set(catalog.model) == {"bert", "biobert", "gpt2", "biogpt"}
    assert set(catalog.training_size) == {0, 10, 30, 50, 100}


def test_every_step_of_a_study_is_shown(demo: tuple[Path, str]) -> None:
    shown = [shlex.split(line)[1] for line in commands_in(demo[1])]
    assert set(shown) == {"finetune", "extract", "probe", "compare-attention", "report"} <= {*COMMANDS, *ANALYSES}
    assert len(shown) == 2 + 2 + 2 + 8 + 1
    assert demo[1].count("done in ") == len(shown) + 2


def test_a_second_call_finds_everything(demo: tuple[Path, str], command: Command) -> None:
    folder, output = demo
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    again = command("demo", folder).stdout
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    assert again.count("\nfound\n") == output.count("done in ")
    assert "done in " not in again
    assert again.partition("Fine-tuned models")[2] == output.partition("Fine-tuned models")[2]


def test_the_shown_commands_ask_for_what_is_there(
    demo: tuple[Path, str], command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store.open(demo[0] / "biocache.zarr")
    kinds = ("finetune", "probe", "attention")
    results = {kind: len(list(store.results(kind))) for kind in kinds}
    files = {path: path.stat().st_mtime_ns for path in demo[0].rglob("*") if path.name != "report.html"}
    for line in commands_in(demo[1]):
        words = shlex.split(line)[1:]
        if words[0] == "report":
            words[-1] = str(tmp_path / "again.html")
        result = command(*words)
        if words[0] == "finetune":
            assert result.stdout.count(" found") == len(MODELS) * len(SIZES)
    assert {kind: len(list(store.results(kind))) for kind in kinds} == results
    assert {path: path.stat().st_mtime_ns for path in files} == files


def test_the_python_lines_run(demo: tuple[Path, str], made: Demo) -> None:
    lines = "\n".join(python_lines(made))
    assert demo[1].endswith(f"{lines}\n")
    result = subprocess.run([sys.executable, "-W", "error", "-c", lines], capture_output=True, text=True, check=True)
    assert "cell_type" in result.stdout


@pytest.mark.slow
def test_fine_tuning_on_all_is_better_than_on_a_tenth_and_than_none(made: Demo) -> None:
    majority = {
        task: probe(made.store, made.probe_request(task)).majority.sel(score=READ[task]).max().item() for task in SCORES
    }
    for task, model, scores in made.scores():
        assert scores[100] > scores[10] + 0.1, (task, model)
        assert scores[100] > majority[task] + 0.1, (task, model)


def test_probes_find_more_entities_in_models_that_were_fine_tuned_on_more(made: Demo) -> None:
    best = probe(made.store, made.probe_request("ner")).merged_entity_f1.max("layer").squeeze()
    gained = best.sel(training_size=100) - best.sel(training_size=[0, 10])
    assert (gained > 0.03).all()
    assert gained.mean() > 0.08


def test_some_layer_reads_more_than_the_embeddings(made: Demo) -> None:
    for task, (least, models) in {"ner": (0.05, 2), "nli": (0.0, 1)}.items():
        of_layers = probe(made.store, made.probe_request(task))[READ[task]].sel(training_size=100).squeeze()
        gained = of_layers.sel(layer=slice(1, None)).max("layer") - of_layers.sel(layer=0)
        assert (gained > least).sum() >= models, task


@pytest.mark.slow
def test_attention_leaves_the_pretrained_one_with_size_and_most_at_the_top(made: Demo) -> None:
    for task in ("ner", "nli"):
        compared = [compare_attention(made.store, made.attention_request(task, model)) for model in MODELS]
        alike = xr.concat([result.layer_mean.sel(metric="cosine") for result in compared], "model")
        fallen = alike.sel(training_size=10) - alike.sel(training_size=100)
        assert (fallen.mean("layer") > 0.05).all(), task
        changed = 1 - alike.mean(["model", "training_size"])
        assert changed.sel(layer=3) > changed.sel(layer=1) + 0.03, task


def test_the_control_of_pairs_is_one_that_test_shows(made: Demo) -> None:
    result = probe(made.store, made.probe_request("nli"))
    assert result.attrs["control_seen"] > 0.8
    own = result.sel(score="accuracy")
    assert (own.control.max() > own.control_majority + 0.1).all()


def test_an_interrupted_demo_is_completed(
    demo: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []

    def copy(name: str, folder: Path) -> None:
        if len(made) == 2:
            made.append("interrupted")
            raise KeyboardInterrupt
        made.append(name)
        shutil.copytree(demo[0] / "models" / name, folder / name)

    def stop(step: Step) -> None:
        if step.name == "finetune ner":
            raise InterruptedError

    monkeypatch.setattr("biocache.engine.demo.making.write_model", copy)
    with pytest.raises(KeyboardInterrupt):
        make_demo(tmp_path / "demo")
    # What a killed process left is deleted.
    (tmp_path / "demo/models" / f"{PARTIAL}host-1@0" / "gpt2").mkdir(parents=True)
    with pytest.raises(InterruptedError):
        make_demo(tmp_path / "demo", on_step=stop)
    # A twin comes after what it begins with.
    assert made == ["bert", "biobert", "interrupted", "gpt2", "biogpt"]
    names = sorted(path.name for path in (tmp_path / "demo").iterdir() if path.name != ".lock")
    assert names == ["biocache-demo.json", "corpus", "models"]
    assert sorted(path.name for path in (tmp_path / "demo" / "models").iterdir()) == sorted(MODELS)


def test_a_model_is_the_same_in_any_process(demo: tuple[Path, str], tmp_path: Path) -> None:
    here = write_model("gpt2", tmp_path)
    assert (here / "model.safetensors").read_bytes() == (demo[0] / "models/gpt2/model.safetensors").read_bytes()


def test_a_folder_of_something_else_is_refused(command: Command, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    stderr = command("demo", tmp_path, code=1).stderr
    assert stderr.startswith(f"Error: {tmp_path} holds other files and no biocache-demo.json, so it is no demo")
    assert "is not a folder" in command("demo", tmp_path / "thesis.tex", code=1).stderr
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_demo_of_another_version_is_refused(command: Command, tmp_path: Path) -> None:
    (tmp_path / "biocache-demo.json").write_text('{"biocache_demo": 1}\n')
    assert "holds the demo of another version of biocache" in command("demo", tmp_path, code=1).stderr


def test_a_demo_that_another_process_makes_is_left_to_it(command: Command, tmp_path: Path) -> None:
    (tmp_path / "biocache-demo.json").write_text('{"biocache_demo": 2}\n')
    with FileLock(tmp_path / ".lock"):
        stderr = command("demo", tmp_path, code=1).stderr
    assert stderr.startswith(f"Error: another process is making the demo in {tmp_path}; wait")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "biocache-demo.json"]
