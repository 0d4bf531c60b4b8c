"""Label sets of spans and of relations: kept, joined to runs, and pooled as plain loops pool them."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from by_hand import of_sample, pooled
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from store_factory import Synthetic, synthetic

from biocache.store import Run, Store
from biocache.store.copying import copy_run
from biocache.store.digests import sample_rows
from biocache.store.errors import BiocacheError, DataError, SettingError, SpecMismatchError
from biocache.store.integrity import verify_bundles
from biocache.store.label_sets import LabelPlace
from biocache.store.schema import POOLINGS

WHERE = {"task": "ner", "dataset": "corpus", "split": "test"}
VIEWS = ("premise", "hypothesis")
COLUMNS = ["sample_id", "start1", "end1", "start2", "end2", "label"]


def drawn_span(rng: np.random.Generator, sizes: list[int]) -> tuple[int, int]:
    """Return a span of words of one of the texts of a sample, which have these sizes."""
    text = int(rng.choice([place for place, size in enumerate(sizes) if size]))
    first, end = sorted(rng.choice(sizes[text] + 1, 2, replace=False).tolist())
    return sum(sizes[:text]) + first, sum(sizes[:text]) + end


def relations(run: Run, seed: int) -> pd.DataFrame:
    """Make up relations of most samples, in no order; spans may overlap, and come again."""
    rng, rows = np.random.default_rng(seed), {}
    for name, texts in sample_rows(run):
        sizes = [len(words) for words in texts]
        for _ in range(rng.integers(0, 4) if sum(sizes) else 0):
            rows[name, *drawn_span(rng, sizes), *drawn_span(rng, sizes)] = f"r{rng.integers(0, 3)}"
    frame = pd.DataFrame([(*place, label) for place, label in rows.items()], columns=COLUMNS)
    return frame.sample(frac=1, random_state=seed)


def by_hand(source: Synthetic, frame: pd.DataFrame, pooling: str) -> dict[Any, Any]:
    """Return label, texts and states (layer, feature) of each relation, by sample and places; None where lost."""
    words, ids = source.columns["words/word_text"], source.columns["samples/sample_id"].tolist()
    found = {}
    for name, *bounds, label in frame[COLUMNS].itertuples(index=False):
        sample = ids.index(name)
        begin = int(source.columns["samples/word_start"][sample])
        owners, parts, texts = np.array(of_sample(source, "word", sample)), [], []
        for first, end in (bounds[:2], bounds[2:]):
            texts.append(" ".join(words[begin + first : begin + end]))
            rows = source.hidden[sample][:, (owners >= begin + first) & (owners < begin + end)]
            parts.append([pooled(layer, pooling, source.spec.feature_size) for layer in rows])
        states = np.concatenate(parts, axis=1)
        found[sample, *bounds] = (label, tuple(texts), None if np.isnan(states).any() else states)
    return found


def check(run: Run, expected: dict[Any, Any], pooling: str) -> None:
    """Compare the view of relations with those made by hand."""
    view = run.relations("rel", pooling)
    order = sorted(expected)
    kept = [place for place, key in enumerate(order) if expected[key][2] is not None]
    assert view.relation.values.tolist() == kept
    assert view.attrs["relations_lost"] == len(order) - len(kept)
    own = [order[place] for place in kept]
    assert view["sample"].values.tolist() == [key[0] for key in own]
    assert view.label.values.tolist() == [expected[key][0] for key in own]
    texts = list(zip(view.first_text.values, view.second_text.values, strict=True))
    assert texts == [expected[key][1] for key in own]
    begins = run.column("samples/word_start")[view["sample"].values]
    assert (view.first_word.values - begins).tolist() == [key[1] for key in own]
    assert (view.second_word.values - begins).tolist() == [key[3] for key in own]
    assert view.second_word_count.values.tolist() == [key[4] - key[3] for key in own]
    assert view.sizes["feature"] == 2 * run.spec.feature_size
    if own:
        states = view.hidden.compute(scheduler="synchronous").to_numpy()
        truth = np.stack([expected[key][2] for key in own], axis=1)
        np.testing.assert_allclose(states, truth, rtol=2e-3, atol=1e-3)


@pytest.mark.slow
@settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lengths=st.lists(st.integers(2, 12), min_size=1, max_size=8),
    capacity=st.integers(1, 40),
    pooling=st.sampled_from(POOLINGS),
    seed=st.integers(0, 999),
)
def test_relations_have_the_states_of_both_spans(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], capacity: int, pooling: str, seed: int
) -> None:
    root = tmp_path_factory.mktemp("relations")
    source = synthetic(lengths, capacity)
    run = source.write_all(root / "s.zarr")
    frame = relations(run, seed)
    if frame.empty:
        return
    Store(run.group.storage).add_labels("rel", frame, **WHERE, level="relations")
    expected = by_hand(source, frame, pooling)
    check(Run.open(root / "s.zarr", run.key), expected, pooling)
    copy_run(run, root / "t.zarr")
    check(Store.open(root / "t.zarr").run(), expected, pooling)


@pytest.mark.slow
def test_a_run_of_one_text_has_the_relations_within_it(tmp_path: Path) -> None:
    lengths, where = (9, 12, 7, 10), {"task": "nli", "dataset": "corpus", "split": "test"}
    sources = [synthetic(lengths, task="nli", view=view, seed=place) for place, view in enumerate(VIEWS)]
    store = Store.open(sources[0].write_all(tmp_path).path.parents[6])
    sources[1].write_all(tmp_path)
    # Both views have the same words, each as one text of the sample.
    sizes = dict(zip(sources[0].columns["samples/sample_id"], sources[0].columns["samples/word_count"], strict=True))
    rng = np.random.default_rng(0)
    rows = {
        (name, *drawn_span(rng, [size, size]), *drawn_span(rng, [size, size])): f"r{number}"
        for number in range(12)
        for name, size in sizes.items()
    }
    frame = pd.DataFrame([(*place, label) for place, label in rows.items()], columns=COLUMNS)
    store.add_labels("rel", frame, **where, level="relations")
    bounds, count = COLUMNS[1:5], frame.sample_id.map(sizes)
    second = frame[["start1", "start2"]].min(axis=1) >= count
    first = frame[["end1", "end2"]].max(axis=1) <= count
    assert second.any()
    assert first.any()
    assert not (first | second).all()
    moved = frame.assign(**{name: frame[name] - count for name in bounds})
    for source, view, own in ((sources[0], "premise", frame[first]), (sources[1], "hypothesis", moved[second])):
        check(store.run(view=view), by_hand(source, own, "mean"), "mean")


@pytest.mark.slow
def test_relations_of_pairs_are_of_both_texts(tmp_path: Path) -> None:
    where = {"task": "nli", "dataset": "corpus", "split": "test"}
    source = synthetic((9, 12, 7, 10), task="nli", view="pair")
    run = source.write_all(tmp_path)
    frame, store = relations(run, 3), Store.open(tmp_path)
    store.add_labels("rel", frame, **where, level="relations")
    check(store.run(view="pair"), by_hand(source, frame, "mean"), "mean")
    one = store.run(view="pair").relations("rel", layers=[2])
    assert one.layer.values.tolist() == [2]
    np.testing.assert_array_equal(one.hidden[0], store.run(view="pair").relations("rel").hidden.sel(layer=2))


def test_spans_of_their_own_may_overlap(tmp_path: Path) -> None:
    source = synthetic()
    run = source.write_all(tmp_path)
    store = Store.open(tmp_path)
    sample = int(np.argmax(run.column("samples/word_count")))
    name, begin = run.column("samples/sample_id")[sample], int(run.column("samples/word_start")[sample])
    rows = [(name, 0, 3, "whole"), (name, 1, 2, "part"), (name, 0, 2, None)]
    frame = pd.DataFrame(rows, columns=["sample_id", "start", "end", "label"])
    kept = store.add_labels("mine", frame, **WHERE, level="spans")
    assert (kept.level, kept.kind, kept.names) == ("spans", "class", ("part", "whole"))
    view, words = Run.open(tmp_path, run.key).spans("mine", "max"), run.words(labels=())
    known = dict(zip(view.word_count.values.tolist(), view.type.values.tolist(), strict=True))
    assert known == {3: "whole", 1: "part", 2: ""}
    owners = np.array(of_sample(source, "word", sample))
    for place, count in enumerate(view.word_count.values.tolist()):
        first = int(view.word.values[place])
        rows_of = source.hidden[sample][2, (owners >= first) & (owners < first + count)]
        assert first in (begin, begin + 1)
        np.testing.assert_allclose(view.hidden.sel(layer=2)[place], rows_of.astype(np.float32).max(axis=0), atol=1e-3)
    assert words.sizes["feature"] == view.sizes["feature"]
    numbers = frame.assign(label=[1.5, -2.0, np.nan])
    store.add_labels("size", numbers, **WHERE, level="spans")
    np.testing.assert_array_equal(np.sort(Run.open(tmp_path, run.key).spans("size").type.values), [-2.0, 1.5, np.nan])


def test_a_set_is_kept_once_replaced_by_name_and_verified(tmp_path: Path) -> None:
    run = synthetic().write_all(tmp_path)
    frame, store = relations(run, 1), Store.open(tmp_path)
    first = store.add_labels("rel", frame, **WHERE, level="relations")
    again = store.add_labels("rel", frame.iloc[::-1], **WHERE, level="relations")
    assert again.places is not None
    np.testing.assert_array_equal(again.places, first.places)
    other = frame.assign(label="x")
    with pytest.raises(SpecMismatchError, match="labels samples in another way"):
        store.add_labels("rel", other, **WHERE, level="relations")
    with pytest.raises(SpecMismatchError, match="labels samples in another way"):
        store.add_labels("rel", frame.iloc[1:], **WHERE, level="relations")
    store.add_labels("rel", other, **WHERE, level="relations", overwrite=True)
    assert set(Run.open(tmp_path, run.key).relations("rel").label.values) == {"x"}
    place = LabelPlace(**WHERE, name="rel")
    assert not list(verify_bundles(store.storage, [place.file]))
    path = tmp_path / place.file
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    (problem,) = verify_bundles(store.storage, [place.file])
    assert "add it again with `biocache label" in problem.message


def bad(**changes: Any) -> pd.DataFrame:
    row = {"sample_id": "s2", "start1": 0, "end1": 1, "start2": 1, "end2": 2, "label": "a"}
    return pd.DataFrame([{**row}, {**row, "start2": 0, **changes}])


@pytest.mark.parametrize(
    ("frame", "says"),
    [
        (bad(sample_id="nine"), "row 1: ner corpus test has no sample 'nine' .its ids are "),
        (bad(end1=0), "row 1: span 0 to 0 has no word; its end is the word after its last"),
        (bad(end2=99), "row 1: span 0 to 99 is not in sample 's2', whose words are 0 to "),
        (bad(start1=-1), "row 1: span -1 to 1 is not in sample"),
        (bad(start2=0.5), "row 1: 0.5 is not the position of a word, from 0; correct it"),
        (bad(start2=None), "row 1: nan is not the position of a word"),
        (bad(start2=1), "row 1: this relation of sample 's2' has a label already; keep one"),
        (bad().drop(columns="end2"), "labels of relations has no column 'end2' .it has sample_id, start1"),
        (bad().assign(label=None), "label set 'rel' labels no relation of ner corpus test; check its ids"),
        (["a", "b"], "labels of relations has no column 'sample_id' .it is no frame"),
    ],
)
def test_rows_that_are_of_no_words_are_refused(tmp_path: Path, frame: Any, says: str) -> None:
    synthetic().write_all(tmp_path)
    with pytest.raises(DataError, match=says) as caught:
        Store.open(tmp_path).add_labels("rel", frame, **WHERE, level="relations")
    assert "\n" not in str(caught.value)


def test_what_does_not_go_with_spans_is_refused(tmp_path: Path) -> None:
    pair = synthetic((9, 12, 7, 10), task="nli", view="pair").write_labelled(tmp_path)
    store, where = Store.open(tmp_path), {"task": "nli", "dataset": "corpus", "split": "test"}
    name, texts = next(iter(sample_rows(pair)))
    count = len(texts[0])
    across = pd.DataFrame([(name, count - 1, count + 1, "a")], columns=["sample_id", "start", "end", "label"])
    with pytest.raises(DataError, match=f"goes on in another text; its texts have {count} and"):
        store.add_labels("s", across, **where, level="spans")
    good = across.assign(start=0, end=1)
    with pytest.raises(SettingError, match="label set gold is the dataset's own; give a set of spans another name"):
        store.add_labels("gold", good, **where, level="spans")
    with pytest.raises(SettingError, match="IOB2 tags are of words, and level says spans; leave iob2 out"):
        store.add_labels("s", good, **where, level="spans", iob2=True)
    with pytest.raises(SettingError, match="level 'pairs' of labels is not one of words, samples, spans, relations"):
        store.add_labels("s", good, **where, level="pairs")
    store.add_labels("s", good, **where, level="spans")
    run = store.run(view="pair")
    for call, says in (
        (
            lambda: run.words(labels="s"),
            r"label set 's' labels spans, which have a view of their own: run.spans\('s'\)",
        ),
        (lambda: run.relations("s"), "label set 's' labels spans, not relations between spans of words"),
        (lambda: run.relations("gold"), "label set 'gold' labels samples, not relations"),
        (lambda: run.spans("s", "median"), "pooling 'median' of spans is not one of"),
        (lambda: run.relations("s", layers=(9,)), "layer 9 is not stored in run"),
    ):
        with pytest.raises(BiocacheError, match=says):
            call()
