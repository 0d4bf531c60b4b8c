import pickle
import shutil
from pathlib import Path

import pytest
import torch
from extractions import holdings, only_run, request
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoModel,
    AutoTokenizer,
    BertForTokenClassification,
    BioGptForTokenClassification,
    GPT2ForSequenceClassification,
    T5Config,
)

from biocache.engine import extract
from biocache.engine.models.loading import load_model, weights_digest
from biocache.engine.models.shape import load_shape
from biocache.engine.models.sources import ALIASES, ModelSource, find_source, parse_model
from biocache.store.errors import ModelError, SettingError

FAMILIES = ("bert", "gpt2", "biogpt")
HEADS = {
    "bert": BertForTokenClassification,
    "gpt2": GPT2ForSequenceClassification,
    "biogpt": BioGptForTokenClassification,
}
TASK = {"bert": "ner", "gpt2": "nli", "biogpt": "ner"}


def pretrained(folder: Path, name: str = "tiny") -> ModelSource:
    return ModelSource(name, str(folder), 0, 42)


def load(source: ModelSource):
    return load_model(source, "cpu", "float32")


def found(family: str, base: Path, checkpoints: Path, size: int = 30, **changes):
    where = {"task": TASK[family], "dataset": "small", "training_size": size, "seed": 42, "checkpoints": checkpoints}
    return find_source(family, str(base), **(where | changes))


def fine_tune(family: str, base: Path, seed: int = 1):
    """Return a model with a fresh head whose encoder is not that of the pre-trained checkpoint."""
    config = AutoConfig.from_pretrained(base, num_labels=6)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return HEADS[family](config).eval()


def same(one, other) -> bool:
    return all(torch.equal(value, other[name]) for name, value in one.items() if not name.startswith("pooler."))


def assert_one_line(error: BaseException) -> None:
    assert "\n" not in str(error)


# Names


@pytest.mark.parametrize(("alias", "hub"), ALIASES.items())
def test_aliases_name_themselves(alias, hub):
    assert parse_model(alias) == (alias, hub)
    assert parse_model(f"mine={alias}") == ("mine", hub)


def test_models_are_named_after_hub_ids_folders_or_as_the_user_likes(tmp_path):
    folder = tmp_path / "my-bert"
    folder.mkdir()
    assert parse_model("prajjwal1/bert-tiny") == ("prajjwal1--bert-tiny", "prajjwal1/bert-tiny")
    assert parse_model(str(folder)) == ("my-bert", str(folder))
    assert parse_model(f"x={folder}") == ("x", str(folder))
    assert parse_model("x=prajjwal1/bert-tiny") == ("x", "prajjwal1/bert-tiny")


@pytest.mark.parametrize("text", ["", "=", "x=", "=bert"])
def test_empty_models_are_refused(text):
    with pytest.raises(SettingError, match="is empty: give an alias"):
        parse_model(text)


@pytest.mark.parametrize("text", ["./nowhere", "x=/nowhere/at/all", "~/nowhere-at-all"])
def test_missing_folders_are_refused(text):
    with pytest.raises(SettingError, match="is not a folder"):
        parse_model(text)


@pytest.mark.parametrize("text", ["brt", "nobody/no-such-model", "x=nobody/no-such-model", "biobert"])
def test_what_is_not_here_and_cannot_be_fetched_says_what_to_do(corpus_folder, checkpoints, tmp_path, text):
    asked = request(corpus_folder, checkpoints["bert"], models=(text,))
    with pytest.raises(ModelError, match=rf"(no-such-model|{text}).*online once.*=FOLDER") as caught:
        extract(tmp_path / "s", asked)
    assert_one_line(caught.value)
    assert not (tmp_path / "s").exists()


# Loading


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_a_checkpoint_is_loaded_as_what_it_is_with_its_own_weights(checkpoints, family):
    loaded = load(pretrained(checkpoints[family]))
    assert type(loaded.model).__name__ == {"bert": "BertModel", "gpt2": "GPT2Model", "biogpt": "BioGptModel"}[family]
    assert same(loaded.model.state_dict(), AutoModel.from_pretrained(checkpoints[family]).state_dict())
    stored = load_file(checkpoints[family] / "model.safetensors")
    state = loaded.model.state_dict()
    assert {name for name in state if name in stored} >= {n for n in stored if not n.startswith("pooler.")}
    assert all(torch.equal(stored[name], state[name]) for name in stored)
    assert not loaded.model.training
    assert not any(parameter.requires_grad for parameter in loaded.model.parameters())
    assert loaded.model.config._attn_implementation == "eager"


