import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from extractions import files, forget, only_run, request, small_packs
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import VIEWS, Reference, read_rows

from biocache.engine import ExtractionRequest, extract
from biocache.engine.extraction import memory
from biocache.engine.extraction.batches import plan_batches, plan_windows
from biocache.engine.extraction.memory import Budget, KeptSizes, choose_budget, peak_memory
from biocache.engine.extraction.planning import plan_extraction
from biocache.engine.extraction.request import Partition
from biocache.engine.models.shape import ModelShape
from biocache.store.errors import DataError, ResourceError, SettingError
from biocache.store.packing import plan_packs
from biocache.store.text import format_bytes

# Few weights for its sizes, so that loading them never takes more memory than running.
SHAPE = ModelShape(
    layers=12, features=768, heads=12, causal=False, max_positions=512, parameters=1000, inner_features=3072
)
LENGTHS = st.lists(st.integers(1, 40), min_size=1, max_size=60)


def layout(lengths, capacity):
    counts = np.array(lengths, np.int64)
    return plan_packs(counts, counts * counts, capacity)


# Arithmetic of a dry run


@pytest.mark.parametrize("family", ["bert", "gpt2", "biogpt"])
def test_bytes_are_what_every_token_and_map_entry_take(corpus_folder, checkpoints, family):
    reference = Reference(checkpoints[family])
    asked = request(
        corpus_folder, checkpoints[family], task="nli", splits=("train", "test"), layers=(0, 2), limit=9, max_length=30
    )
    plan = plan_extraction(asked)
    expected = {}
    for view, split in itertools.product(VIEWS["nli"], ("train", "test")):
        rows = read_rows(corpus_folder, "nli", split)[:9]
        lengths = [len(reference.encode(row.view(view), 30)["input_ids"]) for row in rows]
        hidden = sum(lengths) * 2 * 32 * 2
        entries = sum(n * n if family == "bert" else n * (n + 1) // 2 for n in lengths)
        expected[view, split] = hidden + (entries * 1 * 2 * 2 if split == "test" else 0)
    assert {(run.key.view, run.key.split): run.activation_bytes for run in plan.runs} == expected
    assert plan.activation_bytes == sum(expected.values())
    doubled = plan_extraction(replace(asked, dtype="float32"))
    assert doubled.activation_bytes == 2 * plan.activation_bytes


@pytest.mark.slow
def test_bytes_are_those_of_the_stored_arrays(corpus_folder, checkpoints, tmp_path):
    asked = request(corpus_folder, checkpoints["biogpt"])
    plan = plan_extraction(asked)
    extract(tmp_path / "s", asked)
    run = only_run(tmp_path / "s")
    assert plan.activation_bytes == sum(run.activations(name).nbytes for name in ("hidden", "attention"))
    assert plan.runs[0].tokens == run.counts.tokens


@pytest.mark.parametrize("keep", [("hidden",), ("hidden", "attention")])
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_a_chunk_of_maps_is_bounded_where_they_are_kept(corpus_folder, checkpoints, monkeypatch, keep, dtype):
    monkeypatch.setattr("biocache.store.packing.CHUNK_BYTES", 1 << 14)
    asked = request(corpus_folder, checkpoints["bert"], keep=keep, dtype=dtype, max_length=30)
    (run,) = plan_extraction(asked).runs
    lengths, size = run.encoding.token_count, np.dtype(dtype).itemsize
    entries = (1 << 14) // (2 * size) if "attention" in keep else None
    expected = plan_packs(lengths, lengths.astype(np.int64) ** 2, (1 << 14) // (32 * size), entries)
    np.testing.assert_array_equal(run.layout.first_sample, expected.first_sample)
    bounded = run.layout.entries.chunk * 2 * size <= 1 << 14
    assert bounded == ("attention" in keep)


def test_planning_writes_and_loads_nothing(corpus_folder, checkpoints, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("weights were loaded")

    monkeypatch.setattr("biocache.engine.models.loading._load_weights", refuse)
    monkeypatch.chdir(tmp_path)
    (run,) = plan_extraction(request(corpus_folder, checkpoints["bert"])).runs
    assert run.spec.model_digest == ""
    assert list(tmp_path.iterdir()) == []


def test_the_pre_trained_model_is_read_once_for_all_seeds(corpus_folder, checkpoints):
    def keys(**settings):
        plan = plan_extraction(request(corpus_folder, checkpoints["bert"], seeds=(9, 2), **settings))
        return [(run.key.model, run.key.training_size, run.key.seed) for run in plan.runs]

    assert keys() == [("tiny", 0, 9)]
    # Random weights are others with another seed.
    assert keys(random_weights=True) == [("tiny-random", 0, 9), ("tiny-random", 0, 2)]
    with pytest.raises(SettingError, match=r"finetuned is for one seed, and seed names 2; extract the checkpoints of"):
        keys(finetuned=(str(checkpoints["bert"]),))


def test_notes_count_what_was_cut(corpus_folder, checkpoints, tmp_path):
    asked = request(corpus_folder, checkpoints["bert"], max_length=20)
    extract(tmp_path / "s", asked)
    run = only_run(tmp_path / "s")
    notes = run.provenance.notes
    assert notes["samples_truncated"] == run.column("samples/truncated").sum() > 0
    assert notes["words_lost"] == (run.column("words/token_count") == 0).sum() > 0


# Memory


KEPT = KeptSizes(hidden_row=13 * 768 * 2, map_row=12 * 12 * 2)
WORK = Budget(batch_tokens=512, window_tokens=4096, windows=1, lanes=2, writers=2)


@pytest.mark.slow
@given(lengths=LENGTHS, tokens=st.integers(1, 200), more=st.integers(1, 200))
def test_peak_memory_grows_with_all_it_depends_on(lengths, tokens, more):
    plan = layout(lengths, 64)

    def peak(kept=KEPT, shape=SHAPE, plans=(plan,), base_bytes=0, **changes):
        work = replace(WORK, **({"batch_tokens": tokens} | changes))
        return peak_memory([(one, kept) for one in plans], shape, work, on_device=False, base_bytes=base_bytes)

    least = peak()
    assert peak(batch_tokens=tokens + more) >= least
    assert peak(writers=3) > least
    assert peak(lanes=3) > least
    assert peak(windows=2) >= least
    assert peak(base_bytes=more) == least + more
    assert peak(replace(KEPT, hidden_row=KEPT.hidden_row + more)) > least
    assert peak(replace(KEPT, map_row=KEPT.map_row + more)) > least
    assert peak(replace(KEPT, map_row=0)) <= least
    assert peak(replace(KEPT, reduced_rows=max(lengths) + more)) >= least
    # The rows of three chunks in each writer, of two layers that are reduced at once.
    wide = replace(KEPT, map_row=0, reduced_rows=100 * more)
    assert peak(wide) >= peak(replace(KEPT, map_row=0)) + 2 * 3 * (100 * more - plan.tokens.chunk) * 4 * SHAPE.features
    assert peak(shape=replace(SHAPE, parameters=1000 + more)) == least + 4 * more
    assert peak(shape=replace(SHAPE, parameters=10**9)) >= 2 * 4 * 10**9
    assert peak(shape=replace(SHAPE, inner_features=SHAPE.inner_features * 2)) > least
    assert peak(plans=(plan, layout([*lengths, 50], 64))) >= least


def test_peak_memory_does_not_grow_with_the_corpus():
    lengths = [10, 30, 20, 7] * 50

    def peak(times):
        return peak_memory([(layout(lengths * times, 64), KEPT)], SHAPE, WORK, on_device=False, base_bytes=0)

    assert peak(40) == peak(400)


@given(packs=st.integers(1, 30), window=st.integers(1, 40))
def test_larger_windows_take_more_memory(packs, window):
    plan = layout([16] * 4 * packs, 64)

    def peak(tokens):
        work = replace(WORK, window_tokens=tokens)
        return peak_memory([(plan, KEPT)], SHAPE, work, on_device=False, base_bytes=0)

    # Doubling a window never frees any.
    assert peak(2 * 64 * window) >= peak(64 * window)


def choose(lengths, capacity=64, **changes):
    device = changes.pop("device", "cpu")
    asked = ExtractionRequest(task="ner", **changes)
    return choose_budget([(layout(lengths, capacity), KEPT)], SHAPE, device, asked)


def test_windows_are_halved_until_they_fit(monkeypatch):
    monkeypatch.setattr(memory, "used_memory", lambda: 0)
    monkeypatch.setattr(memory, "cpu_lanes", lambda: 1)
    lengths = [16] * 40_000
    roomy = choose(lengths, 1024, max_memory=2**50)
    assert roomy.peak_bytes <= 2**50
    tight = choose(lengths, 1024, max_memory=roomy.peak_bytes - 1)
    assert tight.window_tokens == roomy.window_tokens // 2
    assert tight.peak_bytes < roomy.peak_bytes
    least = choose(lengths, 1024, window_tokens=1024, max_memory=2**50)
    smallest = choose(lengths, 1024, max_memory=least.peak_bytes)
    assert smallest == least
    with pytest.raises(ResourceError, match=r"max_memory is .*pass max_memory=\d+ or more") as caught:
        choose(lengths, 1024, max_memory=least.peak_bytes - 1)
    assert "windows of 1024 tokens" in str(caught.value)


def test_the_memory_that_a_refusal_asks_for_suffices(monkeypatch):
    monkeypatch.setattr(memory, "used_memory", lambda: 0)
    with pytest.raises(ResourceError) as caught:
        choose([16] * 4000, max_memory=1)
    megabytes = int(caught.value.message.split("pass --max-memory=")[1].split("M")[0])
    assert choose([16] * 4000, max_memory=megabytes * 2**20).peak_bytes <= megabytes * 2**20
    with pytest.raises(ResourceError):
        choose([16] * 4000, max_memory=(megabytes - 1) * 2**20)


def test_lanes_are_halved_where_the_smallest_windows_do_not_fit(monkeypatch):
    monkeypatch.setattr(memory, "used_memory", lambda: 0)
    monkeypatch.setattr(memory, "cpu_lanes", lambda: 8)
    lengths = [16] * 4000
    assert choose(lengths, max_memory=2**50).lanes == 8
    smallest = choose(lengths, window_tokens=64, max_memory=2**50)
    tight = choose(lengths, max_memory=smallest.peak_bytes - 1)
    assert (tight.window_tokens, tight.lanes) == (64, 4)
    assert choose(lengths, device="cuda", max_memory=2**50).lanes == 1


def test_asked_sizes_are_kept():
    budget = choose([16] * 4000, batch_tokens=77, window_tokens=99)
    assert (budget.batch_tokens, budget.window_tokens) == (77, 99)
    with pytest.raises(ResourceError, match="windows of 99 tokens"):
        choose([16] * 4000, window_tokens=99, max_memory=1)


def test_a_quarter_of_the_machine_is_the_default(monkeypatch):
    monkeypatch.setattr(memory, "used_memory", lambda: 0)
    needed = choose([16] * 4000, max_memory=2**50).peak_bytes
    monkeypatch.setattr(memory, "machine_memory", lambda: 4 * needed)
    assert choose([16] * 4000).peak_bytes == needed
    monkeypatch.setattr(memory, "machine_memory", lambda: 4)
    with pytest.raises(ResourceError, match="a quarter of the machine is 1 B"):
        choose([16] * 4000)


def test_too_little_memory_is_refused_before_anything_is_written(corpus_folder, checkpoints, tmp_path):
    asked = request(corpus_folder, checkpoints["bert"], max_memory=2**20)
    with pytest.raises(ResourceError, match=r"and max_memory is 1\.0 MiB") as caught:
        extract(tmp_path / "s", asked)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1.5 * 2**30, "1.5 GiB"),
        (2**40, "1.0 TiB"),
        (2**51, "2048.0 TiB"),
    ],
)
def test_bytes_are_written_with_units(count, text):
    assert format_bytes(count) == text


