import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from extractions import holdings, only_run, request, small_packs
from reference import VIEWS, Reference, assert_equals_plain, read_rows

from biocache.engine import extract
from biocache.engine.extraction import memory
from biocache.engine.extraction.forward import Forward
from biocache.store import Store
from biocache.store.claims import is_claimed
from biocache.store.errors import ResourceError, RunNotFoundError, SettingError
from biocache.store.integrity import verify_run
from biocache.store.writing import RunWriter

FAMILIES = ("bert", "gpt2", "biogpt")
MAX_LENGTH = 40
# A full pass over batches of several lengths, over packs of several batches, over windows of several packs.
SMALL = {"batch_tokens": 96, "window_tokens": 200}
EVERY = [(family, task, view) for family in FAMILIES for task, views in VIEWS.items() for view in views]
EVERY_TASK = [(family, task) for family in FAMILIES for task in VIEWS]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def references(checkpoints):
    return {family: Reference(checkpoints[family]) for family in FAMILIES}


@pytest.fixture(scope="session")
def stores(checkpoints, corpus_folder, tmp_path_factory):
    """All views of the test split in many packs, computed three batches at once, by (family, task)."""
    made = {}
    with pytest.MonkeyPatch.context() as patch:
        small_packs(patch)
        patch.setattr(memory, "cpu_lanes", lambda: 3)
        for family, task in EVERY_TASK:
            store = tmp_path_factory.mktemp("values") / f"{family}-{task}.zarr"
            extract(store, request(corpus_folder, checkpoints[family], task=task, max_length=MAX_LENGTH, **SMALL))
            made[family, task] = store
    return made


@pytest.mark.parametrize(("family", "task", "view"), EVERY)
def test_every_sample_equals_a_plain_forward(stores, references, corpus_folder, family, task, view):
    run = only_run(stores[family, task], view=view)
    rows = read_rows(corpus_folder, task, "test")
    assert run.counts.samples == len(rows) == 40
    assert run.counts.packs > 4
    layers = references[family].model.config.num_hidden_layers
    assert run.spec.layers == tuple(range(layers + 1))
    for position, row in enumerate(rows):
        plain = references[family](row.view(view), MAX_LENGTH)
        assert_equals_plain(run.read_sample("hidden", position), plain.hidden)
        assert_equals_plain(run.read_sample("attention", position), plain.attention)


@pytest.mark.parametrize("family", FAMILIES)
def test_batches_computed_at_once_make_the_same_store(
    checkpoints, corpus_folder, stores, tmp_path, monkeypatch, family
):
    small_packs(monkeypatch)
    monkeypatch.setattr(memory, "cpu_lanes", lambda: 1)
    extract(tmp_path / "s", request(corpus_folder, checkpoints[family], max_length=MAX_LENGTH, **SMALL))
    assert holdings(tmp_path / "s") == holdings(stores[family, "ner"])


def test_the_threads_of_torch_are_left_as_they_were(checkpoints, corpus_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "cpu_lanes", lambda: 2)
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        extract(tmp_path / "s", request(corpus_folder, checkpoints["bert"], limit=3))
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(torch.get_num_threads).result() == torch.get_num_threads() == 4
    finally:
        torch.set_num_threads(before)


def test_a_failed_pack_leaves_the_claim_until_the_others_are_written(checkpoints, corpus_folder, tmp_path, monkeypatch):
    plain, claimed = RunWriter.write_pack, []

    def write_pack(self, pack, buffer):
        if pack == 0:
            raise ResourceError("no room")
        time.sleep(0.2)
        claimed.append(is_claimed(self.run.group.storage, self.run.group.folder))
        return plain(self, pack, buffer)

    small_packs(monkeypatch)
    monkeypatch.setattr(RunWriter, "write_pack", write_pack)
    with pytest.raises(ResourceError, match="no room"):
        extract(tmp_path / "s", request(corpus_folder, checkpoints["bert"], window_tokens=10**6, limit=8))
    assert claimed
    assert all(claimed)


