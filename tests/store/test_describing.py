"""What a store and a run say of themselves in a shell and in a notebook."""

import re
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest
from store_factory import PROVENANCE, Synthetic, synthetic

from biocache.store import Run, Store
from biocache.store.creating import create_run


class Cells(HTMLParser):
    """The text of every cell, row by row, and the names of all elements."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.tags: list[str] = []
        self.open: list[str] = []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in {"td", "th"}:
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1] in {"td", "th"}:
            self.rows[-1][-1] += data


@pytest.fixture
def source() -> Synthetic:
    return synthetic()


@pytest.fixture
def run(source: Synthetic, tmp_path: Path) -> Run:
    return source.write_all(tmp_path / "s.zarr")


def facts(text: str) -> dict[str, str]:
    """Return what stands below the title, by its name."""
    return dict(re.split(r"\s{2,}", line.strip(), maxsplit=1) for line in text.splitlines()[1:])


def test_a_run_tells_sizes_chunks_units_and_origin(source: Synthetic, run: Run) -> None:
    text = repr(run)
    assert text.splitlines()[0] == "<biocache.Run ner/corpus/tiny/size-030/seed-42/sentence/test>"
    words, pairs = len(source.columns["words/word_text"]), sum(n * n for n in source.plan.tokens.count)
    blocks = "in blocks of one layer of one pack, dimensionless"
    assert facts(text) == {
        "samples": f"6 with {words} words and 21 tokens",
        "packs": "3 of 3 are there",
        "hidden": f"(layer: 3, token: 21, feature: 6) float16, {blocks}",
        "attention": f"(layer: 2, head: 2, entry: {pairs}) float16, {blocks}",
        "layers": "0, 1, 2",
        "model": "models/tiny, SHA-256 mmmmmmmmmmmm",
        "dataset": f"corpora/corpus, SHA-256 {source.spec.dataset_digest[:12]}",
        "created": "2026-01-01T00:00:00+00:00 on host (cpu)",
        "versions": "biocache 0.1.0",
    }


def test_a_run_tells_only_what_it_keeps_and_how_much_is_there(tmp_path: Path) -> None:
    source = synthetic(keep=("attention",), layers=(0, 3), dtype="float32")
    run = source.create(tmp_path)
    source.write(run, [1])
    told = facts(repr(run))
    assert told["packs"] == "1 of 3 are there"
    assert "hidden" not in told
    assert told["attention"].startswith("(layer: 1, head: 2, entry: 115) float32")
    assert told["layers"] == "0, 3"


def test_random_weights_are_told(source: Synthetic, tmp_path: Path) -> None:
    provenance = replace(PROVENANCE, random_weights=True)
    run = create_run(tmp_path, source.spec, provenance, source.plan, source.tables)
    assert facts(repr(run))["model"].startswith("random weights, models/tiny")


def test_large_numbers_are_readable(tmp_path: Path) -> None:
    run = synthetic([600, 700], 10).create(tmp_path)
    assert "and 1,300 tokens" in facts(repr(run))["samples"]


def test_a_store_tells_which_runs_it_holds(run: Run) -> None:
    root = run.path.parents[6]
    synthetic(training_size=0, model="other").create(root)
    text = repr(Store.open(root))
    assert text.splitlines()[0] == f"<biocache.Store {str(root)!r}>"
    assert facts(text) == {
        "runs": "2",
        "task": "ner",
        "dataset": "corpus",
        "model": "other, tiny",
        "training_size": "0, 30",
        "seed": "42",
        "view": "sentence",
        "split": "test",
    }


@pytest.mark.parametrize("of", ["run", "store"])
def test_a_notebook_shows_the_same(run: Run, of: str) -> None:
    what = run if of == "run" else Store.open(run.path.parents[6])
    shown = Cells(what._repr_html_())
    assert dict(shown.rows) == facts(repr(what))
    assert f"<strong>{repr(what).splitlines()[0][1:-1]}</strong>" in unescape(what._repr_html_())


def test_html_escapes_what_people_wrote(source: Synthetic, tmp_path: Path) -> None:
    provenance = replace(PROVENANCE, model_source="<script>alert(1)</script>", host="&amp;")
    folder = tmp_path / "<i>&"
    run = create_run(folder, source.spec, provenance, source.plan, source.tables)
    shown = Cells(run._repr_html_())
    assert set(shown.tags) == set(Cells(Store.open(folder)._repr_html_()).tags) == {
        "div", "strong", "table", "tr", "th", "td"
    }  # fmt: skip
    told = dict(shown.rows)
    assert told["model"].startswith("<script>alert(1)</script>, SHA-256")
    assert told["created"].endswith("on &amp; (cpu)")


def test_describing_reads_no_activations(run: Run, reads: list[tuple[str, int, int]]) -> None:
    assert repr(run)
    assert run._repr_html_()
    assert repr(Store.open(run.path.parents[6]))
    assert reads == []