# Disk


@pytest.mark.slow
def test_too_little_disk_is_refused_before_anything_is_written(corpus_folder, checkpoints, tmp_path):
    needed = plan_extraction(request(corpus_folder, checkpoints["bert"])).activation_bytes
    with pytest.raises(ResourceError, match=r"would write .* and max_disk is"):
        extract(tmp_path / "s", request(corpus_folder, checkpoints["bert"], max_disk=needed - 1))
    assert not (tmp_path / "s").exists()
    (report,) = extract(tmp_path / "s", request(corpus_folder, checkpoints["bert"], max_disk=needed))
    assert report.complete


@pytest.mark.slow
def test_what_is_on_disk_already_is_not_counted_again(corpus_folder, checkpoints, tmp_path, monkeypatch):
    small_packs(monkeypatch, 128)
    extract(tmp_path / "s", request(corpus_folder, checkpoints["bert"]))
    (report,) = extract(tmp_path / "s", request(corpus_folder, checkpoints["bert"], max_disk=1))
    assert report.packs_written == 0
    run = only_run(tmp_path / "s")
    forget(run, [2])
    needed = int(run.plan.tokens.pack_sizes[2]) * 3 * 32 * 2 + int(run.plan.entries.pack_sizes[2]) * 2 * 2 * 2
    before = files(tmp_path / "s")
    with pytest.raises(ResourceError, match="max_disk"):
        extract(tmp_path / "s", request(corpus_folder, checkpoints["bert"], max_disk=needed - 1))
    assert files(tmp_path / "s") == before
    (report,) = extract(tmp_path / "s", request(corpus_folder, checkpoints["bert"], max_disk=needed))
    assert report.packs_written == 1


