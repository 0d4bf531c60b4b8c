"""The page itself: nothing of the data is markup, nothing is fetched, and what is absent is said."""

import base64
import hashlib
import json
import random
import re
import shlex
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import xarray as xr
from click.testing import CliRunner
from report_factory import HOSTILE, LABELS, SOURCE, Page, add_scores, arguments_of, runs, write_runs
from shapes import STRANGE, places, replaced
from store_factory import chunk_file, opened_archive

from biocache.cli.main import biocache
from biocache.engine import ANALYSES, ProbeRequest, Report, ReportRequest, compare_probes, write_report
from biocache.engine.report import report as module
from biocache.store import Store
from biocache.store.errors import RunNotFoundError, SettingError
from biocache.store.results import save_result


@pytest.mark.slow
def test_a_report_says_what_it_has(written: Path, full: Path, tmp_path: Path, page: Page) -> None:
    made = write_report(full, tmp_path / "again.html")
    samples = sum(len(group["samples"]) for group in page.viewer["groups"])
    size = (tmp_path / "again.html").stat().st_size
    assert made == Report(tmp_path / "again.html", size, runs=14, figures=5, samples=samples)
    assert samples == 18
    assert written.stat().st_size < 5 * 2**20


def test_texts_of_the_data_are_no_markup(page: Page) -> None:
    tags = [tag for tag, _ in page.elements]
    assert not {"img", "iframe", "b", "u", "i", "link", "object", "embed"} & set(tags)
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)
    # The scripts of the page, which its policy names, and data.
    kinds = [attributes.get("type") for attributes, _ in page.scripts]
    assert kinds.count(None) == 4
    assert set(kinds) == {None, "application/json", "text/plain"}
    assert SOURCE in page.text
    assert "</td><td>corpora" in page.text
    assert "<u>host</u>" in page.text


def test_texts_of_the_data_reach_the_viewer_as_they_are(page: Page) -> None:
    words = {word for group in page.viewer["groups"] for sample in group["samples"] for word in sample["words"]}
    assert words == set(HOSTILE)
    labels = {
        label for group in page.viewer["groups"] for s in group["samples"] for label in s["labels"] or [s["label"]]
    }
    assert labels >= {LABELS[1], LABELS[2]}


def test_the_page_fetches_nothing(page: Page) -> None:
    for tag, attributes in page.elements:
        for name in ("src", "href", "action", "data", "poster", "srcset"):
            assert (attributes.get(name) or "#").startswith("#"), (tag, attributes)
    assert not re.search(r"@import|url\(", page.source.split("</style>")[0])


