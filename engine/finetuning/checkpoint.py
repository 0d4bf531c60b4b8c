"""Checkpoints on disk: what they say of themselves, and whether they are whole."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from biocache.engine.finetuning.scores import check_scores
from biocache.engine.finetuning.spec import FinetuneSpec
from biocache.store.arrays import UNREADABLE
from biocache.store.errors import IntegrityError, NewerFormatError, SettingError
from biocache.store.metadata import Natural, as_type, read_json
from biocache.store.paths import require_file
from biocache.store.sealing import digest_of
from biocache.store.text import one_line, shown

if TYPE_CHECKING:
    import xarray as xr

__all__ = [
    "FORMAT_VERSION",
    "RECORD",
    "SCORES",
    "Checkpoint",
    "Origin",
    "SavedFile",
    "checkpoint_folders",
    "is_foreign",
    "own_checkpoint",
    "require_sound",
]

#: Version of the format of checkpoints.
FORMAT_VERSION = 2
#: File with what a checkpoint says of itself; file with its scores.
RECORD, SCORES = "finetuning.json", "scores.json"


@dataclass(frozen=True)
class Origin:
    """Where a checkpoint came from; kept for people, never compared.

    Attributes
    ----------
    base_source
        Hub id, folder or file of the pre-trained model.
    dataset_source
        Hub id or folder of the corpus.
    device
        Device that trained, such as ``cpu`` or ``NVIDIA H200``.
    created
        UTC time, ISO 8601.
    host
        Name of the machine.
    versions
        Versions of biocache, torch, transformers, tokenizers and accelerate.
    notes
        What was counted: ``samples_truncated``, ``words_lost``, ``duplicates_in_test`` and the like.
    base_task_head
        Class of a head that the configuration of the base names, trained for a task before; empty for none.
    remarks
        What was done to the names of the base's weights, where they were not those of transformers.
    """

    base_source: str
    dataset_source: str
    device: str
    created: str
    host: str
    versions: Mapping[str, str] = field(default_factory=dict)
    notes: Mapping[str, Natural] = field(default_factory=dict)
    base_task_head: str = ""
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Checkpoint:
    """A complete checkpoint.

    Attributes
    ----------
    folder
        Its folder, which transformers loads as any other.
    spec
        What identifies it.
    origin
        Where it came from.
    sample_ids
        Ids of the samples that it was fine-tuned on.
    files
        Name to the size and digest of each of its other files.
    texts
        Digests of the texts of these samples, see `text_keys`; empty where an earlier release made it.
    """

    folder: Path
    spec: FinetuneSpec
    origin: Origin
    sample_ids: tuple[str, ...]
    files: "Mapping[str, SavedFile]"
    texts: tuple[str, ...] = ()

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read what a checkpoint says of itself.

        Raises
        ------
        IntegrityError
            If it is damaged, or not what was written.
        NewerFormatError
            If a newer release made it.
        """
        try:
            _require_format(folder, read_json(folder / RECORD, _Version).format_version)
            values = read_json(folder / RECORD, dict[str, Any])
            digest = values.pop("digest", "")
            if digest_of(values) != digest:
                raise ValueError("it is not what was written: its checksum does not match")
            record = as_type(values, _Record)
        except NewerFormatError:
            raise
        except (OSError, ValueError) as error:
            raise _damaged(folder / RECORD, error) from error
        return cls(folder, record.spec, record.origin, record.samples, record.files, record.texts)

    @classmethod
    def read_sound(cls, folder: Path, *, read: bool) -> Self:
        """Read a checkpoint, and refuse one of which a file or the scores are damaged; see `require_whole`."""
        checkpoint = cls.read(folder)
        checkpoint.require_whole(read=read)
        checkpoint.scores()
        return checkpoint

    def require_whole(self, *, read: bool = True) -> None:
        """Refuse a checkpoint of which a file is missing, torn or another one.

        Parameters
        ----------
        read
            Whether to read the files and compare their digests; else their sizes and headers only.

        Raises
        ------
        IntegrityError
            If they are.
        """
        from safetensors import SafetensorError, safe_open

        try:
            if "model_type" not in read_json(self.folder / "config.json", dict[str, Any]):
                raise ValueError("config.json names no model_type")
            for name, saved in self.files.items():
                require_file(self.folder / name)
                if (self.folder / name).stat().st_size != saved.size:
                    raise ValueError(f"{name} has not the {saved.size:,} bytes that were saved")
                if read and _digest(self.folder / name) != saved.sha256:
                    raise ValueError(f"{name} is not what was saved: its checksum does not match")
            for file in _weight_files(self.folder):
                require_file(file)
                # It reads the header, and compares the length of the file with it.
                with safe_open(file, framework="numpy"):
                    pass
        except (OSError, ValueError, SafetensorError) as error:
            raise IntegrityError(
                f"checkpoint {self.folder} is not whole ({one_line(error)}); pass --overwrite to make it again, or "
                "remove its folder"
            ) from error

    def scores(self) -> "xr.Dataset":
        """Read the scores and the loss curve; see `biocache.engine.finetuning.scores.score_splits`.

        Raises
        ------
        IntegrityError
            If they are damaged.
        """
        import xarray as xr

        try:
            if _digest(self.folder / SCORES) != self.files[SCORES].sha256:
                raise ValueError("they are not what was saved: their checksum does not match")
            scores = xr.Dataset.from_dict(read_json(self.folder / SCORES, dict[str, Any]))
            check_scores(scores)
        except UNREADABLE as error:
            raise _damaged(self.folder / SCORES, error) from error
        return scores

    def steps(self) -> int | None:
        """Return the optimiser steps behind the weights; None where the release that made them did not count.

        Raises
        ------
        IntegrityError
            As `scores`.
        """
        scores = self.scores()
        return int(scores.steps) if "steps" in scores else None


