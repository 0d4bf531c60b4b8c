"""Windows of samples on disk: where they lie, and the words in them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from store_factory import synthetic

from biocache.store import schema
from biocache.store.copying import copy_run
from biocache.store.integrity import verify_run
from biocache.store.packing import plan_packs
from biocache.store.reading import Run
from biocache.store.windows import Windows, context_of_words


@pytest.mark.slow
@given(st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=5), min_size=1, max_size=12), st.integers(1, 40))
@settings(max_examples=200, deadline=None)
def test_windows_lie_where_their_samples_do(sizes, capacity):
    count = np.array([sum(own) for own in sizes])
    entries = np.array([sum(size * size for size in own) for own in sizes])
    number = np.concatenate([np.repeat(np.arange(len(own)), own) for own in sizes])
    plan = plan_packs(count, entries, capacity)
    windows = Windows.of(count, number, plan.first_sample, lambda tokens: tokens * tokens)
    assert windows.plan.tokens.count.tolist() == [size for own in sizes for size in own]
    assert windows.count.tolist() == [len(own) for own in sizes]
    assert windows.entries.tolist() == entries.tolist()
    for axis, square in (("tokens", False), ("entries", True)):
        whole, own = getattr(plan, axis), getattr(windows.plan, axis)
        assert (own.chunk, own.length, own.total) == (whole.chunk, whole.length, whole.total)
        np.testing.assert_array_equal(own.positions(), whole.positions())
        for sample, parts in enumerate(sizes):
            begin = int(whole.start[sample])
            for place, window in enumerate(windows.of_sample(sample)):
                assert own.start[window] == begin
                assert windows.sample[window] == sample
                begin += parts[place] ** 2 if square else parts[place]
    np.testing.assert_array_equal(windows.plan.sample_pack, plan.sample_pack[windows.sample])


@pytest.mark.parametrize(
    "number", [[0, 0, 2, 2, 0], [1, 1, 1, 1, 0], [0, 1, 0, 1, 0], [0, 0, 0, 0, 1], [0, 0, 1, -1, 0]]
)
def test_windows_are_numbered_from_0(number):
    with pytest.raises(ValueError, match="are not numbered one after the other"):
        Windows.of(np.array([4, 1]), np.array(number), np.array([0, 2]), lambda tokens: tokens)


def test_the_context_of_a_word_by_hand():
    # Two windows of one sample: [CLS] w0 w1 w1 w2 [SEP], [CLS] w1 w1 w2 w3 w3 w4 [SEP]; then a pair in one window.
    word = np.array([-1, 0, 1, 1, 2, -1, -1, 1, 1, 2, 3, 3, 4, -1, -1, 5, 6, -1, 7, -1])
    window = np.repeat([0, 1, 2], [6, 8, 6])
    segment = np.array([0, 0, 0, 0, 0, 0, 0, 1, 0])
    context = context_of_words(word, window, segment)
    # Word 1 has 1 and 1 tokens around it in the first window, 0 and 4 in the second; word 2 has 3 and 0, then 2 and 3.
    assert context.start.tolist() == [1, 2, 9, 10, 12, 15, 16, 18, -1]
    assert context.count.tolist() == [1, 2, 1, 2, 1, 1, 1, 1, 0]
    assert np.flatnonzero(context.kept).tolist() == [1, 2, 3, 9, 10, 11, 12, 15, 16, 18]


def test_of_equal_windows_the_first_is_read():
    word = np.array([0, 1, 2, 1, 2, 3])
    context = context_of_words(word, np.repeat([0, 1], 3), np.zeros(4, int))
    # Word 1 is in the middle of the first, word 2 in that of the second; of texts that all windows hold, the first is.
    assert context.start.tolist() == [0, 1, 4, 5]
    alike = context_of_words(np.tile(np.arange(3), 3), np.repeat(np.arange(3), 3), np.zeros(3, int))
    assert alike.start.tolist() == [0, 1, 2]


@pytest.mark.slow
def test_a_run_of_before_windows_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = synthetic()
    old = [variable for variable in schema.columns() if variable.path != schema.WINDOW]
    earlier = replace(source, columns={path: own for path, own in source.columns.items() if path != schema.WINDOW})
    with monkeypatch.context() as patch:
        patch.setattr(schema, "columns", lambda: iter(old))
        earlier.write(earlier.create(tmp_path / "old"))
    assert not (tmp_path / "old" / source.spec.key.path / schema.WINDOW).exists()
    run = Run.open(tmp_path / "old", source.spec.key)
    now = source.write_all(tmp_path / "now")
    assert run.identity == now.identity
    assert not run.tokens().window.any()
    assert list(verify_run(run)) == []
    np.testing.assert_array_equal(run.words().hidden, now.words().hidden)
    copy_run(run, tmp_path / "copy")
    copied = Run.open(tmp_path / "copy", source.spec.key)
    np.testing.assert_array_equal(copied.column(schema.WINDOW), now.column(schema.WINDOW))
    assert list(verify_run(copied)) == []