def test_the_policy_allows_its_own_scripts_alone(page: Page) -> None:
    (policy,) = (a["content"] for t, a in page.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    parts = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert parts["default-src"] == "'none'"
    hashes = {
        f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
        for attributes, text in page.scripts
        if "type" not in attributes
    }
    assert set(parts["script-src"].split()) == hashes
    assert "unsafe-eval" not in policy


def test_names_and_references_agree(page: Page) -> None:
    names = [attributes["id"] for _, attributes in page.elements if attributes.get("id")]
    assert len(names) == len(set(names))
    for tag, attributes in page.elements:
        if tag == "a":
            assert str(attributes["href"]).removeprefix("#") in names


def test_every_control_has_a_name(page: Page) -> None:
    for tag, attributes in page.elements:
        if tag == "canvas":
            assert attributes["tabindex"] == "0"
    assert page.source.count("<select") == len(re.findall(r"<label>[^<]+<select", page.source)) == 10


def test_the_catalog_lists_runs_with_their_provenance(page: Page, full: Path) -> None:
    for run in Store.open(full).select():
        assert str(run.key) in page.text
        for errors in run.certificate().values():
            assert f"{errors['worst']:.2g}" in page.text
    assert page.text.count("complete") >= 14
    assert "biocache 0.1.0" in page.text
    assert "0 %" in page.text


@pytest.mark.slow
def test_without_results_every_section_says_which_command_makes_some(store: Path, tmp_path: Path) -> None:
    made = write_report(store, tmp_path / "report.html")
    assert made.figures == 0
    assert made.notes == ("no probes in the store", "no attention in the store", "no fine-tuning in the store")
    page = Page(tmp_path / "report.html")
    assert "Nothing has been computed from these runs yet" in page.text
    probe, compare, finetune = (text for text in page.codes() if text)
    for command in (probe, compare):
        result = CliRunner().invoke(biocache, arguments_of(command))
        assert result.exit_code == 0, result.output
    assert arguments_of(finetune)[0] == "finetune"
    again = write_report(store, tmp_path / "report.html")
    assert again.figures == 2
    assert again.notes == ("no fine-tuning in the store",)


@pytest.mark.slow
def test_two_models_alone_are_to_be_compared_with_each_other(tmp_path: Path) -> None:
    root = write_runs(tmp_path / "two.zarr", [run for run in runs() if run.spec.key.training_size == 0])
    write_report(root, tmp_path / "report.html")
    compare = Page(tmp_path / "report.html").codes()[1]
    assert "--against gpt2" in compare
    assert CliRunner().invoke(biocache, arguments_of(compare)).exit_code == 0
    assert write_report(root, tmp_path / "report.html").figures == 1
    assert Page(tmp_path / "report.html").json("attention-1-variant-0")["panels"]


def test_one_model_alone_is_to_be_fine_tuned_and_extracted(tmp_path: Path) -> None:
    root = write_runs(tmp_path / "one.zarr", runs()[:1])
    write_report(root, tmp_path / "report.html")
    extract = shlex.split(Page(tmp_path / "report.html").codes()[1])
    assert extract[1] == "extract"
    assert extract[extract.index("--model") + 1] == f"bert={SOURCE}"


@pytest.mark.slow
def test_results_alone_are_reported(tmp_path: Path) -> None:
    add_scores(tmp_path / "scores.zarr")
    made = write_report(tmp_path / "scores.zarr", tmp_path / "report.html")
    assert (made.runs, made.figures) == (0, 1)
    assert "The store holds no run that is asked for" in Page(tmp_path / "report.html").text


@pytest.mark.slow
def test_an_analysis_without_figures_of_its_own_has_its_table(store: Path, tmp_path: Path) -> None:
    request = ProbeRequest(task="ner", models=("bert",), layers=(0, 2), resamples=400)
    pairs = ANALYSES["compare-probes"].frame(compare_probes(store, request), request)
    assert write_report(store, tmp_path / "report.html").figures == 1
    page = Page(tmp_path / "report.html")
    assert [name for name in page.names if name.endswith("-data")] == ["compare-probes-1-data"]
    rows = page.rows("compare-probes-1")
    assert [row["difference"] for row in rows] == pytest.approx(pairs.difference.tolist(), abs=1e-7)
    families = [row["family"] for row in rows]
    assert page.text.count("differ in merged-entity F1 (p < 0.05") == len(set(families)) > 1
    assert f"of {families.count(0)} pairs of training sizes of bert, seed 42, differ in" in page.text
    assert [text.split(" --")[0] for text in page.codes() if "compare-probes" in text] == ["biocache compare-probes"]
    write_report(store, tmp_path / "report.html", ReportRequest(training_sizes=(0,)))
    assert Page(tmp_path / "report.html").rows("compare-probes-1") == rows
    assert write_report(store, tmp_path / "report.html", ReportRequest(models=("gpt2",))).figures == 0


@pytest.mark.slow
def test_an_incomplete_run_is_listed_as_such(tmp_path: Path) -> None:
    first, *rest = [run for run in runs() if run.spec.key.split == "test" and run.spec.key.task == "ner"]
    root = write_runs(tmp_path / "part.zarr", rest)
    first.write(first.create(root), [0])
    made = write_report(root, tmp_path / "report.html")
    packs = first.plan.pack_count
    assert made.notes[0] == f"{first.spec.key} is incomplete: 1 of {packs} packs are there"
    assert any(note.startswith(f"the viewer leaves {first.spec.key} out") for note in made.notes)
    page = Page(tmp_path / "report.html")
    assert page.text.count("incomplete") >= 2
    # The other sizes are still there, the smallest of them first.
    assert page.viewer["groups"][0]["sizes"] == [10, 100]


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["attributes", "chunk", "table"])
def test_a_damaged_run_is_listed_and_said(store: Path, tmp_path: Path, damage: str) -> None:
    run = Store.open(store).run(task="ner", model="gpt2", split="test")
    if damage == "attributes":
        (run.path / "zarr.json").write_text("{")
    elif damage == "chunk":
        chunk = chunk_file(run, "attention", 0, 0)
        chunk.write_bytes(chunk.read_bytes()[:-1] + b"\x00\x00")
    else:
        shutil.rmtree(run.path / "words/word_text/c")
    made = write_report(store, tmp_path / "report.html")
    assert made.runs == 14
    assert any(str(run.key) in note for note in made.notes)
    models = [group["model"] for group in Page(tmp_path / "report.html").viewer["groups"]]
    assert models == ["bert", "bert"]


