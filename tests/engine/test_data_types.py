"""Runs of every data type through models of every family: what they hold, what they cost, and that they are sound."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from extractions import files, holdings, only_run, request, small_packs
from numpy.typing import NDArray
from reference import Reference, read_rows
from scipy.spatial.distance import jensenshannon
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from victims import Job, run_jobs

from biocache.engine import ClassifierOptions, ProbeRequest, extract, probe
from biocache.engine.recompute import recompute_samples, rounding_tolerance
from biocache.store import Run
from biocache.store.copying import copy_run
from biocache.store.integrity import verify_run
from biocache.store.writing import PackBuffer, RunWriter

FAMILIES = ("bert", "gpt2", "biogpt")
TYPES = [("float16", "float16"), ("float32", "float32"), ("int8", "uint8"), ("int8", "float32"), ("float16", "uint8")]
# The largest root mean square error of hidden states that a type may cost, of a feature's spread; and bits.
COSTS = {"float16": 2.0**-10, "float32": 0.0, "int8": 0.015}
BITS = {"float16": 1e-6, "float32": 1e-12, "uint8": 1e-3}

pytestmark = pytest.mark.slow


@contextmanager
def watched(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[int, PackBuffer]]:
    """Collect copies of what is given to be written, by pack."""
    seen: dict[int, PackBuffer] = {}
    plain = RunWriter.write_pack

    def write(writer: RunWriter, pack: int, buffer: PackBuffer) -> Any:
        seen[pack] = PackBuffer(*(array if array is None else array.copy() for _, array in buffer.items()))
        return plain(writer, pack, buffer)

    with monkeypatch.context() as patch:
        patch.setattr(RunWriter, "write_pack", write)
        yield seen


def spreads(values: NDArray[Any]) -> NDArray[np.float64]:
    exact = values.astype(np.float64)
    spread, size = exact.std(axis=0), np.sqrt((exact**2).mean(axis=0))
    return np.where(spread > 2.0**-20 * size, spread, np.where(size > 0, size, 1))


def rows_of(run: Run, pack: int, entries: NDArray[Any]) -> list[NDArray[np.float64]]:
    """Cut the entries of a head in a pack into the rows of its maps."""
    keys = [
        key
        for sample in run.plan.samples_of(pack)
        for count in [int(run.plan.tokens.count[sample])]
        for key in (range(1, count + 1) if run.spec.causal else [count] * count)
    ]
    return np.split(entries.astype(np.float64), np.cumsum(keys)[:-1])


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("dtype", "attention_dtype"), TYPES)
def test_views_equal_a_plain_forward_within_the_certificate(
    checkpoints: Mapping[str, Path],
    corpus_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    family: str,
    dtype: str,
    attention_dtype: str,
) -> None:
    small_packs(monkeypatch, 96)
    asked = request(corpus_folder, checkpoints[family], dtype=dtype, attention_dtype=attention_dtype, limit=12)
    with watched(monkeypatch) as exact:
        extract(tmp_path / "s", asked)
    run = only_run(tmp_path / "s")
    assert run.counts.packs > 2
    assert list(verify_run(run)) == []
    assert list(recompute_samples(run, 4, device="cpu")) == []
    reference, rows = Reference(checkpoints[family]), read_rows(corpus_folder, "ner", "test")[:12]
    hidden = run.tokens()["hidden"].compute(scheduler="synchronous").to_numpy().astype(np.float64)
    maps = run.activations("attention").compute(scheduler="synchronous").astype(np.float64)
    begin, entries = run.plan.tokens.dense_start, run.plan.entries.dense_start
    for pack, record in run.records().items():
        samples, errors = run.plan.samples_of(pack), record.errors
        own = hidden[:, begin[samples.start] : begin[samples.stop]]
        given = exact[pack].hidden[:, : own.shape[1]]
        for layer, (values, stored) in enumerate(zip(given, own, strict=True)):
            off = np.abs(stored - values) / spreads(values)
            assert errors["hidden"]["absolute"][layer] == np.abs(stored - values).max()
            assert errors["hidden"]["largest"][layer] == pytest.approx(off.max(), rel=1e-7)
            assert errors["hidden"]["rms"][layer] == pytest.approx(np.sqrt((off**2).mean()), rel=1e-7)
            assert errors["hidden"]["rms"][layer] <= COSTS[dtype]
        own = maps[..., entries[samples.start] : entries[samples.stop]]
        given = exact[pack].attention[..., : own.shape[2]]
        for layer, (values, stored) in enumerate(zip(given, own, strict=True)):
            bits = [
                np.nan_to_num(jensenshannon(a, b, base=2)) ** 2
                for head in range(len(values))
                for a, b in zip(rows_of(run, pack, values[head]), rows_of(run, pack, stored[head]), strict=True)
            ]
            assert errors["attention"]["absolute"][layer] == np.abs(stored - values).max()
            assert errors["attention"]["divergence"][layer] == pytest.approx(max(bits), rel=1e-5, abs=1e-12)
            assert errors["attention"]["mean_divergence"][layer] == pytest.approx(np.mean(bits), rel=1e-5, abs=1e-12)
            assert max(bits) < BITS[attention_dtype]
        for sample in samples:
            plain = reference(rows[sample].texts, 128)
            own = hidden[:, begin[sample] : begin[sample + 1]]
            assert_within(own, plain.hidden, errors["hidden"]["absolute"])
            assert_within(run.attention_map(sample).to_numpy(), plain.attention, errors["attention"]["absolute"])


def assert_within(stored: NDArray[Any], plain: NDArray[Any], certified: list[float]) -> None:
    """Assert that values differ by what the certificate says, and by the order of the model's sums."""
    for own, values, most in zip(stored.astype(np.float64), plain, certified, strict=True):
        assert np.abs(own - values).max() <= most + 1e-5 * np.abs(values).max()


