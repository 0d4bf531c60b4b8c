"""Where a checkpoint is made: claimed, resumed from saved steps, complete or absent in its place."""

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import xarray as xr

from biocache.engine.corpora.duplicates import text_digests_of, text_keys
from biocache.engine.corpora.task import Sample
from biocache.engine.exporting import export_dataset, replacing
from biocache.engine.finetuning.checkpoint import FORMAT_VERSION, RECORD, SCORES, Origin, SavedFile
from biocache.engine.finetuning.spec import FinetuneSpec
from biocache.store.atomic import delete_leftovers, leftovers, put_back, remove, replace
from biocache.store.errors import BusyError
from biocache.store.metadata import MetadataError, read_json
from biocache.store.sealing import digest_of

__all__ = ["Workplace"]

# transformers writes this file of a saved step last.
_STEP_STATE = "trainer_state.json"


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
        with replacing(self._folder / RECORD) as made:
            made.write_text(json.dumps(self._spec.to_json()), encoding="utf-8")
        return None

    def _begun(self) -> FinetuneSpec | None:
        """Return the spec of what was begun here, None where nothing was or its record is torn."""
        try:
            return read_json(self._folder / RECORD, FinetuneSpec)
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
    def made(self, origin: Origin, samples: Sequence[Sample], scores: xr.Dataset) -> Iterator[Path]:
        """Give a folder for weights and tokenizer, which then becomes the checkpoint.

        Parameters
        ----------
        origin
            What the checkpoint says of itself beside its spec.
        samples
            Those that it was fine-tuned on.
        scores
            Its scores.
        """
        folder = self._folder / "made"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        yield folder
        export_dataset(scores, folder / SCORES)
        mode = (folder / SCORES).stat().st_mode
        for file in folder.iterdir():
            # Libraries make files of weights that their owner alone can read.
            file.chmod(mode)
        record: dict[str, Any] = {
            "format_version": FORMAT_VERSION,
            "spec": self._spec.to_json(),
            "origin": asdict(origin),
            "samples": [sample.id for sample in samples],
            "texts": text_keys(text_digests_of(samples)),
            "files": {file.name: asdict(SavedFile.of(file)) for file in sorted(folder.iterdir())},
        }
        record["digest"] = digest_of(record)
        (folder / RECORD).write_text(json.dumps(record, indent=1), encoding="utf-8")
        replace(folder, self.target, self._folder)
        self.leave()


def _is_json(file: Path) -> bool:
    """Return whether a file is there and not torn."""
    try:
        read_json(file, Any)
    except (FileNotFoundError, MetadataError):
        return False
    return True
