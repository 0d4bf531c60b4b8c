"""Models: what a name on the command line means, and its weights, loaded whole or not at all."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from biocache.engine.randomness import seeded
from biocache.engine.sources import folder_of, split_name
from biocache.store.errors import ModelError, SettingError
from biocache.store.text import one_line, shown

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

__all__ = [
    "ALIASES",
    "POOLER",
    "LoadedModel",
    "ModelShape",
    "ModelSource",
    "checkpoint_path",
    "choose_max_length",
    "find_source",
    "load_config",
    "load_model",
    "load_shape",
    "parse_model",
    "quiet_transformers",
]

ALIASES = {
    "bert": "google-bert/bert-base-cased",
    "biobert": "dmis-lab/biobert-v1.1",
    "gpt2": "openai-community/gpt2-medium",
    "biogpt": "microsoft/biogpt",
}

#: How the names of a pooler's weights begin: fresh where a checkpoint has none, and not on the way to hidden states or
#: attention.
POOLER = "pooler."

_DEFAULT_MAX_LENGTH = 512


@dataclass(frozen=True)
class ModelSource:
    """Where the weights of one model at one training size are.

    Attributes
    ----------
    name
        Name of the model in run keys.
    base
        Hub id or folder of the pre-trained checkpoint: its configuration and tokenizer serve a state dict.
    training_size
        Percent of the train split that the model was fine-tuned on; 0 is the pre-trained model.
    seed
        Seed of the fine-tuning, or of random weights.
    checkpoint
        Folder or ``.bin`` file of the fine-tuned weights; None for the pre-trained model.
    random_weights
        Whether to initialise the weights from the seed instead of loading them.
    """

    name: str
    base: str
    training_size: int
    seed: int
    checkpoint: Path | None = None
    random_weights: bool = False

    @property
    def weights(self) -> str:
        """Hub id, folder or file that the weights come from."""
        return str(self.checkpoint or self.base)

    @property
    def folder(self) -> str:
        """Hub id or folder that holds the configuration and the tokenizer."""
        if self.checkpoint is not None and self.checkpoint.is_dir():
            return str(self.checkpoint)
        return self.base

    @property
    def tokenizer(self) -> str:
        """Hub id or folder that holds the tokenizer."""
        own = self.checkpoint is not None and self.checkpoint.is_dir()
        names = ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "vocab.json")
        if own and not any((Path(self.folder) / name).exists() for name in names):
            return self.base
        return self.folder


@dataclass(frozen=True)
class ModelShape:
    """Sizes of an encoder, known from its configuration alone.

    Attributes
    ----------
    layers
        Number of blocks; there is one hidden state more, the embedding output.
    features
        Length of a hidden state.
    heads
        Attention heads of a block.
    causal
        Whether a query sees only keys up to itself.
    max_positions
        Longest input in tokens.
    parameters
        Number of weights.
    inner_features
        Length of the widest activation inside a block.
    """

    layers: int
    features: int
    heads: int
    causal: bool
    max_positions: int
    parameters: int
    inner_features: int


@dataclass(frozen=True)
class LoadedModel:
    """An encoder, ready to run.

    Attributes
    ----------
    model
        In evaluation mode, on its device, with eager attention.
    digest
        SHA-256 of the weights as they were loaded, in float32.
    """

    model: "PreTrainedModel"
    digest: str


def parse_model(text: str) -> tuple[str, str]:
    """Read ``ALIAS``, ``HUB_ID``, ``FOLDER`` or ``NAME=HUB_ID|FOLDER``.

    Returns
    -------
    tuple of str
        Name in run keys and where the checkpoint is. The name of a hub id has ``--`` for its slash; that of
        a folder is the folder's own.

    Raises
    ------
    SettingError
        If the text is empty or a folder does not exist.
    """
    name, source = split_name(text)
    if source == text:
        if source in ALIASES:
            return source, ALIASES[source]
        folder = folder_of(source, "model")
        name = folder.resolve().name if folder else source.replace("/", "--")
    if not name or not source:
        raise SettingError(
            f"model {shown(text)} is empty: give an alias ({', '.join(ALIASES)}), NAME=FOLDER or a hub id"
        )
    if source in ALIASES:
        source = ALIASES[source]
    folder = folder_of(source, "model")
    if folder is not None:
        if not folder.is_dir():
            raise SettingError(
                f"model {shown(text)}: {folder.resolve()} is not a folder; give a folder with config.json, or a hub id"
            )
        source = str(folder.resolve())
    return name, source


def checkpoint_path(task: str, dataset: str, model: str, training_size: int, seed: int) -> Path:
    """Return where a fine-tuned checkpoint is below the folder of all, as the path of its runs begins."""
    return Path(task, dataset, model, f"size-{training_size:03d}", f"seed-{seed}")


def find_source(
    name: str,
    base: str,
    *,
    task: str,
    dataset: str,
    training_size: int,
    seed: int,
    checkpoints: Path,
    random_weights: bool = False,
) -> ModelSource:
    """Find the weights of a model at a training size.

    Parameters
    ----------
    name, base
        As `parse_model` returns them.
    task, dataset, training_size, seed
        What the model was fine-tuned on; at size 0 it is the pre-trained model.
    checkpoints
        Folder of fine-tuned checkpoints. Looked for, in this order, are the folder
        ``TASK/DATASET/MODEL/size-SSS/seed-N``, and state dicts named ``model_MODEL_SIZE.bin`` in ``TASK/DATASET``,
        ``TASK`` and the folder itself.
    random_weights
        Whether to initialise the weights from the seed; the name gets ``-random`` at its end.

    Raises
    ------
    ModelError
        If there is no checkpoint of this size; the message lists where it was looked for.
    SettingError
        If random weights are asked for at another size than 0.
    """
    if random_weights:
        if training_size:
            raise SettingError(f"--random-weights has no training size {training_size}: leave --training-size at 0")
        return ModelSource(f"{name}-random", base, 0, seed, random_weights=True)
    if training_size == 0:
        return ModelSource(name, base, 0, seed)
    root = checkpoints
    folder = root / checkpoint_path(task, dataset, name, training_size, seed)
    files = [place / f"model_{name}_{training_size}.bin" for place in (root / task / dataset, root / task, root)]
    if (folder / "config.json").is_file():
        return ModelSource(name, base, training_size, seed, folder.resolve())
    for file in files:
        if file.is_file():
            return ModelSource(name, base, training_size, seed, file.resolve())
    looked = ", ".join(map(str, [folder, *files]))
    raise ModelError(
        f"no checkpoint of model {name!r} at training size {training_size} (seed {seed}); looked for {looked}; put "
        "one there or name their folder with --checkpoints"
    )


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Keep transformers from drawing bars and printing load reports: what matters is checked and raised."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def load_config(source: ModelSource) -> "PreTrainedConfig":
    """Read a model's configuration.

    Raises
    ------
    ModelError
        If there is none.
    """
    from transformers import AutoConfig

    try:
        with quiet_transformers():
            return AutoConfig.from_pretrained(source.folder, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(
            f"model {source.name!r} cannot be loaded from {source.folder!r} ({one_line(error)}); check the name, go "
            f"online once, or pass --model {source.name}=FOLDER with a downloaded checkpoint"
        ) from error


def _is_causal(config: "PreTrainedConfig") -> bool:
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    )

    kind = config.model_type
    only_causal = kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and kind not in MODEL_FOR_MASKED_LM_MAPPING_NAMES
    return only_causal or bool(getattr(config, "is_decoder", False))


def load_shape(source: ModelSource) -> ModelShape:
    """Read a model's configuration and derive its sizes; no weight is loaded.

    Raises
    ------
    ModelError
        If there is no configuration, or the model is an encoder-decoder.
    """
    import torch
    from transformers import AutoModel

    config = load_config(source)
    if getattr(config, "is_encoder_decoder", False):
        raise ModelError(
            f"model {source.name!r} ({config.model_type}) is an encoder-decoder; biocache stores one stack of layers: "
            "choose an encoder or a decoder model"
        )
    try:
        with torch.device("meta"), quiet_transformers():
            model = AutoModel.from_config(config, trust_remote_code=False)
        layers, features, heads = config.num_hidden_layers, config.hidden_size, config.num_attention_heads
    except (AttributeError, ValueError, KeyError) as error:
        raise ModelError(
            f"model {source.name!r} ({config.model_type}) is not one biocache can read ({one_line(error)}); choose a "
            "text model with num_hidden_layers, hidden_size and num_attention_heads"
        ) from error
    widths = (getattr(config, name, None) for name in ("intermediate_size", "n_inner", "ffn_dim"))
    return ModelShape(
        layers=int(layers),
        features=int(features),
        heads=int(heads),
        causal=_is_causal(config),
        max_positions=int(getattr(config, "max_position_embeddings", None) or 2**31 - 1),
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        inner_features=max([4 * int(features), *(int(width) for width in widths if width)]),
    )


def choose_max_length(
    asked: int | None, source: ModelSource, shape: ModelShape, tokenizer: "PreTrainedTokenizerBase"
) -> int:
    """Return the tokens after which a sample is cut: what was asked for, or 512, or what the model can read.

    Raises
    ------
    SettingError
        If more was asked for than the model can read.
    """
    most = min(shape.max_positions, int(tokenizer.model_max_length))
    if asked is None:
        return min(_DEFAULT_MAX_LENGTH, most)
    if asked > most:
        raise SettingError(
            f"max length {asked} is more than the {most} tokens model {source.name!r} can read; pass "
            f"--max-length {most} or less"
        )
    return asked


def load_model(source: ModelSource, device: str, compute_dtype: str) -> LoadedModel:
    """Load an encoder without its head.

    Parameters
    ----------
    source
        Where it is.
    device
        Device name of torch.
    compute_dtype
        ``float32``, ``bfloat16`` or ``float16``.

    Returns
    -------
    LoadedModel
        In evaluation mode and with eager attention, so that maps are returned and numbers do not depend on
        whether they are.

    Raises
    ------
    ModelError
        If it cannot be found, is not whole, or holds weights of another shape.
    """
    import torch

    config = load_config(source)
    with quiet_transformers():
        if source.random_weights:
            model, unset = _initialise(config, source.seed), list[str]()
        else:
            model, unset = _load_weights(source, config)
    missing = [name for name in unset if not name.startswith(POOLER)]
    if missing:
        named = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
        raise ModelError(
            f"checkpoint {source.weights} of model {source.name!r} lacks weights of the encoder ({named}); they would "
            "be random: give a checkpoint of this architecture"
        )
    digest = weights_digest(model)
    model.eval().requires_grad_(requires_grad=False)
    return LoadedModel(model.to(device=torch.device(device), dtype=getattr(torch, compute_dtype)), digest)


def _initialise(config: "PreTrainedConfig", seed: int) -> "PreTrainedModel":
    import torch
    from transformers import AutoModel

    with seeded(seed):
        return AutoModel.from_config(config, attn_implementation="eager", dtype=torch.float32, trust_remote_code=False)


def _load_weights(source: ModelSource, config: "PreTrainedConfig") -> tuple["PreTrainedModel", list[str]]:
    import torch
    from transformers import AutoModel

    settings: dict[str, Any] = {
        "attn_implementation": "eager",
        "dtype": torch.float32,
        "output_loading_info": True,
    }
    try:
        if source.checkpoint is not None and source.checkpoint.is_file():
            weights = torch.load(source.checkpoint, map_location="cpu", weights_only=True)
            kind = type(_initialise(config, 0))
            model, info = kind.from_pretrained(None, config=config, state_dict=weights, **settings)
        else:
            model, info = AutoModel.from_pretrained(source.weights, config=config, trust_remote_code=False, **settings)
    except Exception as error:
        # Whatever a damaged or foreign file makes the loaders raise (pickle, zip, safetensors, runtime
        # errors with no common base), the user's next step is the same.
        raise ModelError(
            f"the weights of model {source.name!r} cannot be loaded from {source.weights!r} ({one_line(error)}); give "
            "a whole checkpoint of this architecture (safetensors, or a state dict saved with torch.save)"
        ) from error
    return model, sorted(info["missing_keys"])


def weights_digest(model: "PreTrainedModel") -> str:
    """Return the SHA-256 (hexadecimal) of the names, shapes and values of an encoder's weights.

    The pooler is left out: it is not on the way to hidden states, and fresh where a checkpoint has none.
    """
    return _digest(model, pooler=False)


def pooler_digest(model: "PreTrainedModel") -> str:
    """Return the same of the pooler alone, from which some families tell sequences apart."""
    return _digest(model, pooler=True)


def _digest(model: "PreTrainedModel", *, pooler: bool) -> str:
    sha = hashlib.sha256()
    state: dict[str, torch.Tensor] = model.state_dict()
    for name in sorted(state):
        if name.startswith(POOLER) == pooler:
            values = state[name].detach().cpu().contiguous()
            sha.update(f"{name};{values.dtype};{tuple(values.shape)};".encode())
            sha.update(values.numpy().data)
    return sha.hexdigest()
