"""Where models are found: hub ids in the cache, folders of sentence-transformers; and the types of their weights."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from extractions import only_run, request
from zoo_adapters import adapter_alone, adapter_beside, edit, put_weights, weights_of
from zoo_corpus import samples, write_corpus
from zoo_folders import FOLDERS
from zoo_models import make
from zoo_outcomes import outcome
from zoo_species import SPECIES

from biocache.engine import extract
from biocache.engine.models.loading import load_model
from biocache.engine.models.sources import ModelSource, parse_finetuned, parse_model
from biocache.store.errors import ModelError

Maker = Callable[[Path, Path], Any]
HUB_ID = "somebody/tiny-model"


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return write_corpus(tmp_path / "corpus", samples(), "ner")


@pytest.fixture
def on_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Maker], ModelSource]:
    """Return a function that puts what a maker writes into the cache of the hub, as if it had been fetched."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))

    def put(maker: Maker) -> ModelSource:
        repository, commit = tmp_path / "cache" / f"models--{HUB_ID.replace('/', '--')}", "0" * 40
        (repository / "snapshots").mkdir(parents=True)
        maker(repository / "snapshots" / commit, tmp_path / "scratch")
        (repository / "refs").mkdir()
        (repository / "refs" / "main").write_text(commit, encoding="utf-8")
        return ModelSource("tiny", HUB_ID, 0, 42)

    return put


def bert(folder: Path, scratch: Path) -> Any:
    return make(SPECIES["bert"], folder, scratch)


def stored_as(dtype: torch.dtype, kind: str) -> Maker:
    """Return a maker of a checkpoint with a weight of a type: in one file, in shards, or in a file of torch."""

    def maker(folder: Path, scratch: Path) -> None:
        model = bert(folder, scratch)
        if kind == "shards":
            (folder / "model.safetensors").unlink()
            model.save_pretrained(folder, max_shard_size="60KB")
        file = sorted(folder.glob("*.safetensors"))[-1]
        from safetensors.torch import load_file, save_file

        tensors = load_file(file)
        name = next(name for name in tensors if name.endswith("dense.weight"))
        tensors[name] = tensors[name].mul(20).to(dtype)
        if kind == "torch":
            torch.save(tensors, folder / "pytorch_model.bin")
            file.unlink()
        else:
            save_file(tensors, file, metadata={"format": "pt"})

    return maker


def loaded(source: ModelSource) -> Any:
    return load_model(source, "cpu", "float32")


@pytest.mark.slow
def test_a_hub_id_is_the_model_of_its_folder(on_hub: Any, corpus: Path, tmp_path: Path) -> None:
    source = on_hub(bert)
    bert(tmp_path / "tiny", tmp_path / "more")
    for model in (source.base, str(tmp_path / "tiny")):
        extract(tmp_path / "s", request(corpus, Path(), models=(f"{Path(model).name}={model}",), limit=3))
    assert len({only_run(tmp_path / "s", model=name).spec.model_digest for name in ("tiny", "tiny-model")}) == 1


@pytest.mark.parametrize("hub", [True, False])
@pytest.mark.parametrize("kind", ["file", "shards", "torch"])
@pytest.mark.parametrize(
    "dtype", [torch.int8, torch.uint8, torch.int32, torch.float8_e4m3fn, torch.float8_e5m2, torch.bool]
)
def test_weights_that_are_no_plain_numbers_are_refused(
    on_hub: Any, tmp_path: Path, hub: bool, kind: str, dtype: torch.dtype
) -> None:
    maker = stored_as(dtype, kind)
    if hub:
        source = on_hub(maker)
    else:
        maker(tmp_path / "m", tmp_path / "scratch")
        source = ModelSource("tiny", str(tmp_path / "m"), 0, 42)
    with pytest.raises(ModelError, match=r"weight .*dense.weight of model 'tiny' is stored as \w+ in .*before it was"):
        loaded(source)


