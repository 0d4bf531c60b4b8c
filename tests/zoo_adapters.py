"""Checkpoint folders with adapters: beside the weights, alone, or among them."""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from zoo_models import make
from zoo_species import SPECIES

Truth = Any
BERT = SPECIES["bert"]


def edit(file: Path, **changes: Any) -> None:
    """Change values of a JSON file; None removes one."""
    values = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    values = {name: value for name, value in (values | changes).items() if value is not None}
    file.write_text(json.dumps(values), encoding="utf-8")


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return dict(load_file(folder / "model.safetensors"))


def put_weights(folder: Path, weights: Mapping[str, torch.Tensor]) -> None:
    kept = {name: value.clone().contiguous() for name, value in weights.items()}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})


def _adapter(folder: Path, base: str) -> None:
    names = [f"encoder.layer.{layer}.attention.self.query" for layer in range(3)]
    generator = torch.Generator().manual_seed(1)
    weights = {}
    for name in names:
        weights[f"base_model.model.{name}.lora_A.weight"] = torch.randn(4, 64, generator=generator)
        weights[f"base_model.model.{name}.lora_B.weight"] = torch.randn(64, 4, generator=generator)
    save_file(weights, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    edit(
        folder / "adapter_config.json",
        peft_type="LORA",
        base_model_name_or_path=base,
        r=4,
        lora_alpha=8,
        target_modules=["query"],
        task_type="FEATURE_EXTRACTION",
    )


def adapter_alone(folder: Path, scratch: Path) -> Truth:
    make(BERT, scratch / "base", scratch)
    folder.mkdir()
    for file in (scratch / "base").glob("tokenizer*"):
        shutil.copy(file, folder)
    _adapter(folder, str(scratch / "base"))
    return False


def adapter_and_config(folder: Path, scratch: Path) -> Truth:
    adapter_alone(folder, scratch)
    shutil.copy(scratch / "base" / "config.json", folder)
    return False


def adapter_beside(folder: Path, scratch: Path) -> Truth:
    make(BERT, folder, scratch)
    _adapter(folder, str(folder))
    return False


def unmerged(prefix: str, base: str) -> Callable[[Path, Path], Truth]:
    """Return a maker of weights with LoRA tensors among them, which belong to the encoder."""

    def maker(folder: Path, scratch: Path) -> Truth:
        make(BERT, folder, scratch)
        weights = {f"{prefix}{name}": value for name, value in weights_of(folder).items()}
        for layer in range(3):
            name = f"{prefix}encoder.layer.{layer}.attention.self.query"
            if base:
                for part in ("weight", "bias"):
                    weights[f"{name}.{base}.{part}"] = weights[f"{name}.{part}"]
            weights[f"{name}.lora_A.default.weight"] = torch.randn(4, 64)
            weights[f"{name}.lora_B.default.weight"] = torch.randn(64, 4)
        put_weights(folder, weights)
        return False

    return maker
