"""Codes of activations and their certificates, against plain NumPy, Zarr and SciPy."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from scipy.spatial.distance import jensenshannon
from store_factory import Synthetic, put_record, synthetic

from biocache.store import Run, Store
from biocache.store.certificate import measure
from biocache.store.chunks import encode_chunk
from biocache.store.coding import decode, encode
from biocache.store.copying import copy_run
from biocache.store.errors import IntegrityError, SettingError
from biocache.store.integrity import repair, verify_run
from biocache.store.rounding import write_halves
from biocache.store.schema import ATTENTION, HIDDEN
from biocache.store.storage import open_storage

CODES = {"dtype": "int8", "attention_dtype": "uint8"}
NO_ROWS = np.empty(0, np.int64)
FLOATS = {"float16": 2.0**-11, "float32": 2.0**-24}


def outliers(tokens: int = 400, features: int = 64, seed: int = 0) -> NDArray[np.float32]:
    """Make up hidden states as a transformer has them: a few features and first tokens are far larger than others."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(tokens, features)) * np.exp(rng.normal(size=features) / 2)
    values[:, :3] *= 300
    values[::40, 5:7] = 1000 * (1 + 0.05 * rng.normal(size=(tokens // 40, 2)))
    return values.astype(np.float32)


def relative(values: NDArray[Any], decoded: NDArray[Any]) -> NDArray[np.float64]:
    """Return the error of every value relative to the spread of its feature."""
    exact = values.astype(np.float64)
    spread, size = exact.std(axis=0), np.sqrt((exact**2).mean(axis=0))
    unit = np.where(spread > 2.0**-20 * size, spread, size)
    return np.asarray(np.abs(decoded.astype(np.float64) - exact) / np.where(unit > 0, unit, 1))


def stored(values: NDArray[Any], dtype: str = "int8") -> NDArray[Any]:
    kept = ATTENTION if dtype == "uint8" else HIDDEN
    return decode(kept, encode(kept, values, dtype), dtype)


def reopened(run: Run) -> Run:
    """Open a run anew, as another process would."""
    return Run.open(run.path.parents[6], run.key)


def plain_hidden(run: Run) -> NDArray[np.float32]:
    """Decode the hidden states of a run as any reader of Zarr can, (layer, token, feature) without fill."""
    group = zarr.open_group(run.path, mode="r")["hidden"]
    codes, token, feature = (group[name][:] for name in ("hidden", "token_scale", "feature_scale"))
    packs = np.repeat(np.arange(feature.shape[1]), codes.shape[1] // feature.shape[1])
    values = codes.astype(np.float32) * token[:, :, np.newaxis] * feature[:, packs]
    return np.asarray(values[:, run.plan.tokens.positions()])


def test_every_feature_keeps_its_own_precision_beside_outliers() -> None:
    values = outliers()
    errors = relative(values, stored(values))
    assert np.sqrt((errors**2).mean(axis=0)).max() < 0.011
    assert errors.max() < 0.05
    # One scale a token loses all but the outliers; one a feature is worse than both.
    steps = np.abs(values).max(axis=1, keepdims=True) / 127
    assert np.median(relative(values, np.rint(values / steps) * steps)) > 0.1
    steps = np.abs(values).max(axis=0) / 127
    both, one = (np.sqrt((each**2).mean()) for each in (errors, relative(values, np.rint(values / steps) * steps)))
    assert both < 0.95 * one


def test_the_codes_are_those_of_the_documented_scales() -> None:
    values = outliers(50, 8)
    found = encode(HIDDEN, values, "int8")
    sizes = np.abs(values).astype(np.float64)
    token = (sizes / np.sqrt(sizes.max(axis=0) * np.sqrt((sizes**2).mean(axis=0)))).max(axis=1)
    feature = (sizes / token[:, np.newaxis]).max(axis=0)
    token = (sizes / feature).max(axis=1)
    np.testing.assert_allclose(found["feature_scale"], feature / 127, rtol=1e-6)
    np.testing.assert_allclose(found["token_scale"], token, rtol=1e-6)
    exact = values / (token[:, np.newaxis] * feature / 127)
    assert (np.abs(found["hidden"] - exact) <= 0.5 + 1e-4).all()
    # The largest value of each feature and of each token has the largest code.
    assert (np.abs(found["hidden"]).max(axis=0) == 127).all()
    assert (np.abs(found["hidden"]).max(axis=1) == 127).all()


@pytest.mark.slow
@settings(deadline=None, max_examples=150)
@given(
    arrays.arrays(
        np.float32,
        arrays.array_shapes(min_dims=2, max_dims=2, max_side=6),
        elements=st.floats(-(2.0**127), 2.0**127, width=32),
    )
)
def test_any_finite_values_are_within_half_a_step(values: NDArray[np.float32]) -> None:
    """Zeros, subnormal numbers and the largest ones among them; a pack of one token, a model of one feature."""
    found = encode(HIDDEN, values, "int8")
    assert found["hidden"].dtype == np.int8
    assert np.abs(found["hidden"].astype(int)).max() <= 127
    assert all(np.isfinite(found[name]).all() and (found[name] >= 0).all() for name in ("token_scale", "feature_scale"))
    steps = found["token_scale"].astype(np.float64)[:, np.newaxis] * found["feature_scale"]
    off = np.abs(decode(HIDDEN, found, "int8").astype(np.float64) - values)
    assert (off <= 0.5 * steps * (1 + 1e-6) + np.abs(values) * 2.0**-22 + 1e-43).all()
    assert (decode(HIDDEN, found, "int8")[values == 0] == 0).all()


@pytest.mark.parametrize(
    "values",
    [
        np.zeros((3, 4)),
        np.eye(4),
        np.full((1, 5), -2.5),
        np.array([[1e-45, 3e-45], [0, 5e-42]]),
        np.array([[1e-40, 1e30], [0, 1e-30]]),
        np.outer([1, 0, 1e-3], [0, 1e4, 1e-4]),
    ],
    ids=["zeros", "zeros-beside", "one-token", "subnormal", "far-apart", "zero-rows"],
)
def test_edges(values: NDArray[Any]) -> None:
    exact = values.astype(np.float32)
    arrays = encode(HIDDEN, exact, "int8")
    decoded = decode(HIDDEN, arrays, "int8")
    assert np.isfinite(decoded).all()
    assert (decoded[exact == 0] == 0).all()
    errors = measure(HIDDEN, exact, arrays, "int8", NO_ROWS)
    assert np.isfinite(list(errors.values())).all()
    assert errors["absolute"] == pytest.approx(np.abs(decoded.astype(np.float64) - exact).max(), rel=1e-12)


@pytest.mark.slow
@settings(deadline=None, max_examples=100)
@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=50))
def test_codes_of_probabilities_are_of_square_roots(row: list[float]) -> None:
    values = np.array([row], np.float32)
    codes = encode(ATTENTION, values, "uint8")["attention"]
    assert codes.dtype == np.uint8
    assert (np.abs(codes - np.sqrt(values.astype(np.float64)) * 255) <= 0.5 + 1e-4).all()
    np.testing.assert_allclose(stored(values, "uint8"), (codes / 255.0) ** 2, rtol=1e-6)
    # What codes stand for has these codes.
    np.testing.assert_array_equal(encode(ATTENTION, stored(values, "uint8"), "uint8")["attention"], codes)


@pytest.mark.parametrize("dtype", ["float16", "float32", "int8"])
@pytest.mark.parametrize("constant", [False, True])
def test_the_certificate_of_hidden_states_is_that_of_plain_numpy(dtype: str, constant: bool) -> None:
    # More tokens than are measured at once.
    values = outliers(3000, 300, seed=1)
    values[:, 7] = 0
    if constant:
        values[:, 9] = 0.1
        values[:] = values[:1]
    arrays = encode(HIDDEN, values, dtype)
    decoded = decode(HIDDEN, arrays, dtype)
    errors = relative(values, decoded)
    found = measure(HIDDEN, values, arrays, dtype, NO_ROWS)
    assert found["absolute"] == np.abs(decoded.astype(np.float64) - values).max()
    assert found["largest"] == pytest.approx(errors.max(), rel=1e-9)
    assert found["rms"] == pytest.approx(np.sqrt((errors**2).mean()), rel=1e-9)
    assert (found["largest"] > 0) == (dtype != "float32")


def attention_rows(causal: bool, sharpness: float) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return rows of softmax (head, entry), and their keys."""
    rng = np.random.default_rng(int(sharpness))
    keys = np.concatenate([np.arange(1, n + 1) if causal else np.full(n, n) for n in (1, 5, 40, 130)])
    rows = []
    for _ in range(3):
        logits = [rng.normal(size=size) * sharpness for size in keys]
        rows.append(np.concatenate([np.exp(one - one.max()) / np.exp(one - one.max()).sum() for one in logits]))
    return np.array(rows, np.float32), keys


@pytest.mark.parametrize("dtype", ["float16", "float32", "uint8"])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("sharpness", [0.0, 1.0, 12.0])
def test_the_certificate_of_attention_is_that_of_scipy(dtype: str, causal: bool, sharpness: float) -> None:
    values, keys = attention_rows(causal, sharpness)
    arrays = encode(ATTENTION, values, dtype)
    decoded = decode(ATTENTION, arrays, dtype)
    cuts = np.cumsum(keys)[:-1]
    # SciPy takes the root of the sum of terms that cancel: of equal rows it can leave the root of a rounding error.
    bits = [
        np.nan_to_num(jensenshannon(own.astype(np.float64), other.astype(np.float64), base=2)) ** 2
        for head, kept in zip(values, decoded, strict=True)
        for own, other in zip(np.split(head, cuts), np.split(kept, cuts), strict=True)
    ]
    found = measure(ATTENTION, values, arrays, dtype, keys)
    assert found["absolute"] == np.abs(decoded.astype(np.float64) - values).max()
    assert found["divergence"] == pytest.approx(max(bits), rel=1e-6, abs=1e-14)
    assert found["mean_divergence"] == pytest.approx(np.mean(bits), rel=1e-6, abs=1e-14)
    assert found["divergence"] < (2e-3 if dtype == "uint8" else 1e-6)
    # Rows of equal values stay such rows.
    assert (found["divergence"] > 1e-9) == (dtype != "float32" and sharpness > 0)


def test_rows_without_mass_are_one_bit_from_others() -> None:
    values = np.array([[0, 0, 0, 0, 1e-9, 0]], np.float32)
    keys = np.array([2, 2, 2])
    found = measure(ATTENTION, values, encode(ATTENTION, values, "uint8"), "uint8", keys)
    assert (found["divergence"], found["mean_divergence"]) == (1, pytest.approx(1 / 3))


@pytest.fixture
def source() -> Synthetic:
    return synthetic(**CODES)


@pytest.fixture
def run(source: Synthetic, tmp_path: Path) -> Run:
    return source.write_labelled(tmp_path / "s.zarr")


def test_plain_zarr_decodes_what_the_views_give(source: Synthetic, run: Run) -> None:
    plain = plain_hidden(run)
    assert plain.dtype == np.float32
    for values in (run.activations("hidden"), run.tokens()["hidden"]):
        assert values.dtype == np.float32
        np.testing.assert_array_equal(values.compute(scheduler="synchronous"), plain)
    begin = run.plan.tokens.dense_start
    for sample in range(run.counts.samples):
        own = plain[:, begin[sample] : begin[sample + 1]]
        np.testing.assert_array_equal(run.read_sample("hidden", sample), own)
        np.testing.assert_array_equal(
            run.samples("max", special_tokens=True)["hidden"].isel(sample=sample).compute(scheduler="synchronous"),
            own.max(axis=1),
        )
    batches = [batch.hidden for batch in run.iter_batches(1, 5)]
    np.testing.assert_array_equal(np.concatenate(batches), plain[1])
    # Each pack's worst error is half a step of its own scales.
    assert 0 < np.abs(plain - source.truth("hidden")).max() < np.abs(source.truth("hidden")).max() / 254 * 1.01
    group = zarr.open_group(run.path, mode="r")
    assert group["hidden/hidden"].attrs["coding"].startswith("value = code * token_scale * feature_scale")
    assert group["attention/attention"].attrs["coding"] == "value = (code / 255) ** 2"
    maps = (group["attention/attention"][:].astype(np.float32) / np.float32(255)) ** 2
    np.testing.assert_array_equal(
        maps[..., run.plan.entries.positions()], run.activations("attention").compute(scheduler="synchronous")
    )
    assert run.attention_map(2).dtype == np.float32
    assert (run.tokens().attrs["stored_dtype"], run.attention().attrs["stored_dtype"]) == ("int8", "uint8")


def test_a_pack_is_a_chunk_of_codes_and_scales_and_its_end_is_fill(run: Run) -> None:
    group = zarr.open_group(run.path, mode="r")["hidden"]
    packs, chunk = run.counts.packs, run.plan.tokens.chunk
    assert (group["token_scale"].shape, group["token_scale"].chunks) == ((3, packs * chunk), (1, chunk))
    assert (group["feature_scale"].shape, group["feature_scale"].chunks) == ((3, packs, 6), (1, 1, 6))
    assert group["token_scale"].metadata.dimension_names == ("layer", "token")
    assert group["feature_scale"].metadata.dimension_names == ("layer", "pack", "feature")
    unused = np.setdiff1d(np.arange(packs * chunk), run.plan.tokens.positions())
    assert unused.size
    assert (group["hidden"][:, unused] == -128).all()
    assert np.isnan(group["token_scale"][:, unused]).all()
    assert list(verify_run(run)) == []


def test_the_record_has_the_certificate_of_each_layer(source: Synthetic, run: Run) -> None:
    plain, maps = plain_hidden(run), source.truth("attention")
    ends = run.plan.tokens.dense_start[run.plan.first_sample]
    squares, largest = [], []
    for pack, record in run.records().items():
        where = slice(ends[pack], ends[pack + 1])
        for layer in range(3):
            errors = relative(source.truth("hidden")[layer, where], plain[layer, where])
            assert record.errors["hidden"]["largest"][layer] == pytest.approx(errors.max(), rel=1e-9)
            assert record.errors["hidden"]["rms"][layer] == pytest.approx(np.sqrt((errors**2).mean()), rel=1e-9)
            squares.append(((errors**2).mean(), len(errors)))
            largest.append(errors.max())
        assert record.errors["attention"]["absolute"] == [0, 0]
    mean = np.sqrt(np.average([square for square, _ in squares], weights=[tokens for _, tokens in squares]))
    assert run.certificate()["hidden"] == {
        "worst": pytest.approx(max(largest), rel=1e-9),
        "mean": pytest.approx(mean, rel=1e-9),
    }
    assert run.certificate()["attention"]["worst"] < 1e-12
    assert maps.dtype == np.float32


def test_a_record_without_a_certificate_is_read(run: Run) -> None:
    """Packs that an earlier release wrote."""
    for pack, record in run.records().items():
        put_record(run, pack, replace(record, errors={}))
    again = reopened(run)
    assert again.certificate() == {}
    assert list(verify_run(again)) == []
    np.testing.assert_array_equal(again.tokens()["hidden"].compute(scheduler="synchronous"), plain_hidden(run))


def flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(bytes(data))


def exchange(file: Path) -> None:
    """Store other scales in a chunk whose own checksum is right."""
    length = 6 if "feature_scale" in str(file) else 9
    file.write_bytes(encode_chunk(np.full(length, 0.5, np.float32)))


DAMAGES = [(name, damage) for name in ("token_scale", "feature_scale") for damage in (flip, exchange, Path.unlink)]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "damage"), [*DAMAGES, ("hidden", flip), ("hidden", Path.unlink)])
def test_damage_of_codes_and_scales_is_seen_and_repaired(
    source: Synthetic, run: Run, name: str, damage: Callable[[Path], None], tmp_path: Path
) -> None:
    file = run.path / run.chunks("hidden").paths(1, 1)[name]
    sound = plain_hidden(run)
    damage(file)
    again = reopened(run)
    first = int(run.plan.first_sample[1])
    for read in (
        lambda: again.read_sample("hidden", first),
        lambda: again.words()["hidden"].compute(scheduler="synchronous"),
        lambda: list(again.iter_batches(1)),
        lambda: copy_run(again, tmp_path / "copy"),
    ):
        with pytest.raises(IntegrityError, match=r"(of|in) pack 1"):
            read()
    problems = list(verify_run(again))
    assert {problem.pack for problem in problems} == {1}
    repair(again.group.storage, problems)
    assert reopened(run).committed() == [0, 2]
    source.write(reopened(run))
    assert list(verify_run(reopened(run))) == []
    np.testing.assert_array_equal(plain_hidden(reopened(run)), sound)


def test_a_pack_whose_scales_were_cut_is_written_again(source: Synthetic, run: Run) -> None:
    file = run.path / run.chunks("hidden").paths(0, 2)["token_scale"]
    file.write_bytes(file.read_bytes()[:-1])
    from biocache.store.writing import RunWriter

    writer = RunWriter(reopened(run))
    assert writer.pending() == [2]
    writer.close()
    source.write(reopened(run))
    assert list(verify_run(reopened(run))) == []


@pytest.mark.slow
@pytest.mark.parametrize("place", ["{}/to", "memory://codes{}"])
@pytest.mark.parametrize("layers", [None, (2,), (0, 1)])
def test_a_copy_has_the_same_values_and_certificate(run: Run, tmp_path: Path, place: str, layers: Any) -> None:
    target = open_storage(place.format(tmp_path))
    copy_run(run, target, layers=layers)
    copied = Store.open(target).run()
    places = list(layers or run.spec.layers)
    np.testing.assert_array_equal(
        copied.activations("hidden").compute(scheduler="synchronous"), plain_hidden(run)[places]
    )
    assert list(verify_run(copied)) == []
    for pack, record in copied.records().items():
        for name, values in run.records()[pack].errors["hidden"].items():
            assert record.errors["hidden"][name] == [values[layer] for layer in places]
        assert len(record.errors.get("attention", {"absolute": []})["absolute"]) == len(copied.spec.attention_layers)


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("hidden", np.nan, r"hidden of layer 1 is not finite in int8 for sample 's3' .*pass dtype='float32'"),
        ("hidden", np.inf, r"hidden of layer 1 is not finite in int8 for sample 's3'"),
        ("attention", np.nan, r"attention of layer 2 is not finite in uint8 .* pass attention_dtype='float32'"),
        ("attention", 1.2, r"attention of layer 2 is outside of \[0, 1\], .*'s3' .*pass attention_dtype='float16'"),
        ("attention", -0.1, r"attention of layer 2 is outside of \[0, 1\], .*'s3'"),
    ],
)
def test_values_that_codes_cannot_hold_are_refused(
    source: Synthetic, tmp_path: Path, name: str, value: float, told: str
) -> None:
    held = source.hidden if name == "hidden" else source.maps
    held[3][(1, 0, 0) if name == "hidden" else (1, 0, 0, 0)] = value
    run = source.create(tmp_path / "s.zarr")
    with pytest.raises(SettingError, match=told):
        source.write(run)
    assert run.committed() == [0, 1]


def test_float16_that_overflows_names_the_other_types(tmp_path: Path) -> None:
    source = synthetic(attention_dtype="float32")
    held = [values.astype(np.float32) for values in source.hidden]
    held[3][0, 0, 0] = 1e6
    with pytest.raises(SettingError, match=r"not finite in float16 for sample 's3' .*dtype='float32' or dtype='int8'"):
        replace(source, hidden=held).write_all(tmp_path / "s.zarr")
    wide = synthetic(dtype="int8", attention_dtype="float32")
    run = replace(wide, hidden=held).write_all(tmp_path / "wide.zarr")
    assert run.read_sample("hidden", 3)[0, 0, 0] == pytest.approx(1e6, rel=1e-6)


def test_halves_are_those_of_numpy() -> None:
    """Every float16 and what is halfway to the next, nearly so, and beyond; NaN and infinity too."""
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16).astype(np.float32)
    finite = halves[np.isfinite(halves)]
    with np.errstate(over="ignore"):
        after = np.nextafter(finite.astype(np.float16), np.float16(np.inf)).astype(np.float32)
        middle = (finite.astype(np.float64) + np.where(np.isfinite(after), after, 65536)) / 2
    exact = middle.astype(np.float32)
    near = [np.nextafter(exact, np.float32(side)) for side in (-np.inf, np.inf)]
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, 2**32, 300_000, dtype=np.uint32).view(np.float32)
    values = np.concatenate([halves, exact, *near, drawn])
    out = np.empty(values.size, np.uint16)
    write_halves(values, values.view(np.uint32), out)
    with np.errstate(over="ignore", invalid="ignore"):
        expected = values.astype(np.float16)
    known = ~np.isnan(values)
    np.testing.assert_array_equal(out[known], expected.view(np.uint16)[known])
    assert np.isnan(out.view(np.float16)[~known]).all()


def test_widened_halves_are_those_of_numpy() -> None:
    """The certificate of halves that are exact is 0, and of others what they are off."""
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16)
    exact = halves[np.isfinite(halves)].astype(np.float32)[:, np.newaxis]
    found = measure(HIDDEN, exact, {"hidden": exact.astype(np.float16)}, "float16", NO_ROWS)
    assert found == {"absolute": 0, "largest": 0, "rms": 0}
    moved = exact + np.float32(2.0**-25)
    found = measure(HIDDEN, moved, {"hidden": exact.astype(np.float16)}, "float16", NO_ROWS)
    assert found["absolute"] == np.abs(exact.astype(np.float64) - moved).max() > 0


@pytest.mark.parametrize(("tokens", "features"), [(0, 5), (1, 1), (3, 40_000), (700, 97)])
def test_values_of_codes_are_the_same_at_every_size(tokens: int, features: int) -> None:
    rng = np.random.default_rng(tokens)
    codes = rng.integers(-127, 128, (tokens, 2 * features)).astype(np.int8)[:, ::2]
    token, feature = (np.exp(rng.normal(size=size) * 9).astype(np.float32) for size in (tokens, features))
    scales = {"token_scale": token, "feature_scale": feature}
    values = decode(HIDDEN, {"hidden": codes, **scales}, "int8")
    np.testing.assert_array_equal(values, codes.astype(np.float32) * token[:, np.newaxis] * feature)
    levels = codes.view(np.uint8)
    roots = levels.astype(np.float32) / np.float32(255)
    np.testing.assert_array_equal(decode(ATTENTION, {"attention": levels}, "uint8"), roots**2)
