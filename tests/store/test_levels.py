"""Made-up runs of words and samples, whatever their lengths and packs: rows, views, damage, arrays in Zarr."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import zarr
from by_hand import samples_by_hand, words_by_hand
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from store_factory import Synthetic, synthetic

from biocache.store import Run, Store
from biocache.store.copying import copy_run
from biocache.store.errors import IntegrityError, StoreFormatError
from biocache.store.integrity import repair, verify_run
from biocache.store.levels import SAMPLE_ROWS, WORD_POOLINGS
from biocache.store.spec import RunSpec

DTYPES = ("float16", "float32", "int8")
MAPS: dict[str, dict[str, Any]] = {"float16": {}, "float32": {}, "int8": {"attention_dtype": "uint8"}}


def computed(array: Any) -> NDArray[np.float64]:
    return np.asarray(array.compute(scheduler="synchronous"), np.float64)


def assert_close(run: Run, stored: NDArray[np.float64], expected: NDArray[np.float64]) -> None:
    """Assert equality within the certified error of each layer, and float32's own rounding."""
    largest = np.max([record.errors["hidden"]["absolute"] for record in run.records().values()], axis=0)
    assert stored.shape == expected.shape
    np.testing.assert_array_equal(np.isnan(stored), np.isnan(expected))
    off = np.nan_to_num(np.abs(stored - expected))
    assert (off <= largest[:, np.newaxis, np.newaxis] + 1e-6 * np.nan_to_num(np.abs(expected)) + 1e-7).all()


def check_words(run: Run, source: Synthetic) -> None:
    for pooling in WORD_POOLINGS:
        expected = words_by_hand(source, pooling)
        view = run.words(pooling)
        assert view.word.values.tolist() == sorted(expected)
        if expected:
            assert_close(run, computed(view.hidden), np.stack([expected[word] for word in sorted(expected)], axis=1))
        assert_close(run, computed(run.samples(pooling).hidden), samples_by_hand(source, pooling, special_tokens=False))


def check_samples(run: Run, source: Synthetic) -> None:
    for special, pooling in SAMPLE_ROWS:
        assert_close(run, computed(run.samples(pooling, special).hidden), samples_by_hand(source, pooling, special))


CHECKS = {"word": check_words, "sample": check_samples}


@pytest.mark.slow
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lengths=st.lists(st.integers(1, 12), min_size=1, max_size=8),
    capacity=st.integers(1, 24),
    dtype=st.sampled_from(DTYPES),
    level=st.sampled_from(("word", "sample")),
)
def test_any_lengths_and_packs_give_the_same_rows(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], capacity: int, dtype: str, level: str
) -> None:
    root = tmp_path_factory.mktemp("levels")
    source = synthetic(lengths, capacity, dtype=dtype, level=level, **MAPS[dtype])
    run = source.write_all(root / "s")
    assert list(verify_run(run)) == []
    CHECKS[level](run, source)
    if dtype != "int8":
        tokens = synthetic(lengths, capacity, dtype=dtype, **MAPS[dtype]).write_all(root / "t")
        copy_run(tokens, root / "c", level=level)
        copied = Store.open(root / "c").run()
        np.testing.assert_array_equal(copied.activations("hidden"), run.activations("hidden"))
        for pack, record in run.records().items():
            assert copied.records()[pack].checksums == record.checksums
            assert copied.records()[pack].errors == record.errors


@pytest.mark.slow
def test_a_pack_without_a_row_is_a_pack(tmp_path: Path) -> None:
    for dtype in DTYPES:
        source = synthetic((1, 5, 1), 1, dtype=dtype, level="word", keep=("hidden",))
        run = source.write_all(tmp_path / dtype)
        assert run.plan.rows.pack_sizes.tolist()[::2] == [0, 0]
        assert list(verify_run(run)) == []
        check_words(run, source)
        assert np.isnan(computed(run.samples().hidden)[:, [0, 2]]).all()
        assert run.certificate()["hidden"]["worst"] >= 0


