"""Find a model by its name, and its checkpoint at a training size."""

from dataclasses import dataclass
from pathlib import Path

from biocache.engine.models.files import WEIGHTS, inner_folder, weights_of
from biocache.engine.sources import RANDOM_WEIGHTS, folder_of, split_name
from biocache.store.errors import ModelError, SettingError
from biocache.store.paths import resolved
from biocache.store.text import shown

__all__ = [
    "ALIASES",
    "ModelSource",
    "checkpoint_path",
    "find_source",
    "parse_finetuned",
    "parse_model",
    "pretrained_source",
]

ALIASES = {
    "bert": "google-bert/bert-base-cased",
    "biobert": "dmis-lab/biobert-v1.1",
    "gpt2": "openai-community/gpt2-medium",
    "biogpt": "microsoft/biogpt",
}
_CHECKPOINT_FILES = ("config.json", "adapter_config.json", *WEIGHTS)
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "vocab.json")


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
        Folder or file of the weights, where they are not those of the base; None for the base's own.
    random_weights
        Whether to initialise the weights from the seed instead of loading them.
    part
        ``encoder`` of an encoder-decoder; empty for the whole of other models.
    adapter
        Hub id or folder of an adapter that is merged into the weights; empty for none.
    trained_on
        Dataset that the model was fine-tuned on, ``DATASET`` or ``TASK/DATASET``, where it is another than it reads;
        empty for the same and for a pre-trained model.
    """

    name: str
    base: str
    training_size: int
    seed: int
    checkpoint: Path | None = None
    random_weights: bool = False
    part: str = ""
    adapter: str = ""
    trained_on: str = ""

    @property
    def weights(self) -> str:
        """Hub id, folder or file that the weights come from."""
        return str(self.checkpoint or self.base)

    @property
    def remarks(self) -> list[str]:
        """What of the place a user should know, as the end of sentences about the model."""
        said = []
        if self.adapter:
            said.append(f"has the adapter in {self.adapter} merged into the weights of {self.base}")
        place = Path(self.weights)
        if place.is_dir() and inner_folder(str(place.parent)) == place.name:
            said.append(f"is the transformer of a folder of sentence-transformers, and is read from {place}")
        return said

    @property
    def folder(self) -> str:
        """Hub id or folder that holds the configuration and the tokenizer."""
        if self.checkpoint is not None and (self.checkpoint / "config.json").is_file():
            return str(self.checkpoint)
        return self.base

    @property
    def tokenizer(self) -> str:
        """Hub id or folder that holds the tokenizer."""
        places = (self.adapter, self.folder) if self.adapter else (self.folder,)
        return next(filter(_has_tokenizer, places), self.base)


def _has_tokenizer(place: str) -> bool:
    return any((Path(place) / name).exists() for name in _TOKENIZER_FILES)


def parse_model(text: str) -> tuple[str, str]:
    """Read ``ALIAS``, ``HUB_ID``, ``FOLDER``, ``FILE`` or ``NAME=HUB_ID|FOLDER|FILE``.

    Returns
    -------
    tuple of str
        Name in run keys and where the checkpoint is. The name of a hub id has ``--`` for its slash; that of
        a folder or file is its own.

    Raises
    ------
    SettingError
        If the text is empty, a folder does not exist, or a file of weights has no configuration.
    """
    name, source = split_name(text)
    if source == text:
        if source in ALIASES:
            return source, ALIASES[source]
        folder = folder_of(source, "model")
        name = resolved(folder).name if folder else source.replace("/", "--")
    if not name or not source:
        raise SettingError(
            f"model {shown(text)} is empty: give an alias ({', '.join(ALIASES)}), NAME=FOLDER or a hub id"
        )
    if source in ALIASES:
        source = ALIASES[source]
    folder = folder_of(source, "model")
    if folder is not None:
        place = resolved(folder)
        if place.is_file() and name not in ALIASES and not (place.parent / "config.json").is_file():
            raise SettingError(
                f"model {shown(text)}: there is no config.json beside {place.name}; put that of its model there, with "
                f"its tokenizer, or name the model with --model and the file with --finetuned"
            )
        if not place.exists():
            raise SettingError(
                f"model {shown(text)}: {place} is not a folder; give a folder with config.json, a file of weights, or "
                "a hub id"
            )
        source = str(place if place.is_file() else _transformer(place))
    return name, source


def pretrained_source(name: str, base: str, seed: int, *, random_weights: bool = False) -> ModelSource:
    """Return the source of a model at training size 0.

    Parameters
    ----------
    name, base
        As `parse_model` returns them. The configuration of a file is beside it, or that of the alias it is named as.
    seed, random_weights
        See `ModelSource`.

    Raises
    ------
    SettingError
        If a folder has several files of weights, or one in parts.
    """
    place = Path(base)
    weights = weights_of(place) if place.is_dir() else place
    if place.is_file():
        base = str(place.parent) if (place.parent / "config.json").is_file() else ALIASES[name]
    if random_weights:
        return ModelSource(f"{name}{RANDOM_WEIGHTS}", base, 0, seed, random_weights=True)
    return ModelSource(name, base, 0, seed, weights if weights.is_file() else None)


def _transformer(folder: Path) -> Path:
    """Return the folder of the transformer in one of sentence-transformers; other folders as they are."""
    inside = inner_folder(str(folder))
    return folder / inside if inside else folder


def parse_finetuned(text: str) -> tuple[Path, int]:
    """Read ``FOLDER``, ``FILE``, ``FOLDER=SIZE`` or ``FILE=SIZE``, a checkpoint that another tool fine-tuned.

    Returns
    -------
    tuple of Path and int
        The folder or file of its weights, absolute, and percent of the train split that it was fine-tuned on, by
        default 100.

    Raises
    ------
    SettingError
        If there are no weights, or several, or the size is not from 1 to 100.
    """
    folder, equals, size = text.rpartition("=")
    if not equals or not size.isdecimal() or Path(text).exists():
        folder, size = text, "100"
    if not 1 <= int(size) <= 100:
        raise SettingError(f"--finetuned {shown(text)}: training size {size} is not from 1 to 100")
    place = resolved(folder_of(folder, "--finetuned") or Path(folder))
    if place.is_dir():
        place = weights_of(_transformer(place))
    if not _is_checkpoint(place):
        raise SettingError(
            f"--finetuned {shown(text)}: {place} is neither a folder with config.json nor a file of weights; give what "
            "the model was saved to, or FOLDER=SIZE"
        )
    return place, int(size)


def _is_checkpoint(place: Path) -> bool:
    return place.is_file() or any((place / name).is_file() for name in _CHECKPOINT_FILES)


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
    trained_on: str = "",
) -> ModelSource:
    """Find the weights of a model at a training size.

    Parameters
    ----------
    name, base
        As `parse_model` returns them.
    task, dataset
        What the model reads, and was fine-tuned on.
    training_size, seed
        How it was fine-tuned; size 0 is the pre-trained model.
    checkpoints
        Folder of fine-tuned checkpoints. Looked for, in this order, are the folder
        ``TASK/DATASET/MODEL/size-SSS/seed-N``, and state dicts named ``model_MODEL_SIZE.bin`` in ``TASK/DATASET``,
        ``TASK`` and the folder itself.
    random_weights
        Whether to initialise the weights from the seed; ``-random`` is appended to the name.
    trained_on
        Another dataset that the model was fine-tuned on, instead: ``DATASET`` or ``TASK/DATASET``; see
        `biocache.store.keys.trained_elsewhere`.

    Raises
    ------
    ModelError
        If there is no checkpoint of this size; the message lists the places searched.
    SettingError
        If random weights are asked for at another size than 0.
    """
    if random_weights and training_size:
        raise SettingError(f"--random-weights has no training size {training_size}: leave --training-size at 0")
    if random_weights or training_size == 0:
        return pretrained_source(name, base, seed, random_weights=random_weights)
    base = pretrained_source(name, base, seed).base
    other, _, trained = trained_on.rpartition("/")
    task, dataset = other or task, trained or dataset
    folder = checkpoints / checkpoint_path(task, dataset, name, training_size, seed)
    places = (checkpoints / task / dataset, checkpoints / task, checkpoints)
    files = [place / f"model_{name}_{training_size}.bin" for place in places]
    own = weights_of(folder) if folder.is_dir() else folder
    found = [own] if _is_checkpoint(own) else [file for file in files if file.is_file()]
    if found:
        return ModelSource(name, base, training_size, seed, resolved(found[0]), trained_on=trained_on)
    looked, where = ", ".join(map(str, [folder, *files])), f" trained on {trained_on}" if trained_on else ""
    raise ModelError(
        f"no checkpoint of model {name!r}{where} at training size {training_size} (seed {seed}); looked for {looked}; "
        "put one there or name their folder with --checkpoints"
    )