def test_an_error_in_one_lane_is_told_and_what_is_committed_stays(checkpoints, corpus_folder, tmp_path, monkeypatch):
    small_packs(monkeypatch)
    monkeypatch.setattr(memory, "cpu_lanes", lambda: 2)
    plain, calls = Forward.inputs, []

    def failing(self, batch):
        calls.append(batch)
        if len(calls) == 12:
            raise torch.OutOfMemoryError("no memory")
        return plain(self, batch)

    asked = request(corpus_folder, checkpoints["bert"], max_length=MAX_LENGTH, **SMALL)
    monkeypatch.setattr(Forward, "inputs", failing)
    with pytest.raises(ResourceError, match=r"cpu has not enough memory for a batch of \d+ samples"):
        extract(tmp_path / "s", asked)
    run = only_run(tmp_path / "s")
    begun = run.committed()
    assert 0 < len(begun) < run.counts.packs
    monkeypatch.setattr(Forward, "inputs", plain)
    (report,) = extract(tmp_path / "s", asked)
    assert report.packs_written == run.counts.packs - len(begun)
    assert list(verify_run(run)) == []


@pytest.mark.parametrize(("family", "task", "view"), EVERY)
def test_tables_say_what_is_in_the_corpus(stores, references, corpus_folder, family, task, view):
    run = only_run(stores[family, task], view=view)
    rows = read_rows(corpus_folder, task, "test")
    plain = [references[family](row.view(view), MAX_LENGTH) for row in rows]
    assert run.column("samples/sample_id").tolist() == [row.id for row in rows]
    assert run.column("samples/token_count").tolist() == [len(p.ids) for p in plain]
    truncated = run.column("samples/truncated")
    assert truncated.tolist() == [p.truncated for p in plain]
    assert truncated.any() == (view in ("sentence", "pair"))
    assert not truncated.all()
    positions = run.plan.tokens.positions()
    assert run.column("tokens/token_id")[positions].tolist() == [i for p in plain for i in p.ids]
    assert run.column("tokens/token_text")[positions].tolist() == [t for p in plain for t in p.token_texts]
    words = [word for row in rows for text in row.view(view) for word in text]
    assert run.column("words/word_text").tolist() == words
    per_sample = [sum(map(len, row.view(view))) for row in rows]
    assert run.column("samples/word_count").tolist() == per_sample
    assert run.column("words/sample").tolist() == np.repeat(np.arange(len(rows)), per_sample).tolist()


@pytest.mark.parametrize("family", FAMILIES)
def test_labels_follow_their_samples(stores, corpus_folder, family):
    labels = only_run(stores[family, "ner"]).labels().merged().texts.tolist()
    assert labels == [label for row in read_rows(corpus_folder, "ner", "test") for label in row.labels]
    assert len(set(labels)) == 6
    for view in VIEWS["nli"]:
        run = only_run(stores[family, "nli"], view=view)
        labels = run.labels().texts.tolist()
        assert labels == [label for row in read_rows(corpus_folder, "nli", "test") for label in row.labels]
        assert len(set(labels)) == 3


@pytest.mark.parametrize("family", FAMILIES)
def test_tokens_know_the_words_they_spell(stores, corpus_folder, family):
    run = only_run(stores[family, "ner"])
    start, count = run.column("words/token_start"), run.column("words/token_count")
    texts, lost = run.column("tokens/token_text"), run.column("words/word_text")[count == 0]
    marks = {"bert": ("##", ""), "gpt2": ("Ġ", ""), "biogpt": ("</w>", "")}[family]
    plain_words = 0
    for word, begin, size in zip(run.column("words/word_text"), start, count, strict=True):
        if size and word.isascii() and word.isalnum() and len(word) > 2:
            spelt = "".join(texts[begin : begin + size]).replace(*marks)
            assert word.startswith(spelt)
            plain_words += spelt == word
    assert plain_words > 200
    assert lost.size