def test_samples_without_tokens_of_text_have_rows_of_zeros_and_views_of_nan(tmp_path: Path) -> None:
    source = synthetic(level="sample")
    run = source.write_all(tmp_path)
    alone = [sample for sample, count in enumerate(source.plan.tokens.count) if count == 1]
    assert alone == [4]
    rows = run.read_sample("hidden", 4)
    assert rows.shape[1] == len(SAMPLE_ROWS)
    np.testing.assert_array_equal(rows[:, :4], 0)
    for place in range(4, 8):
        np.testing.assert_array_equal(rows[:, place], source.hidden[4][:, 0])
    assert np.isnan(computed(run.samples().hidden)[:, 4]).all()


def test_plain_zarr_reads_rows_as_the_readme_says(tmp_path: Path) -> None:
    source = synthetic((7, 9, 4, 12, 1, 6), 16, level="word")
    run = source.write_all(tmp_path)
    group = zarr.open_group(run.path, mode="r")
    array: Any = group["hidden/hidden"]
    assert array.metadata.dimension_names == ("layer", "word_row", "feature")
    count, sample = np.asarray(group["words/token_count"]), np.asarray(group["words/sample"])
    rows = np.minimum(count, 3)
    first = np.asarray(group["packs/first_sample"])
    pack = np.searchsorted(first, sample, side="right") - 1
    before = np.cumsum(rows) - rows
    place = before - before[np.searchsorted(sample, first)][pack] + pack * array.chunks[1]
    means = words_by_hand(source, "mean")
    lasts = words_by_hand(source, "last")
    assert len(means) > 5
    assert set(rows) >= {1, 2, 3}
    for word in means:
        own = array[:, place[word] : place[word] + rows[word]]
        mean = own[:, 2] if rows[word] == 3 else own.astype(np.float32).mean(axis=1)
        np.testing.assert_allclose(mean, means[word], rtol=2**-10, atol=1e-6)
        np.testing.assert_array_equal(own[:, min(rows[word], 2) - 1], lasts[word])
    other = synthetic(level="sample").write_all(tmp_path / "samples")
    group = zarr.open_group(other.path, mode="r")
    array = group["hidden/hidden"]
    assert array.metadata.dimension_names == ("layer", "sample_row", "feature")
    first = np.asarray(group["packs/first_sample"])
    pack = np.searchsorted(first, 3, side="right") - 1
    begin = int(pack * array.chunks[1] + 8 * (3 - first[pack]))
    expected = [samples_by_hand(synthetic(), pooling, special)[:, 3] for special, pooling in SAMPLE_ROWS]
    np.testing.assert_allclose(array[:, begin : begin + 8], np.stack(expected, axis=1), rtol=2**-10, atol=1e-6)