@pytest.mark.parametrize("family", FAMILIES)
def test_shapes_are_those_of_the_model(checkpoints, family):
    shape = load_shape(pretrained(checkpoints[family]))
    model = AutoModel.from_pretrained(checkpoints[family])
    assert (shape.layers, shape.features, shape.heads, shape.max_positions) == (2, 32, 2, 128)
    assert shape.causal == (family != "bert")
    assert shape.parameters == sum(parameter.numel() for parameter in model.parameters())


def test_digests_tell_weights_apart_and_nothing_else(checkpoints, tmp_path):
    digest = load(pretrained(checkpoints["bert"])).digest
    assert digest == load(pretrained(checkpoints["bert"], "other-name")).digest
    model = AutoModel.from_pretrained(checkpoints["bert"])
    assert weights_digest(model) == digest
    with torch.no_grad():
        model.pooler.dense.weight += 1
    assert weights_digest(model) == digest
    for name, value in model.state_dict().items():
        if not name.startswith("pooler."):
            with torch.no_grad():
                kept = value.flatten()[-1].clone()
                value.flatten()[-1] += 1
                assert weights_digest(model) != digest
                value.flatten()[-1] = kept
    assert weights_digest(model) == digest


def test_a_checkpoint_in_half_precision_is_computed_in_single(checkpoints, tmp_path):
    AutoModel.from_pretrained(checkpoints["bert"], dtype=torch.bfloat16).save_pretrained(tmp_path)
    loaded = load(pretrained(tmp_path))
    assert {value.dtype for value in loaded.model.parameters()} == {torch.float32}
    half = load_model(pretrained(checkpoints["bert"]), "cpu", "bfloat16")
    assert {value.dtype for value in half.model.parameters()} == {torch.bfloat16}
    assert half.digest == load(pretrained(checkpoints["bert"])).digest


def copy(folder: Path, to: Path) -> Path:
    return Path(shutil.copytree(folder, to))


def test_a_folder_without_weights_is_refused(checkpoints, tmp_path):
    folder = copy(checkpoints["bert"], tmp_path / "m")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"weights of model 'tiny' cannot be loaded from .*/m'") as caught:
        load(pretrained(folder))
    assert_one_line(caught.value)


def test_a_folder_without_configuration_is_refused(tmp_path):
    with pytest.raises(ModelError, match="cannot be loaded from"):
        load_shape(pretrained(tmp_path))


@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.999])
def test_truncated_weights_are_refused(checkpoints, tmp_path, share):
    folder = copy(checkpoints["gpt2"], tmp_path / "m")
    weights = folder / "model.safetensors"
    data = weights.read_bytes()
    weights.write_bytes(data[: int(share * len(data))])
    with pytest.raises(ModelError, match="cannot be loaded from"):
        load(pretrained(folder))


@pytest.mark.parametrize(
    ("family", "lost"),
    [
        ("bert", "encoder.layer.1.attention.self.query.weight"),
        ("bert", "embeddings.LayerNorm.bias"),
        ("gpt2", "ln_f.weight"),
        ("gpt2", "h.0.mlp.c_fc.bias"),
        ("biogpt", "embed_positions.weight"),
    ],
)
def test_weights_that_would_be_random_are_refused(checkpoints, tmp_path, family, lost):
    folder = copy(checkpoints[family], tmp_path / "m")
    weights = load_file(folder / "model.safetensors")
    del weights[lost]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=rf"lacks weights of the encoder \({lost}\)"):
        load(pretrained(folder))


def test_a_missing_pooler_changes_nothing(checkpoints, tmp_path):
    folder = copy(checkpoints["bert"], tmp_path / "m")
    weights = {n: v for n, v in load_file(folder / "model.safetensors").items() if not n.startswith("pooler.")}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert load(pretrained(folder)).digest == load(pretrained(checkpoints["bert"])).digest


def test_weights_of_another_shape_are_refused(checkpoints, tmp_path):
    folder = copy(checkpoints["bert"], tmp_path / "m")
    config = (folder / "config.json").read_text(encoding="utf-8")
    (folder / "config.json").write_text(config.replace('"intermediate_size": 64', '"intermediate_size": 65'))
    with pytest.raises(ModelError, match="cannot be loaded from"):
        load(pretrained(folder))