# Settings


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "", "meta", "hpu", "privateuseone", "vulkan", "cpu:x", "mps:9"])
def test_devices_that_cannot_compute_are_refused(corpus_folder, checkpoints, tmp_path, device):
    with pytest.raises(SettingError, match=rf"device {device!r} cannot be used here .*device='cpu'") as caught:
        extract(tmp_path / "s", request(corpus_folder, checkpoints["bert"], device=device))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "s").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_cuda_without_cuda_is_refused_and_not_the_default(corpus_folder, checkpoints):
    with pytest.raises(SettingError, match="device 'cuda' cannot be used here"):
        plan_extraction(request(corpus_folder, checkpoints["bert"], device="cuda"))
    assert plan_extraction(request(corpus_folder, checkpoints["bert"], device=None)).device == "cpu"


@pytest.mark.parametrize("layers", [(3,), (0, 1, 99)])
def test_layers_that_the_model_lacks_are_refused(corpus_folder, checkpoints, layers):
    with pytest.raises(SettingError, match=rf"layer {layers[-1]} is not one of .*0 \(embeddings\) to 2"):
        plan_extraction(request(corpus_folder, checkpoints["bert"], layers=layers))


def test_attention_of_the_embeddings_is_refused(corpus_folder, checkpoints):
    with pytest.raises(SettingError, match="layer 0 is the embedding output and has no attention"):
        plan_extraction(request(corpus_folder, checkpoints["bert"], layers=(0,), keep=("attention",)))