@pytest.mark.parametrize("family", FAMILIES)
def test_last_layer_is_what_the_model_hands_on(stores, references, corpus_folder, family):
    run = only_run(stores[family, "ner"])
    model = references[family].model
    norm = {"gpt2": "ln_f", "biogpt": "layer_norm"}.get(family)
    for position, row in enumerate(read_rows(corpus_folder, "ner", "test")[:8]):
        plain = references[family](row.texts, MAX_LENGTH)
        last = run.read_sample("hidden", position)[-1]
        assert_equals_plain(last[None], plain.last[None])
        if norm:
            # Normed: with the weights of a fresh layer norm every token has mean 0 and deviation 1.
            assert torch.equal(getattr(model, norm).weight, torch.ones(32))
            assert np.abs(last.astype(np.float32).std(axis=-1) - 1).max() < 1e-2


@pytest.mark.parametrize(("family", "task"), EVERY_TASK)
def test_many_packs_hold_what_one_pack_holds(stores, checkpoints, corpus_folder, tmp_path, family, task):
    extract(
        tmp_path / "one.zarr",
        request(corpus_folder, checkpoints[family], task=task, max_length=MAX_LENGTH, batch_tokens=4096),
    )
    for view in VIEWS[task]:
        one, many = only_run(tmp_path / "one.zarr", view=view), only_run(stores[family, task], view=view)
        assert one.counts.packs == 1
        assert many.counts.packs > 4
        assert one.counts.tokens == many.counts.tokens
        for name in ("hidden", "attention"):
            # The order of the valid entries is that of the samples, however they are packed.
            expected = one.activations(name).compute(scheduler="synchronous")
            values = many.activations(name).compute(scheduler="synchronous")
            assert_equals_plain(values, expected.astype(np.float64))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("view", VIEWS["nli"])
def test_stores_are_sound(stores, family, view):
    assert list(verify_run(only_run(stores[family, "nli"], view=view))) == []


@pytest.mark.parametrize("family", FAMILIES)
def test_float32_keeps_what_the_model_computes(checkpoints, references, corpus_folder, tmp_path, family):
    extract(tmp_path / "s", request(corpus_folder, checkpoints[family], dtype="float32", limit=12, batch_tokens=128))
    run = only_run(tmp_path / "s")
    beyond_halves = 0
    for position, row in enumerate(read_rows(corpus_folder, "ner", "test")[:12]):
        plain, hidden = references[family](row.texts, 128), run.read_sample("hidden", position)
        assert hidden.dtype == np.float32
        assert_equals_plain(hidden, plain.hidden, relative=1e-5)
        assert_equals_plain(run.read_sample("attention", position), plain.attention, relative=1e-5)
        beyond_halves += np.count_nonzero(hidden != hidden.astype(np.float16))
    assert beyond_halves


@pytest.mark.parametrize("family", FAMILIES)
def test_bfloat16_is_near_and_not_the_same(checkpoints, references, corpus_folder, tmp_path, family):
    asked = request(corpus_folder, checkpoints[family], compute_dtype="bfloat16", dtype="float32", limit=8)
    extract(tmp_path / "s", asked)
    run = only_run(tmp_path / "s")
    for position, row in enumerate(read_rows(corpus_folder, "ner", "test")[:8]):
        plain, hidden = references[family](row.texts, 128), run.read_sample("hidden", position)
        error = np.linalg.norm(hidden - plain.hidden) / np.linalg.norm(plain.hidden)
        assert 1e-4 < error < 0.1
        maps = run.read_sample("attention", position)
        assert np.abs(maps - plain.attention).mean() < 0.02
        assert np.abs(maps.sum(axis=-1) - 1).max() < 0.02


