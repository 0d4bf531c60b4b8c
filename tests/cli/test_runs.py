"""ls, info, verify and rm on a store."""

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from click.testing import Result
from store_factory import chunk_file

from biocache.engine import recompute
from biocache.store import Run, RunKey, Store
from biocache.store.claims import Claims
from biocache.store.folders import Folder
from biocache.store.integrity import Problem
from biocache.store.text import format_bytes

Command = Callable[..., Result]

BERT_TEST = "ner/demo/bert/size-000/seed-42/sentence/test"
BERT_TRAIN = "ner/demo/bert/size-000/seed-42/sentence/train"
GPT2_TEST = "ner/demo/gpt2/size-000/seed-42/sentence/test"
GPT2_TRAIN = "ner/demo/gpt2/size-000/seed-42/sentence/train"
KEPT = ("hidden", "attention")
ALL = [BERT_TEST, BERT_TRAIN, GPT2_TEST, GPT2_TRAIN]


def listed(stdout: str) -> list[str]:
    return [line.split()[0] for line in stdout.splitlines()[1:]]


@pytest.mark.parametrize(
    ("selectors", "runs"),
    [
        ("", ALL),
        ("--model bert", ALL[:2]),
        ("--model bert=moved/elsewhere", ALL[:2]),
        ("--model bert,gpt2 --split test", [BERT_TEST, GPT2_TEST]),
        ("--dataset corpora/demo --training-size 0 --seed 42 --task ner --view sentence", ALL),
        ("--dataset org/Demo", ALL),
    ],
)
def test_ls_lists_what_is_selected(command: Command, extracted: Path, selectors: str, runs: list[str]) -> None:
    result = command("ls", "--store", extracted, *selectors.split())
    assert listed(result.stdout) == runs
    (total,) = result.stderr.splitlines()
    catalog = Store.open(extracted).catalog()
    stored = catalog[[str(RunKey(**key)) in runs for key in catalog[list(RunKey.names())].to_dict("records")]]
    assert total == f"{len(runs)} runs, {stored.tokens.sum():,} tokens, {format_bytes(stored.stored_bytes.sum())}"


def test_ls_lists_what_is_incomplete(command: Command, store: Path) -> None:
    assert command("ls", "--store", store, "--incomplete").stderr.startswith("note: all of these runs are complete\n")
    for record in (store / BERT_TEST).glob("packs/record/c/*"):
        record.unlink()
    result = command("ls", "--store", store, "--incomplete")
    assert listed(result.stdout) == [BERT_TEST]
    assert [
        row["state"] for row in json.loads(command("ls", "--store", store, "--incomplete", "--json").stdout)["rows"]
    ] == ["incomplete"]
    command("ls", "--store", store, "--incomplete", "--labels", code=2)