def test_scales_of_codes_are_of_rows(tmp_path: Path) -> None:
    run = synthetic(level="word", dtype="int8", **MAPS["int8"]).write_all(tmp_path)
    scale: Any = zarr.open_group(run.path, mode="r")["hidden/token_scale"]
    assert scale.metadata.dimension_names == ("layer", "word_row")
    assert scale.shape == (3, run.plan.rows.length)
    steps, rows = run.read_steps("hidden", 1), run.read_sample("hidden", 1)
    assert steps is not None
    assert steps.shape == rows.shape
    codes = rows / np.where(steps > 0, steps, 1)
    np.testing.assert_allclose(codes, np.rint(codes), atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("level", ["word", "sample"])
def test_damage_is_seen_and_repaired(tmp_path: Path, level: str) -> None:
    source = synthetic(level=level)
    run = source.write_all(tmp_path)
    chunk = run.path / run.chunks("hidden").path(1, 1)
    chunk.write_bytes(chunk.read_bytes()[:-9])
    problems = list(verify_run(run))
    assert [problem.pack for problem in problems] == [1]
    with pytest.raises(IntegrityError, match=r"layer 1 of hidden in pack 1 of .* cannot be read"):
        run.samples().hidden.compute(scheduler="synchronous")
    assert len(repair(run.group.storage, problems)) == 1
    run = Store.open(tmp_path).run()
    assert run.committed() == [0, 2]
    source.write(run)
    assert list(verify_run(run)) == []
    CHECKS[level](run, source)


def test_the_level_is_a_part_of_the_spec_and_of_what_is_shown(tmp_path: Path) -> None:
    token, word = synthetic(), synthetic(level="word")
    assert "level" not in token.spec.to_json()
    assert word.spec.to_json()["level"] == "word"
    assert RunSpec.from_json(word.spec.key, word.spec.to_json()) == word.spec
    assert synthetic(level="word", keep=("attention",)).spec.level == "token"
    run = word.write_all(tmp_path)
    rows = int(np.minimum(word.columns["words/token_count"], 3).sum())
    assert run.counts.rows == rows
    assert f"(layer: 3, word_row: {rows}, feature: 6)" in repr(run)
    bytes_of_rows, bytes_of_maps = 3 * rows * 6 * 2, 2 * 2 * run.counts.entries * 2
    assert run.spec.activation_bytes(run.plan) == bytes_of_rows + bytes_of_maps
    assert Store.open(tmp_path).catalog()["level"].tolist() == ["word"]
    text = (run.path / "zarr.json").read_text()
    (run.path / "zarr.json").write_text(text.replace('"level": "word"', '"level": "sample"'))
    with pytest.raises(StoreFormatError, match="is damaged"):
        Run.open(tmp_path, run.key)


@pytest.mark.slow
@pytest.mark.parametrize("pooling", WORD_POOLINGS)
def test_relations_of_words_are_those_of_tokens(tmp_path: Path, pooling: str) -> None:
    """Words without tokens lie inside spans, and a span of them alone is lost."""
    runs = {level: synthetic((9, 12, 7, 10), 20, dtype="float32", level=level) for level in ("token", "word")}
    names, sizes = runs["token"].columns["samples/sample_id"], runs["token"].columns["samples/word_count"]
    rng = np.random.default_rng(0)
    drawn = {
        (name, *sorted(rng.choice(size + 1, 2, replace=False)), *sorted(rng.choice(size + 1, 2, replace=False)))
        for name, size in zip(names, sizes.tolist(), strict=True)
        for _ in range(20)
    }
    drawn.add(("s1", int(sizes[1]) - 1, int(sizes[1]), 0, 1))
    columns = ["sample_id", "start1", "end1", "start2", "end2"]
    frame = pd.DataFrame(sorted(drawn), columns=columns).assign(label="r")
    views = {}
    for level, source in runs.items():
        source.write_all(tmp_path / level)
        store = Store.open(tmp_path / level)
        store.add_labels("rel", frame, task="ner", dataset="corpus", split="test", level="relations")
        views[level] = store.run().relations("rel", pooling, layers=[0, 2])
    token, word = views["token"], views["word"]
    assert word.drop_vars("hidden").equals(token.drop_vars("hidden"))
    assert word.attrs["relations_lost"] == token.attrs["relations_lost"] > 0
    assert word.sizes["feature"] == 2 * runs["word"].spec.feature_size
    np.testing.assert_allclose(computed(word.hidden), computed(token.hidden), rtol=1e-6, atol=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize("level", ["word", "sample"])
def test_an_interrupted_copy_at_a_level_goes_on(tmp_path: Path, level: str) -> None:
    run = synthetic().write_all(tmp_path / "s")

    def stop(done: int, total: int) -> None:
        assert (done, total) == (1, 3)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        copy_run(run, tmp_path / "t", level=level, on_pack=stop)
    begun = Store.open(tmp_path / "t").run()
    assert (begun.committed(), begun.spec.level) == ([0], level)
    report = copy_run(run, tmp_path / "t", level=level)
    assert (report.packs_copied, report.packs_done) == (2, 3)
    copied = Store.open(tmp_path / "t").run()
    assert list(verify_run(copied)) == []
    CHECKS[level](copied, synthetic())
    # A damaged pack of the source is refused, not reduced.
    chunk = run.path / run.chunks("hidden").path(2, 1)
    chunk.write_bytes(chunk.read_bytes()[:-4] + b"\0\0\0\0")
    with pytest.raises(IntegrityError, match=r"layer 2 of hidden in pack 1 of .* cannot be read"):
        copy_run(run, tmp_path / "u", level=level)
    assert Store.open(tmp_path / "u").run().committed() == [0]
