"""State dicts and checkpoints of other trainers: each shape holds what ``save_pretrained`` saves, or is refused."""

import argparse
import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from extractions import only_run, request
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from transformers import AutoConfig, BertForTokenClassification, BertModel, GPT2ForSequenceClassification, GPT2Model

from biocache.engine import extract
from biocache.engine.models.loading import LoadedModel, load_model, weights_digest
from biocache.engine.models.sources import ModelSource, find_source, parse_finetuned, parse_model, pretrained_source
from biocache.engine.models.state_dicts import StateDict, StateDictError, fit, read_state_dicts
from biocache.store.errors import ModelError, SettingError

HEADS = {"bert": BertForTokenClassification, "gpt2": GPT2ForSequenceClassification}
State = dict[str, torch.Tensor]


def model_of(family: str, base: Path, seed: int = 1) -> Any:
    """Return a model with a head, as a training left it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return HEADS[family](AutoConfig.from_pretrained(base, num_labels=6)).eval()


class Wrapped(torch.nn.Module):
    """A module that holds a model, as `DataParallel`, Lightning and users' own classes do."""

    def __init__(self, **modules: torch.nn.Module) -> None:
        super().__init__()
        for name, module in modules.items():
            setattr(self, name, module)


class _Settings:
    """Settings of a training, of a class that is not loaded."""

    def __init__(self) -> None:
        self.rate = 0.1


def lightning(state: State) -> dict[str, Any]:
    """Return what Lightning saves, with the objects that its users save beside the weights."""
    return {
        "epoch": 3,
        "state_dict": state,
        "callbacks": {"ModelCheckpoint{'monitor': None}": {"best_model_score": torch.tensor(0.5), "path": Path("x")}},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": [{"params": [0]}]}],
        "loops": {"fit_loop": {"state_dict": {}}},
        "hyper_parameters": {"args": argparse.Namespace(lr=1e-3), "own": _Settings(), "mean": np.float64(1.5)},
    }


def compiled_layers(model: Any) -> State:
    """Return the names of a model whose layers were compiled one by one."""
    return {name.replace(".1.", ".1._orig_mod.", 1): value for name, value in model.state_dict().items()}


# Name to what is saved of a model with a head, and the part of the line that says what was done.
SHAPES: dict[str, tuple[Callable[[Any], Any], str]] = {
    "with a head": (lambda model: model.state_dict(), ""),
    "bare": (lambda model: model.base_model.state_dict(), ""),
    "DataParallel": (lambda model: torch.nn.DataParallel(model).state_dict(), "prefix 'module.{base}.' dropped"),
    "DDP of the encoder": (lambda model: Wrapped(module=model.base_model).state_dict(), "prefix 'module.' dropped"),
    "compiled": (lambda model: Wrapped(_orig_mod=model).state_dict(), "prefix '_orig_mod.{base}.' dropped"),
    "compiled layers": (compiled_layers, "'_orig_mod' taken out of the names"),
    "compiled layers in a module": (
        lambda model: {f"module.{name}": value for name, value in compiled_layers(model).items()},
        "'_orig_mod' taken out of the names, prefix 'module.{base}.' dropped",
    ),
    "FSDP": (
        lambda model: {f"_fsdp_wrapped_module.{name}": value for name, value in model.state_dict().items()},
        "prefix '_fsdp_wrapped_module.{base}.' dropped",
    ),
    "model": (lambda model: Wrapped(model=model).state_dict(), "prefix 'model.{base}.' dropped"),
    "encoder and a head of one's own": (
        lambda model: Wrapped(encoder=model.base_model, crf=torch.nn.Linear(3, 3)).state_dict(),
        "prefix 'encoder.' dropped, 2 tensors of a head left aside (crf.weight, crf.bias)",
    ),
    "one model under two names": (
        lambda model: Wrapped(net=model, encoder=model.base_model).state_dict(),
        " dropped, ",
    ),
    "Lightning": (
        lambda model: lightning(Wrapped(model=model).state_dict()),
        "'state_dict' read, prefix 'model.{base}.' dropped",
    ),
    "Lightning, compiled": (
        lambda model: lightning(Wrapped(model=Wrapped(_orig_mod=model)).state_dict()),
        "'state_dict' read, prefix 'model._orig_mod.{base}.' dropped",
    ),
    "a training loop": (
        lambda model: {"epoch": 3, "model": model.state_dict(), "optimizer": {"state": {}, "param_groups": []}},
        "'model' read",
    ),
    "DeepSpeed": (
        lambda model: {"module": Wrapped(module=model).state_dict(), "ds_config": {}, "global_steps": 7},
        "'module' read, prefix 'module.{base}.' dropped",
    ),
    "nested": (lambda model: {"state": {"weights": {"net": model.state_dict()}}}, "'state.weights.net' read"),
}