@pytest.mark.slow
@pytest.mark.parametrize("part", ["attributes", "values"])
def test_a_damaged_result_is_said_and_left_out(store: Path, tmp_path: Path, part: str) -> None:
    add_scores(store)
    (result,) = Store.open(store).results("finetune")
    with opened_archive(result.path) as group:
        if part == "attributes":
            (group / "zarr.json").write_text("{")
        else:
            shutil.rmtree(group / "accuracy/c")
    made = write_report(store, tmp_path / "report.html")
    assert made.figures == 0
    assert any(str(result.path) in note for note in made.notes)


@pytest.mark.slow
def test_what_is_asked_for_is_shown_and_no_more(full: Path, tmp_path: Path) -> None:
    request = ReportRequest(tasks=("ner",), models=("bert",), training_sizes=(0, 10))
    made = write_report(full, tmp_path / "report.html", request)
    page = Page(tmp_path / "report.html")
    assert (made.runs, made.figures) == (4, 3)
    assert {(r["model"], r["training_size"]) for r in page.rows("probes-1")} == {("bert", 0), ("bert", 10)}
    assert {row["training_size"] for row in page.rows("attention-1")} == {10}
    assert {row["training_size"] for row in page.rows("fine-tuning-1")} == {10}
    assert [(group["model"], group["sizes"]) for group in page.viewer["groups"]] == [("bert", [0, 10])]
    # But in the command of the result that it is part of.
    elsewhere = page.text.replace("bert,gpt2", "").replace("'gpt2'", "")
    assert "gpt2" not in elsewhere


@pytest.mark.slow
def test_samples_are_as_many_as_asked_for(full: Path, tmp_path: Path) -> None:
    assert write_report(full, tmp_path / "report.html", ReportRequest(samples=2)).samples == 6
    made = write_report(full, tmp_path / "report.html", ReportRequest(samples=0))
    page = Page(tmp_path / "report.html")
    assert made.samples == 0
    assert page.viewer["groups"] == []
    assert "No sample is shown" in page.text
    # Nor do heads point to what is not there.
    assert not any(attributes.get("class") == "show" for _, attributes in page.elements)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["probe", "compare-attention", "finetune"])