@pytest.mark.parametrize("compute_dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_runs_computed_in_fewer_bits_are_sound(checkpoints, corpus_folder, tmp_path, compute_dtype, dtype):
    asked = request(corpus_folder, checkpoints["bert"], compute_dtype=compute_dtype, dtype=dtype)
    extract(tmp_path / "s", asked)
    assert list(verify_run(only_run(tmp_path / "s"))) == []


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("layers", [(0,), (0, 2), (1,)])
def test_only_asked_layers_are_kept(checkpoints, references, corpus_folder, tmp_path, family, layers):
    extract(tmp_path / "s", request(corpus_folder, checkpoints[family], layers=layers, limit=5))
    run = only_run(tmp_path / "s")
    blocks = [layer for layer in layers if layer]
    assert run.spec.layers == layers
    assert run.spec.attention_layers == tuple(blocks)
    for position, row in enumerate(read_rows(corpus_folder, "ner", "test")[:5]):
        plain = references[family](row.texts, 128)
        assert_equals_plain(run.read_sample("hidden", position), plain.hidden[list(layers)])
        if blocks:
            maps = run.read_sample("attention", position)
            assert_equals_plain(maps, plain.attention[[layer - 1 for layer in blocks]])


def test_layers_are_kept_in_ascending_order(checkpoints, references, corpus_folder, tmp_path):
    extract(tmp_path / "s", request(corpus_folder, checkpoints["bert"], layers=(2, 0, 2), limit=1))
    run = only_run(tmp_path / "s")
    assert run.spec.layers == (0, 2)
    plain = references["bert"](read_rows(corpus_folder, "ner", "test")[0].texts)
    assert_equals_plain(run.read_sample("hidden", 0), plain.hidden[[0, 2]])


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("kept", "left"), [("hidden", "attention"), ("attention", "hidden")])
def test_only_asked_variables_are_kept(checkpoints, references, corpus_folder, tmp_path, family, kept, left):
    extract(tmp_path / "s", request(corpus_folder, checkpoints[family], keep=(kept,), limit=5))
    run = only_run(tmp_path / "s")
    assert run.spec.keep == (kept,)
    assert not (run.path / left).exists()
    with pytest.raises(RunNotFoundError, match=f"keeps {kept} and no {left}"):
        run.activations(left)
    for position, row in enumerate(read_rows(corpus_folder, "ner", "test")[:5]):
        assert_equals_plain(run.read_sample(kept, position), getattr(references[family](row.texts), kept))


def test_attention_is_kept_of_asked_splits_and_views(checkpoints, corpus_folder, tmp_path):
    asked = {"task": "nli", "splits": ("train", "test"), "limit": 3}
    extract(tmp_path / "default", request(corpus_folder, checkpoints["bert"], attention_views=None, **asked))
    extract(
        tmp_path / "asked",
        request(
            corpus_folder,
            checkpoints["bert"],
            keep=("attention",),
            attention_views=("premise", "hypothesis"),
            attention_splits=("train",),
            **asked,
        ),
    )
    kept = {run.key.path.split("seed-42/")[1]: run.spec.keep for run in Store.open(tmp_path / "default").select()}
    assert kept == {
        f"{view}/{split}": ("hidden", "attention") if (view, split) == ("pair", "test") else ("hidden",)
        for view in VIEWS["nli"]
        for split in ("train", "test")
    }
    kept = {run.key.path.split("seed-42/")[1]: run.spec.keep for run in Store.open(tmp_path / "asked").select()}
    assert kept == {"premise/train": ("attention",), "hypothesis/train": ("attention",)}


def test_default_length_is_what_the_model_can_read(checkpoints, corpus_folder, tmp_path):
    extract(tmp_path / "s", request(corpus_folder, checkpoints["gpt2"], limit=1))
    assert only_run(tmp_path / "s").spec.max_length == 128


def test_overflow_of_halves_names_layer_and_sample(checkpoints, corpus_folder, tmp_path):
    from transformers import AutoModel, AutoTokenizer

    model = AutoModel.from_pretrained(checkpoints["bert"])
    with torch.no_grad():
        model.encoder.layer[1].output.LayerNorm.weight[3] = 1e6
    model.save_pretrained(tmp_path / "wide")
    AutoTokenizer.from_pretrained(checkpoints["bert"]).save_pretrained(tmp_path / "wide")
    asked = request(corpus_folder, tmp_path / "wide", limit=3)
    with pytest.raises(SettingError, match=r"hidden of layer 2 .*float16 for sample 'test-0'.*dtype='float32'"):
        extract(tmp_path / "s", asked)
    assert not only_run(tmp_path / "s").complete
    (report,) = extract(tmp_path / "wide.zarr", request(corpus_folder, tmp_path / "wide", limit=3, dtype="float32"))
    assert report.complete