@pytest.mark.parametrize("kind", ["file", "shards", "torch"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_half_and_double_precision_are_loaded(tmp_path: Path, kind: str, dtype: torch.dtype) -> None:
    stored_as(dtype, kind)(tmp_path / "m", tmp_path / "scratch")
    assert loaded(ModelSource("tiny", str(tmp_path / "m"), 0, 42)).model.dtype == torch.float32


def test_a_state_dict_of_integers_is_refused(tmp_path: Path) -> None:
    bert(tmp_path / "m", tmp_path / "scratch")
    state = {name: value.to(torch.int8) for name, value in weights_of(tmp_path / "m").items()}
    torch.save(state, tmp_path / "model_tiny_30.bin")
    with pytest.raises(ModelError, match=r"is stored as int8 in .*model_tiny_30.bin"):
        loaded(ModelSource("tiny", str(tmp_path / "m"), 30, 42, tmp_path / "model_tiny_30.bin"))


def test_packed_integers_are_told_as_such(tmp_path: Path) -> None:
    """They have another shape, which would be told as damage."""
    bert(tmp_path / "m", tmp_path / "scratch")
    weights = weights_of(tmp_path / "m")
    name = "encoder.layer.1.output.dense.weight"
    put_weights(tmp_path / "m", weights | {name: weights[name].view(-1, 1).to(torch.uint8)})
    with pytest.raises(ModelError, match=f"weight {name} .* is stored as U8"):
        loaded(ModelSource("tiny", str(tmp_path / "m"), 0, 42))


def test_old_buffers_of_integers_are_no_weights(tmp_path: Path) -> None:
    bert(tmp_path / "m", tmp_path / "scratch")
    plain = loaded(ModelSource("tiny", str(tmp_path / "m"), 0, 42)).digest
    put_weights(tmp_path / "m", weights_of(tmp_path / "m") | {"embeddings.position_ids": torch.arange(128)[None]})
    assert loaded(ModelSource("tiny", str(tmp_path / "m"), 0, 42)).digest == plain


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gptq", "unknown quantisation"])
def test_a_hub_id_whose_configuration_names_a_quantisation(
    on_hub: Any, corpus: Path, tmp_path: Path, name: str
) -> None:
    on_hub(FOLDERS[name])
    with pytest.raises(ModelError, match="are quantised"):
        extract(tmp_path / "s", request(corpus, Path(), models=(HUB_ID,), limit=3))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_an_adapter_on_the_hub(on_hub: Any, corpus: Path, tmp_path: Path) -> None:
    on_hub(adapter_alone)
    asked: dict[str, Any] = {"models": (HUB_ID,), "limit": 3}
    with pytest.raises(ModelError, match=f"{HUB_ID} holds an adapter beside or instead"):
        extract(tmp_path / "s", request(corpus, Path(), **asked))
    pytest.importorskip("peft")
    # Its tokenizer is that of its base.
    extract(tmp_path / "s", request(corpus, Path(), **asked, merge_adapters=True))
    provenance = only_run(tmp_path / "s").provenance
    assert (provenance.adapter, provenance.model_source) == (HUB_ID, str(tmp_path / "scratch" / "base"))


@pytest.mark.slow
def test_weights_and_an_adapter_on_the_hub(on_hub: Any, corpus: Path, tmp_path: Path) -> None:
    pytest.importorskip("peft")
    on_hub(adapter_beside)
    with pytest.raises(ModelError, match="on the hub holds whole weights and an adapter"):
        extract(tmp_path / "s", request(corpus, Path(), models=(HUB_ID,), merge_adapters=True))


OLD = "old sentence-transformers"


@pytest.mark.slow
def test_an_old_folder_of_sentence_transformers_is_read(corpus: Path, tmp_path: Path) -> None:
    truth = FOLDERS[OLD](tmp_path / "old", tmp_path / "scratch")
    found = outcome(tmp_path / "old", tmp_path / "out", truth=truth)
    assert (found.kind, found.message) == ("exact", "")
    (report,) = extract(tmp_path / "s", request(corpus, tmp_path / "old", limit=3))
    inside = tmp_path / "old" / "0_Transformer"
    assert report.remarks == (
        f"model tiny is the transformer of a folder of sentence-transformers, and is read from {inside}",
    )
    assert only_run(tmp_path / "s").provenance.model_source == str(inside)


def test_a_folder_of_sentence_transformers_is_found_by_its_modules(tmp_path: Path) -> None:
    folder = tmp_path / "old"
    FOLDERS[OLD](folder, tmp_path / "scratch")
    inside = folder / "0_Transformer"
    assert parse_model(str(folder)) == ("old", str(inside))
    assert parse_model(f"x={folder}") == ("x", str(inside))
    assert parse_model(str(inside)) == ("0_Transformer", str(inside))
    assert parse_finetuned(f"{folder}=30") == (inside, 30)
    # With a configuration of its own it is a model itself.
    config = json.loads((folder / "config.json").read_bytes())
    edit(folder / "config.json", model_type="bert")
    assert parse_model(str(folder)) == ("old", str(folder))
    # Of several none is chosen.
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    shutil.copytree(inside, folder / "2_Transformer")
    modules = json.loads((folder / "modules.json").read_bytes())
    several = [*modules, modules[0] | {"path": "2_Transformer"}]
    (folder / "modules.json").write_text(json.dumps(several), encoding="utf-8")
    assert parse_model(str(folder)) == ("old", str(folder))
    for strange in ("", "[", "{}", "[1, {}]", '[{"path": 3}]', '[{"path": "../old/0_Transformer"}]', "null"):
        (folder / "modules.json").write_text(strange, encoding="utf-8")
        assert parse_model(str(folder)) == ("old", str(folder))


def test_an_old_repository_of_sentence_transformers_says_where_its_model_is(
    on_hub: Any, corpus: Path, tmp_path: Path
) -> None:
    on_hub(FOLDERS[OLD])
    with pytest.raises(ModelError, match=r"transformer is in 0_Transformer; download it, and pass models=") as told:
        extract(tmp_path / "s", request(corpus, Path(), models=(HUB_ID,)))
    assert "\n" not in str(told.value)