@pytest.mark.parametrize(("config", "weights"), [("gpt2", "biogpt"), ("biogpt", "gpt2"), ("bert", "gpt2")])
def test_weights_of_another_architecture_are_refused(checkpoints, tmp_path, config, weights):
    folder = copy(checkpoints[config], tmp_path / "m")
    shutil.copy(checkpoints[weights] / "model.safetensors", folder / "model.safetensors")
    with pytest.raises(ModelError, match=r"and \d+ more\); they would be random"):
        load(pretrained(folder))


def test_encoder_decoders_are_refused(corpus_folder, checkpoints, tmp_path):
    T5Config(d_model=8, num_layers=1, num_heads=1, d_ff=8, d_kv=8).save_pretrained(tmp_path / "t5")
    with pytest.raises(ModelError, match=r"'tiny' \(t5\) is an encoder-decoder"):
        load_shape(pretrained(tmp_path / "t5"))
    with pytest.raises(ModelError, match="encoder-decoder"):
        extract(tmp_path / "s", request(corpus_folder, tmp_path / "t5"))


# Fine-tuned checkpoints


@pytest.mark.parametrize("family", FAMILIES)
def test_fine_tuned_folders_are_found_and_their_encoders_loaded(checkpoints, tmp_path, family):
    folder = tmp_path / TASK[family] / "small" / family / "size-030" / "seed-42"
    model = fine_tune(family, checkpoints[family])
    model.save_pretrained(folder)
    source = found(family, checkpoints[family], tmp_path)
    assert source.checkpoint == folder
    assert (source.name, source.training_size, source.seed) == (family, 30, 42)
    assert source.tokenizer == str(checkpoints[family])
    loaded = load(source)
    assert same(loaded.model.state_dict(), model.base_model.state_dict())
    assert loaded.digest == weights_digest(model.base_model)
    assert loaded.digest != load(found(family, checkpoints[family], tmp_path, size=0)).digest
    AutoTokenizer.from_pretrained(checkpoints[family]).save_pretrained(folder)
    assert found(family, checkpoints[family], tmp_path).tokenizer == str(folder)


@pytest.mark.parametrize("place", ["{task}/small", "{task}", ""])
@pytest.mark.parametrize("family", FAMILIES)
def test_state_dicts_are_found_and_hold_what_folders_hold(checkpoints, tmp_path, family, place):
    model = fine_tune(family, checkpoints[family])
    folder = tmp_path / place.format(task=TASK[family])
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"model_{family}_30.bin"
    torch.save(model.state_dict(), file)
    source = found(family, checkpoints[family], tmp_path)
    assert source.checkpoint == file
    loaded = load(source)
    assert same(loaded.model.state_dict(), model.base_model.state_dict())
    assert loaded.digest == weights_digest(model.base_model)


def test_state_dicts_of_a_bare_encoder_are_loaded_too(checkpoints, tmp_path):
    model = fine_tune("bert", checkpoints["bert"]).base_model
    torch.save(model.state_dict(), tmp_path / "model_bert_30.bin")
    assert load(found("bert", checkpoints["bert"], tmp_path)).digest == weights_digest(model)


def test_folders_come_before_state_dicts(checkpoints, tmp_path):
    folder = tmp_path / "ner/small/bert/size-030/seed-42"
    fine_tune("bert", checkpoints["bert"], seed=1).save_pretrained(folder)
    torch.save(fine_tune("bert", checkpoints["bert"], seed=2).state_dict(), tmp_path / "model_bert_30.bin")
    assert found("bert", checkpoints["bert"], tmp_path).checkpoint == folder
    assert found("bert", checkpoints["bert"], tmp_path, seed=7).checkpoint == tmp_path / "model_bert_30.bin"


def test_a_missing_size_lists_the_places(checkpoints, tmp_path):
    with pytest.raises(ModelError, match=r"'bert' at training size 30 \(seed 42\)") as caught:
        found("bert", checkpoints["bert"], tmp_path)
    places = (
        "ner/small/bert/size-030/seed-42",
        "ner/small/model_bert_30.bin",
        "ner/model_bert_30.bin",
        "model_bert_30.bin",
    )
    assert all(f"{tmp_path / place}," in f"{caught.value}".replace(";", ",") for place in places)
    assert_one_line(caught.value)


class Malice:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return (Path.touch, (self.mark,))