@pytest.mark.parametrize("family", FAMILIES)
def test_pooled_words_and_samples_are_those_of_decoded_tokens(
    checkpoints: Mapping[str, Path], corpus_folder: Path, tmp_path: Path, family: str
) -> None:
    asked = request(corpus_folder, checkpoints[family], dtype="int8", attention_dtype="uint8", limit=9, layers=(0, 2))
    extract(tmp_path / "s", asked)
    run = only_run(tmp_path / "s")
    tokens = run.tokens().compute(scheduler="synchronous")
    words, samples = (view.compute(scheduler="synchronous") for view in (run.words("mean"), run.samples("max")))
    for place, word in enumerate(words["word"].to_numpy()):
        own = tokens["hidden"].to_numpy()[:, tokens["word"].to_numpy() == word].astype(np.float64)
        np.testing.assert_allclose(words["hidden"][:, place], own.mean(axis=1), rtol=1e-6, atol=1e-7)
    for sample in range(run.counts.samples):
        inside = (tokens["sample"] == sample) & ~tokens["special"]
        own = tokens["hidden"].to_numpy()[:, inside.to_numpy()]
        np.testing.assert_array_equal(samples["hidden"][:, sample], own.max(axis=1))


def test_models_with_outliers_keep_every_feature(
    checkpoints: Mapping[str, Path], corpus_folder: Path, tmp_path: Path
) -> None:
    """Features hundreds of times larger than others, and a first token hundreds of times larger than the rest."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    model = AutoModel.from_pretrained(checkpoints["gpt2"])
    with torch.no_grad():
        for feature, factor in ((3, 300.0), (11, 500.0)):
            model.wte.weight[:, feature] *= factor
            model.wpe.weight[:, feature] *= factor
        model.wpe.weight[0, 20] += 800.0
    model.save_pretrained(tmp_path / "wild")
    AutoTokenizer.from_pretrained(checkpoints["gpt2"]).save_pretrained(tmp_path / "wild")
    extract(tmp_path / "s", request(corpus_folder, tmp_path / "wild", dtype="int8", limit=20))
    run = only_run(tmp_path / "s")
    reference = Reference(tmp_path / "wild")
    plain = np.concatenate(
        [reference(row.texts, 128).hidden for row in read_rows(corpus_folder, "ner", "test")[:20]], axis=1
    )
    size = np.abs(plain[0]).max(axis=0)
    assert np.sort(size)[-3] > 100 * np.median(size)
    stored = run.activations("hidden").compute(scheduler="synchronous")
    for layer in range(len(plain)):
        off = np.abs(stored[layer] - plain[layer]) / spreads(plain[layer])
        assert np.sqrt((off**2).mean(axis=0)).max() < 0.02, layer
    assert run.certificate()["hidden"]["mean"] < 0.012
    assert list(recompute_samples(run, 3, device="cpu")) == []


@pytest.mark.parametrize(("name", "step"), [("hidden", 3), ("attention", 3)])
def test_recomputing_sees_codes_that_are_off(
    checkpoints: Mapping[str, Path],
    corpus_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    step: int,
) -> None:
    """What was stored differs from the model by a few codes, and its checksums and record are right."""
    asked = request(corpus_folder, checkpoints["bert"], dtype="int8", attention_dtype="uint8", limit=3)
    plain = RunWriter.write_pack

    def write(writer: RunWriter, pack: int, buffer: PackBuffer) -> Any:
        values = getattr(buffer, name)
        if name == "hidden":
            values[1, 2, 5] += step * np.abs(values[1]).max() / 127
        else:
            values[0, 0, 3] = (np.sqrt(values[0, 0, 3]) + step / 255) ** 2
        return plain(writer, pack, buffer)

    monkeypatch.setattr(RunWriter, "write_pack", write)
    extract(tmp_path / "s", asked)
    run = only_run(tmp_path / "s")
    assert list(verify_run(run)) == []
    (problem,) = recompute_samples(run, 3, device="cpu")
    assert f"{name} of layer 1 of sample 'test-0' differs by up to" in problem.message


def test_the_tolerance_follows_the_type_and_the_certificate() -> None:
    values = np.array([0.0, 0.25, 1.0])
    wide = 64 * 2.0**-23
    np.testing.assert_allclose(rounding_tolerance(values, "float32", "float32"), values * 2.0**-23 + wide, rtol=1e-6)
    half = 0.5 / 255
    expected = 2 * half * np.sqrt(values) + half**2 + wide
    np.testing.assert_allclose(rounding_tolerance(values, "uint8", "float32"), expected, rtol=1e-9)
    steps = np.array([0.1, 0.2, 0.3])
    np.testing.assert_allclose(
        rounding_tolerance(values, "int8", "float32", steps=steps), steps / 2 + values * 2.0**-23 + wide, rtol=1e-9
    )
    np.testing.assert_allclose(
        rounding_tolerance(values, "int8", "float32", steps=steps, certified=0.06),
        np.minimum(steps / 2 + values * 2.0**-23, 0.06) + wide,
        rtol=1e-9,
    )


def test_probes_of_codes_are_those_of_scikit_learn_on_decoded_values(
    checkpoints: Mapping[str, Path], corpus_folder: Path, tmp_path: Path
) -> None:
    asked = request(
        corpus_folder, checkpoints["bert"], dtype="int8", splits=("train", "test"), keep=("hidden",), limit=30
    )
    extract(tmp_path / "s", asked)
    options = ClassifierOptions(c=2.0)
    result = probe(tmp_path / "s", ProbeRequest(task="ner", models=("tiny",), probe="logistic", options=options))
    for layer in (0, 2):
        parts = {}
        for split in ("train", "test"):
            run = only_run(tmp_path / "s", split=split)
            tokens = run.tokens(labels="gold").sel(layer=layer).compute(scheduler="synchronous")
            word, label = tokens["word"].to_numpy(), tokens["label"].to_numpy().astype(str)
            hidden = tokens["hidden"].to_numpy()
            own = [np.flatnonzero(word == place) for place in np.unique(word[word >= 0])]
            means = np.array([hidden[rows].mean(axis=0, dtype=np.float64) for rows in own], np.float32)
            parts[split] = means, np.array([label[rows[0]] for rows in own])
        scaler = StandardScaler().fit(parts["train"][0])
        names = sorted(set(parts["train"][1]), key=lambda name: (name != "O", name))
        model = LogisticRegression(C=2.0, max_iter=1000)
        model.fit(scaler.transform(parts["train"][0]), [names.index(one) for one in parts["train"][1]])
        answers = np.array(names)[model.predict(scaler.transform(parts["test"][0]))]
        found = result.sel(layer=layer)
        assert found["accuracy"].item() == pytest.approx((answers == parts["test"][1]).mean(), abs=1e-12)


SETTINGS = {"batch_tokens": 256, "window_tokens": 512, "dtype": "int8", "attention_dtype": "uint8"}
KILLS = [Job("", "chunk", 2), Job("", "chunk", 9, after=True), Job("", "record", 2), Job("", "record", 3, after=True)]


def test_killed_and_shared_extractions_of_codes_end_as_one_that_was_not(
    checkpoints: Mapping[str, Path], corpus_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_packs(monkeypatch, 128)
    asked = request(corpus_folder, checkpoints["bert"], **SETTINGS)
    extract(tmp_path / "whole", asked)
    whole = holdings(tmp_path / "whole")
    jobs = [[replace(job, store=str(tmp_path / f"killed-{n}"))] for n, job in enumerate(KILLS)]
    jobs.append([Job(str(tmp_path / "two"))] * 2)
    *killed, two = run_jobs(jobs, corpus_folder, checkpoints["bert"], 128, SETTINGS)
    assert all(outcome.killed for (outcome,) in killed)
    assert [outcome.error for outcome in two] == ["", ""]
    assert holdings(tmp_path / "two") == whole
    records = {pack: record.errors for pack, record in only_run(tmp_path / "whole").records().items()}
    for n in range(len(KILLS)):
        run = only_run(tmp_path / f"killed-{n}")
        kept = {name: state for name, state in files(run.path / "packs").items() if "partial" not in name}
        (report,) = extract(tmp_path / f"killed-{n}", asked)
        assert report.complete
        assert files(run.path / "packs").items() >= kept.items()
        assert holdings(tmp_path / f"killed-{n}") == whole
        assert list(verify_run(only_run(tmp_path / f"killed-{n}"))) == []
        assert {pack: record.errors for pack, record in run.records().items()} == records


def test_codes_have_the_packs_of_float16_and_half_their_bytes(
    checkpoints: Mapping[str, Path], corpus_folder: Path, tmp_path: Path
) -> None:
    plans = {}
    for dtype, attention_dtype in TYPES:
        asked = request(corpus_folder, checkpoints["gpt2"], dtype=dtype, attention_dtype=attention_dtype)
        extract(tmp_path / f"{dtype}-{attention_dtype}", asked)
        run = only_run(tmp_path / f"{dtype}-{attention_dtype}")
        plans[dtype, attention_dtype] = run
        tokens, entries = run.counts.tokens, run.counts.entries
        layers, width, heads = len(run.spec.layers), run.spec.feature_size, run.spec.head_count
        sizes = {"float16": 2, "float32": 4, "int8": 1, "uint8": 1}
        expected = layers * tokens * width * sizes[dtype] + (layers - 1) * heads * entries * sizes[attention_dtype]
        if dtype == "int8":
            expected += 4 * layers * (tokens + run.counts.packs * width)
        assert run.spec.activation_bytes(run.plan) == expected
    assert len({tuple(run.plan.first_sample) for run in plans.values()}) == 1
    stored = {names: sum(r.stored_bytes for r in run.records().values()) for names, run in plans.items()}
    assert stored["int8", "uint8"] < 0.6 * stored["float16", "float16"]
    copy_run(plans["int8", "uint8"], tmp_path / "copy")
    assert holdings(tmp_path / "copy") == holdings(tmp_path / "int8-uint8")


@pytest.mark.parametrize("family", FAMILIES)
def test_windows_of_long_samples_are_coded_and_certified(
    checkpoints: Mapping[str, Path], corpus_folder: Path, tmp_path: Path, family: str
) -> None:
    stores = {}
    for dtype, attention_dtype in (("float32", "float32"), ("int8", "uint8")):
        settings = {"dtype": dtype, "attention_dtype": attention_dtype, "max_length": 16, "stride": 4, "limit": 6}
        extract(tmp_path / dtype, request(corpus_folder, checkpoints[family], **settings))
        run = stores[dtype] = only_run(tmp_path / dtype)
        assert run.windows.count.max() > 1
        assert list(verify_run(run)) == []
        assert list(recompute_samples(run, 3, device="cpu")) == []
    exact, coded = stores["float32"], stores["int8"]
    (errors,) = [record.errors for record in coded.records().values()]
    for name in ("hidden", "attention"):
        values, kept = (run.activations(name).compute(scheduler="synchronous") for run in (exact, coded))
        off = np.abs(kept.astype(np.float64) - values).max(axis=(1, 2))
        np.testing.assert_allclose(errors[name]["absolute"], off, rtol=1e-12)
    counts = exact.windows.plan.tokens.count
    keys = [key for n in counts for key in (range(1, n + 1) if exact.spec.causal else [n] * n)]
    maps = [run.activations("attention").compute(scheduler="synchronous")[0] for run in (exact, coded)]
    bits = [
        np.nan_to_num(jensenshannon(a.astype(np.float64), b.astype(np.float64), base=2)) ** 2
        for head in range(coded.spec.head_count)
        for a, b in zip(*(np.split(run[head], np.cumsum(keys)[:-1]) for run in maps), strict=True)
    ]
    assert errors["attention"]["mean_divergence"][0] == pytest.approx(np.mean(bits), rel=1e-5)
