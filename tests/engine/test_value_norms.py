"""Value norms: what runs hold of them against a plain computation from the weights, head by head in NumPy."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from extractions import forget, holdings, only_run, request, small_packs
from numpy.typing import NDArray
from store_factory import chunk_file
from transformers import AutoModel
from victims import Job, run_jobs
from zoo_corpus import samples, write_corpus
from zoo_models import make
from zoo_species import SPECIES

from biocache.engine import extract
from biocache.engine.extraction.request import Partition
from biocache.engine.models.calling import model_inputs
from biocache.engine.models.loading import load_model
from biocache.engine.models.sources import ModelSource
from biocache.engine.models.value_norms import ValueNorms, find_projections
from biocache.engine.recompute import recompute_samples
from biocache.store import Run
from biocache.store.copying import copy_run
from biocache.store.errors import ModelError, RunNotFoundError, SettingError
from biocache.store.integrity import verify_run

KEEP = ("hidden", "attention", "norms")
Weights = Mapping[str, NDArray[np.float64]]
Attention = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64] | float]

pytestmark = pytest.mark.slow


def layer_norm(x: NDArray[Any], weights: Weights, name: str, eps: float) -> NDArray[Any]:
    centred = x - x.mean(-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + eps)
    return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def root_norm(x: NDArray[Any], weights: Weights, name: str, eps: float) -> NDArray[Any]:
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + eps) * weights[f"{name}.weight"]


# Each returns, of a block, what its attention reads (token, feature), W_V (feature, head * size), b_V, and, where they
# have fewer heads, the number of these; W_O (head * size, feature) is found beside.
def bert(x: NDArray[Any], weights: Weights, layer: int) -> tuple[Any, ...]:
    name = f"encoder.layer.{layer}.attention"
    own = weights[f"{name}.self.value.weight"].T, weights[f"{name}.self.value.bias"]
    return x, *own, weights[f"{name}.output.dense.weight"].T


def albert(x: NDArray[Any], weights: Weights, layer: int) -> tuple[Any, ...]:
    name = "encoder.albert_layer_groups.0.albert_layers.0.attention"
    # Layer 0 is before the embeddings are widened.
    return x, weights[f"{name}.value.weight"].T, weights[f"{name}.value.bias"], weights[f"{name}.dense.weight"].T


def gpt2(x: NDArray[Any], weights: Weights, layer: int) -> tuple[Any, ...]:
    read = layer_norm(x, weights, f"h.{layer}.ln_1", 1e-5)
    size = x.shape[1]
    fused, bias = (weights[f"h.{layer}.attn.c_attn.{part}"][..., 2 * size :] for part in ("weight", "bias"))
    return read, fused, bias, weights[f"h.{layer}.attn.c_proj.weight"]


def gpt_neox(x: NDArray[Any], weights: Weights, layer: int) -> tuple[Any, ...]:
    name = f"layers.{layer}"
    read = layer_norm(x, weights, f"{name}.input_layernorm", 1e-5)
    # Query, key and value of each head in turn.
    fused = weights[f"{name}.attention.query_key_value.weight"].reshape(4, 3, 16, 64)[:, 2].reshape(64, 64).T
    bias = weights[f"{name}.attention.query_key_value.bias"].reshape(4, 3, 16)[:, 2].reshape(64)
    return read, fused, bias, weights[f"{name}.attention.dense.weight"].T


def biogpt(x: NDArray[Any], weights: Weights, layer: int) -> tuple[Any, ...]:
    name = f"layers.{layer}"
    read = layer_norm(x, weights, f"{name}.self_attn_layer_norm", 1e-12)
    value = weights[f"{name}.self_attn.v_proj.weight"].T, weights[f"{name}.self_attn.v_proj.bias"]
    return read, *value, weights[f"{name}.self_attn.out_proj.weight"].T


def llama(x: NDArray[Any], weights: Weights, layer: int) -> tuple[Any, ...]:
    name = f"layers.{layer}"
    read = root_norm(x, weights, f"{name}.input_layernorm", 1e-6)
    return read, weights[f"{name}.self_attn.v_proj.weight"].T, 0.0, weights[f"{name}.self_attn.o_proj.weight"].T


FAMILIES: dict[str, Callable[..., tuple[Any, ...]]] = {
    "bert": bert,
    "gpt2": gpt2,
    "biogpt": biogpt,
    "llama": llama,
    "albert": albert,
    "gpt_neox": gpt_neox,
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, Path]]:
    """Return the folder of a species' checkpoint and that of a corpus for it."""
    made: dict[str, tuple[Path, Path]] = {}

    def of(name: str) -> tuple[Path, Path]:
        if name not in made:
            folder = tmp_path_factory.mktemp("species")
            make(SPECIES[name], folder / "m", folder / "made")
            made[name] = folder / "m", write_corpus(folder / "c", samples(), "ner")
        return made[name]

    return of


