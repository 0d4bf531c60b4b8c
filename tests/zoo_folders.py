"""Odd checkpoint folders. Each maker writes one and returns the model whose states are right.

False is returned where nothing but a refusal is right.
"""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from zoo_adapters import adapter_alone, adapter_and_config, adapter_beside, edit, put_weights, unmerged, weights_of
from zoo_models import Species, draw, make, save_tokenizer, tiny_config
from zoo_species import SPECIES

from biocache.engine.machine import seeded
from biocache.engine.models.shape import quiet_transformers

Truth = Any
BERT, GPT2, LLAMA = SPECIES["bert"], SPECIES["gpt2"], SPECIES["llama"]


def _sharded(folder: Path, scratch: Path) -> Truth:
    model = make(BERT, folder, scratch)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="60KB")
    assert (folder / "model.safetensors.index.json").is_file()
    return model


def _lost_shard(folder: Path, scratch: Path) -> Truth:
    _sharded(folder, scratch)
    sorted(folder.glob("model-*.safetensors"))[1].unlink()
    return False


def _half(species: Species, dtype: torch.dtype) -> Callable[[Path, Path], Truth]:
    def maker(folder: Path, scratch: Path) -> Truth:
        model = make(species, folder, scratch).to(dtype)
        model.config.dtype = dtype
        model.save_pretrained(folder)
        # Frequencies of positions, which are not saved, were rounded with the rest.
        return None

    return maker


def _old_file(folder: Path, scratch: Path) -> Truth:
    model = make(BERT, folder, scratch)
    (folder / "model.safetensors").unlink()
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    return model


def _gamma_and_beta(folder: Path, scratch: Path) -> Truth:
    model = make(BERT, folder, scratch)
    (folder / "model.safetensors").unlink()
    renamed = {
        f"bert.{name}".replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): value
        for name, value in model.state_dict().items()
    }
    torch.save(renamed, folder / "pytorch_model.bin")
    return model


def _data_parallel(folder: Path, scratch: Path) -> Truth:
    model = make(BERT, folder, scratch)
    (folder / "model.safetensors").unlink()
    torch.save({f"module.{name}": value for name, value in model.state_dict().items()}, folder / "pytorch_model.bin")
    return model


def _two_files(folder: Path, scratch: Path) -> Truth:
    """Leave the weights of before a training beside those of after it, in the old format."""
    model = make(BERT, folder, scratch)
    older = copy.deepcopy(model)
    draw(older, seed=9)
    torch.save(older.state_dict(), folder / "pytorch_model.bin")
    return model


def _old_sentences(folder: Path, scratch: Path) -> Truth:
    model = make(BERT, folder / "0_Transformer", scratch)
    edit(folder / "config.json", __version__="0.2.0")
    _modules(folder, "0_Transformer")
    return model


def _new_sentences(folder: Path, scratch: Path) -> Truth:
    model = make(BERT, folder, scratch)
    edit(folder / "sentence_bert_config.json", max_seq_length=128, do_lower_case=False)
    _modules(folder, "")
    return model