def load(source: ModelSource) -> LoadedModel:
    return load_model(source, "cpu", "float32")


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("family", HEADS)
def test_what_other_trainers_save_is_what_save_pretrained_saves(checkpoints, tmp_path, family, shape):
    model = model_of(family, checkpoints[family])
    saved, said = SHAPES[shape]
    file = tmp_path / "epoch=3-step=30.ckpt"
    torch.save(saved(model), file)
    loaded = load(ModelSource("tiny", str(checkpoints[family]), 30, 42, file))
    assert loaded.digest == weights_digest(model.base_model)
    if not said:
        assert loaded.remarks == ()
        return
    (line,) = loaded.remarks
    assert line.startswith("model tiny: weights of epoch=3-step=30.ckpt: ")
    assert said.format(base=model.base_model_prefix) in line
    heads = [name for name in model.state_dict() if not name.startswith(f"{model.base_model_prefix}.")]
    if "one's own" not in shape and "encoder" not in shape and "two names" not in shape:
        assert f"{len(heads)} tensor{'s' if len(heads) > 1 else ''} of a head left aside" in line


@pytest.mark.parametrize("family", HEADS)
@pytest.mark.parametrize("kind", ["pytorch_model.bin", "model.safetensors", "shards", "epoch=1.ckpt"])
def test_folders_with_names_of_other_trainers_are_read(checkpoints, tmp_path, family, kind):
    model = model_of(family, checkpoints[family])
    folder = tmp_path / "checkpoint-30"
    AutoConfig.from_pretrained(checkpoints[family]).save_pretrained(folder)
    state = {f"module.{name}": value.clone() for name, value in model.state_dict().items()}
    torch.save({"not": "weights"}, folder / "training_args.bin")
    torch.save({"state": {}}, folder / "optimizer.pt")
    if kind == "shards":
        halves = [dict(list(state.items())[half::2]) for half in range(2)]
        for number, half in enumerate(halves):
            torch.save(half, folder / f"pytorch_model-{number}.bin")
        places = {name: f"pytorch_model-{number}.bin" for number, half in enumerate(halves) for name in half}
        (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    elif kind == "model.safetensors":
        save_file(state, folder / kind, metadata={"format": "pt"})
    else:
        torch.save(state, folder / kind)
    place, size = parse_finetuned(f"{folder}=30")
    tuned = load(ModelSource("tiny", str(checkpoints[family]), size, 42, place))
    alone = load(pretrained_source(*parse_model(f"tiny={folder}"), 42))
    assert tuned.digest == alone.digest == weights_digest(model.base_model)
    assert f"prefix 'module.{model.base_model_prefix}.' dropped" in tuned.remarks[0]


def hidden(store: Path, size: int) -> Any:
    run = only_run(store, training_size=size)
    return [run.read_sample("hidden", sample) for sample in range(run.counts.samples)]


@pytest.mark.slow
@pytest.mark.parametrize("family", HEADS)
def test_hidden_states_are_those_of_save_pretrained(corpus_folder, checkpoints, tmp_path, family):
    model = model_of(family, checkpoints[family])
    model.save_pretrained(tmp_path / "saved")
    torch.save(lightning(Wrapped(model=model).state_dict()), tmp_path / "last.ckpt")
    named = (f"{tmp_path / 'saved'}=30", f"{tmp_path / 'last.ckpt'}=31")
    asked = request(corpus_folder, checkpoints[family], limit=4, finetuned=named)
    reports = extract(tmp_path / "s", asked)
    assert len([report for report in reports if report.remarks]) == 1
    runs = [only_run(tmp_path / "s", training_size=size) for size in (30, 31)]
    assert runs[0].spec.model_digest == runs[1].spec.model_digest
    assert runs[1].provenance.model_source == str(tmp_path / "last.ckpt")
    for one, other in zip(hidden(tmp_path / "s", 30), hidden(tmp_path / "s", 31), strict=True):
        np.testing.assert_array_equal(one, other)
    base = hidden(tmp_path / "s", 0)
    assert (base[0] != hidden(tmp_path / "s", 30)[0]).mean() > 0.9


# Places


def test_a_file_is_a_model_with_the_configuration_beside_it(checkpoints, tmp_path):
    folder = Path(shutil.copytree(checkpoints["bert"], tmp_path / "m"))
    (folder / "model.safetensors").unlink()
    model = model_of("bert", checkpoints["bert"])
    torch.save(Wrapped(net=model).state_dict(), folder / "best.pth")
    for text in (f"mine={folder / 'best.pth'}", f"mine={folder}"):
        name, base = parse_model(text)
        source = pretrained_source(name, base, 42)
        assert (name, source.weights, source.folder) == ("mine", str(folder / "best.pth"), str(folder))
        assert source.tokenizer == str(folder)
        assert load(source).digest == weights_digest(model.base_model)
    twin = pretrained_source(*parse_model(f"mine={folder / 'best.pth'}"), 7, random_weights=True)
    assert (twin.name, twin.checkpoint, twin.folder) == ("mine-random", None, str(folder))
    shutil.move(folder / "best.pth", tmp_path / "best.pth")
    with pytest.raises(SettingError, match=r"no config.json beside best.pth; .* finetuned"):
        parse_model(f"mine={tmp_path / 'best.pth'}")
    alias = pretrained_source(*parse_model(f"biobert={tmp_path / 'best.pth'}"), 42)
    assert (alias.folder, alias.weights) == ("dmis-lab/biobert-v1.1", str(tmp_path / "best.pth"))


def test_checkpoints_of_a_study_may_be_files_in_their_folders(checkpoints, tmp_path):
    folder = tmp_path / "ner/small/bert/size-030/seed-42"
    folder.mkdir(parents=True)
    model = model_of("bert", checkpoints["bert"])
    torch.save(lightning(Wrapped(model=model).state_dict()), folder / "last.ckpt")
    where = {"task": "ner", "dataset": "small", "training_size": 30, "seed": 42, "checkpoints": tmp_path}
    source = find_source("bert", str(checkpoints["bert"]), **where)
    assert source.checkpoint == folder / "last.ckpt"
    assert load(source).digest == weights_digest(model.base_model)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["a.ckpt", "b.ckpt", "training_args.bin"], "holds a.ckpt, b.ckpt; give the path of one of them"),
        (
            ["checkpoint-5/config.json", "checkpoint-10/config.json"],
            "checkpoint-10, checkpoint-5; give the path of one",
        ),
        (["zero_to_fp32.py", "latest"], "of DeepSpeed in parts; make it whole with its zero_to_fp32.py"),
        (["global_step5/bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt"], "of DeepSpeed in parts"),
        (["pytorch_model_fsdp_0/__0_0.distcp"], "of torch.distributed in parts"),
        (["optimizer.pt", "scheduler.pt", "rng_state.pth"], "neither a folder with config.json nor a file of weights"),
    ],
)
def test_folders_that_do_not_say_which_weights_are_refused(tmp_path, files, message):
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    with pytest.raises(SettingError, match=message) as caught:
        parse_finetuned(str(tmp_path))
    assert "\n" not in str(caught.value)