@dataclass(frozen=True)
class SavedFile:
    """A file of a checkpoint as it was saved: its bytes, and their SHA-256 (hexadecimal)."""

    size: Natural
    sha256: str

    @classmethod
    def of(cls, file: Path) -> Self:
        """Describe a file."""
        return cls(file.stat().st_size, _digest(file))


def _digest(file: Path) -> str:
    require_file(file)
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@dataclass(frozen=True)
class _Record:
    """What the record of a checkpoint holds."""

    format_version: int
    spec: FinetuneSpec
    origin: Origin
    samples: tuple[str, ...]
    files: dict[str, SavedFile]
    texts: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Version:
    """The part of a record that all releases have."""

    format_version: int


@dataclass(frozen=True)
class _Shards:
    """What the index of weights in several files holds."""

    weight_map: dict[str, str]


def _weight_files(folder: Path) -> list[Path]:
    """Return the files of a checkpoint's weights, as transformers names them."""
    index = folder / "model.safetensors.index.json"
    if not index.exists():
        return [folder / "model.safetensors"]
    names = sorted(set(read_json(index, _Shards).weight_map.values()))
    strange = [name for name in names if Path(name).name != name]
    if strange or not names:
        raise ValueError(f"{index.name} names {shown(strange[0]) if strange else 'no file'} as a file of weights")
    return [folder / name for name in names]


def _require_format(folder: Path, version: int) -> None:
    if version > FORMAT_VERSION:
        raise NewerFormatError(
            f"checkpoint {folder} has format version {version}, of a newer release of biocache; this one reads version "
            f"{FORMAT_VERSION}: install the newer one"
        )
    if version < FORMAT_VERSION:
        raise ValueError(f"format version {version} is not {FORMAT_VERSION}")


def _damaged(file: Path, error: BaseException) -> IntegrityError:
    return IntegrityError(
        f"{file} of a checkpoint cannot be read ({one_line(error)}); pass --overwrite to make it again, or remove its "
        "folder"
    )


def checkpoint_folders(checkpoints: Path) -> list[Path]:
    """Return the folders of the checkpoints below a folder that `biocache finetune` made, sound or damaged.

    Raises
    ------
    SettingError
        If there is no such folder.
    """
    if not checkpoints.is_dir():
        raise SettingError(f"{checkpoints} is no folder of checkpoints; pass the one `biocache finetune` wrote to")
    return sorted(record.parent for record in checkpoints.glob(f"*/*/*/size-*/seed-*/{RECORD}"))


def require_sound(folder: Path) -> None:
    """Refuse weights in a checkpoint that `biocache finetune` made and that are not what it saved.

    Raises
    ------
    IntegrityError
        If they are not. A folder or file that another tool made is not looked at.
    """
    if (folder / RECORD).is_file():
        Checkpoint.read(folder).require_whole()


def own_checkpoint(folder: Path) -> Checkpoint | None:
    """Return the checkpoint of a folder if `biocache finetune` made it; None where another tool did.

    Raises
    ------
    IntegrityError
        If it is damaged.
    """
    return Checkpoint.read(folder) if (folder / RECORD).is_file() else None


def is_foreign(folder: Path) -> bool:
    """Return whether a folder is a checkpoint that another tool made."""
    return (folder / "config.json").is_file() and not (folder / RECORD).exists()