def test_results_of_any_shape_cost_themselves_alone(full: Path, tmp_path: Path, kind: str) -> None:
    """A thing that is a result by its digest, and of no shape that this release computes."""
    whole = Store.open(full).results(kind)[0]
    sound, inputs = whole.load(), json.loads(json.dumps(dict(whole.inputs)))
    expected = write_report(full, tmp_path / "report.html", ReportRequest(samples=0)).figures
    rng, seen = random.Random(0), 0
    chosen = rng.sample([place for place in places(inputs) if place], 16)
    changed = [replaced(inputs, place, rng.choice(STRANGE)) for place in chosen]
    datasets = [xr.Dataset(), sound.drop_vars(next(iter(sound.data_vars))), sound.assign_attrs(task=1), sound.isel(
        {next(iter(sound.sizes)): slice(0)}), sound.map(lambda array: array.astype(str))]  # fmt: skip
    trials = [(each, sound) for each in changed] + [({**inputs, "n": n}, each) for n, each in enumerate(datasets)]
    root = tmp_path / "s.zarr"
    shutil.copytree(full, root)
    for each, dataset in trials:
        with suppress(SettingError):
            save_result(root, kind, each, dataset)
            seen += 1
    made = write_report(root, tmp_path / "report.html", ReportRequest(samples=0))
    assert seen > 8
    assert made.figures >= expected
    assert len([note for note in made.notes if "left out" in note]) > seen / 4


@pytest.mark.slow
def test_the_page_keeps_to_its_bytes(full: Path, tmp_path: Path) -> None:
    least = write_report(full, tmp_path / "report.html", ReportRequest(samples=0)).bytes
    room = (least + write_report(full, tmp_path / "report.html").bytes) // 2
    made = write_report(full, tmp_path / "report.html", ReportRequest(max_bytes=room))
    assert least < made.bytes <= room
    assert 0 < made.samples < 18
    assert f"the viewer shows {made.samples} of 18 samples" in made.notes[-1]
    page = Page(tmp_path / "report.html")
    assert made.notes[-1] in page.text
    counts = [len(group["samples"]) for group in page.viewer["groups"]]
    # No model is left out for another's second sample.
    assert max(counts) - min(counts) <= 1
    with pytest.raises(SettingError, match=r"takes [\d,]+ bytes without a sample, and max_bytes is 1,000; raise it"):
        write_report(full, tmp_path / "report.html", ReportRequest(max_bytes=1000))


@pytest.mark.slow
def test_the_page_takes_the_place_of_another_whole(full: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "report.html"
    path.write_text("mine")

    def fail(_page: Any) -> str:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "render", fail)
        with pytest.raises(KeyboardInterrupt):
            write_report(full, path)
    assert path.read_text() == "mine"
    write_report(full, path, ReportRequest(samples=0))
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.html"]


def test_a_store_of_nothing_is_an_error(tmp_path: Path) -> None:
    root = write_runs(tmp_path / "empty.zarr", runs()[:1])
    opened = Store.open(root)
    for run in opened.select():
        opened.remove(run)
    with pytest.raises(
        RunNotFoundError, match="holds no runs and no results: there is nothing to report; fill it with"
    ):
        write_report(root, tmp_path / "report.html")


def test_a_selection_of_nothing_is_an_error(full: Path, tmp_path: Path) -> None:
    with pytest.raises(
        RunNotFoundError, match=r"holds nothing of model t5, training_size 0, 10; `Store.catalog\(\)` lists"
    ):
        write_report(full, tmp_path / "report.html", ReportRequest(models=("t5",), training_sizes=(0, 10)))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("report.pdf", "output .*report.pdf has no suffix that says its format; end it in .html"),
        ("nowhere/report.html", "the folder .*nowhere does not exist"),
        ("folder.html", "folder.html is a folder, which a result does not replace"),
    ],
)
def test_a_place_that_cannot_hold_a_page_is_refused_at_once(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(SettingError, match=message):
        write_report(tmp_path / "no store", tmp_path / name)


@pytest.mark.parametrize(
    "settings",
    [{"samples": -1}, {"max_bytes": 0}, {"models": ()}, {"training_sizes": (101,)}],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(SettingError):
        ReportRequest(**settings)
