"""The name of a run and its place in the store."""

import re
from collections.abc import Iterator
from dataclasses import astuple, dataclass, fields
from numbers import Integral
from pathlib import PurePosixPath
from typing import Self

from biocache.store.errors import SettingError

__all__ = ["MAX_SEED", "RunKey", "refuse_part"]

MAX_SEED = 2**32 - 1
# A folder named zarr.json would take the place of the metadata of the group it is in.
_NAME = re.compile(r"(?!zarr\.json$)[A-Za-z0-9][A-Za-z0-9._+-]{0,127}")
_PATH = re.compile(r"([^/]+)/([^/]+)/([^/]+)/size-(\d{3})/seed-(\d+)/([^/]+)/([^/]+)")


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
        If a name could leave the store's folder or be mistaken for another part of the path, or a number is
        out of its range.
    """

    task: str
    dataset: str
    model: str
    training_size: int
    seed: int
    view: str
    split: str

    def __post_init__(self) -> None:
        for field in ("task", "dataset", "model", "view", "split"):
            refuse_part(field, getattr(self, field))
        if not isinstance(self.training_size, Integral) or not 0 <= self.training_size <= 100:
            raise SettingError(f"training size {self.training_size} is not a whole percentage from 0 to 100")
        if not isinstance(self.seed, Integral) or not 0 <= self.seed <= MAX_SEED:
            raise SettingError(f"seed {self.seed} is not a whole number from 0 to {MAX_SEED}")

    @property
    def path(self) -> str:
        """Path of the run's group below the root of the store, with ``/`` between its parts."""
        return (
            f"{self.task}/{self.dataset}/{self.model}/size-{self.training_size:03d}/seed-{self.seed}/"
            f"{self.view}/{self.split}"
        )

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
            raise SettingError(f"{path!r} is not the path of a run, {'/'.join(cls.names())}")
        task, dataset, model, size, seed, view, split = found.groups()
        key = cls(task, dataset, model, int(size), int(seed), view, split)
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

    def __str__(self) -> str:
        return self.path
