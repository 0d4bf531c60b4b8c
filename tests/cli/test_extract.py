import json
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import Result

from biocache.cli.extract import extract as extract_command
from biocache.cli.extract import print_reports
from biocache.engine.extraction import extract as running
from biocache.engine.extraction import planning
from biocache.engine.extraction.request import ExtractionRequest, Partition
from biocache.engine.extraction.running import Progress, RunReport
from biocache.engine.request import settings_of
from biocache.store import Store
from biocache.store.errors import SettingError
from biocache.store.folders import Folder
from biocache.store.text import format_bytes

Command = Callable[..., Result]

Handed = Callable[..., ExtractionRequest]


@pytest.fixture
def handed(command: Command, monkeypatch: pytest.MonkeyPatch) -> Handed:
    """Return the request that `extract` hands to `plan_extraction`, which then stops it."""

    def parse(*arguments: object) -> ExtractionRequest:
        seen: list[ExtractionRequest] = []

        def stop(request: ExtractionRequest) -> None:
            seen.append(request)
            raise SettingError("stopped")

        monkeypatch.setattr(planning, "plan_extraction", stop)
        assert command("extract", *arguments, code=1).stderr == "Error: stopped\n"
        return seen[0]

    return parse


def test_defaults_are_those_of_the_request(handed: Handed) -> None:
    assert handed("--task", "ner") == ExtractionRequest(task="ner")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("--dataset demo=corpora/x", {"dataset": "demo=corpora/x"}),
        ("--model bert,gpt2=models/gpt2 --model a/b", {"models": ("bert", "gpt2=models/gpt2", "a/b")}),
        ("--training-size 0,10 --training-size 100,10", {"training_sizes": (0, 10, 100)}),
        ("--training-size 10 --trained-on nli/mednli", {"training_sizes": (10,), "trained_on": "nli/mednli"}),
        ("--seed 7,9 --seed 8", {"seeds": (7, 9, 8)}),
        ("--view pair,premise", {"views": ("pair", "premise")}),
        ("--split validation", {"splits": ("validation",)}),
        ("--checkpoints elsewhere", {"checkpoints": Path("elsewhere")}),
        ("--keep hidden", {"keep": ("hidden",)}),
        ("--finetuned a,b=30 --finetuned c", {"finetuned": ("a", "b=30", "c")}),
        ("--part encoder", {"part": "encoder"}),
        ("--merge-adapters", {"merge_adapters": True}),
        ("--layers 0,2-4", {"layers": (0, 2, 3, 4)}),
        ("--attention-split train --attention-split test", {"attention_splits": ("train", "test")}),
        ("--attention-view premise", {"attention_views": ("premise",)}),
        ("--level word", {"level": "word"}),
        ("--dtype float32", {"dtype": "float32"}),
        ("--dtype int8 --attention-dtype uint8", {"dtype": "int8", "attention_dtype": "uint8"}),
        ("--compute-dtype bfloat16", {"compute_dtype": "bfloat16"}),
        ("--device cuda:1", {"device": "cuda:1"}),
        ("--max-length 64", {"max_length": 64}),
        ("--max-length 64 --stride 16", {"max_length": 64, "stride": 16}),
        ("--stride 0", {"stride": 0}),
        ("--limit 5", {"limit": 5}),
        ("--batch-tokens 256", {"batch_tokens": 256}),
        ("--window-tokens 4096", {"window_tokens": 4096}),
        ("--max-memory 1.5GiB", {"max_memory": 3 * 2**29}),
        ("--max-disk 500M", {"max_disk": 500 * 2**20}),
        ("--partition 2/8", {"partition": Partition(2, 8)}),
        ("--random-weights", {"random_weights": True}),
        ("--overwrite", {"overwrite": True}),
    ],
)
def test_every_option_is_a_field_of_the_request(handed: Handed, arguments: str, expected: dict[str, Any]) -> None:
    assert handed("--task", "nli", *arguments.split()) == ExtractionRequest(task="nli", **expected)


def test_no_field_of_the_request_lacks_an_option(command: Command) -> None:
    from biocache.cli.extract import extract

    assert {each.name for each in settings_of(ExtractionRequest)} <= {parameter.name for parameter in extract.params}


