"""Transfer: a probe that is fitted at one training size and scored at others."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from biocache.store.errors import AmbiguousRunError, RunNotFoundError, SettingError

if TYPE_CHECKING:
    from biocache.engine.analyses.probing.request import ProbeRequest
    from biocache.store.catalog import Store
    from biocache.store.keys import RunKey

__all__ = ["FITTED_AT", "fitted_keys", "fitted_title", "own_splits", "refuse_of_each_size", "transfer_note"]

#: Attribute and column of the training size that probes were fitted at, where it is the same for all sizes.
FITTED_AT = "fitted_at"


def own_splits(request: "ProbeRequest") -> tuple[str, ...]:
    """Return the splits whose runs each training size must have: all, or with ``--fit-at`` the one that is scored."""
    return request.splits if request.fit_at is None else (request.score_on,)


def refuse_of_each_size(request: "ProbeRequest") -> None:
    """Refuse what is of the train split of each training size: a code length, and rows that its model has seen.

    Raises
    ------
    SettingError
        If both are asked for.
    """
    if request.fit_at is not None and request.mdl:
        raise SettingError(
            f"--fit-at {request.fit_at} fits one probe for all training sizes, and --mdl measures the code of its "
            "train split, which they would share; leave one of them out"
        )
    if request.fit_at is not None and request.train_on != "all":
        raise SettingError(
            f"--fit-at {request.fit_at} reads the train split of one training size, and --train-on {request.train_on} "
            "asks what the models of all have seen; leave one of them out"
        )


def fitted_keys(store: "Store", scored: "RunKey", size: int, views: Sequence[str]) -> "dict[tuple[str, str], RunKey]":
    """Return the keys of the train runs of a training size, by view and split, for the model of a run that is scored.

    Of several seeds it is that of the run that is scored; one seed serves all, as that of a pre-trained model does.

    Raises
    ------
    RunNotFoundError
        If the model has no such run.
    AmbiguousRunError
        If there are several seeds, and the run that is scored has another.
    """
    parts = {part: [getattr(scored, part)] for part in ("task", "dataset", "model")}
    found = store.keys(**parts, training_size=[size], split=["train"], view=views)
    trained_on = scored.trained_on if size else ""
    keys = [key for key in found if key.trained_on == trained_on]
    where = f" of {trained_on}" if trained_on else ""
    if not keys:
        raise RunNotFoundError(
            f"{scored.model} has no train run of training size {size}{where}, where --fit-at fits; extract it with "
            "--split=train, or name another size or other models with --model"
        )
    seeds = sorted({key.seed for key in keys})
    if scored.seed not in seeds and len(seeds) > 1:
        raise AmbiguousRunError(
            f"{scored.model} has train runs of training size {size}{where}, where --fit-at fits, with seeds "
            f"{', '.join(map(str, seeds))}, and one that is scored, at {scored.training}, with seed {scored.seed}; "
            "leave that one out with --training-size or --seed"
        )
    seed = scored.seed if scored.seed in seeds else seeds[0]
    return {(key.view, key.split): key for key in keys if key.seed == seed}


def fitted_title(size: int | None) -> str:
    """Return what a title says of the size that probes were fitted at; nothing where each was fitted at its own."""
    return "" if size is None else f", fitted at training size {size}"


def transfer_note(facts: Mapping[str, Any]) -> str:
    """Return how scores are read of probes that were fitted at one size."""
    size = facts[FITTED_AT]
    return (
        f"each probe was fitted at training size {size}, C and scaling too, and scored at every size: where a layer "
        "scores lower here than when it is fitted at its own size (without --fit-at), its labels are still there, in "
        "other directions; where both are low, they are lost"
    )
