"""Train rows of samples that a model was fine-tuned on: their words are easier for its probes.

``--train-on unseen`` fits on the samples that no compared model has seen, ``seen`` on those that all fine-tuned ones
have seen: models are then compared on the same rows.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from biocache.engine.analyses.probing.request import ProbeRequest
from biocache.engine.statistics import drawn_samples
from biocache.store.errors import DataError, SettingError
from biocache.store.reading import Run
from biocache.store.schema import SEEN

if TYPE_CHECKING:
    from biocache.engine.analyses.probing.grid import Cell

__all__ = ["TrainSamples", "chosen_samples", "drawn_of", "seen_digest", "seen_notes", "seen_share"]


@dataclass(frozen=True)
class TrainSamples:
    """The samples of a train split that probes are fitted on.

    Attributes
    ----------
    digest
        SHA-256 (hexadecimal) of their positions, by which they are compared.
    positions
        Positions in the train runs (sample), int64, ascending.
    """

    digest: str
    positions: NDArray[np.int64] = field(compare=False)


def chosen_samples(cells: "Sequence[Cell]", request: ProbeRequest) -> TrainSamples | None:
    """Return the samples that all probes of a request are fitted on; None for all.

    Parameters
    ----------
    cells
        The models that are compared.
    request
        Its `train_on` is used.

    Raises
    ------
    DataError
        If it is not known what a model was fine-tuned on, or no sample is left.
    SettingError
        If the seen samples are asked for and no model was fine-tuned.
    """
    if request.train_on == "all":
        return None
    tuned = [cell for cell in cells if cell.training_size]
    if request.train_on == "seen" and not tuned:
        raise SettingError("--train-on seen: no model of these was fine-tuned; name others with --training-size")
    for cell in tuned:
        if (_seen(cell.train[0]) < 0).any():
            raise DataError(
                f"--train-on {request.train_on}: it is not known what the model of run {cell.train[0].key} was "
                "fine-tuned on, since another tool or an earlier release made it; make it with `biocache finetune`, "
                "remove the run with `biocache rm` and extract it again, or leave --train-on out"
            )
    columns = np.array([_seen(cell.train[0]) for cell in (cells if request.train_on == "unseen" else tuned)])
    positions = np.flatnonzero((columns == (request.train_on == "seen")).all(axis=0))
    if not len(positions):
        most = max(tuned, key=lambda cell: (_seen(cell.train[0]) > 0).sum())
        fewest = min(tuned, key=lambda cell: (_seen(cell.train[0]) > 0).sum())
        of = most if request.train_on == "unseen" else fewest
        raise DataError(
            f"--train-on {request.train_on}: no train sample is {request.train_on} by all models; {of.model} at "
            f"training size {of.training_size} has seen {(_seen(of.train[0]) > 0).sum():,} of {columns.shape[1]:,}: "
            "leave it out with --training-size, or leave --train-on out"
        )
    return TrainSamples(hashlib.sha256(positions.astype("<i8").tobytes()).hexdigest(), positions)


def drawn_of(count: int, chosen: TrainSamples | None, most: int | None, seed: int) -> NDArray[np.int64]:
    """Return the samples to fit on: `drawn_samples` of those that are chosen (drawn sample), ascending."""
    if chosen is None:
        return drawn_samples(count, most, seed)
    return chosen.positions[drawn_samples(len(chosen.positions), most, seed)]


def seen_share(cell: "Cell") -> float:
    """Return the share of the train rows with a label that the model was fine-tuned on; NaN where it is not known."""
    run = cell.train[0]
    seen, known = _seen(run), cell.target.aligned(run).known
    if (seen < 0).any():
        return float("nan")
    rows = cell.target.samples(run)[known]
    if cell.chosen is not None:
        rows = rows[np.isin(rows, cell.chosen.positions)]
    return float((seen[rows] > 0).mean()) if len(rows) else float("nan")


def seen_digest(cell: "Cell") -> str:
    """Return the SHA-256 (hexadecimal) of what is known of the samples that a model has seen."""
    return hashlib.sha256(b"".join(_seen(runs[0]).tobytes() for runs in (cell.train, cell.test))).hexdigest()


def _seen(run: Run) -> NDArray[np.int8]:
    found: NDArray[np.int8] = run.column(SEEN)
    return found


def seen_notes(result: xr.Dataset) -> Iterator[str]:
    """Yield which share of the train rows the models have seen, and of how many that is not known."""
    tuned = result.isel(training_size=np.flatnonzero(result.training_size > 0))
    if "seen_share" not in result or not tuned.sizes["training_size"]:
        return
    share = tuned.seen_share
    means = share.mean([name for name in share.dims if name != "training_size"])
    sizes = zip(means.training_size.to_numpy().tolist(), means.to_numpy().tolist(), strict=True)
    known = {size: value for size, value in sizes if not np.isnan(value)}
    if any(known.values()) and result.attrs["train_on"] == "all":
        listed = ", ".join(f"{size} %: {100 * value:.0f} %" for size, value in known.items())
        yield (
            f"models were fine-tuned on train rows of their probes (training size and share of the rows: {listed}), "
            "which are easier for them; --train-on unseen fits all on rows that none has seen"
        )
    there = tuned.train_rows.notnull().any(("layer", "probe_seed"))
    unknown = int((there & share.isnull()).sum())
    if unknown:
        yield (
            f"of {unknown} of {int(there.sum())} fine-tuned models it is not known which samples they were fine-tuned "
            "on: another tool or an earlier release made them"
        )