def by_hand(folder: Path, family: str, ids: NDArray[np.int32], heads: int) -> NDArray[np.float64]:
    """Return ||(x W_V + b_V) W_O|| of each layer, head and token of a sample (layer, head, token)."""
    model = AutoModel.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32).eval()
    weights = {name: value.double().numpy() for name, value in model.state_dict().items()}
    with torch.inference_mode():
        states = model(input_ids=torch.from_numpy(ids[np.newaxis].astype(np.int64)), output_hidden_states=True)
    norms = []
    for layer, state in enumerate(states.hidden_states[:-1]):
        x, value, bias, output = FAMILIES[family](state[0].double().numpy(), weights, layer)
        values = x @ value + bias
        size = output.shape[0] // heads
        shared = heads * size // values.shape[1]
        norms.append(
            [
                np.linalg.norm(
                    values[:, head // shared * size : (head // shared + 1) * size]
                    @ output[head * size : (head + 1) * size],
                    axis=1,
                )
                for head in range(heads)
            ]
        )
    return np.array(norms)


def read(run: Run) -> NDArray[Any]:
    return np.asarray(run.norms()["value_norm"].compute(scheduler="synchronous"))


def assert_is_by_hand(run: Run, folder: Path, family: str, *, relative: float) -> None:
    norms, tokens = read(run).astype(np.float64), run.plan.tokens
    ids = run.token_column("tokens/token_id")
    for sample in range(run.counts.samples):
        own = slice(*tokens.dense_start[sample : sample + 2].tolist())
        expected = by_hand(folder, family, ids[own], run.spec.head_count)
        assert np.isclose(norms[..., own], expected, rtol=relative, atol=1e-5 * expected.max()).all()
        assert np.array_equal(run.read_sample("norms", sample), read(run)[..., own])


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_norms_are_those_of_each_head_by_hand(
    models: Callable[[str], tuple[Path, Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str, dtype: str
) -> None:
    small_packs(monkeypatch, 48)
    folder, corpus = models(family)
    (report,) = extract(tmp_path / "s", request(corpus, folder, keep=KEEP, dtype=dtype, limit=9))
    run = only_run(tmp_path / "s")
    assert report.complete
    assert run.counts.packs > 2
    assert run.spec.keep == KEEP
    assert read(run).dtype == dtype
    assert_is_by_hand(run, folder, family, relative={"float32": 2e-5, "float16": 2.0**-10}[dtype])
    assert list(verify_run(run)) == []
    assert list(recompute_samples(run, 9, device="cpu")) == []


def test_the_view_has_the_tokens_of_hidden_states(
    corpus_folder: Path, checkpoints: Mapping[str, Path], tmp_path: Path
) -> None:
    extract(tmp_path / "s", request(corpus_folder, checkpoints["bert"], keep=KEEP, layers=(0, 2), limit=5))
    run = only_run(tmp_path / "s")
    norms, tokens = run.norms(labels="gold"), run.tokens(labels="gold")
    assert norms["value_norm"].dims == ("layer", "head", "token")
    assert norms["layer"].values.tolist() == run.attention()["layer"].values.tolist() == [2]
    along = [name for name, coordinate in tokens.coords.items() if coordinate.dims == ("token",)]
    assert len(along) > 8
    for name in along:
        assert norms[name].equals(tokens[name])
    assert norms.attrs["stored_dtype"] == "float16"
    assert norms["head"].equals(run.attention()["head"])


def test_what_is_kept_beside_does_not_change(
    corpus_folder: Path, checkpoints: Mapping[str, Path], tmp_path: Path
) -> None:
    stores = {keep: tmp_path / "-".join(keep) for keep in (KEEP, KEEP[:2], KEEP[2:])}
    for keep, store in stores.items():
        extract(store, request(corpus_folder, checkpoints["gpt2"], keep=keep, limit=12))
    runs = {keep: only_run(store) for keep, store in stores.items()}
    whole, plain, alone = (holdings(store) for store in stores.values())
    assert whole.items() > plain.items()
    assert whole.items() > alone.items()
    assert list(verify_run(runs[KEEP[2:]])) == []
    assert "norm" not in json.dumps(runs[KEEP[:2]].spec.to_json())
    assert not (runs[KEEP[:2]].path / "norms").exists()
    with pytest.raises(RunNotFoundError, match="keeps hidden, attention and no norms; extract it with keep='norms'"):
        runs[KEEP[:2]].norms()
    with pytest.raises(RunNotFoundError, match="keeps norms and no hidden"):
        runs[KEEP[2:]].tokens()


@pytest.mark.parametrize("level", ["word", "sample"])
def test_norms_stay_those_of_tokens(
    corpus_folder: Path, checkpoints: Mapping[str, Path], tmp_path: Path, level: str
) -> None:
    for place, settings in (("t", {}), ("s", {"level": level})):
        extract(tmp_path / place, request(corpus_folder, checkpoints["bert"], keep=KEEP, limit=8, **settings))
    tokens, reduced = only_run(tmp_path / "t"), only_run(tmp_path / "s")
    assert np.array_equal(read(reduced), read(tokens))
    assert list(verify_run(reduced)) == []
    assert list(recompute_samples(reduced, 3, device="cpu")) == []
    copy_run(tokens, tmp_path / "copy", level=level)
    assert holdings(tmp_path / "copy") == holdings(tmp_path / "s")


def test_codes_have_norms_in_float16(corpus_folder: Path, checkpoints: Mapping[str, Path], tmp_path: Path) -> None:
    settings = {"keep": KEEP, "limit": 8}
    for dtype in ("int8", "float16"):
        extract(tmp_path / dtype, request(corpus_folder, checkpoints["bert"], dtype=dtype, **settings))
    codes, halves = only_run(tmp_path / "int8"), only_run(tmp_path / "float16")
    assert codes.spec.norm_dtype == "float16"
    assert np.array_equal(read(codes), read(halves))
    assert list(recompute_samples(codes, 3, device="cpu")) == []


def test_the_certificate_is_of_the_spread_of_each_head(
    corpus_folder: Path, checkpoints: Mapping[str, Path], tmp_path: Path
) -> None:
    for dtype in ("float16", "float32"):
        extract(tmp_path / dtype, request(corpus_folder, checkpoints["bert"], keep=KEEP, dtype=dtype, limit=8))
    halves, exact = (read(only_run(tmp_path / dtype)).astype(np.float64) for dtype in ("float16", "float32"))
    run = only_run(tmp_path / "float16")
    assert run.counts.packs == 1
    off = np.abs(halves - exact) / exact.std(axis=2, keepdims=True)
    certified = run.certificate()["norms"]
    assert certified["worst"] == pytest.approx(off.max(), rel=1e-6)
    assert certified["mean"] == pytest.approx(np.sqrt((off**2).mean()), rel=1e-6)
    assert only_run(tmp_path / "float32").certificate()["norms"] == {"worst": 0.0, "mean": 0.0}


def test_partitions_and_what_was_killed_give_the_same(
    corpus_folder: Path, checkpoints: Mapping[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_packs(monkeypatch, 128)
    settings = {"keep": KEEP, "batch_tokens": 256, "window_tokens": 512}
    jobs = [
        [Job(str(tmp_path / "killed"), "chunk", 20)],
        [Job(str(tmp_path / "parts"), partition=f"{n}/2") for n in (1, 2)],
        [Job(str(tmp_path / "whole"))],
    ]
    (killed,), _, _ = run_jobs(jobs, corpus_folder, checkpoints["bert"], 128, settings)
    assert killed.killed
    assert not only_run(tmp_path / "killed").complete
    asked = request(corpus_folder, checkpoints["bert"], **settings)
    assert all(report.complete for report in extract(tmp_path / "killed", asked))
    whole = holdings(tmp_path / "whole")
    assert any(name.endswith("/norms") for name in whole)
    assert whole == holdings(tmp_path / "killed") == holdings(tmp_path / "parts")
    forget(only_run(tmp_path / "whole"), [1, 3])
    (report,) = extract(tmp_path / "whole", asked)
    assert report.packs_written == 2
    assert holdings(tmp_path / "whole") == whole


def test_a_cluster_keeps_the_same_norms(
    cluster: Any, corpus_folder: Path, checkpoints: Mapping[str, Path], tmp_path: Path
) -> None:
    asked = request(corpus_folder, checkpoints["biogpt"], keep=KEEP, limit=12)
    extract(tmp_path / "here", asked)
    extract(tmp_path / "there", asked, scheduler_address=cluster.scheduler_address)
    assert holdings(tmp_path / "there") == holdings(tmp_path / "here")


def test_windows_have_the_norms_of_their_own_tokens(models: Callable[[str], tuple[Path, Path]], tmp_path: Path) -> None:
    folder, corpus = models("bert")
    extract(tmp_path / "s", request(corpus, folder, keep=KEEP, dtype="float32", max_length=12, stride=2, limit=4))
    run = only_run(tmp_path / "s")
    windows, ids = run.windows.plan.tokens, run.token_column("tokens/token_id")
    assert len(windows.count) > run.counts.samples
    for window, (begin, end) in enumerate(zip(windows.dense_start[:-1], windows.dense_start[1:], strict=True)):
        expected = by_hand(folder, "bert", ids[begin:end], run.spec.head_count)
        assert np.allclose(run.read_window("norms", window), expected, rtol=2e-5, atol=1e-5 * expected.max())
    assert list(recompute_samples(run, 4, device="cpu")) == []


@pytest.mark.parametrize("fault", ["flipped", "other"])
def test_damaged_norms_are_found(
    corpus_folder: Path, checkpoints: Mapping[str, Path], tmp_path: Path, fault: str
) -> None:
    extract(tmp_path / "s", request(corpus_folder, checkpoints["bert"], keep=KEEP, limit=8))
    run = only_run(tmp_path / "s")
    if fault == "flipped":
        file = run.path / run.chunks("norms").path(1, 0)
        data = bytearray(file.read_bytes())
        data[40] ^= 1
        file.write_bytes(data)
        (problem,) = verify_run(run)
        assert problem.message.startswith("layer 2 of norms in pack 0")
    else:
        # Sound to the store, and not what the model gives.
        import zarr

        array = zarr.open_array(run.path / "norms" / "value_norm", mode="r+")
        array[1, 0] = np.asarray(array[1, 0]) * np.float16(1.5)
        (problem,) = verify_run(run)
        assert "layer 2 of norms: values are not those that were committed" in problem.message


def test_norms_that_the_model_does_not_give_are_found(
    corpus_folder: Path, checkpoints: Mapping[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("biocache.engine.models.value_norms._factor", lambda weights: weights[..., :-1])
        extract(tmp_path / "s", request(corpus_folder, checkpoints["bert"], keep=KEEP, limit=8))
    run = only_run(tmp_path / "s")
    assert list(verify_run(run)) == []
    problems = list(recompute_samples(run, 2, device="cpu"))
    assert problems
    assert all(problem.message.startswith("norms of layer") for problem in problems)


def test_copies_and_layers(corpus_folder: Path, checkpoints: Mapping[str, Path], tmp_path: Path) -> None:
    extract(tmp_path / "s", request(corpus_folder, checkpoints["bert"], keep=KEEP, limit=8))
    run = only_run(tmp_path / "s")
    copy_run(run, tmp_path / "norms", keep=("norms",), layers=(0, 2))
    copied = only_run(tmp_path / "norms")
    assert copied.spec.keep == ("norms",)
    assert np.array_equal(read(copied), read(run)[1:2])
    with pytest.raises(SettingError, match=r"its layers 1, 2.* have norms; add one of them"):
        copy_run(run, tmp_path / "none", keep=("norms",), layers=(0,))
    with pytest.raises(SettingError, match="the embedding output and has no norms"):
        extract(tmp_path / "t", request(corpus_folder, checkpoints["bert"], keep=("norms",), layers=(0,)))


@pytest.mark.parametrize(
    ("species", "keep", "message"),
    [
        ("deberta", KEEP, r"value norms cannot be kept, .* of its block 1: .* pass keep=\('hidden', 'attention'\)$"),
        ("fnet", KEEP, r"value norms cannot be kept, because it has no attention maps .*; pass keep='hidden'$"),
        ("fnet", KEEP[2:], r"value norms cannot be kept, because it has no attention maps .*; pass keep='hidden'$"),
    ],
)
def test_a_model_of_unknown_projections_is_refused(
    models: Callable[[str], tuple[Path, Path]], tmp_path: Path, species: str, keep: tuple[str, ...], message: str
) -> None:
    folder, corpus = models(species)
    with pytest.raises(ModelError, match=message) as refusal:
        extract(tmp_path / "s", request(corpus, folder, keep=keep, limit=5))
    assert "\n" not in str(refusal.value)
    assert not (tmp_path / "s").exists() or not list((tmp_path / "s").rglob("samples"))


def sources(folder: Path) -> Any:
    return load_model(ModelSource("tiny", str(folder), 0, 0, None), "cpu", "float32").model


INPUTS = [np.array(ids, np.int32) for ids in ([7, 9, 11, 8, 6, 12], [9, 7, 13])]


def found_in(model: Any) -> Any:
    inputs = [model_inputs(model, [ids], None) for ids in INPUTS]
    return find_projections(model, inputs, [1, 2], name="tiny", tolerance=3e-5)


def test_projections_that_do_not_add_up_to_the_block_are_refused(checkpoints: Mapping[str, Path]) -> None:
    model = sources(checkpoints["bert"])
    found = found_in(model)
    assert [one.value for one in found.values()] == [f"encoder.layer.{n}.attention.self.value" for n in (0, 1)]
    block = model.encoder.layer[1].attention
    for module, change in (
        # After the projection, before it, and in the values that are mixed.
        (block.output.dense, lambda _, __, gave: 1.01 * gave),
        (block.self, lambda _, __, gave: (1.01 * gave[0], *gave[1:])),
        (block.self.value, lambda _, __, gave: gave.flip(-1)),
    ):
        hook = module.register_forward_hook(change)
        if module is block.self.value:
            # What the module gives is what is mixed: it is the value projection still.
            assert found_in(model) == found
        else:
            with pytest.raises(ModelError, match="of its block 2: none add up"):
                found_in(model)
        hook.remove()
    assert found_in(model) == found


def test_norms_of_values_that_the_projection_nearly_cancels(checkpoints: Mapping[str, Path]) -> None:
    """A product with W_O W_O^T would lose half of the digits here."""
    model = sources(checkpoints["bert"])
    dense = model.encoder.layer[0].attention.output.dense
    size = model.config.hidden_size // model.config.num_attention_heads
    generator = torch.Generator().manual_seed(0)
    dense.weight[:, :size] = torch.randn((len(dense.weight), size), generator=generator) * 1e-4
    dense.weight[:, 0] = 100.0
    value = model.encoder.layer[0].attention.self.value
    value.weight[0], value.bias[0] = 0.0, 0.0
    given: list[torch.Tensor] = []
    norms = ValueNorms(model, found_in(model))
    hook = value.register_forward_hook(lambda _, __, gave: given.append(gave))
    with norms.watching(), torch.inference_mode(), norms.of_call() as taken:
        model(**model_inputs(model, INPUTS[:1], None))
    hook.remove()
    expected = (given[0][0, :, :size].double() @ dense.weight[:, :size].double().T).norm(dim=-1)
    assert torch.allclose(taken[1][0, 0].double(), expected, rtol=1e-4)
    assert not model.encoder.layer[0].attention.self.value._forward_hooks


@pytest.mark.parametrize("compute_dtype", ["bfloat16", "float16"])
def test_norms_in_other_data_types_of_the_model(
    models: Callable[[str], tuple[Path, Path]], tmp_path: Path, compute_dtype: str
) -> None:
    folder, corpus = models("llama")
    asked = request(corpus, folder, keep=KEEP, compute_dtype=compute_dtype, dtype="float32", limit=5)
    extract(tmp_path / "s", asked)
    run = only_run(tmp_path / "s")
    relative = {"bfloat16": 0.1, "float16": 0.02}[compute_dtype]
    norms, ids, tokens = read(run), run.token_column("tokens/token_id"), run.plan.tokens
    for sample in range(run.counts.samples):
        own = slice(*tokens.dense_start[sample : sample + 2].tolist())
        expected = by_hand(folder, "llama", ids[own], run.spec.head_count)
        assert np.abs(norms[..., own] - expected).max() <= relative * expected.max()


def test_the_first_partition_of_many_has_norms(
    corpus_folder: Path, checkpoints: Mapping[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_packs(monkeypatch, 64)
    asked = request(
        corpus_folder, checkpoints["bert"], keep=KEEP, limit=20, window_tokens=64, partition=Partition(1, 3)
    )
    (report,) = extract(tmp_path / "s", asked)
    run = only_run(tmp_path / "s")
    assert 0 < report.packs_done < report.packs
    assert chunk_file(run, "norms", 0, 0).exists()