@pytest.mark.parametrize("legacy", [True, False])
def test_code_in_a_state_dict_is_not_run(checkpoints, tmp_path, legacy):
    mark = tmp_path / "ran"
    state = fine_tune("bert", checkpoints["bert"]).state_dict() | {"extra": Malice(mark)}
    torch.save(state, tmp_path / "model_bert_30.bin", _use_new_zipfile_serialization=not legacy)
    with pytest.raises(ModelError, match=r"cannot be loaded from .*model_bert_30.bin.*it holds more than tensors"):
        load(found("bert", checkpoints["bert"], tmp_path))
    assert not mark.exists()
    # The trap works: who unpickles it without care runs it.
    pickle.loads(pickle.dumps(Malice(mark)))
    assert mark.exists()


def test_code_in_a_checkpoint_folder_is_not_run(checkpoints, tmp_path):
    folder = copy(checkpoints["bert"], tmp_path / "m")
    (folder / "model.safetensors").unlink()
    state = AutoModel.from_pretrained(checkpoints["bert"]).state_dict()
    torch.save(state, folder / "pytorch_model.bin")
    assert load(pretrained(folder)).digest == load(pretrained(checkpoints["bert"])).digest
    torch.save(state | {"extra": Malice(tmp_path / "ran")}, folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match="cannot be loaded from") as raised:
        load(pretrained(folder))
    assert not (tmp_path / "ran").exists()
    # The advice of torch would run it.
    assert "weights_only" not in str(raised.value)


@pytest.mark.parametrize("content", ["model", "list", "tensor", "number", "empty", "text", "foreign"])
def test_files_that_are_no_state_dict_are_refused(checkpoints, tmp_path, content):
    model = fine_tune("bert", checkpoints["bert"])
    values = {
        "model": model,
        "list": list(model.state_dict().values()),
        "tensor": torch.zeros(3),
        "number": {"bert.embeddings.word_embeddings.weight": 3},
        "empty": {},
        "foreign": {"fc.weight": torch.zeros(3, 3)},
    }
    file = tmp_path / "model_bert_30.bin"
    if content == "text":
        file.write_text("not a state dict", encoding="utf-8")
    else:
        torch.save(values[content], file)
    with pytest.raises(ModelError, match=r"model_bert_30.bin") as caught:
        load(found("bert", checkpoints["bert"], tmp_path))
    assert_one_line(caught.value)


@pytest.mark.slow
def test_extraction_uses_the_fine_tuned_weights(corpus_folder, checkpoints, tmp_path):
    model = fine_tune("bert", checkpoints["bert"])
    model.save_pretrained(tmp_path / "c/ner/ner/tiny/size-030/seed-42")
    asked = request(
        corpus_folder, checkpoints["bert"], training_sizes=(0, 30), checkpoints=tmp_path / "c", limit=4, layers=(1, 2)
    )
    extract(tmp_path / "s", asked)
    base, tuned = (only_run(tmp_path / "s", training_size=size) for size in (0, 30))
    assert tuned.spec.model_digest == weights_digest(model.base_model) != base.spec.model_digest
    assert tuned.provenance.model_source == str(tmp_path / "c/ner/ner/tiny/size-030/seed-42")
    assert (tuned.read_sample("hidden", 0) != base.read_sample("hidden", 0)).mean() > 0.9


# Random weights


@pytest.mark.parametrize("family", FAMILIES)
def test_random_twins_are_a_function_of_the_seed(checkpoints, tmp_path, family):
    def twin(seed):
        return load(found(family, checkpoints[family], tmp_path, size=0, seed=seed, random_weights=True))

    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    one, again, other = twin(1), twin(1), twin(2)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert one.digest == again.digest
    assert same(one.model.state_dict(), again.model.state_dict())
    assert len({one.digest, other.digest, load(pretrained(checkpoints[family])).digest}) == 3
    assert type(one.model) is type(load(pretrained(checkpoints[family])).model)


@pytest.mark.slow
def test_random_twins_have_runs_of_their_own(corpus_folder, checkpoints, tmp_path):
    for store in ("a", "b"):
        for seed in (1, 2):
            asked = request(corpus_folder, checkpoints["bert"], random_weights=True, seeds=(seed,), limit=4)
            extract(tmp_path / store, asked)
    assert holdings(tmp_path / "a") == holdings(tmp_path / "b")
    one, other = (only_run(tmp_path / "a", model="tiny-random", seed=seed) for seed in (1, 2))
    assert one.spec.model_digest != other.spec.model_digest
    assert one.provenance.random_weights
    assert (one.read_sample("hidden", 0) != other.read_sample("hidden", 0)).mean() > 0.9


def test_random_weights_have_no_training_size(checkpoints, tmp_path):
    with pytest.raises(SettingError, match="no training size 30"):
        found("bert", checkpoints["bert"], tmp_path, random_weights=True)
