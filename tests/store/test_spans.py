"""Spans equal those that seqeval reads from the tags, pooled in loops."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from seqeval.metrics.sequence_labeling import get_entities
from store_factory import Synthetic, synthetic

from biocache.store import Run
from biocache.store.errors import SettingError

POOL = {
    "mean": lambda rows: rows.mean(axis=0),
    "first": lambda rows: rows[0],
    "last": lambda rows: rows[-1],
    "max": lambda rows: rows.max(axis=0),
}


def by_hand(source: Synthetic, tags: list[str], pooling: str) -> list[tuple[str, str, int, int, np.ndarray]]:
    """Return type, text, first word, words, and states (layer, feature) of each span that has tokens, in loops."""
    words, found = source.columns["words/word_text"], []
    states = source.truth("hidden").astype(np.float32)
    owner = source.columns["tokens/word"][source.plan.tokens.positions()]
    begins = source.columns["samples/word_start"]
    for begin, count in zip(begins, source.columns["samples/word_count"], strict=True):
        own = tags[begin : begin + count]
        for kind, first, last in get_entities(list(own)):
            place = np.arange(begin + first, begin + last + 1)
            rows = states[:, np.isin(owner, place)]
            if rows.shape[1]:
                pooled = np.stack([POOL[pooling](layer) for layer in rows])
                found.append((kind, " ".join(words[place]), int(place[0]), len(place), pooled))
    return found


@pytest.mark.slow
@settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lengths=st.lists(st.integers(1, 12), min_size=1, max_size=8),
    capacity=st.integers(1, 40),
    pooling=st.sampled_from(sorted(POOL)),
    seed=st.integers(0, 999),
)
def test_spans_are_those_of_the_tags(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], capacity: int, pooling: str, seed: int
) -> None:
    root = tmp_path_factory.mktemp("spans")
    source = synthetic(lengths, capacity, label_names=("O", "B-DNA", "I-DNA", "B-RNA", "I-RNA"))
    run = source.write_all(root)
    rng = np.random.default_rng(seed)
    tags = [source.label_names[code] for code in rng.integers(0, 5, run.counts.words)]
    if not tags:
        return
    where = {"task": "ner", "dataset": "corpus", "split": "test"}
    from biocache.store import Store

    Store.open(root).add_labels("mine", tags, **where, level="words", iob2=True)
    spans, expected = run.spans("mine", pooling), by_hand(source, tags, pooling)
    assert spans.type.values.tolist() == [span[0] for span in expected]
    assert spans.text.values.tolist() == [span[1] for span in expected]
    assert spans.word.values.tolist() == [span[2] for span in expected]
    assert spans.word_count.values.tolist() == [span[3] for span in expected]
    total = sum(
        len(get_entities(tags[b : b + n]))
        for b, n in zip(source.columns["samples/word_start"], source.columns["samples/word_count"], strict=True)
    )
    assert spans.attrs["spans_lost"] == total - len(expected)
    if expected:
        states = spans.hidden.compute(scheduler="synchronous").to_numpy()
        np.testing.assert_allclose(states, np.stack([span[4] for span in expected], axis=1), rtol=2e-3, atol=1e-3)
    assert run.words(labels=()).sizes["feature"] == spans.sizes["feature"]


def test_classes_make_stretches(tmp_path: Path) -> None:
    source = synthetic(iob2=False, label_names=("O", "a", "b"))
    run = source.write_labelled(tmp_path)
    spans = run.spans()
    labels = run.words().label
    for word, count, kind in zip(spans.word.values, spans.word_count.values, spans.type.values, strict=True):
        own = labels.sel(word=[w for w in range(word, word + count) if w in labels.word.values])
        assert set(own.values) <= {kind}
    assert "O" not in spans.type.values


def test_what_spells_no_spans_is_refused(tmp_path: Path) -> None:
    run: Run = synthetic(task="nli", view="pair").write_labelled(tmp_path)
    with pytest.raises(SettingError, match="label set 'gold' labels samples, and spans are made of"):
        run.spans()
    with pytest.raises(SettingError, match="pooling 'median' of spans is not one of mean, first, last, max"):
        run.spans(pooling="median")