@pytest.mark.parametrize("family", ["bert", "gpt2", "biogpt"])
def test_lengths_are_those_the_model_can_read(corpus_folder, checkpoints, family):
    with pytest.raises(SettingError, match="max length 129 is more than the 128 tokens model 'tiny' can read"):
        plan_extraction(request(corpus_folder, checkpoints[family], max_length=129))
    assert plan_extraction(request(corpus_folder, checkpoints[family], max_length=128)).runs[0].spec.max_length == 128
    with pytest.raises(SettingError, match="leaves no room for text"):
        plan_extraction(request(corpus_folder, checkpoints[family], task="nli", max_length=1))


def test_keeping_nothing_is_refused(corpus_folder, checkpoints):
    asked = request(corpus_folder, checkpoints["bert"], keep=("attention",), attention_splits=("train",))
    with pytest.raises(SettingError, match="nothing to extract: keep='attention' keeps nothing"):
        plan_extraction(asked)


def test_missing_splits_are_refused(corpus_folder, checkpoints, tmp_path):
    (tmp_path / "ner").mkdir()
    (tmp_path / "ner" / "test.conll").write_text("p53\tB-protein\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"no split 'train' \(it has test\)"):
        plan_extraction(request(tmp_path, checkpoints["bert"], splits=("train",)))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"task": "qa"}, "task 'qa' is not one of ner, tokens, nli, text"),
        ({"views": ("pair",)}, "views 'pair' is not one of sentence"),
        ({"attention_views": ("premise",)}, "attention_views 'premise' is not one of sentence"),
        ({"splits": ("dev",)}, "splits 'dev' is not one of train, validation, test"),
        ({"attention_splits": ("all",)}, "attention_splits 'all' is not one of"),
        ({"keep": ("logits",)}, "keep 'logits' is not one of hidden, attention"),
        ({"keep": ()}, "keep is empty"),
        ({"models": ()}, "models is empty"),
        ({"dtype": "bfloat16"}, "dtype 'bfloat16' is not one of float16, float32"),
        ({"compute_dtype": "int8"}, "compute_dtype 'int8' is not one of"),
        ({"layers": (-1,)}, "layers -1 is not a whole number from 0"),
        ({"max_length": 0}, "max_length 0 is not a whole number from 1"),
        ({"limit": -1}, "limit -1 is not a whole number from 1"),
        ({"max_disk": 0}, "max_disk 0 is not a whole number from 1"),
        ({"training_sizes": (0, 101)}, "training_sizes 101 is not a whole number from 0 to 100"),
    ],
)
def test_requests_that_make_no_sense_are_refused(setting, message):
    with pytest.raises(SettingError, match=message):
        ExtractionRequest(**({"task": "ner"} | setting))