def test_plan_store_and_scheduler_are_handed_on(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[Any, ...]] = []

    class Plan:
        runs = ()
        models = ()

        class corpus:  # noqa: N801
            notes: Mapping[str, Any] = {}
            remarks = ()

    def run_plan(store: Path, plan: Any, *, scheduler_address: str | None, on_progress: Callable[..., None]) -> Any:
        calls.append((store, plan, scheduler_address))
        on_progress(Progress("a/run", 1, 2))
        return []

    monkeypatch.setattr(planning, "plan_extraction", lambda _: Plan)
    monkeypatch.setattr(running, "run_plan", run_plan)
    monkeypatch.setenv("BIOCACHE_STORE", "from/environment")
    command("extract", "--task", "ner", "--scheduler-address", "tcp://host:8786", "--json")
    command("extract", "--task", "ner", "--store", "given", "--json")
    assert calls == [
        (Folder(Path("from/environment")), Plan, "tcp://host:8786"),
        (Folder(Path("given")), Plan, None),
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "Missing option '--task'"),
        ("--task pos", "'pos' is not one of 'ner', 'tokens', 'nli', 'text'"),
        ("--task ner --split dev", "'dev' is not one of"),
        ("--task ner --keep logits", "'logits' is not one of"),
        ("--task ner --dtype int4", "'int4' is not one of"),
        ("--task ner --attention-dtype int8", "'int8' is not one of"),
        ("--task ner --max-memory 8apples", "'8apples' is not a size"),
        ("--task ner --layers 3-1", "'3-1' is not a range"),
        ("--task ner --model bert,,gpt2", "'bert,,gpt2' has an empty item"),
        ("--task ner --limit 0", "0 is not in the range x>=1"),
        ("--task ner --stride -1", "-1 is not in the range x>=0"),
    ],
)
def test_values_that_cannot_be_are_usage_errors(command: Command, arguments: str, message: str) -> None:
    assert message in command("extract", *arguments.split(), code=2).stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dataset", "./nowhere"], r"nowhere: does not exist; pass a folder with train.conll"),
        (["--model", "bert=./nowhere"], r"model 'bert=./nowhere': .* is not a folder"),
        (["--partition", "5/4"], r"partition 5/4 is not I/N with I from 1 to N"),
        (["--partition", "half"], r"partition 'half' is not of the form I/N"),
        (["--view", "pair"], r"view 'pair' is not one of sentence"),
        (["--training-size", "101"], r"--training-size 101 is not a whole number from 0 to 100"),
        (["--training-size", "10"], r"no checkpoint of model 'bert' at training size 10"),
        (["--layers", "0-3"], r"layer 3 is not one of model 'bert': it has 0 \(embeddings\) to 2"),
        (["--device", "abacus"], r"device 'abacus' cannot be used here"),
        (["--max-memory", "1M"], r"--max-memory is 1.0 MiB"),
        (["--max-disk", "1K"], r"--max-disk is 1.0 KiB"),
    ],
)
def test_mistakes_are_one_line(
    command: Command,
    arguments: list[str],
    message: str,
    tmp_path: Path,
    corpus_folder: Path,
    checkpoints: Mapping[str, Path],
) -> None:
    given: dict[str, object] = {"--dataset": corpus_folder / "ner", "--model": f"bert={checkpoints['bert']}"}
    given |= dict(zip(arguments[::2], arguments[1::2], strict=True))
    rest = [part for option in given.items() for part in option]
    stderr = command("extract", "--task", "ner", "--store", tmp_path / "s", *rest, code=1).stderr
    assert stderr.startswith("Error: ")
    assert stderr.count("\n") == 1
    assert re.search(message, stderr), stderr
    assert not (tmp_path / "s").exists()


@pytest.mark.slow
def test_a_dry_run_shows_what_the_run_then_does(
    command: Command, tmp_path: Path, corpus_folder: Path, checkpoints: Mapping[str, Path]
) -> None:
    store = tmp_path / "biocache.zarr"
    asked = ["extract", "--task", "nli", "--dataset", corpus_folder / "nli", "--model", f"gpt2={checkpoints['gpt2']}"]
    asked += ["--store", store, "--split", "test", "--limit", 6, "--max-length", 24, "--device", "cpu"]
    planned = command(*asked, "--dry-run", "--json")
    assert not store.exists()
    runs = json.loads(planned.stdout)["rows"]
    shown = command(*asked, "--dry-run").stdout
    assert "bytes, before compression" in shown
    totals = json.loads(planned.stdout)["totals"]
    sizes = {(choice["variable"], choice["level"], choice["dtype"]): choice for choice in totals["choices"]}
    own = [sizes[name, "token", "float16"] for name in ("hidden", "attention")]
    assert sizes["hidden", "token", "float32"]["activation_bytes"] == 2 * own[0]["activation_bytes"]
    for name in ("activation_bytes", "compressed_bytes"):
        assert sum(choice[name] for choice in own) == totals[name]
    assert totals["activation_bytes"] == sum(run["activation_bytes"] for run in runs)
    for name, dtype, option in (("hidden", "int8", "--dtype"), ("attention", "uint8", "--attention-dtype")):
        codes = command(*asked, "--dry-run", "--json", "--keep", name, option, dtype)
        one = json.loads(codes.stdout)["totals"]
        chosen = sizes[name, "token", dtype]
        assert (
            one["activation_bytes"] == chosen["activation_bytes"] < sizes[name, "token", "float16"]["activation_bytes"]
        )
        assert one["compressed_bytes"] == chosen["compressed_bytes"] < chosen["activation_bytes"]
        assert format_bytes(chosen["compressed_bytes"]) in shown
    assert "peak memory" in shown
    for run in runs:
        assert run["run"] in shown

    done = command(*asked, "--json")
    reports = json.loads(done.stdout)["rows"]
    assert [report["run"] for report in reports] == [run["run"] for run in runs]
    assert [report["tokens_written"] for report in reports] == [run["tokens"] for run in runs]
    assert all(report["complete"] and report["padding_ratio"] >= 1 for report in reports)
    assert {run.key.path: run.counts.tokens for run in Store.open(store).select()} == {
        run["run"]: run["tokens"] for run in runs
    }

    assert planned.stderr == done.stderr
    assert "nli, gpt2, pair, test: 6 samples truncated" in done.stderr
    assert "(max length 24 tokens)" in done.stderr

    again = command(*asked)
    assert [line.split()[1:6] for line in again.stdout.splitlines()[1:]] == [["0", "1", "1", "0", "0"]] * 3
    assert again.stdout.count("complete") == 3


