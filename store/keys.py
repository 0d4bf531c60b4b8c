"""The name of a run and its place in the store."""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import astuple, dataclass, field, fields
from numbers import Integral
from pathlib import PurePosixPath
from typing import Any, Self

from biocache.store.errors import SettingError

__all__ = ["MAX_SEED", "RUN_DEPTH", "RunKey", "refuse_part", "trained_elsewhere"]

MAX_SEED = 2**32 - 1
#: Folders from the root of a store to a run.
RUN_DEPTH = 7
# A folder named zarr.json would take the place of the metadata of the group it is in.
_NAME = re.compile(r"(?!zarr\.json$)[A-Za-z0-9][A-Za-z0-9._+-]{0,127}")
# Names of folders have at most 255 characters, and that of this one has others, too.
_LONGEST = 200
# No name has a comma.
_PATH = re.compile(
    r"([^/]+)/([^/]+)/([^/]+)/(?:trained-on-((?:[^/,]+,)?[^/,]+),)?size-(\d{3})/seed-(\d+)/([^/]+)/([^/]+)"
)


def refuse_part(what: str, name: str) -> None:
    """Refuse a name that cannot be part of a path in the store.

    Raises
    ------
    SettingError
        If it could leave the store's folder or be mistaken for another part of the path.
    """
    if not _NAME.fullmatch(name):
        raise SettingError(
            f"{what} name {name!r} cannot be part of a path in the store: use letters, digits and "
            "'.', '_', '+', '-', beginning with a letter or digit"
        )


def trained_elsewhere(trained_on: str, task: str, dataset: str) -> str:
    """Return what `RunKey.trained_on` is of a model that was fine-tuned on a dataset and reads another.

    Parameters
    ----------
    trained_on
        The dataset that it was fine-tuned on, ``DATASET`` of the same task or ``TASK/DATASET``; empty for the same.
    task, dataset
        What it reads.
    """
    other, _, name = trained_on.rpartition("/")
    if other not in ("", task):
        return trained_on
    return "" if name == dataset else name


@dataclass(frozen=True, order=True, slots=True)
class RunKey:
    """What names a run: a run is the cached activations of exactly one key.

    Attributes
    ----------
    task
        ``ner`` or ``nli``.
    dataset
        Name of the corpus.
    model
        Name of the checkpoint: an alias, a hub id with ``--`` for its slash, or a name of the user's.
    trained_on
        Dataset that the model was fine-tuned on, where it is another than the one that it reads: ``DATASET``, or
        ``TASK/DATASET`` of another task. Empty for the same dataset, and for a pre-trained model.
    training_size
        Percent of the train split that the model was fine-tuned on; 0 is the pre-trained model.
    seed
        Seed of the subset, of the fine-tuning, and of the weights of a randomly initialised twin.
    view
        ``sentence``, ``premise``, ``hypothesis`` or ``pair``.
    split
        ``train``, ``validation`` or ``test``.

    Raises
    ------
    SettingError
        If a name could leave the store's folder or be mistaken for another part of the path, a number is out of its
        range, or a pre-trained model is said to be trained on a dataset.
    """

    task: str
    dataset: str
    model: str
    trained_on: str = field(default="", kw_only=True)
    training_size: int
    seed: int
    view: str
    split: str

    def __post_init__(self) -> None:
        for part in ("task", "dataset", "model", "view", "split"):
            refuse_part(part, getattr(self, part))
        for name in self.trained_on.split("/", 1) if self.trained_on else ():
            refuse_part("trained_on", name)
        if len(self.trained_on) > _LONGEST:
            raise SettingError(f"trained_on name {self.trained_on!r} has more than {_LONGEST} characters")
        object.__setattr__(self, "trained_on", trained_elsewhere(self.trained_on, self.task, self.dataset))
        if not isinstance(self.training_size, Integral) or not 0 <= self.training_size <= 100:
            raise SettingError(f"training size {self.training_size} is not a whole percentage from 0 to 100")
        if self.trained_on and not self.training_size:
            raise SettingError(
                f"training size 0 is the pre-trained model, which is not trained on {self.trained_on!r}; leave that out"
            )
        if not isinstance(self.seed, Integral) or not 0 <= self.seed <= MAX_SEED:
            raise SettingError(f"seed {self.seed} is not a whole number from 0 to {MAX_SEED}")

    @property
    def path(self) -> str:
        """Path of the run's group below the root of the store, with ``/`` between its parts."""
        elsewhere = f"trained-on-{self.trained_on.replace('/', ',')}," if self.trained_on else ""
        return (
            f"{self.task}/{self.dataset}/{self.model}/{elsewhere}size-{self.training_size:03d}/seed-{self.seed}/"
            f"{self.view}/{self.split}"
        )

    @property
    def training(self) -> str:
        """How the model was fine-tuned, for people: ``30 %``, or ``30 % of DATASET`` where it reads another."""
        return f"{self.training_size} %" + (f" of {self.trained_on}" if self.trained_on else "")

    @classmethod
    def from_path(cls, path: str) -> Self:
        """Parse the path of a run's group.

        Raises
        ------
        SettingError
            If the path is not one that `path` writes.
        """
        found = _PATH.fullmatch(PurePosixPath(path).as_posix())
        if found is None:
            raise SettingError(
                f"{path!r} is not the path of a run, task/dataset/model/size-SSS/seed-N/view/split, where "
                "trained-on-DATASET,size-SSS is of a model that was fine-tuned on another dataset"
            )
        task, dataset, model, elsewhere, size, seed, view, split = found.groups()
        trained_on = (elsewhere or "").replace(",", "/")
        key = cls(task, dataset, model, int(size), int(seed), view, split, trained_on=trained_on)
        if key.path != path:
            raise SettingError(f"{path!r} is not the path of a run; did you mean {key.path!r}?")
        return key

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Return the names of the key's parts, in the order of the path."""
        return tuple(field.name for field in fields(cls))

    def items(self) -> Iterator[tuple[str, str | int]]:
        """Yield the key's parts as (name, value), in the order of the path."""
        return zip(self.names(), astuple(self), strict=True)

    def matches(self, selection: Mapping[str, Collection[Any]]) -> bool:
        """Return whether each part that is selected has one of the values that it may have.

        `trained_on` may name the run's own dataset, or be empty, for what is trained on no other. A pre-trained model
        is trained on none, and is selected by its training size.
        """
        trained_on = selection.get("trained_on")
        if trained_on is not None:
            if self.training_size:
                named = {trained_elsewhere(value, self.task, self.dataset) for value in trained_on}
            else:
                named = {""} if "" in trained_on or 0 in selection.get("training_size", ()) else set()
            if self.trained_on not in named:
                return False
        return all(getattr(self, name) in values for name, values in selection.items() if name != "trained_on")

    def __str__(self) -> str:
        return self.path
