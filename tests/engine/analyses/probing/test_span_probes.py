"""Probes of spans and relations equal plain scikit-learn on features that are pooled and joined by hand."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from planted import ner_store, nli_store, split_runs, write
from seqeval.metrics.sequence_labeling import get_entities
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, r2_score
from sklearn.preprocessing import StandardScaler
from store_factory import Synthetic

from biocache.engine import ClassifierOptions, ProbeRequest, compare_probes, probe, write_report
from biocache.engine.analyses.probing.controls import control_labels, word_type_labels
from biocache.engine.analyses.probing.features import read_rows
from biocache.engine.analyses.probing.grid import find_cells
from biocache.engine.analyses.probing.planning import fit_shape
from biocache.engine.analysis import find
from biocache.store import Run, Store
from biocache.store.errors import BiocacheError, SettingError

SPLITS = ("train", "test")
TAGS = ("O", "B-DNA", "I-DNA", "B-RNA", "I-RNA")


def repeated(source: Synthetic) -> Synthetic:
    """Give the words texts that come again, so that mentions do."""
    texts = source.columns["words/word_text"]
    words = np.array([f"w{number % 5}" for number in range(len(texts))], dtype=object)
    return replace(source, columns={**source.columns, "words/word_text": words})


def store_of(root: Path) -> Store:
    return ner_store(root, label_names=TAGS, change=dict.fromkeys(SPLITS, repeated))


def state_of(run: Run, layer: int, first: int, end: int) -> Any:
    """Return the mean over the tokens of some words, float64, in plain NumPy; None where all were lost."""
    tokens = run.token_column("tokens/word")
    rows = run.activations("hidden")[run.spec.layers.index(layer)].compute()[(tokens >= first) & (tokens < end)]
    return rows.astype(np.float64).mean(axis=0) if len(rows) else None


def mentions(run: Run, layer: int) -> pd.DataFrame:
    """Return the mentions of a run in a frame: sample, type, text and features; None for those without tokens."""
    begins, counts = run.column("samples/word_start"), run.column("samples/word_count")
    words, tags, rows = run.column("words/word_text"), run.labels().texts, []
    for sample, (begin, count) in enumerate(zip(begins, counts, strict=True)):
        for kind, first, last in get_entities(tags[begin : begin + count].tolist()):
            place = (int(begin + first), int(begin + last + 1))
            rows.append((sample, kind, " ".join(words[slice(*place)]), state_of(run, layer, *place)))
    return pd.DataFrame(rows, columns=["sample", "label", "text", "features"])


def answers(train: pd.DataFrame, test: pd.DataFrame, plain: Any, usual: Any) -> np.ndarray:
    """Return what a plain estimator says of the test rows; the usual answer for those without features."""
    known, seen = (frame[frame.features.notna()] for frame in (train, test))
    scaler = StandardScaler().fit(np.stack(known.features))
    plain.fit(scaler.transform(np.stack(known.features)), known.label)
    found = pd.Series([usual] * len(test), index=test.index)
    found[seen.index] = plain.predict(scaler.transform(np.stack(seen.features)))
    return found.to_numpy()


def of_splits(store: Store, layer: int, rows: Any = mentions) -> tuple[pd.DataFrame, pd.DataFrame]:
    train, test = (rows(store.run(split=split), layer) for split in SPLITS)
    return train, test


@pytest.mark.slow
@pytest.mark.parametrize("layer", [0, 1])
def test_types_of_mentions_are_read_as_plain_scikit_learn_reads_them(tmp_path: Path, layer: int) -> None:
    store = store_of(tmp_path)
    request = ProbeRequest(task="ner", level="span", layers=(layer,), control=True, mdl=True, resamples=200)
    result = probe(tmp_path, request)
    own = result.sel(layer=layer).squeeze()
    train, test = of_splits(store, layer)
    assert test.features.isna().any()
    known = train[train.features.notna()]
    found = answers(train, test, LogisticRegression(max_iter=1000), known.label.mode()[0])
    assert result.label.to_numpy().tolist() == ["DNA", "RNA"]
    assert own.accuracy.item() == pytest.approx(accuracy_score(test.label, found))
    assert own.macro_f1.item() == pytest.approx(f1_score(test.label, found, average="macro"))
    np.testing.assert_array_equal(own.confusion, confusion_matrix(test.label, found, labels=["DNA", "RNA"]))
    np.testing.assert_allclose(own.class_f1, f1_score(test.label, found, average=None, labels=["DNA", "RNA"]))
    assert own.support.to_numpy().tolist() == [(test.label == kind).sum() for kind in ("DNA", "RNA")]
    assert own.train_rows.item() == len(known)
    usual = train.label.mode()[0]
    assert own.majority.sel(score="accuracy").item() == pytest.approx((test.label == usual).mean())
    assert "merged_entity_f1" not in result
    assert (result.attrs["level"], result.attrs["unlabelled_rows"]) == ("spans", 0)
    assert result.attrs["title"] == "logistic probe of ner by span on corpus"
    # The control: one random type for each text of a mention.
    assert result.attrs["control"] == "random label of each mention text"
    kinds = np.array(["DNA", "RNA"])
    pool = np.sort(np.searchsorted(kinds, train.label))
    made = [frame.assign(label=kinds[word_type_labels(frame.text.to_numpy(), pool, 0)]) for frame in (train, test)]
    assert made[0].groupby("text").label.nunique().max() == 1
    usual = made[0][made[0].features.notna()].label.mode()[0]
    said = answers(*made, LogisticRegression(max_iter=1000), usual)
    control = own.control.sel(score="accuracy").item()
    assert control == pytest.approx((said == made[1].label).mean())
    assert own.selectivity.sel(score="accuracy").item() == pytest.approx(own.accuracy.item() - control)
    assert own.uniform_code_length.item() == pytest.approx(len(known))


@pytest.mark.slow
def test_intervals_resample_samples_and_not_mentions(tmp_path: Path) -> None:
    store = store_of(tmp_path)
    own = probe(tmp_path, ProbeRequest(task="ner", level="span", layers=(0,), resamples=2000)).sel(layer=0).squeeze()
    train, test = of_splits(store, 0)
    known = train[train.features.notna()]
    right = answers(train, test, LogisticRegression(max_iter=1000), known.label.mode()[0]) == test.label
    sums = pd.DataFrame({"right": right, "sample": test["sample"]}).groupby("sample").right.agg(["sum", "count"])
    rng = np.random.default_rng(5)
    drawn = sums.to_numpy()[rng.integers(0, len(sums), (4000, len(sums)))].sum(axis=1)
    expected = np.quantile(drawn[:, 0] / drawn[:, 1], [0.025, 0.975])
    found = [own[bound].sel(score="accuracy").item() for bound in ("ci_low", "ci_high")]
    np.testing.assert_allclose(found, expected, atol=0.02)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", ["svc", "linear-svc", "mlp", "sklearn.naive_bayes:GaussianNB"])
def test_every_probe_reads_planted_types(tmp_path: Path, name: str) -> None:
    store_of(tmp_path)
    options = ClassifierOptions(hidden_size=16, epochs=40, learning_rate=0.01)
    request = ProbeRequest(task="ner", level="span", probe=name, options=options, resamples=20)
    accuracy = probe(tmp_path, request).accuracy.squeeze()
    assert accuracy.sel(layer=1) > 0.85
    assert accuracy.sel(layer=0) < 0.75


@pytest.mark.slow
def test_layers_together_and_a_mean_of_layers(tmp_path: Path) -> None:
    store = store_of(tmp_path)
    request = ProbeRequest(task="ner", level="span", layers=("0+1", "mix"), resamples=20)
    result = probe(tmp_path, request).squeeze()
    assert result.layer.to_numpy().tolist() == ["0", "1", "2", "0+1", "mix"]
    train, test = of_splits(store, 0)
    for frame, split in ((train, "train"), (test, "test")):
        other = mentions(store.run(split=split), 1).features
        frame["features"] = [
            None if a is None else np.concatenate([a, b]) for a, b in zip(frame.features, other, strict=True)
        ]
    usual = train[train.features.notna()].label.mode()[0]
    found = answers(train, test, LogisticRegression(max_iter=1000), usual)
    assert result.accuracy.sel(layer="0+1").item() == pytest.approx((found == test.label).mean())
    assert result.accuracy.sel(layer="mix") > 0.85
    assert result.mix_weight.sum().item() == pytest.approx(1)


@pytest.mark.parametrize("pooling", ["first", "last", "max"])
def test_mentions_are_pooled_over_all_their_tokens(tmp_path: Path, pooling: str) -> None:
    store_of(tmp_path)
    request = ProbeRequest(task="ner", level="span", pooling=pooling)
    (cell,) = find_cells(Store.open(tmp_path), request)
    run = cell.test[0]
    rows, position = read_rows(cell.test, cell.target, request, (1,), np.arange(5, 20))
    spans = run.spans(pooling=pooling)
    kept = np.isin(spans["sample"], np.arange(5, 20))
    np.testing.assert_array_equal(rows.features, spans.hidden.sel(layer=1).to_numpy()[kept])
    np.testing.assert_array_equal(position, spans.span.to_numpy()[kept])
    assert [cell.target.names[code] for code in rows.labels] == spans.type.to_numpy()[kept].tolist()


def renamed(source: Synthetic, **parts: Any) -> Synthetic:
    return replace(source, spec=replace(source.spec, key=replace(source.spec.key, **parts)))


@pytest.mark.slow
def test_the_validation_split_is_scored_where_that_is_asked(tmp_path: Path) -> None:
    sources = [repeated(split_runs(split, label_names=TAGS)) for split in SPLITS]
    write(tmp_path, [sources[0], renamed(sources[1], split="validation")])
    store = Store.open(tmp_path)
    result = probe(tmp_path, ProbeRequest(task="ner", level="span", score_on="validation", layers=(0,)))
    train, scored = (mentions(store.run(split=split), 0) for split in ("train", "validation"))
    usual = train[train.features.notna()].label.mode()[0]
    found = answers(train, scored, LogisticRegression(max_iter=1000), usual)
    assert result.accuracy.squeeze().item() == pytest.approx((found == scored.label).mean())
    assert result.attrs["split"] == "validation"


@pytest.mark.slow
def test_training_sizes_are_compared_on_drawn_samples(tmp_path: Path) -> None:
    runs = [
        renamed(repeated(split_runs(split, label_names=TAGS, planted=planted)), training_size=size)
        for split in SPLITS
        for size, planted in ((0, None), (50, 1))
    ]
    write(tmp_path, runs)
    request = ProbeRequest(task="ner", level="span", max_train_samples=40, seeds=2, resamples=200)
    result = probe(tmp_path, request)
    compared = compare_probes(tmp_path, request)
    pair = compared.sel(comparison=(compared.between == "training_size") & (compared.layer_a == 1)).squeeze()
    means = result.accuracy.sel(layer=1).mean("probe_seed").squeeze()
    assert pair.difference.item() == pytest.approx((means.sel(training_size=50) - means.sel(training_size=0)).item())
    assert pair.p.item() < 0.05


@pytest.mark.slow
def test_kept_results_of_words_stay_and_those_of_spans_are_others(tmp_path: Path) -> None:
    store = store_of(tmp_path)
    words = find("probe", store, ProbeRequest(task="ner"))
    assert "level" not in words.inputs
    assert "level" not in words.inputs["settings"]
    spans = find("probe", store, ProbeRequest(task="ner", level="span"))
    assert spans.inputs["label_digests"] != words.inputs["label_digests"]
    assert spans.inputs["level"] == "spans"
    done: list[tuple[int, int]] = []
    first = probe(tmp_path, ProbeRequest(task="ner", level="span", layers=(0,), resamples=20))
    again = probe(
        tmp_path,
        ProbeRequest(task="ner", level="span", layers=(0,), resamples=20),
        on_progress=lambda *at: done.append(at),
    )
    assert not done
    assert first.identical(again)


@pytest.mark.slow
def test_a_report_has_the_probe_of_spans(tmp_path: Path) -> None:
    root, page = tmp_path / "s.zarr", tmp_path / "report.html"
    store_of(root)
    probe(root, ProbeRequest(task="ner", level="span", layers=(0, 1), control=True, resamples=20))
    write_report(root, page)
    text = page.read_text()
    assert "Probe of ner by span on corpus: logistic" in text
    assert "a control task, a random label of each mention text, which only memorising helps" in text
    assert "--level span" in text


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"probe": "bilstm-crf"}, "reads the words of a sentence, and a row of labels of ner is a span; use svc"),
        ({"combine": "full"}, "are for labels of pairs, and the rows of labels of ner are spans; leave both out"),
        ({"score": "merged_entity_f1"}, "is not one of accuracy, macro_f1, micro_f1"),
        ({"labels": "length"}, "level span needs tags or classes of words, and labels 'length' of ner are numbers"),
        ({"level": "relation"}, "level relation, and labels of ner are of words; leave it out"),
        ({"labels": "outside"}, "label set 'outside' of ner has no entity: all its words are O"),
    ],
)
def test_what_spans_cannot_do_is_refused_in_one_line(tmp_path: Path, settings: dict[str, Any], says: str) -> None:
    store = store_of(tmp_path)
    for split in SPLITS:
        count = store.run(split=split).counts.words
        where = {"task": "ner", "dataset": "corpus", "split": split, "level": "words"}
        store.add_labels("length", list(range(count)), **where)
        store.add_labels("outside", ["O"] * count, **where, iob2=True)
    with pytest.raises(BiocacheError, match=says) as caught:
        probe(tmp_path, ProbeRequest(**{"task": "ner", "level": "span", **settings}))
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_labels_of_samples_have_no_spans(tmp_path: Path) -> None:
    nli_store(tmp_path)
    with pytest.raises(SettingError, match="level span, and labels of nli are of samples; leave it out"):
        probe(tmp_path, ProbeRequest(task="nli", level="span"))


# Relations


def related(store: Store, name: str = "rel", *, numbers: bool = False) -> dict[str, pd.DataFrame]:
    """Add relations between words of each sample, whose label is whether both words have equal tags; return them."""
    frames = {}
    for split in SPLITS:
        run, rng, rows = store.run(split=split), np.random.default_rng(7), []
        begins, tags = run.column("samples/word_start"), run.labels().merged().texts
        for sample, (begin, count) in enumerate(zip(begins, run.column("samples/word_count").tolist(), strict=True)):
            for first, second in {tuple(rng.integers(0, count, 2).tolist()) for _ in range(min(4, count))}:
                equal = tags[begin + first] == tags[begin + second]
                ends = (min(first + rng.integers(1, 3), count), second + 1)
                label = float(rng.normal()) + 3 * equal if numbers else ["other", "equal"][int(equal)]
                rows.append((sample, first, int(ends[0]), second, ends[1], label))
        frame = pd.DataFrame(rows, columns=["sample", "start1", "end1", "start2", "end2", "label"])
        frame["sample_id"] = run.column("samples/sample_id")[frame["sample"]]
        store.add_labels(name, frame, task="ner", dataset="corpus", split=split, level="relations")
        frames[split] = frame.sort_values(["sample", "start1", "end1", "start2", "end2"]).reset_index(drop=True)
    return frames


def with_features(store: Store, frames: dict[str, pd.DataFrame], layer: int, *, full: bool = False) -> Any:
    """Return the frames with the features of both spans side by side, and their texts."""
    found = []
    for split in SPLITS:
        run, features, texts = store.run(split=split), [], []
        words = run.column("words/word_text")
        for row in frames[split].itertuples(index=False):
            begin = int(run.column("samples/word_start")[row.sample])
            places = [(begin + row.start1, begin + row.end1), (begin + row.start2, begin + row.end2)]
            texts.append("\n".join(" ".join(words[slice(*place)]) for place in places))
            u, v = (state_of(run, layer, *place) for place in places)
            if u is None or v is None:
                features.append(None)
            else:
                features.append(np.concatenate([u, v, np.abs(u - v), u * v] if full else [u, v]))
        found.append(frames[split].assign(features=features, text=texts))
    return found


@pytest.mark.parametrize("full", [False, True])
def test_relations_are_read_as_plain_scikit_learn_reads_them(tmp_path: Path, full: bool) -> None:
    store = store_of(tmp_path)
    train, test = with_features(store, related(store), 1, full=full)
    combine = "full" if full else "concat"
    request = ProbeRequest(
        task="ner", labels="rel", layers=(1,), combine=combine, control=not full, mdl=True, resamples=50
    )
    result = probe(tmp_path, request)
    own = result.sel(layer=1).squeeze()
    assert test.features.isna().any()
    known = train[train.features.notna()]
    found = answers(train, test, LogisticRegression(max_iter=1000), known.label.mode()[0])
    # States are pooled in single precision: a row at the boundary may fall on either side.
    assert own.accuracy.item() == pytest.approx((found == test.label).mean(), abs=1.5 / len(test))
    assert result.label.to_numpy().tolist() == ["equal", "other"]
    assert own.train_rows.item() == len(known)
    assert result.attrs["scored_rows"] == len(test)
    assert result.attrs["title"] == "logistic probe of rel of ner on corpus"
    if not full:
        pool = np.sort(np.searchsorted(["equal", "other"], train.label))
        made = word_type_labels(test.text.to_numpy(), pool, 0)
        (cell,) = find_cells(store, request)
        np.testing.assert_array_equal(control_labels(cell.target, cell.test, cell.train, 0), made)
        of_control = own.sel(score="accuracy")
        assert of_control.selectivity.item() == pytest.approx(own.accuracy.item() - of_control.control.item())


@pytest.mark.slow
def test_numbers_of_relations_are_regressed(tmp_path: Path) -> None:
    store = store_of(tmp_path)
    train, test = with_features(store, related(store, numbers=True), 1)
    own = probe(tmp_path, ProbeRequest(task="ner", labels="rel", layers=(1,), resamples=20)).sel(layer=1).squeeze()
    known = train[train.features.notna()].label
    mean, scale = known.mean(), known.std(ddof=0)
    scaled = train.assign(label=(train.label - mean) / scale)
    found = answers(scaled, test, Ridge(alpha=1.0), 0.0).astype(float) * scale + mean
    assert own.r2.item() == pytest.approx(r2_score(test.label, found), abs=1e-4)


@pytest.mark.slow
def test_relations_of_layers_together_and_their_memory(tmp_path: Path) -> None:
    store = store_of(tmp_path)
    related(store)
    request = ProbeRequest(task="ner", labels="rel", layers=("0+1", "mix"), resamples=20)
    result = probe(tmp_path, request)
    assert result.layer.to_numpy().tolist() == ["0", "1", "2", "0+1", "mix"]
    assert np.isfinite(result.accuracy).all()
    (cell,) = find_cells(store, request)
    rows, _ = read_rows(cell.train, cell.target, request, (0, 1), np.arange(60))
    shape = fit_shape(cell, request)
    assert (rows.features.shape[1], shape.features) == (2 * shape.features, 2 * cell.train[0].spec.feature_size)
    assert shape.train_rows >= len(rows)
    with pytest.raises(SettingError, match="of pairs, and the rows of labels 'rel' of ner are relations"):
        probe(tmp_path, ProbeRequest(task="ner", labels="rel", features="pair"))


@pytest.mark.slow
def test_a_set_of_spans_is_typed_as_mentions_are(tmp_path: Path) -> None:
    store = store_of(tmp_path)
    for split in SPLITS:
        run = store.run(split=split)
        spans, begins = run.spans(), run.column("samples/word_start")
        frame = pd.DataFrame({"sample": spans["sample"], "end": spans.word_count, "label": spans.type})
        frame["start"] = spans.word.to_numpy() - begins[frame["sample"]]
        frame["end"] += frame["start"]
        frame["sample_id"] = run.column("samples/sample_id")[frame["sample"]]
        store.add_labels("mine", frame, task="ner", dataset="corpus", split=split, level="spans")
    settings: dict[str, Any] = {"task": "ner", "layers": (1,), "resamples": 20, "max_train_samples": 50}
    tagged = probe(tmp_path, ProbeRequest(level="span", **settings))
    for level in (None, "span"):
        own = probe(tmp_path, ProbeRequest(labels="mine", level=level, **settings))
        np.testing.assert_array_equal(own.train_rows, tagged.train_rows)
        assert own.accuracy.sel(layer=1).item() > 0.85
    with pytest.raises(SettingError, match="level word, and labels 'mine' of ner are of spans; leave it out"):
        probe(tmp_path, ProbeRequest(labels="mine", level="word", **settings))