def test_a_reader_that_has_read_enough_is_no_error(extracted: Path) -> None:
    command = [sys.executable, "-m", "biocache.cli.main", "ls", "--store", str(extracted)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


def test_ls_writes_the_catalog_as_json(command: Command, extracted: Path) -> None:
    rows = json.loads(command("ls", "--store", extracted, "--split", "test", "--json").stdout)["rows"]
    catalog = Store.open(extracted).catalog()
    expected = catalog[catalog.split == "test"]
    assert [row["tokens"] for row in rows] == expected.tokens.to_list()
    assert list(rows[0]) == ["run", *expected.columns]
    assert [row["run"] for row in rows] == [BERT_TEST, GPT2_TEST]
    assert rows[0]["complete"] is True


def test_ls_of_nothing_says_so(command: Command, extracted: Path) -> None:
    result = command("ls", "--store", extracted, "--model", "llama")
    assert (result.stdout, result.stderr) == ("", f"note: {extracted} has no such run\n")
    found = command("ls", "--store", extracted, "--seed", "1", "--json")
    assert (json.loads(found.stdout)["rows"], found.stderr) == ([], f"note: {extracted} has no such run\n")


@pytest.mark.parametrize("name", ["ls", "info", "verify"])
def test_what_is_no_store_is_refused(command: Command, tmp_path: Path, name: str) -> None:
    stderr = command(name, "--store", tmp_path / "none", code=1).stderr
    assert stderr.startswith(f"Error: {tmp_path / 'none'} is not a biocache store")


def test_the_store_can_come_from_the_environment(
    command: Command, extracted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BIOCACHE_STORE", str(extracted))
    assert listed(command("ls").stdout) == ALL


def test_info_names_one_run_by_path_or_selectors(command: Command, extracted: Path) -> None:
    by_path = command("info", BERT_TEST, "--store", extracted, "--json").stdout
    completed = command("info", extracted / BERT_TEST, "--store", extracted, "--json").stdout
    selected = command("info", "--store", extracted, "--model", "bert", "--split", "test", "--json").stdout
    (facts,) = json.loads(by_path)["rows"]
    assert json.loads(completed)["rows"] == json.loads(selected)["rows"] == [facts]
    run = Store.open(extracted).run(model="bert", split="test")
    assert facts["run"] == BERT_TEST
    assert facts["spec"]["model_digest"] == run.spec.model_digest
    assert facts["counts"]["tokens"] == run.counts.tokens
    raw = sum(run.activations(name).nbytes for name in run.spec.keep)
    chunks = [chunk_file(run, "hidden", i, 0) for i in range(3)] + [
        chunk_file(run, "attention", i, 0) for i in range(2)
    ]
    assert facts["sizes"]["activation_bytes"] == raw
    assert facts["sizes"]["stored_bytes"] == sum(chunk.stat().st_size for chunk in chunks)
    assert facts["sizes"]["compression_ratio"] == pytest.approx(raw / facts["sizes"]["stored_bytes"])
    assert facts["sizes"]["disk_bytes"] > facts["sizes"]["stored_bytes"]
    shown = command("info", BERT_TEST, "--store", extracted).stdout
    assert run.spec.model_digest in shown
    assert "0-2" in shown
    certificate = run.certificate()
    assert facts["rounding"] == certificate
    assert set(certificate) == set(KEPT)
    assert f"{certificate['attention']['worst']:.2g} bit at most" in shown


def test_info_of_several_or_no_run_is_an_error(command: Command, extracted: Path) -> None:
    several = command("info", "--store", extracted, "--model", "bert", code=1).stderr
    assert several == f"Error: 2 runs match model='bert': {BERT_TEST}, {BERT_TRAIN}; add what tells them apart\n"
    none = command("info", "--store", extracted, "--model", "llama", code=1).stderr
    assert none.startswith("Error: no run matches model='llama'")
    assert "is not the path of a run" in command("info", "ner/demo", "--store", extracted, code=2).stderr
    both = command("info", BERT_TEST, "--store", extracted, "--model", "bert", code=2).stderr
    assert "give RUN or selectors, not both" in both


@pytest.mark.slow
def test_verify_passes_a_sound_store(command: Command, extracted: Path) -> None:
    runs = Store.open(extracted).select()
    hidden, attention = ([run.certificate()[name] for run in runs if name in run.spec.keep] for name in KEPT)
    shown = [max(one["worst"] for one in part) for part in (hidden, attention)]
    means = [sum(one["mean"] for one in part) / len(part) for part in (hidden, attention)]
    assert command("verify", "--store", extracted).stdout == (
        "4 runs, 4 packs, 2 label sets checked: no problems\n"
        f"rounding: hidden {shown[0]:.2g} of a feature's spread at most, mean {means[0]:.2g}; "
        f"attention {shown[1]:.2g} bit at most, mean {means[1]:.2g}\n"
    )
    some = command("verify", BERT_TEST, GPT2_TEST, "--store", extracted, "--json").stdout
    checked = {"runs": 2, "packs": 2, "results": 0, "label_sets": 0, "checkpoints": 0, "problems": 0}
    certificates = {str(run.key): run.certificate() for run in runs if str(run.key) in (BERT_TEST, GPT2_TEST)}
    assert json.loads(some)["totals"] == checked | {"rounding": certificates, "repaired": []}
    assert json.loads(some)["rows"] == []


def test_verify_of_nothing_is_an_error(command: Command, extracted: Path) -> None:
    assert "no run matches model='llama'" in command("verify", "--store", extracted, "--model", "llama", code=1).stderr


@pytest.mark.slow
def test_verify_tells_damage_and_fails(command: Command, store: Path) -> None:
    chunk = chunk_file(Store.open(store).run(model="bert", split="test"), "hidden", 1, 0)
    chunk.write_bytes(chunk.read_bytes()[:-1] + b"!")
    (store / GPT2_TRAIN / "packs/record/c/0").unlink()
    result = command("verify", "--store", store, code=1)
    damaged, missing, summary = result.stdout.splitlines()
    assert damaged.startswith(f"{BERT_TEST}, pack 0: layer 1 of hidden")
    assert missing.startswith(f"{GPT2_TRAIN}, pack 0: not committed")
    assert summary == "4 runs, 4 packs, 2 label sets checked: 2 problems"
    problems = json.loads(command("verify", "--store", store, "--json", code=1).stdout)["rows"]
    assert [(problem["place"], problem["pack"]) for problem in problems] == [(BERT_TEST, 0), (GPT2_TRAIN, 0)]
    command("verify", "--store", store, BERT_TRAIN)


def test_verify_recomputes(command: Command, extracted: Path, checkpoints: Mapping[str, Path]) -> None:
    options = ("--store", extracted, "--model", "bert", "--recompute", 2, "--device", "cpu")
    stdout = command("verify", *options, "--from", checkpoints["bert"]).stdout
    assert stdout.startswith("2 runs, 2 packs checked, up to 2 samples of each run recomputed: no problems\nrounding: ")


def test_what_recomputing_is_handed(command: Command, extracted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[Any, ...]] = []

    def recomputed(run: Run, count: int, *, model: str | None, device: str | None) -> Iterator[Problem]:
        calls.append((run.key.path, count, model, device))
        yield Problem(run.key.path, 0, "differs\nmuch")

    monkeypatch.setattr(recompute, "recompute_samples", recomputed)
    arguments = ("verify", BERT_TEST, "--store", extracted, "--recompute", 3)
    stdout = command(*arguments, "--from", "there", "--device", "cpu", code=1).stdout
    assert stdout.splitlines()[0] == f"{BERT_TEST}, pack 0: differs much"
    command(*arguments, code=1)
    assert calls == [(BERT_TEST, 3, "there", "cpu"), (BERT_TEST, 3, None, None)]


def test_what_differs_in_a_run_is_one_line(command: Command, extracted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def recomputed(run: Run, count: int, **_: object) -> Iterator[Problem]:
        yield from (Problem(run.key.path, 0, f"layer {layer} differs") for layer in range(126))

    monkeypatch.setattr(recompute, "recompute_samples", recomputed)
    arguments = ("verify", BERT_TEST, "--store", extracted, "--recompute", 3)
    lines = command(*arguments, code=1).stdout.splitlines()
    assert lines[0] == (
        f"{BERT_TEST}, pack 0: layer 0 differs; so do 125 more layers and samples of this run, which --json lists"
    )
    assert lines[1].endswith("126 problems")
    assert len(json.loads(command(*arguments, "--json", code=1).stdout)["rows"]) == 126


def test_verify_refuses_settings_that_say_nothing(command: Command, extracted: Path) -> None:
    alone = command("verify", "--store", extracted, "--from", "there", code=2).stderr
    assert "--from and --device say how to --recompute" in alone
    several = command("verify", "--store", extracted, "--from", "there", "--recompute", 1, code=2).stderr
    assert "the runs have bert at 0 %, gpt2 at 0 %" in several


def runs(store: Path) -> list[str]:
    keys = Store.open(store).keys()
    return [key.path for key in keys]


def test_rm_lists_asks_and_removes(command: Command, store: Path) -> None:
    refused = command("rm", "--store", store, "--model", "bert", code=1, answer="n\n")
    assert listed(refused.stdout)[:2] == [BERT_TEST, BERT_TRAIN]
    assert runs(store) == ALL
    removed = command("rm", "--store", store, "--model", "bert", answer="y\n")
    assert "Remove 2 runs" in removed.stderr
    assert "2 runs removed" in removed.stdout
    assert runs(store) == ALL[2:]
    command("rm", GPT2_TEST, "--store", store, "--yes")
    assert runs(store) == [GPT2_TRAIN]
    command("rm", "--all", "--yes", "--store", store)
    assert runs(store) == []
    assert command("ls", "--store", store).stderr == f"note: {store} holds no runs\n"


def test_rm_needs_to_be_told_what(command: Command, store: Path) -> None:
    said = "nothing says what to remove: give RUN, selectors, --all, --labels, --results or --unused-results"
    assert said in command("rm", "--store", store, "--yes", code=2).stderr
    assert "give it alone" in command("rm", "--all", "--model", "bert", "--store", store, "--yes", code=2).stderr
    assert "no run matches" in command("rm", "--store", store, "--yes", "--model", "llama", code=1).stderr
    assert "no run matches" in command("rm", GPT2_TEST.replace("42", "1"), "--store", store, "--yes", code=1).stderr
    assert runs(store) == ALL


def test_rm_refuses_runs_that_are_being_written_and_then_removes_none(command: Command, store: Path) -> None:
    claims = Claims(Folder(store), GPT2_TEST)
    try:
        with claims.hold([0], wait=False) as held:
            assert held
            stderr = command("rm", "--split", "test", "--store", store, "--yes", code=1).stderr
    finally:
        claims.close()
    assert stderr.startswith(f"Error: run {GPT2_TEST} is being written by another process")
    assert runs(store) == ALL


def damage(store: Path, what: str) -> str:
    """Damage the run of BERT on the test split; return what is said of it."""
    file = store / BERT_TEST / ("zarr.json" if what == "attributes" else "packs/record/c/0")
    if what == "attributes":
        file.write_text("{", encoding="utf-8")
        return f"run {BERT_TEST} is damaged: {file} is not the metadata of a Zarr version 3 group"
    stored = file.read_bytes()
    file.write_bytes(stored[:-1] + bytes([stored[-1] ^ 1]))
    return f"commit record of pack 0 of {store / BERT_TEST} cannot be used (checksum does not match)"


def test_ls_lists_a_damaged_run_as_damaged(command: Command, store: Path) -> None:
    said = damage(store, "attributes")
    result = command("ls", "--store", store)
    assert listed(result.stdout) == ALL
    rows = dict(zip(ALL, result.stdout.splitlines()[1:], strict=True))
    assert [run for run in ALL if "damaged" in rows[run]] == [BERT_TEST]
    line, _total = result.stderr.splitlines()
    assert line.startswith(f"note: {said}")
    result = command("ls", "--store", store, "--json")
    problems = {row["split"]: row["problem"] for row in json.loads(result.stdout)["rows"] if row["model"] == "bert"}
    assert problems["test"].startswith(said)
    assert problems["train"] == ""
    assert "damaged" not in command("ls", "--store", store, "--model", "gpt2").stderr


def test_a_pack_with_a_torn_record_counts_as_not_there(command: Command, store: Path) -> None:
    damage(store, "record")
    listed_rows = json.loads(command("ls", "--store", store, "--model", "bert", "--json").stdout)["rows"]
    rows = {row["split"]: row for row in listed_rows}
    assert (rows["test"]["state"], rows["test"]["packs_done"]) == ("incomplete", 0)
    assert (rows["train"]["state"], rows["train"]["packs_done"]) == ("complete", 1)


def test_ls_calls_a_run_of_a_newer_release_newer(command: Command, store: Path) -> None:
    file = store / BERT_TEST / "zarr.json"
    file.write_bytes(file.read_bytes().replace(b'"format_version": 2', b'"format_version": 9'))
    result = command("ls", "--store", store)
    rows = dict(zip(ALL, result.stdout.splitlines()[1:], strict=True))
    assert "newer" in rows[BERT_TEST]
    line, _total = result.stderr.splitlines()
    assert line.startswith(f"note: {store / BERT_TEST} has format version 9, of a newer release")
    assert "damaged" not in result.output


@pytest.mark.parametrize("what", ["attributes", "record"])
def test_verify_tells_of_a_damaged_run_and_goes_on(command: Command, store: Path, what: str) -> None:
    said = damage(store, what)
    problem, summary = command("verify", "--store", store, code=1).stdout.splitlines()
    where = BERT_TEST if what == "attributes" else f"{BERT_TEST}, pack 0"
    assert problem.startswith(f"{where}: {said}")
    assert "biocache" in problem
    packs = 3 if what == "attributes" else 4
    assert summary == f"4 runs, {packs} packs, 2 label sets checked: 1 problem"
    (told,) = json.loads(command("verify", BERT_TEST, "--store", store, "--json", code=1).stdout)["rows"]
    assert (told["place"], told["pack"]) == (BERT_TEST, None if what == "attributes" else 0)


def test_a_damaged_run_can_be_removed_and_is_one_line_elsewhere(command: Command, store: Path) -> None:
    said = damage(store, "attributes")
    (line,) = command("info", BERT_TEST, "--store", store, code=1).stderr.splitlines()
    assert line.startswith(f"Error: {said}")
    command("rm", BERT_TEST, "--store", store, "--yes")
    assert runs(store) == ALL[1:]
    assert not (store / BERT_TEST).exists()
    assert command("verify", "--store", store).stdout.startswith("3 runs, 3 packs, 2 label sets checked: no problems\n")


@pytest.mark.slow
def test_bars_are_drawn_on_stderr_and_results_stay_on_stdout(store: Path) -> None:
    (store / GPT2_TRAIN / "packs/record/c/0").unlink()
    call = [sys.executable, "-c", "from biocache.cli.main import main; main()", "verify", "--store", str(store)]
    ours, theirs = pty.openpty()
    drawn = ""

    def read() -> None:
        nonlocal drawn
        # A terminal holds 4 KiB: what is drawn beyond waits until somebody reads.
        with open(ours, encoding="utf-8", newline="", closefd=True) as terminal, suppress(OSError):  # noqa: PTH123
            while part := terminal.read(1):
                drawn += part

    reader = Thread(target=read)
    reader.start()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "200"}
    try:
        result = subprocess.run(call, stdout=subprocess.PIPE, stderr=theirs, text=True, env=environment, check=False)
    finally:
        os.close(theirs)
        reader.join(60)
    assert [line.partition(",")[0] for line in result.stdout.splitlines()] == [GPT2_TRAIN, "4 runs"]
    assert BERT_TEST in drawn
    assert "100%" in drawn
