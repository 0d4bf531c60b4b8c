"""`biocache label`, and what lists and removes label sets."""

import json
from pathlib import Path
from typing import Any

import pytest
from store_factory import synthetic

from biocache.store import Store

Command = Any


@pytest.fixture
def store(tmp_path: Path) -> Path:
    for split in ("train", "test"):
        synthetic((3, 4, 5), split=split).write_labelled(tmp_path / "s.zarr")
    return tmp_path / "s.zarr"


@pytest.mark.slow
def test_sets_are_made_listed_probed_and_removed(command: Command, store: Path) -> None:
    made = command("label", "odd", "--store", store, "--from-words", "w[13579]")
    assert made.stdout.splitlines()[0].split() == ["label", "set", "of", "labels", "labelled", "without", "source"]
    assert "ner/corpus/test/odd" in made.stdout
    assert "ner/corpus/train/odd" in made.stdout
    told = command("label", "len", "--store", store, "--property", "length", "--split", "test", "--json")
    (fact,) = json.loads(told.stdout)["rows"]
    words = Store.open(store).run(split="test").counts.words
    assert (fact["name"], fact["kind"], fact["labelled"], fact["unlabelled"]) == ("len", "number", words, 0)
    assert "note: ner/corpus/test/len: labels are numbers" in told.stderr
    listed = json.loads(command("ls", "--store", store, "--labels", "--split", "test", "--json").stdout)["rows"]
    assert [each["name"] for each in listed] == ["gold", "len", "odd"]
    assert "gold" in command("ls", "--store", store, "--labels").stdout
    shown = command("probe", "--store", store, "--task", "ner", "--labels", "odd", "--layers", "0").stdout
    assert "accuracy" in shown
    removed = command("rm", "--store", store, "--labels", "odd", "--yes").stdout
    assert "2 label sets removed" in removed
    assert len(Store.open(store).keys()) == 2
    assert [each.place.name for each in Store.open(store).labels(split="test")] == ["gold", "len"]


def test_a_damaged_set_is_one_line_and_can_be_removed(command: Command, store: Path) -> None:
    file = store / "labels/ner/corpus/test/gold.zip"
    file.write_bytes(file.read_bytes()[:-30])
    told = command("ls", "--store", store, "--labels")
    assert "label set" in told.stderr
    assert "cannot be read" in told.stderr
    assert "gold" in command("probe", "--store", store, "--task", "ner", code=1).stderr
    assert "1 problem" in command("verify", "--store", store, code=1).stdout
    command("rm", "--store", store, "--labels", "gold", "--split", "test", "--yes")
    assert not file.exists()


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("label", "x"), 1, "labels come from nowhere; give one of --file, --from-words, --from-python, --property"),
        (("label", "a/b", "--property", "length"), 1, "label set name 'a/b' cannot be part of a path"),
        (("label", "word", "--property", "length"), 1, "'word' is a coordinate of every view"),
        (("label", "x", "--property", "length", "--task", "nli"), 1, "has no run of nli to label"),
        (("label", "x", "--file", "nothing.conll"), 1, "nothing.conll: there is no such file; check --file"),
        (("ls", "--labels", "--model", "x"), 2, "label sets have no --model"),
        (("ls", "--labels", "--checkpoints", "."), 2, "--labels lists label sets, and --checkpoints checkpoints"),
        (("rm", "--labels", "pos", "--yes"), 1, "has no label set 'pos'; `biocache ls --labels` lists them"),
        (("rm", "--labels", "gold", "--all"), 2, "--labels removes label sets, and RUN and --all runs"),
        (("probe", "--task", "ner", "--labels", "pos"), 1, "has no label set 'pos' for ner corpus train (it has gold)"),
    ],
)
def test_mistakes_are_one_line(command: Command, store: Path, arguments: tuple[str, ...], code: int, says: str) -> None:
    told = command(arguments[0], "--store", store, *arguments[1:], code=code).stderr
    assert says in told
    assert told.splitlines()[-1].startswith("Error: ")
    assert [each.place.name for each in Store.open(store).labels()] == ["gold", "gold"]


@pytest.mark.slow
def test_relations_are_labelled_listed_probed_verified_copied_and_removed(
    command: Command, store: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "rel"
    folder.mkdir()
    for split in ("train", "test"):
        run = Store.open(store).run(split=split)
        rows = ["sample_id,start1,end1,start2,end2,label"]
        for name, count in zip(run.column("samples/sample_id"), run.column("samples/word_count"), strict=True):
            rows += [f"{name},0,{end},{end - 1},{end},{'ab'[end % 2]}" for end in range(1, count + 1)]
        (folder / f"{split}.csv").write_text("\n".join(rows) + "\n")
    made = json.loads(
        command("label", "rel", "--store", store, "--file", folder, "--level", "relation", "--json").stdout
    )["rows"]
    assert [(each["split"], each["level"], each["classes"]) for each in made] == [
        ("train", "relations", ["a", "b"]),
        ("test", "relations", ["a", "b"]),
    ]
    assert "relations" in command("ls", "--store", store, "--labels").stdout
    shown = command("probe", "--store", store, "--task", "ner", "--labels", "rel", "--layers", "0", "--json").stdout
    assert json.loads(shown)["rows"]
    command("verify", "--store", store)
    command("copy", store, tmp_path / "t.zarr")
    assert [each.labels.level for each in Store.open(tmp_path / "t.zarr").labels(name="rel")] == ["relations"] * 2
    told = command("probe", "--store", store, "--task", "ner", "--labels", "rel", "--probe", "bilstm-crf", code=1)
    assert "a row of labels 'rel' of ner is a relation; use svc" in told.stderr
    assert "2 label sets removed" in command("rm", "--store", store, "--labels", "rel", "--yes").stdout


@pytest.mark.slow
def test_entities_are_typed_on_the_command_line(command: Command, store: Path) -> None:
    told = command("probe", "--store", store, "--task", "ner", "--level", "span", "--layers", "0")
    assert "accuracy" in told.stdout
    assert "entity F1" not in told.stdout
    told = command("probe", "--store", store, "--task", "ner", "--level", "span", "--probe", "bilstm-crf", code=1)
    assert "a row of labels of ner is a span; use svc" in told.stderr