def test_repairs_of_the_corpus_are_told(command: Command, tmp_path: Path, checkpoints: Mapping[str, Path]) -> None:
    corpus = tmp_path / "broken"
    corpus.mkdir()
    (corpus / "train.conll").write_text("IL-2\tB-protein\ngene\tO\n", encoding="utf-8")
    (corpus / "test.conll").write_text("IL-2\tI-protein\ngene\tB-DNA\n", encoding="utf-8")
    (corpus / "train_dev.conll").write_text("x\n", encoding="utf-8")
    stderr = command(
        "extract", "--task", "ner", "--dataset", corpus, "--model", f"bert={checkpoints['bert']}", "--dry-run"
    ).stderr
    assert stderr.splitlines() == [
        "note: broken: train_dev.conll is not read; --split-files can name it",
        "note: broken, test: 1 tag repaired, 1 sample that is in the train split too, word for word",
    ]


def report(done: int, written: int) -> RunReport:
    return RunReport("ner/a/b/size-000/seed-1/sentence/test", 4, written, done, 10 * written, 10 * written, 12, 99)


def test_what_is_left_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    print_reports([report(1, 1), report(4, 0)], partition="1/4", as_json=False)
    out, err = capsys.readouterr()
    first, second = out.splitlines()[1:]
    assert first.endswith("1.200                 incomplete: 3 packs missing")
    assert second.endswith("-                     complete")
    assert err == (
        "note: partition 1/4 is done; 3 packs of 1 run are left to other processes; "
        "the same command with the other partitions finishes them\n"
    )
    with click.Context(extract_command):
        print_reports([report(1, 1)], partition=None, as_json=True)
    out, err = capsys.readouterr()
    printed = json.loads(out)
    assert printed["rows"][0]["complete"] is False
    assert err == f"note: {printed['notes'][0]}\n"
    assert "the same command again finishes them" in err


@pytest.mark.slow
def test_a_model_that_was_trained_for_a_task_is_not_called_pre_trained(
    command: Command, tmp_path: Path, corpus_folder: Path, checkpoints: Mapping[str, Path]
) -> None:
    folder = tmp_path / "tuned"
    shutil.copytree(checkpoints["bert"], folder)
    config = json.loads((folder / "config.json").read_bytes())
    (folder / "config.json").write_text(json.dumps(config | {"architectures": ["BertForTokenClassification"]}))
    arguments = ("--task", "ner", "--dataset", f"demo={corpus_folder / 'ner'}", "--limit", 4, "--store", tmp_path / "s")
    stderr = command("extract", *arguments, "--model", folder).stderr
    says = "note: model tuned is not just pre-trained: its configuration names a task head (BertForTokenClassification)"
    assert says in stderr
    assert "pre-trained" not in command("extract", *arguments, "--model", f"plain={checkpoints['bert']}").stderr
    made = command("report", "--store", tmp_path / "s", "--output", tmp_path / "r.html")
    assert "model tuned at training size 0 was trained for a task" in made.stderr
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    origins = dict(re.findall(r'"model":"(\w+)".*?"origin":"([^"]*)"', page))
    assert origins == {"plain": "pre-trained", "tuned": "with a task head (BertForTokenClassification)"}