def _modules(folder: Path, first: str) -> None:
    kinds = {first: "Transformer", "1_Pooling": "Pooling"}
    modules = [
        {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for number, (path, kind) in enumerate(kinds.items())
    ]
    (folder / "modules.json").write_text(json.dumps(modules), encoding="utf-8")
    (folder / "1_Pooling").mkdir()
    edit(folder / "1_Pooling" / "config.json", word_embedding_dimension=64, pooling_mode_mean_tokens=True)


def _fewer_layers(folder: Path, scratch: Path) -> Truth:
    make(BERT, folder, scratch)
    edit(folder / "config.json", num_hidden_layers=2)
    return False


def _more_layers(folder: Path, scratch: Path) -> Truth:
    make(BERT, folder, scratch)
    edit(folder / "config.json", num_hidden_layers=4)
    return False


def _relative_positions(folder: Path, scratch: Path) -> Truth:
    """Write a BERT with relative positions: their table is among the weights, and newer transformers ignore it."""
    make(BERT, folder, scratch)
    edit(folder / "config.json", position_embedding_type="relative_key")
    weights = weights_of(folder)
    for layer in range(3):
        weights[f"encoder.layer.{layer}.attention.self.distance_embedding.weight"] = torch.randn(255, 16)
    put_weights(folder, weights)
    return False


def _pruned(folder: Path, scratch: Path) -> Truth:
    make(BERT, folder, scratch)
    edit(folder / "config.json", pruned_heads={"0": [1]})
    weights = weights_of(folder)
    for name in ("query", "key", "value"):
        for part in ("weight", "bias"):
            full = f"encoder.layer.0.attention.self.{name}.{part}"
            weights[full] = torch.cat([weights[full][:16], weights[full][32:]])
    full = "encoder.layer.0.attention.output.dense.weight"
    weights[full] = torch.cat([weights[full][:, :16], weights[full][:, 32:]], dim=1)
    put_weights(folder, weights)
    return False


def _quantised(**settings: Any) -> Callable[[Path, Path], Truth]:
    def maker(folder: Path, scratch: Path) -> Truth:
        make(LLAMA, folder, scratch)
        edit(folder / "config.json", quantization_config=settings)
        return False

    return maker


def _eights(folder: Path, scratch: Path) -> Truth:
    """Write weights of eight bits with a scale for each block of sixteen by sixteen."""
    model = make(LLAMA, folder, scratch)
    weights, block = weights_of(folder), (16, 16)
    for name, value in list(weights.items()):
        if name.endswith("_proj.weight"):
            rows, columns = (size // side for size, side in zip(value.shape, block, strict=True))
            blocks = value.reshape(rows, block[0], columns, block[1])
            scale = blocks.abs().amax(dim=(1, 3), keepdim=True) / 448
            eight = (blocks / scale).to(torch.float8_e4m3fn)
            weights[name] = eight.reshape(value.shape)
            weights[name.replace(".weight", ".weight_scale_inv")] = scale.reshape(rows, columns)
            with torch.no_grad():
                model.get_parameter(name).copy_((eight.float() * scale).reshape(value.shape))
    put_weights(folder, weights)
    edit(folder / "config.json", quantization_config={"quant_method": "fp8", "weight_block_size": list(block)})
    return model


def _integers(folder: Path, scratch: Path) -> Truth:
    """Write integers without the scales that make them weights."""
    make(BERT, folder, scratch)
    weights = weights_of(folder)
    for name, value in weights.items():
        if name.endswith("query.weight"):
            weights[name] = (value / value.abs().max() * 127).to(torch.int8)
    put_weights(folder, weights)
    return False


def _vocabulary(change: int) -> Callable[[Path, Path], Truth]:
    """Return a maker of embeddings for more or fewer ids than the tokenizer has."""

    def maker(folder: Path, scratch: Path) -> Truth:
        from transformers import AutoModel

        folder.mkdir()
        tokenizer = save_tokenizer(BERT, folder, scratch)
        config = tiny_config(BERT, tokenizer)
        config.vocab_size += change
        with seeded(3), quiet_transformers():
            model = AutoModel.from_config(config, attn_implementation="eager").eval()
        draw(model)
        model.save_pretrained(folder)
        return model if change > 0 else False

    return maker


def _added_tokens(folder: Path, scratch: Path) -> Truth:
    """Add a token that no sample has and no embedding is for."""
    from transformers import AutoTokenizer

    model = make(BERT, folder, scratch)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["XYZZY"])
    tokenizer.save_pretrained(folder)
    return model


def _left_padding(folder: Path, scratch: Path) -> Truth:
    model = make(BERT, folder, scratch)
    edit(folder / "tokenizer_config.json", padding_side="left", truncation_side="left")
    return model


def _no_special_tokens(folder: Path, scratch: Path) -> Truth:
    model = make(GPT2, folder, scratch)
    nothing = {f"{name}_token": None for name in ("pad", "bos", "eos", "unk")}
    edit(folder / "tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast", **nothing)
    (folder / "special_tokens_map.json").unlink(missing_ok=True)
    return model


def _longest(value: Any) -> Callable[[Path, Path], Truth]:
    def maker(folder: Path, scratch: Path) -> Truth:
        model = make(BERT, folder, scratch)
        edit(folder / "tokenizer_config.json", model_max_length=value)
        return model

    return maker


def _own_code(folder: Path, scratch: Path) -> Truth:
    model = make(BERT, folder, scratch)
    edit(folder / "config.json", auto_map={"AutoModel": "modeling.OwnModel", "AutoConfig": "modeling.OwnConfig"})
    (folder / "modeling.py").write_text("raise SystemExit('code of a checkpoint was run')\n", encoding="utf-8")
    return model


def _trained(folder: Path, scratch: Path) -> Truth:
    """Write what a trainer leaves: a head, its labels, its state and its arguments."""
    from transformers import BertForTokenClassification

    tokenizer = save_tokenizer(BERT, folder, scratch)
    config = tiny_config(BERT, tokenizer)
    config.num_labels = 5
    with seeded(3):
        model = BertForTokenClassification._from_config(config, attn_implementation="eager").eval()
    draw(model)
    model.save_pretrained(folder)
    torch.save({"lr": 1e-4}, folder / "training_args.bin")
    edit(folder / "trainer_state.json", epoch=3.0)
    return model.bert


def _language_model(species: Species, head: str) -> Callable[[Path, Path], Truth]:
    def maker(folder: Path, scratch: Path) -> Truth:
        import transformers

        tokenizer = save_tokenizer(species, folder, scratch)
        with seeded(3):
            kind = getattr(transformers, head)
            model = kind._from_config(tiny_config(species, tokenizer), attn_implementation="eager").eval()
        draw(model)
        model.save_pretrained(folder)
        return model.base_model

    return maker


def _spoiled(value: float, name: str) -> Callable[[Path, Path], Truth]:
    def maker(folder: Path, scratch: Path) -> Truth:
        make(BERT, folder, scratch)
        weights = weights_of(folder)
        weights[name].view(-1)[7] = value
        put_weights(folder, weights)
        return False

    return maker


def _wrapped(folder: Path, scratch: Path) -> Truth:
    from transformers import EncoderDecoderConfig, EncoderDecoderModel

    tokenizer = save_tokenizer(BERT, folder, scratch)
    part = tiny_config(BERT, tokenizer)
    EncoderDecoderModel(EncoderDecoderConfig.from_encoder_decoder_configs(part, copy.deepcopy(part))).save_pretrained(
        folder
    )
    return False


#: Name to a maker of a folder, which takes the folder and one for scratch files.
FOLDERS: dict[str, Callable[[Path, Path], Truth]] = {
    "sharded": _sharded,
    "sharded, one lost": _lost_shard,
    "float16": _half(BERT, torch.float16),
    "bfloat16": _half(LLAMA, torch.bfloat16),
    "old weights file": _old_file,
    "gamma and beta": _gamma_and_beta,
    "data parallel": _data_parallel,
    "two weights files": _two_files,
    "old sentence-transformers": _old_sentences,
    "new sentence-transformers": _new_sentences,
    "adapter alone": adapter_alone,
    "adapter and config": adapter_and_config,
    "adapter beside weights": adapter_beside,
    "unmerged lora": unmerged("", ""),
    "unmerged lora, prefix": unmerged("bert.", ""),
    "unmerged lora, base layer": unmerged("bert.", "base_layer"),
    "fewer layers than weights": _fewer_layers,
    "more layers than weights": _more_layers,
    "relative positions": _relative_positions,
    "pruned heads": _pruned,
    "bitsandbytes": _quantised(quant_method="bitsandbytes", load_in_4bit=True),
    "gptq": _quantised(quant_method="gptq", bits=4, group_size=16),
    "fp8": _eights,
    "fp8, scales lost": _quantised(quant_method="fp8", weight_block_size=[16, 16]),
    "unknown quantisation": _quantised(quant_method="mine", bits=3),
    "integers": _integers,
    "more embeddings": _vocabulary(64),
    "fewer embeddings": _vocabulary(-64),
    "added tokens": _added_tokens,
    "left padding": _left_padding,
    "no pad token": lambda folder, scratch: make(GPT2, folder, scratch),
    "no special tokens": _no_special_tokens,
    "model_max_length 0": _longest(0),
    "model_max_length -1": _longest(-1),
    "model_max_length 1e30": _longest(1e30),
    "model_max_length NaN": _longest(float("nan")),
    "own code": _own_code,
    "trained head": _trained,
    "masked language model": _language_model(BERT, "BertForMaskedLM"),
    "causal language model": _language_model(LLAMA, "LlamaForCausalLM"),
    "NaN": _spoiled(float("nan"), "encoder.layer.1.output.dense.weight"),
    "infinity": _spoiled(float("inf"), "encoder.layer.1.output.dense.weight"),
    "NaN of the pad token": _spoiled(float("nan"), "embeddings.word_embeddings.weight"),
    "encoder-decoder": _wrapped,
}