# Refusals: nothing is loaded half


def _resized(state: State) -> State:
    name = next(name for name in state if name.endswith(("word_embeddings.weight", "wte.weight")))
    return state | {name: torch.cat([state[name], state[name][:5]])}


def _lora(state: State) -> State:
    name = next(name for name in state if name.endswith(("query.weight", "c_attn.weight")))
    stem = name.removesuffix(".weight")
    rest = {key: value for key, value in state.items() if key != name}
    added = {f"{stem}.base_layer.weight": state[name], f"{stem}.lora_A.default.weight": torch.zeros(2, 32)}
    return {f"base_model.model.{key}": value for key, value in (rest | added).items()}


def _extra_layer(state: State) -> State:
    layer = {name.replace(".1.", ".2."): value for name, value in state.items() if ".1." in name}
    return {f"model.{name}": value for name, value in (state | layer).items()}


REFUSED: dict[str, tuple[Callable[[State], Any], str]] = {
    "other vocabulary": (_resized, r"{base}.*(word_embeddings|wte).weight is \d+ x 32, not \d+ x 32"),
    "other vocabulary, wrapped": (
        lambda state: {f"module.{name}": value for name, value in _resized(state).items()},
        r"module.{base}.*(word_embeddings|wte).weight is \d+ x 32, not \d+ x 32",
    ),
    "adapters": (_lora, r"lacks weights of the encoder .*\(it has .*(base_layer|lora_A)"),
    "a layer more": (_extra_layer, r"has weights of the encoder that \w+Model of transformers does not take"),
    "two models": (
        lambda state: {
            **{f"student.{name}": value for name, value in state.items()},
            **{f"teacher.{name}": value + 1 for name, value in state.items()},
        },
        r"more than once, at 'student.{base}.' and at 'teacher.{base}.'",
    ),
    "weights and their average": (
        lambda state: {"model": state, "model_ema": {name: value + 1 for name, value in state.items()}},
        r"more than once, at 'model.{base}.' and at 'model_ema.{base}.'",
    ),
    "no model": (lambda state: {"model": {"a.weight": torch.zeros(2)}, "other": {"b": torch.zeros(2)}}, "no tensor"),
    "numbers": (lambda state: {"state_dict": dict.fromkeys(state, 3)}, "it holds no tensors by name"),
    "an object among the tensors": (lambda state: state | {"own": _Settings()}, "it holds more than tensors"),
    "integers": (
        lambda state: {f"module.{name}": value.to(torch.int8) for name, value in state.items()},
        "is stored as int8",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("family", HEADS)
def test_nothing_is_loaded_half(checkpoints, tmp_path, family, case):
    model = model_of(family, checkpoints[family])
    damage, message = REFUSED[case]
    torch.save(damage(dict(model.state_dict())), tmp_path / "x.ckpt")
    with pytest.raises(ModelError, match=message.replace("{base}", model.base_model_prefix)) as caught:
        load(ModelSource("tiny", str(checkpoints[family]), 30, 42, tmp_path / "x.ckpt"))
    assert "\n" not in str(caught.value)
    assert "x.ckpt" in str(caught.value)


class Malice:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return (shutil.copy, (__file__, self.mark))


def test_no_code_beside_the_weights_is_run(checkpoints, tmp_path):
    model = model_of("bert", checkpoints["bert"])
    mark, file = tmp_path / "ran", tmp_path / "x.ckpt"
    torch.save(lightning(model.state_dict()) | {"hyper_parameters": Malice(mark)}, file)
    loaded = load(ModelSource("tiny", str(checkpoints["bert"]), 30, 42, file))
    assert loaded.digest == weights_digest(model.base_model)
    assert not mark.exists()
    # The trap works: who unpickles it without care runs it.
    pickle.loads(pickle.dumps(Malice(mark)))
    assert mark.exists()


# Properties

PARTS = st.sampled_from(["module", "model", "net", "encoder", "bert", "layer", "0", "_orig_mod", "state"])


def tiny(kind: str) -> Any:
    ids = {"bos_token_id": 0, "eos_token_id": 0} if kind == "gpt2" else {}
    config = AutoConfig.for_model(kind, vocab_size=11, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, **ids)
    config.max_position_embeddings = 8
    with torch.device("meta"):
        return {"bert": BertModel, "gpt2": GPT2Model}[kind](config)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["bert", "gpt2"])
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_whatever_is_before_the_names_is_found(kind, data):
    model = tiny(kind)
    prefix = data.draw(st.lists(PARTS, max_size=4).map(lambda parts: "".join(f"{part}." for part in parts)))
    own = model.state_dict()
    state = {f"{prefix}{name}": own[name] for name in data.draw(st.permutations(list(own)))}
    heads = {f"head{number}.weight": torch.zeros(2) for number in range(data.draw(st.integers(0, 3)))}
    fitted = fit([StateDict((), state | heads)], model)
    base = f"{model.base_model_prefix}."
    found = {name.removeprefix(base): value for name, value in fitted.tensors.items()}
    assert all(found[name] is value for name, value in own.items())
    assert {*fitted.aside, *found} == {*heads, *own}


@pytest.mark.slow
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_a_tensor_of_another_shape_is_never_accepted(data):
    model = tiny("bert")
    state = {f"module.{name}": value for name, value in model.state_dict().items()}
    name = data.draw(st.sampled_from(sorted(state)))
    with pytest.raises(StateDictError, match=name.replace(".", r"\.")):
        fit([StateDict((), state | {name: state[name].new_zeros(3, 1, 2)})], model)


@pytest.mark.parametrize("cut", [0, 0.3, 0.99])
def test_torn_files_are_refused(checkpoints, tmp_path, cut):
    torch.save(lightning(model_of("bert", checkpoints["bert"]).state_dict()), tmp_path / "x.ckpt")
    data = (tmp_path / "x.ckpt").read_bytes()
    (tmp_path / "x.ckpt").write_bytes(data[: int(cut * len(data))])
    with pytest.raises(ModelError, match=r"cannot be loaded from .*x.ckpt") as caught:
        load(ModelSource("tiny", str(checkpoints["bert"]), 30, 42, tmp_path / "x.ckpt"))
    assert "\n" not in str(caught.value)


def test_all_state_dicts_of_a_file_are_found(tmp_path):
    one = {"a": torch.zeros(1)}
    torch.save({"x": one, "y": {"z": one, "n": 3}, "s": "text", "l": [one]}, tmp_path / "f.pt")
    assert [(found.place, set(found.tensors)) for found in read_state_dicts(tmp_path / "f.pt")] == [
        (("x",), {"a"}),
        (("y", "z"), {"a"}),
    ]
