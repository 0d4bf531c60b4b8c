"""Updates: the optimiser steps behind fine-tuned models, and what is said where training sizes differ in them."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from biocache.store.reading import Run

__all__ = ["training_steps", "unequal_steps"]


def training_steps(*runs: "Run") -> float:
    """Return the optimiser steps that the models of runs were fine-tuned for, the mean over seeds.

    They are 0 where pre-trained, NaN where not known.
    """
    counts = [0 if run.key.training_size == 0 else run.provenance.training_steps for run in runs]
    return math.fsum(math.nan if count is None else count for count in counts) / len(counts)


def unequal_steps(steps: Mapping[int, float | None]) -> str:
    """Say how the optimiser steps of training sizes differ.

    Parameters
    ----------
    steps
        Training size to steps; None or NaN where they are not known. Size 0 is not fine-tuned, and not looked at.

    Returns
    -------
    str
        Empty where no two known numbers differ.
    """
    known = {size: int(count) for size, count in sorted(steps.items()) if size and count is not None and count == count}
    if len(set(known.values())) < 2:
        return ""
    shown = ", ".join(f"{size} %: {count:,}" for size, count in known.items())
    return f"the training sizes differ in optimiser steps ({shown}), and steps alone change a model"