@pytest.mark.parametrize("text", ["0/3", "4/3", "1/0", "1", "a/b", "-1/3", "1/3/3", ""])
def test_partitions_that_make_no_sense_are_refused(text):
    with pytest.raises(SettingError, match="partition"):
        Partition.parse(text)


def test_partitions_are_parsed():
    assert Partition.parse(" 2/3 ") == Partition(2, 3)


# Windows and batches


@given(lengths=LENGTHS, capacity=st.integers(1, 100), window=st.integers(1, 400))
def test_windows_cover_all_packs_in_order(lengths, capacity, window):
    plan = layout(lengths, capacity)
    windows = plan_windows(plan, window)
    assert [pack for one in windows for pack in one] == list(range(plan.pack_count))
    for one in windows:
        assert len(one) == 1 or plan.tokens.pack_sizes[list(one)].sum() <= window
    # No two neighbours would fit one window.
    for left, right in itertools.pairwise(windows):
        assert plan.tokens.pack_sizes[list(left)].sum() + plan.tokens.pack_sizes[right[0]] > window


@pytest.mark.slow
@given(lengths=LENGTHS, capacity=st.integers(1, 100), budget=st.integers(1, 200), data=st.data())
def test_batches_hold_every_sample_once_within_the_budget(lengths, capacity, budget, data):
    plan = layout(lengths, capacity)
    first = data.draw(st.integers(0, plan.pack_count - 1))
    packs = range(first, data.draw(st.integers(first + 1, plan.pack_count)))
    batches = plan_batches(plan, packs, budget)
    samples = [sample for batch in batches for sample in batch.samples.tolist()]
    assert sorted(samples) == [sample for pack in packs for sample in plan.samples_of(pack)]
    ordered = [length for batch in batches for length in batch.lengths.tolist()]
    assert ordered == [lengths[sample] for sample in samples] == sorted(ordered, reverse=True)
    for batch in batches:
        assert batch.padded_tokens == max(batch.lengths) * len(batch.lengths)
        assert batch.padded_entries == max(batch.lengths) ** 2 * len(batch.lengths)
        assert batch.padded_tokens <= budget or len(batch.samples) == 1
    # Full: the next sample, padded to the batch's length, would not have fitted.
    for batch in batches[:-1]:
        assert int(batch.lengths[0]) * (len(batch.samples) + 1) > budget


@settings(max_examples=20)
@given(seed=st.integers(0, 2**16))
def test_sorting_by_length_keeps_padding_small(seed):
    lengths = np.random.default_rng(seed).integers(5, 80, 2000)
    plan = layout(lengths, 1024)
    windows = plan_windows(plan, 2**15)
    padded = sum(batch.padded_tokens for w in windows for batch in plan_batches(plan, w, 512))
    assert 1 <= padded / lengths.sum() < 1.05


def test_padding_that_is_reported_is_that_of_the_batches(corpus_folder, checkpoints, tmp_path):
    (report,) = extract(tmp_path / "s", request(corpus_folder, checkpoints["bert"], batch_tokens=200))
    run = only_run(tmp_path / "s")
    batches = plan_batches(run.plan, range(run.plan.pack_count), 200)
    assert report.tokens_padded == sum(batch.padded_tokens for batch in batches) > report.tokens_computed


@pytest.mark.slow
@pytest.mark.parametrize("lost", [[1], [0, 4], [2, 3, 5]])
def test_batches_do_not_depend_on_what_is_missing(corpus_folder, checkpoints, tmp_path, monkeypatch, lost):
    """An interrupted window is computed again in the batches it would have had, or the numbers would move."""
    from biocache.engine.extraction import forward

    seen = []
    plain = forward.Forward._launch

    def record(self, batch):
        seen.append(tuple(batch.samples.tolist()))
        return plain(self, batch)

    small_packs(monkeypatch, 128)
    monkeypatch.setattr(forward.Forward, "_launch", record)
    asked = request(corpus_folder, checkpoints["bert"], batch_tokens=256, window_tokens=2**15)
    extract(tmp_path / "s", asked)
    whole = seen.copy()
    seen.clear()
    run = only_run(tmp_path / "s")
    forget(run, lost)
    extract(tmp_path / "s", asked)
    needed = {sample for pack in lost for sample in run.plan.samples_of(pack)}
    assert seen == [batch for batch in whole if needed & set(batch)]
    assert len(seen) < len(whole)
