"""The files that weights are loaded from, in a folder or of a hub id, and the data types that they are stored in."""

import json
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

from biocache.store.errors import SettingError

__all__ = ["WEIGHTS", "coarse_tensors", "find_file", "inner_folder", "weight_files", "weights_of"]

#: Names of files of weights, in the order in which transformers look for them.
WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
# What trainers call files of weights, and what of it is something else: the state of a training, or an adapter.
_SUFFIXES = (".bin", ".ckpt", ".pt", ".pth", ".safetensors")
_OTHERS = re.compile(
    r"(training_args|optimi[sz]er|scheduler|scaler|rng_state|random_states|adapter_|sampler|custom_checkpoint).*"
)
# Files of a checkpoint in parts, and how it is made whole.
_PARTS = {
    "zero_to_fp32.py": "of DeepSpeed in parts; make it whole with its zero_to_fp32.py",
    "*_optim_states.pt": "of DeepSpeed in parts; make it whole with zero_to_fp32.py of DeepSpeed",
    "*/*_optim_states.pt": "of DeepSpeed in parts; make it whole with zero_to_fp32.py of DeepSpeed",
    "*.distcp": "of torch.distributed in parts; make it whole with torch.distributed.checkpoint.format_utils",
    "*/*.distcp": "of torch.distributed in parts; make it whole with torch.distributed.checkpoint.format_utils",
}
# Types of floating-point numbers of 16 bits or more, as safetensors names them.
_PLAIN = ("F16", "BF16", "F32", "F64")


def find_file(place: str, name: str, *, cached: bool = False) -> Path | None:
    """Return a file of a folder or hub id, which may be fetched; None where there is none, or no hub.

    Parameters
    ----------
    place
        Folder or hub id.
    name
        Name of the file in it.
    cached
        Whether to look on this machine alone.
    """
    if Path(place).is_dir():
        return file if (file := Path(place) / name).is_file() else None
    from transformers.utils.hub import cached_file

    # A hub that cannot be reached is told when weights are loaded.
    with suppress(OSError, ValueError):
        found = cached_file(place, name, local_files_only=cached, _raise_exceptions_for_missing_entries=False)
        return None if found is None else Path(found)
    return None


def inner_folder(place: str) -> str:
    """Return the name of the folder in which older releases of sentence-transformers put the transformer.

    Parameters
    ----------
    place
        Folder or hub id.

    Returns
    -------
    str
        Empty where the place is no such folder, has the configuration of a model itself, or has several.
    """
    modules = _read(find_file(place, "modules.json"))
    if not isinstance(modules, list) or _is_model(place, ""):
        return ""
    paths = [module.get("path") for module in modules if isinstance(module, dict)]
    found = [path for path in paths if isinstance(path, str) and re.fullmatch(r"\w+", path) and _is_model(place, path)]
    return found[0] if len(found) == 1 else ""


def _is_model(place: str, folder: str) -> bool:
    values = _read(find_file(place, f"{folder}/config.json" if folder else "config.json"))
    return isinstance(values, dict) and ("model_type" in values or "architectures" in values)


def _read(file: Path | None) -> Any:
    """Return what a file of JSON holds; None where it holds none."""
    with suppress(OSError, ValueError, RecursionError):
        return None if file is None else json.loads(file.read_bytes())
    return None


def weight_files(place: str) -> list[Path]:
    """Return the files that transformers loaded weights from; none where there are none on this machine.

    Parameters
    ----------
    place
        Folder, file or hub id.
    """
    if Path(place).is_file():
        return [Path(place)]
    for name in WEIGHTS:
        found = find_file(place, name, cached=True)
        if found is not None:
            shards = _shards(found) if name.endswith(".index.json") else [found.name]
            return [file for shard in shards if (file := find_file(place, shard, cached=True)) is not None]
    return []


def weights_of(folder: Path) -> Path:
    """Return where the weights in a folder are: the folder itself, as for transformers, or another trainer's one file.

    Raises
    ------
    SettingError
        If there are several files, checkpoints of steps, or one in parts.
    """
    if any((folder / name).exists() for name in (*WEIGHTS, "adapter_config.json")):
        return folder
    others = sorted(
        file
        for file in folder.iterdir()
        if file.suffix in _SUFFIXES and file.is_file() and not _OTHERS.fullmatch(file.name)
    )
    if len(others) == 1:
        return others[0]
    steps = sorted(step for step in folder.glob("checkpoint-*") if step.is_dir())
    if others or steps:
        names = ", ".join(found.name for found in (others or steps)[:5])
        raise SettingError(f"{folder} has no model.safetensors, and holds {names}; give the path of one of them")
    for pattern, remedy in _PARTS.items():
        if any(folder.glob(pattern)):
            raise SettingError(f"{folder} is a checkpoint {remedy}, and give what that writes")
    return folder


def _shards(index: Path) -> list[str]:
    with suppress(TypeError, AttributeError, KeyError):
        return sorted({str(shard) for shard in _read(index)["weight_map"].values()})
    return []


def coarse_tensors(file: Path) -> dict[str, str]:
    """Return the tensors in a file that are no floating-point numbers of 16 bits or more: name to type.

    None of a damaged file are, of which loading tells.
    """
    import torch
    from safetensors import safe_open

    # A damaged or foreign file raises errors without a common base.
    with suppress(Exception):
        if file.suffix == ".safetensors":
            with safe_open(file, framework="numpy") as opened:
                types = {name: str(opened.get_slice(name).get_dtype()) for name in opened.keys()}  # noqa: SIM118
            return {name: kind for name, kind in types.items() if not kind.startswith(_PLAIN)}
        tensors = torch.load(file, map_location="meta", weights_only=True)
        return {
            str(name): str(value.dtype).removeprefix("torch.")
            for name, value in tensors.items()
            if isinstance(value, torch.Tensor) and not (value.is_floating_point() and value.itemsize > 1)
        }
    return {}
