"""Runs of samples that are longer than the model, against plain forward passes of windows that loops cut."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from extractions import forget, holdings, only_run, request, small_packs
from plain_windows import MAX_LENGTH, STRIDE, Plain, context, pairs_that_fit
from reference import assert_equals_plain, read_rows
from victims import Job, run_jobs
from zoo_models import make
from zoo_species import SPECIES

from biocache.engine import extract
from biocache.engine.recompute import recompute_samples
from biocache.store import Store
from biocache.store.copying import copy_run
from biocache.store.errors import IntegrityError, RunNotFoundError, SettingError, SpecMismatchError
from biocache.store.integrity import verify_run
from biocache.store.schema import WINDOW

pytestmark = pytest.mark.slow

# Batches of several lengths, packs of several samples, groups of several packs.
SMALL = {"batch_tokens": 96, "window_tokens": 200, "max_length": MAX_LENGTH, "stride": STRIDE}
CASES = [("bert", "ner", "sentence"), ("gpt2", "ner", "sentence"), ("bert", "nli", "pair"), ("gpt2", "nli", "premise")]
CASES += [("roberta", "ner", "sentence"), ("t5, encoder", "ner", "sentence"), ("gpt2", "nli", "pair")]


@pytest.fixture(scope="module")
def corpora(corpus_folder, tmp_path_factory):
    return {"ner": corpus_folder, "nli": pairs_that_fit(corpus_folder, tmp_path_factory.mktemp("pairs"))}


@pytest.fixture(scope="module")
def models(checkpoints, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    for name in ("roberta", "t5, encoder"):
        make(SPECIES[name], folder / name.split(",")[0], folder / "scratch")
    return {"roberta": folder / "roberta", "t5, encoder": folder / "t5"} | {
        family: checkpoints[family] for family in ("bert", "gpt2", "biogpt")
    }


@pytest.fixture(scope="module")
def runs(models, corpora, tmp_path_factory):
    """A run in many packs and its plain model, by case."""
    made = {}
    with pytest.MonkeyPatch.context() as patch:
        small_packs(patch, 128)
        for family, task, view in CASES:
            store = tmp_path_factory.mktemp("windows")
            chosen = {"task": task, "views": (view,), "attention_views": (view,), "dtype": "float32"}
            extract(store, request(corpora[task], models[family], **chosen, **SMALL))
            made[family, task, view] = only_run(store), Plain(models[family])
    return made


@pytest.fixture(scope="module")
def rows(corpora):
    return {task: read_rows(corpora[task], task, "test") for task in ("ner", "nli")}


@pytest.mark.parametrize("case", CASES)
def test_each_window_is_a_plain_forward_of_its_tokens(runs, rows, case):
    run, plain = runs[case]
    assert run.counts.packs > 3
    ids, number = run.token_column("tokens/token_id"), run.token_column(WINDOW)
    cut = 0
    for sample, row in enumerate(rows[case[1]]):
        windows = plain.windows(row.view(case[2]))
        cut += len(windows) > 1
        assert [int(run.windows.first[sample]) + place for place in range(len(windows))] == [
            *run.windows.of_sample(sample)
        ]
        begin = int(run.plan.tokens.dense_start[sample])
        assert ids[begin : begin + sum(len(w.ids) for w in windows)].tolist() == [i for w in windows for i in w.ids]
        hidden, maps, at = run.read_sample("hidden", sample), run.attention_map(sample), 0
        seen = np.zeros(maps.shape[-2:], bool)
        for place, window in enumerate(windows):
            part = slice(at, at + len(window.ids))
            states, attention = plain.forward(window)
            assert number[begin + part.start : begin + part.stop].tolist() == [place] * len(window.ids)
            assert_equals_plain(hidden[:, part], states, relative=1e-5)
            assert_equals_plain(maps.values[..., part, part], attention, relative=1e-5)
            own = run.attention_map(row.id, window=place)
            np.testing.assert_array_equal(own.values, maps.values[..., part, part])
            assert own["query"].values.tolist() == list(range(part.start, part.stop))
            assert own.key_token.values.tolist() == maps.key_token.values[part].tolist()
            seen[part, part] = True
            at = part.stop
        np.testing.assert_array_equal(np.isnan(maps.values[0, 0]), ~seen)
    assert cut > 8
    assert run.provenance.notes["samples_windowed"] == cut
    lost = [plain.is_cut(row.view(case[2])) for row in rows[case[1]]]
    # Those of the zoo know few words, and spell others letter by letter.
    assert any(lost) == (case[0] in {"roberta", "t5, encoder"})
    assert run.column("samples/truncated").tolist() == lost
    assert (run.provenance.notes["samples_truncated"], run.provenance.notes["words_lost"]) == (sum(lost), 0)


@pytest.mark.parametrize("case", CASES)
def test_words_and_samples_are_pooled_as_by_hand(runs, rows, case):
    run, plain = runs[case]
    views = {
        (windows, pooling): run.words(pooling, windows=windows, labels=()).hidden.values
        for windows in ("context", "mean")
        for pooling in ("mean", "first", "last")
    }
    pools = {"mean": lambda own: own.mean(axis=1), "first": lambda own: own[:, 0], "last": lambda own: own[:, -1]}
    expected = {key: [] for key in views}
    once = []
    for sample, row in enumerate(rows[case[1]]):
        hidden, windows = run.read_sample("hidden", sample).astype(np.float64), plain.windows(row.view(case[2]))
        begin = np.cumsum([0, *(len(window.ids) for window in windows)])
        kept = []
        for text, words in enumerate(row.view(case[2])):
            for word in range(len(words)):
                places = {
                    number: [
                        int(begin[number]) + place
                        for place, owner in enumerate(zip(window.texts, window.words, strict=True))
                        if owner == (text, word)
                    ]
                    for number, window in enumerate(windows)
                }
                places = {number: own for number, own in places.items() if own}
                best = context(windows, text, word)
                kept += places[best]
                for windows_, pooling in expected:
                    read = [best] if windows_ == "context" else list(places)
                    pooled = [pools[pooling](hidden[:, places[number]]) for number in read]
                    expected[windows_, pooling].append(np.mean(pooled, axis=0))
        once.append(hidden[:, kept])
    for key, values in views.items():
        np.testing.assert_allclose(values, np.stack(expected[key], axis=1), rtol=1e-5, atol=1e-6)
    assert np.abs(views["context", "mean"] - views["mean", "mean"]).max() > 0.01
    samples = {pooling: run.samples(pooling).hidden.values for pooling in ("mean", "max")}
    np.testing.assert_allclose(
        samples["mean"], np.stack([own.mean(axis=1) for own in once], axis=1), rtol=1e-4, atol=1e-5
    )
    np.testing.assert_allclose(samples["max"], np.stack([own.max(axis=1) for own in once], axis=1), rtol=1e-6)


@pytest.mark.parametrize("special_tokens", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_the_ends_of_samples_are_those_of_their_first_and_last_window(runs, rows, case, special_tokens):
    run, plain = runs[case]
    first, last = (run.samples(pooling, special_tokens).hidden.values for pooling in ("first", "last"))
    for sample, row in enumerate(rows[case[1]]):
        hidden, windows = run.read_sample("hidden", sample), plain.windows(row.view(case[2]))
        inside = [special_tokens or text is not None for window in windows for text in window.texts]
        places = np.flatnonzero(inside)
        np.testing.assert_array_equal(first[:, sample], hidden[:, places[0]])
        np.testing.assert_array_equal(last[:, sample], hidden[:, places[-1]])


def test_special_tokens_count_once(runs, rows):
    run, plain = runs["bert", "ner", "sentence"]
    with_special, without = run.samples("mean", True).hidden.values, run.samples("mean").hidden.values
    for sample, row in enumerate(rows["ner"]):
        hidden, words = run.read_sample("hidden", sample).astype(np.float64), plain.windows(row.texts)
        size = len({(window.texts[n], window.words[n]) for window in words for n in range(len(window.ids))})
        tokens = len(plain.tokenizer(list(row.texts[0]), is_split_into_words=True)["input_ids"])
        assert tokens >= size
        # [CLS] of the first window and [SEP] of the last.
        expected = (without[:, sample] * (tokens - 2) + hidden[:, 0] + hidden[:, -1]) / tokens
        np.testing.assert_allclose(with_special[:, sample], expected, rtol=1e-4, atol=1e-5)


def test_labels_spans_and_tokens_line_up(runs, rows):
    run, _ = runs["gpt2", "ner", "sentence"]
    words = run.words(labels="gold")
    assert words.label.values.tolist() == [label for row in rows["ner"] for label in row.labels]
    assert words.text.values.tolist() == [word for row in rows["ner"] for word in row.texts[0]]
    assert words.attrs["words_lost"] == 0
    assert words.attrs["stride"] == STRIDE
    tokens = run.tokens(labels="gold")
    np.testing.assert_array_equal(tokens.window.values, run.token_column(WINDOW))
    spelled = words.label.values[tokens.word.values]
    inside = tokens.word.values >= 0
    np.testing.assert_array_equal(tokens.label.values[inside], spelled[inside])
    # A span of words is the mean over their tokens in the windows in which these have most context.
    spans, hidden = run.spans(), words.hidden.values.astype(np.float64)
    for place in range(spans.sizes["span"]):
        own = slice(int(spans.word[place]), int(spans.word[place] + spans.word_count[place]))
        size = words.token_count.values[own]
        expected = (hidden[:, own] * size[:, np.newaxis]).sum(axis=1) / size.sum()
        np.testing.assert_allclose(spans.hidden.values[:, place], expected, rtol=1e-4, atol=1e-5)
    assert spans.attrs["spans_lost"] == 0


def test_maps_of_windows_are_one_after_the_other(runs):
    run, _ = runs["gpt2", "ner", "sentence"]
    attention = run.attention()
    entries = attention.attention.values
    ends = np.cumsum(attention.row_size.values)
    assert ends[-1] == attention.sizes["entry"]
    assert attention.window.values.tolist() == [n for count in run.windows.count for n in range(count)]
    for place, (sample, window) in enumerate(zip(attention.window_sample.values, attention.window.values, strict=True)):
        own = run.attention_map(int(sample), window=int(window)).values
        lower = np.tril_indices(own.shape[-1])
        begin = ends[place] - attention.row_size.values[place]
        np.testing.assert_array_equal(entries[..., begin : ends[place]], own[..., lower[0], lower[1]])
    last = int(run.windows.count[0])
    with pytest.raises(
        RunNotFoundError, match=f"sample 'test-0' of run .* has no window {last}; it has 0 to {last - 1}"
    ):
        run.attention_map(0, window=last)
    with pytest.raises(SettingError, match="windows 'best' of words is not one of context, mean"):
        run.words(windows="best")


def test_a_corpus_that_fits_is_stored_as_without_windows(checkpoints, corpus_folder, tmp_path):
    asked = {"max_length": 100, "batch_tokens": 96}
    extract(tmp_path / "plain", request(corpus_folder, checkpoints["bert"], **asked))
    extract(tmp_path / "windows", request(corpus_folder, checkpoints["bert"], **asked, stride=10))
    plain, windowed = only_run(tmp_path / "plain"), only_run(tmp_path / "windows")
    assert holdings(tmp_path / "plain") == holdings(tmp_path / "windows")
    assert plain.spec.difference(windowed.spec) == {"stride": (None, 10)}
    assert "stride" not in plain.spec.to_json()
    assert plain.provenance.notes == windowed.provenance.notes
    np.testing.assert_array_equal(plain.words().hidden, windowed.words(windows="mean").hidden)
    np.testing.assert_array_equal(plain.samples("mean", True).hidden, windowed.samples("mean", True).hidden)


def test_samples_that_fit_stay_what_they_are(checkpoints, corpus_folder, tmp_path, runs):
    run, _ = runs["bert", "ner", "sentence"]
    asked = {name: value for name, value in SMALL.items() if name != "stride"}
    extract(tmp_path, request(corpus_folder, checkpoints["bert"], dtype="float32", **asked))
    cut = only_run(tmp_path)
    fits = np.flatnonzero(~cut.column("samples/truncated"))
    assert 0 < len(fits) < cut.counts.samples
    for sample in fits.tolist():
        assert run.windows.count[sample] == 1
        np.testing.assert_allclose(run.read_sample("hidden", sample), cut.read_sample("hidden", sample), atol=1e-5)
    assert (run.windows.count > 1).sum() == cut.counts.samples - len(fits)


@pytest.mark.parametrize("call", [1, 3])
def test_a_killed_extraction_goes_on_to_the_same(checkpoints, corpus_folder, tmp_path, monkeypatch, call):
    small_packs(monkeypatch, 128)
    settings = SMALL | {"limit": 30}
    killed = Job(str(tmp_path / "killed"), at="record", call=call, after=True)
    ((outcome,),) = run_jobs([[killed]], corpus_folder, checkpoints["bert"], 128, settings)
    assert outcome.killed
    asked = request(corpus_folder, checkpoints["bert"], **settings)
    extract(tmp_path / "whole", asked)
    begun = only_run(tmp_path / "killed").committed()
    assert len(begun) == call
    other = request(corpus_folder, checkpoints["bert"], **settings | {"stride": 3})
    with pytest.raises(SpecMismatchError, match=r"encoding_digest: .*stride: stored 6, asked for 3"):
        extract(tmp_path / "killed", other)
    none = request(corpus_folder, checkpoints["bert"], **settings | {"stride": None})
    with pytest.raises(SpecMismatchError, match="stride: stored 6, asked for None"):
        extract(tmp_path / "killed", none)
    extract(tmp_path / "killed", asked)
    assert holdings(tmp_path / "killed") == holdings(tmp_path / "whole")
    run = only_run(tmp_path / "killed")
    forget(run, [0, 2])
    extract(tmp_path / "killed", asked)
    assert holdings(tmp_path / "killed") == holdings(tmp_path / "whole")


def test_a_windowed_run_is_verified_copied_and_recomputed(runs, tmp_path):
    run, _ = runs["bert", "ner", "sentence"]
    assert list(verify_run(run)) == []
    assert list(recompute_samples(run, 40)) == []
    copy_run(run, tmp_path / "copy", layers=[0, 2], keep=["hidden", "attention"])
    copied = only_run(tmp_path / "copy")
    assert list(verify_run(copied)) == []
    assert copied.spec.stride == STRIDE
    np.testing.assert_array_equal(
        copied.words(windows="mean").hidden, run.words(windows="mean").hidden.sel(layer=[0, 2])
    )
    sample = int(np.argmax(run.windows.count))
    np.testing.assert_array_equal(copied.attention_map(sample).values[0], run.attention_map(sample).sel(layer=2).values)


def test_recomputing_finds_the_window_that_differs(runs, monkeypatch):
    run, _ = runs["bert", "ner", "sentence"]
    sample = int(np.argmax(run.windows.count))
    window = int(run.windows.first[sample]) + 1
    plain = type(run).read_window

    def spoiled(self: Any, name: str, place: int) -> Any:
        values = plain(self, name, place)
        return values + 1 if (name, place) == ("hidden", window) else values

    monkeypatch.setattr(type(run), "read_window", spoiled)
    problems = list(recompute_samples(run, run.counts.samples))
    assert len(problems) == len(run.spec.layers)
    name = run.column("samples/sample_id")[sample]
    assert all(f"of sample {name!r} in window 1 differs by up to 1 " in problem.message for problem in problems)


@pytest.mark.parametrize("change", ["number", "word"])
def test_tables_that_do_not_agree_on_windows_are_found(runs, change):
    run, _ = runs["gpt2", "nli", "premise"]
    again = Store.open(run.group.storage).run(**dict(run.key.items()))
    path = WINDOW if change == "number" else "words/token_start"
    column = again.column(path).copy()
    sample = int(np.argmax(run.windows.count))
    if change == "number":
        column[run.plan.tokens.start[sample]] = 1
    else:
        column[run.column("samples/word_start")[sample] + 3] += 1
    again._columns[path] = column
    found = [problem.message for problem in verify_run(again)]
    if change == "number":
        again = Store.open(run.group.storage).run(**dict(run.key.items()))
        again._columns[path] = column
        with pytest.raises(IntegrityError, match="do not agree on where its samples lie"):
            _ = again.windows
        assert "do not agree on where its samples lie" in found[0]
    else:
        assert found == ["table column words/token_start does not agree with the others"]


def test_relations_read_the_windows_that_their_words_are_read_in(runs, tmp_path):
    """Of pairs of texts, too, whose windows repeat the shorter text before parts of the longer one."""
    for case in (("bert", "ner", "sentence"), ("gpt2", "nli", "pair")):
        run = runs[case][0]
        copy_run(run, tmp_path / case[0])
        store = Store.open(tmp_path / case[0])
        counts, begins = (run.column(f"samples/word_{name}") for name in ("count", "start"))
        segment = run.column("words/segment")
        kept = np.flatnonzero(counts > 4)
        # Two words at the end, where they are of one text.
        wide = 1 + (segment[begins + counts - 2] == segment[begins + counts - 1])
        rows = [
            {"sample_id": name, "start1": 0, "end1": 1, "start2": count - size, "end2": count, "label": "x"}
            for name, count, size in zip(run.column("samples/sample_id")[kept], counts[kept], wide[kept], strict=True)
        ]
        where = {part: getattr(run.key, part) for part in ("task", "dataset", "split")}
        store.add_labels("ends", pd.DataFrame(rows), level="relations", **where)
        found = store.run().relations("ends").hidden.values
        words = run.words("mean")
        hidden, size = words.hidden.values.astype(np.float64), words.token_count.values
        assert found.shape[1] == len(kept) > 5
        for row, sample in enumerate(kept.tolist()):
            end = int(begins[sample] + counts[sample])
            own = slice(end - int(wide[sample]), end)
            second = (hidden[:, own] * size[own, np.newaxis]).sum(axis=1) / size[own].sum()
            expected = np.concatenate([hidden[:, begins[sample]], second], axis=-1)
            np.testing.assert_allclose(found[:, row], expected, rtol=1e-4, atol=1e-5)