@pytest.mark.slow
def test_a_checkpoint_of_another_tool_is_filed_at_its_training_size(
    command: Command, corpus_folder: Path, checkpoints: Mapping[str, Path], tmp_path: Path
) -> None:
    from transformers import AutoModelForTokenClassification

    head = AutoModelForTokenClassification.from_pretrained(checkpoints["bert"], num_labels=3)
    shutil.copytree(checkpoints["bert"], tmp_path / "run=1")
    head.save_pretrained(tmp_path / "run=1")
    plain = ("extract", "--store", tmp_path / "s", "--task", "ner", "--dataset", f"demo={corpus_folder / 'ner'}")
    options = (*plain, "--model", f"tiny={checkpoints['bert']}", "--split", "test", "--limit", 3, "--training-size", 0)
    command(*options, "--finetuned", tmp_path / "run=1", "--finetuned", f"{tmp_path / 'run=1'}=30")
    runs = {run.key.training_size: run for run in Store.open(tmp_path / "s").select()}
    assert sorted(runs) == [0, 30, 100]
    assert {runs[size].provenance.model_source for size in (30, 100)} == {str(tmp_path / "run=1")}
    assert runs[30].spec.model_digest == runs[100].spec.model_digest
    told = command(*options, "--finetuned", tmp_path / "none", code=1).stderr
    assert f"{tmp_path / 'none'} is neither a folder with config.json nor a file" in told
    assert (
        "training size 101 is not from 1 to 100"
        in command(*options, "--finetuned", f"{tmp_path / 'run=1'}=101", code=1).stderr
    )
    several = command(*options, "--model", f"b={checkpoints['gpt2']}", "--finetuned", tmp_path / "run=1", code=1).stderr
    assert "--finetuned is for one model, and --model names 2" in several


@pytest.mark.slow
def test_code_of_its_own_is_noted_once_and_kept(
    command: Command, corpus_folder: Path, checkpoints: Mapping[str, Path], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(checkpoints["bert"], tmp_path / "own"))
    config = json.loads((folder / "config.json").read_bytes())
    config["auto_map"] = {"AutoModel": "modeling.OwnModel"}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    options = ("extract", "--task", "ner", "--dataset", f"demo={corpus_folder / 'ner'}", "--limit", 2)
    options = (*options, "--split", "test", "--model", folder, "--store", tmp_path / "s")
    told = "model own comes with code of its own (modeling.OwnModel), which is not run: it is read as a model of"
    for more in (("--dry-run",), ()):
        assert command(*options, *more).stderr.count(told) == 1
    run = Store.open(tmp_path / "s").run()
    assert run.provenance.own_code == "modeling.OwnModel"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_an_adapter_is_merged_where_it_is_asked_for(command: Command, corpus_folder: Path, tmp_path: Path) -> None:
    from zoo_adapters import adapter_alone

    pytest.importorskip("peft")
    adapter_alone(tmp_path / "lora", tmp_path / "scratch")
    options = ("extract", "--task", "ner", "--dataset", f"demo={corpus_folder / 'ner'}", "--limit", 2)
    options = (*options, "--split", "test", "--model", tmp_path / "lora", "--store", tmp_path / "s")
    assert "pass --merge-adapters to have it merged" in command(*options, code=1).stderr
    told = f"model lora has the adapter in {tmp_path / 'lora'} merged into the weights of {tmp_path / 'scratch/base'}"
    for more in (("--dry-run",), ()):
        assert command(*options, "--merge-adapters", *more).stderr.count(told) == 1
    command("verify", "--store", tmp_path / "s", "--recompute", 2)
    assert Store.open(tmp_path / "s").run().provenance.adapter == str(tmp_path / "lora")


@pytest.mark.slow
def test_the_encoder_of_an_encoder_decoder(command: Command, corpus_folder: Path, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModel
    from zoo_models import make
    from zoo_species import SPECIES

    plain = ("extract", "--task", "ner", "--dataset", f"demo={corpus_folder / 'ner'}", "--split", "test", "--limit", 5)
    for name in ("t5", "bart"):
        folder, store = tmp_path / name, tmp_path / f"{name}.zarr"
        make(SPECIES[name], folder, tmp_path / f"made-{name}")
        options = (*plain, "--store", store, "--model", folder, "--dtype", "float32")
        assert "pass --part=encoder" in command(*options, code=1).stderr
        command(*options, "--part", "encoder")
        run = Store.open(store).run()
        assert run.provenance.part == "encoder"
        encoder = (
            AutoModel.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32).eval().get_encoder()
        )
        ids, starts = run.token_column("tokens/token_id"), run.plan.tokens.dense_start
        for sample in range(run.counts.samples):
            inputs = torch.tensor(ids[starts[sample] : starts[sample + 1]].astype("int64"))[None]
            with torch.inference_mode():
                expected = encoder(input_ids=inputs, output_hidden_states=True, output_attentions=True)
            for variable, values in (("hidden", expected.hidden_states), ("attention", expected.attentions)):
                stored = torch.from_numpy(run.read_sample(variable, sample))
                torch.testing.assert_close(stored, torch.cat(values), rtol=1e-4, atol=1e-4)
        command("verify", "--store", store, "--recompute", 2)
