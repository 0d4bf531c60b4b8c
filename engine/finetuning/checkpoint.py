"""Checkpoints on disk: complete or absent."""

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import xarray as xr

from biocache.engine.exporting import export_dataset, replacing
from biocache.engine.finetuning.scores import check_scores
from biocache.engine.finetuning.spec import FinetuneSpec
from biocache.store.arrays import UNREADABLE
from biocache.store.atomic import delete_leftovers, leftovers, put_back, remove, replace
from biocache.store.errors import BusyError, IntegrityError, NewerFormatError, SettingError
from biocache.store.metadata import MetadataError, Natural, as_type, read_json
from biocache.store.paths import require_file
from biocache.store.sealing import digest_of
from biocache.store.text import one_line, shown

__all__ = [
    "Checkpoint",
    "Origin",
    "Workplace",
    "checkpoint_folders",
    "dataset_of",
    "find_checkpoint",
    "is_foreign",
    "require_sound",
]

_FORMAT_VERSION = 2
_RECORD = "finetuning.json"
_SCORES = "scores.json"
# transformers writes this file of a saved step last.
_STEP_STATE = "trainer_state.json"


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
    """

    folder: Path
    spec: FinetuneSpec
    origin: Origin
    sample_ids: tuple[str, ...]
    files: "Mapping[str, SavedFile]"

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
            _require_format(folder, read_json(folder / _RECORD, _Version).format_version)
            values = read_json(folder / _RECORD, dict[str, Any])
            digest = values.pop("digest", "")
            if digest_of(values) != digest:
                raise ValueError("it is not what was written: its checksum does not match")
            record = as_type(values, _Record)
        except NewerFormatError:
            raise
        except (OSError, ValueError) as error:
            raise _damaged(folder / _RECORD, error) from error
        return cls(folder, record.spec, record.origin, record.samples, record.files)

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

    def scores(self) -> xr.Dataset:
        """Read the scores and the loss curve; see `biocache.engine.finetuning.scores.score_splits`.

        Raises
        ------
        IntegrityError
            If they are damaged.
        """
        try:
            if _digest(self.folder / _SCORES) != self.files[_SCORES].sha256:
                raise ValueError("they are not what was saved: their checksum does not match")
            scores = xr.Dataset.from_dict(read_json(self.folder / _SCORES, dict[str, Any]))
            check_scores(scores)
        except UNREADABLE as error:
            raise _damaged(self.folder / _SCORES, error) from error
        return scores


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
    if version > _FORMAT_VERSION:
        raise NewerFormatError(
            f"checkpoint {folder} has format version {version}, of a newer release of biocache; this one reads version "
            f"{_FORMAT_VERSION}: install the newer one"
        )
    if version < _FORMAT_VERSION:
        raise ValueError(f"format version {version} is not {_FORMAT_VERSION}")


def _damaged(file: Path, error: BaseException) -> IntegrityError:
    return IntegrityError(
        f"{file} of a checkpoint cannot be read ({one_line(error)}); pass --overwrite to make it again, or remove its "
        "folder"
    )


def find_checkpoint(checkpoints: Path, spec: FinetuneSpec) -> Checkpoint | None:
    """Return the checkpoint of a spec's key that `biocache finetune` made, whole or not; None where there is none.

    Raises
    ------
    IntegrityError
        If it is damaged.
    """
    folder = checkpoints / spec.path
    return Checkpoint.read(folder) if (folder / _RECORD).is_file() else None


def checkpoint_folders(checkpoints: Path) -> list[Path]:
    """Return the folders of the checkpoints below a folder that `biocache finetune` made, sound or damaged.

    Raises
    ------
    SettingError
        If there is no such folder.
    """
    if not checkpoints.is_dir():
        raise SettingError(f"{checkpoints} is no folder of checkpoints; pass the one `biocache finetune` wrote to")
    return sorted(record.parent for record in checkpoints.glob(f"*/*/*/size-*/seed-*/{_RECORD}"))


def require_sound(folder: Path) -> None:
    """Refuse weights in a checkpoint that `biocache finetune` made and that are not what it saved.

    Raises
    ------
    IntegrityError
        If they are not. A folder or file that another tool made is not looked at.
    """
    if (folder / _RECORD).is_file():
        Checkpoint.read(folder).require_whole()


def dataset_of(folder: Path) -> str:
    """Return where the corpus of a checkpoint was read from, as it says; empty where another tool made it."""
    return Checkpoint.read(folder).origin.dataset_source if (folder / _RECORD).is_file() else ""


def is_foreign(folder: Path) -> bool:
    """Return whether a folder is a checkpoint that another tool made."""
    return (folder / "config.json").is_file() and not (folder / _RECORD).exists()


class Workplace:
    """Where a checkpoint is made, beside the place that it will have.

    Parameters
    ----------
    checkpoints
        Folder of all checkpoints.
    spec
        What is made.
    """

    def __init__(self, checkpoints: Path, spec: FinetuneSpec) -> None:
        self.target = checkpoints / spec.path
        self._folder = self.target.parent / f".{self.target.name}.partial"
        self._spec = spec

    @property
    def steps(self) -> Path:
        """Folder of what is saved on the way, a folder a saved step."""
        return self._folder / "steps"

    @contextmanager
    def claim(self) -> Iterator[None]:
        """Keep other processes out for the length of a context.

        Raises
        ------
        BusyError
            If another process is making this checkpoint.
        """
        from filelock import FileLock, Timeout

        self._folder.mkdir(parents=True, exist_ok=True)
        try:
            # Held for the process, whatever thread asks; dropped by the kernel when the process ends.
            with FileLock(self._folder / "lock", timeout=0, thread_local=False):
                put_back(self._folder)
                delete_leftovers(self.target.parent)
                yield
        except Timeout as error:
            raise BusyError(f"checkpoint {self.target} is being made by another process; wait for it") from error

    def last_step(self) -> Path | None:
        """Return the folder of the last step that was saved whole, None where there is none."""
        whole = [folder for folder in self.steps.glob("checkpoint-*") if _is_json(folder / _STEP_STATE)]
        return max(whole, key=lambda folder: int(folder.name.rpartition("-")[2]), default=None)

    def begin(self, *, restart: bool, overwrite: bool) -> Path | None:
        """Make ready to train, and return the folder of the step to go on from, None to begin.

        Parameters
        ----------
        restart
            Whether to forget what an interrupted process saved.
        overwrite
            Whether to forget it where it had other settings.

        Raises
        ------
        SpecMismatchError
            If what was interrupted had other settings.
        """
        step, stored = self.last_step(), self._begun()
        if step is not None and stored is not None and not restart and not (overwrite and stored != self._spec):
            what = f"an interrupted fine-tuning in {self._folder}, at step {step.name.rpartition('-')[2]},"
            self._spec.require_equal(stored, what, "pass its settings to go on with it, or --restart to start over")
            return step
        self.forget()
        with replacing(self._folder / _RECORD) as made:
            made.write_text(json.dumps(self._spec.to_json()), encoding="utf-8")
        return None

    def _begun(self) -> FinetuneSpec | None:
        """Return the spec of what was begun here, None where nothing was or its record is torn."""
        try:
            return read_json(self._folder / _RECORD, FinetuneSpec)
        except (FileNotFoundError, MetadataError):
            return None

    def forget(self) -> None:
        """Remove what was saved on the way."""
        shutil.rmtree(self.steps, ignore_errors=True)

    def leave(self) -> None:
        """Remove the workplace; others see all of it or nothing."""
        remove(self._folder, self._folder.parent)

    def tidy(self) -> None:
        """Remove what a process left that was killed after the checkpoint had come to its place.

        An interrupted fine-tuning of other settings stays, and so does what cannot be removed.
        """
        with suppress(BusyError, OSError):
            if self._folder.exists() or leftovers(self.target.parent):
                with self.claim():
                    if self._begun() in (None, self._spec):
                        self.leave()

    @contextmanager
    def made(self, origin: Origin, sample_ids: Sequence[str], scores: xr.Dataset) -> Iterator[Path]:
        """Give a folder for weights and tokenizer, which then becomes the checkpoint.

        Parameters
        ----------
        origin, sample_ids
            What the checkpoint says of itself beside its spec.
        scores
            Its scores.
        """
        folder = self._folder / "made"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        yield folder
        export_dataset(scores, folder / _SCORES)
        mode = (folder / _SCORES).stat().st_mode
        for file in folder.iterdir():
            # Libraries make files of weights that their owner alone can read.
            file.chmod(mode)
        record: dict[str, Any] = {
            "format_version": _FORMAT_VERSION,
            "spec": self._spec.to_json(),
            "origin": asdict(origin),
            "samples": list(sample_ids),
            "files": {file.name: asdict(SavedFile.of(file)) for file in sorted(folder.iterdir())},
        }
        record["digest"] = digest_of(record)
        (folder / _RECORD).write_text(json.dumps(record, indent=1), encoding="utf-8")
        replace(folder, self.target, self._folder)
        self.leave()


def _is_json(file: Path) -> bool:
    """Return whether a file is there and not torn."""
    try:
        read_json(file, Any)
    except (FileNotFoundError, MetadataError):
        return False
    return True
