"""What probes predict: a label set, of which rows, as classes or numbers, and which probe fits it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from biocache.engine.analyses.probing.layers import MIX
from biocache.engine.analyses.probing.pooling import refuse_pooling
from biocache.engine.analyses.probing.request import (
    CODERS,
    MIXERS,
    NUMBER_PROBES,
    PROBES,
    RANDOM,
    ProbeRequest,
)
from biocache.engine.corpora.base import TASKS
from biocache.store.errors import BusyError, DataError, SettingError
from biocache.store.label_sets import LabelPlace, find_labels
from biocache.store.labels import Labels, LabelSet, ordered
from biocache.store.reading import Run
from biocache.store.schema import GOLD, OUTSIDE, SPANS, entity_type
from biocache.store.spans import sample_of, span_labels
from biocache.store.storage import Storage
from biocache.store.text import shown

if TYPE_CHECKING:
    from biocache.engine.analyses.probing.own import OwnProbe

__all__ = ["Target", "find_target"]


@dataclass(frozen=True)
class Target:
    """Labels that probes predict from the rows of some runs.

    Attributes
    ----------
    labels
        Name of the label set.
    level
        What a row is: ``words``, ``samples``, ``spans`` or ``relations``.
    numeric
        Whether labels are numbers.
    scheme
        How IOB2 tags are predicted, ``type`` or ``bio``; None for labels of other kinds.
    names
        Names of the classes; none for numbers.
    views
        Views whose features make a row, one beside the other.
    probe
        The probe.
    own
        The estimator, where the probe is one of the user's own.
    """

    labels: str
    level: str
    numeric: bool
    scheme: str | None
    names: tuple[str, ...]
    views: tuple[str, ...]
    probe: str
    own: "OwnProbe | None" = None

    @property
    def has_probabilities(self) -> bool:
        """Whether the probe gives the probability of a class."""
        return not self.numeric and (self.probe in CODERS if self.own is None else self.own.has_probabilities)

    @property
    def fitted(self) -> "str | OwnProbe":
        """What is fitted: a probe by its name, or an estimator of the user's own."""
        return self.probe if self.own is None else self.own

    def is_random(self, request: ProbeRequest) -> bool:
        """Return whether the fit of the task depends on the seed of the probe."""
        random = self.probe in RANDOM if self.own is None else self.own.is_random
        return random or request.max_train_samples is not None

    def aligned(self, run: Run) -> Labels:
        """Return the labels of the rows of a run, with the names of this target."""
        labels = self.own_labels(run)
        return labels if self.numeric else labels.recoded(self.names)

    def own_labels(self, run: Run) -> Labels:
        """Return the labels of the rows of a run, with names of their own."""
        labels = span_labels(run, self.labels) if self.level == "spans" else run.labels(self.labels)
        return labels.merged() if self.scheme == "type" else labels

    def of(self, run: Run) -> NDArray[Any]:
        """Return the label of every row of the corpus: int64, -1 for none; or float64, NaN for none."""
        return self.aligned(run).values

    def rows(self, run: Run) -> int:
        """Return the number of rows of a run, those without label and those without tokens among them."""
        if self.level in SPANS:
            return len(self.aligned(run).values)
        return int(getattr(run.counts, self.level))

    def samples(self, run: Run) -> NDArray[np.int64]:
        """Return the position of the sample of every row of a run (row)."""
        if self.level in SPANS:
            return sample_of(run, self.aligned(run))
        if self.level == "words":
            return run.column("words/sample").astype(np.int64)
        return np.arange(run.counts.samples)

    def require_same(self, run: Run, digest: str) -> None:
        """Refuse labels that are not those that a computation began with.

        Raises
        ------
        BusyError
            If they were replaced since.
        """
        if self.aligned(run).digest != digest:
            raise BusyError(
                f"label set {shown(self.labels)} was replaced while this was computed from it, and nothing is kept; "
                "run the same command again"
            )


def find_target(storage: Storage, request: ProbeRequest, dataset: str) -> Target:
    """Return what a request predicts.

    Parameters
    ----------
    storage
        The store.
    request
        The request.
    dataset
        Name of its dataset.

    Raises
    ------
    RunNotFoundError
        If a split has no such label set.
    DataError
        If the sets of the splits are of different kinds, or the train split has no label.
    SettingError
        If the settings of the request do not fit the labels.
    """
    places = [LabelPlace(request.task, dataset, split, request.labels) for split in request.splits]
    train, scored = (find_labels(storage, place).labels for place in places)
    kinds = [(each.level, each.kind == "number", each.kind == "iob2") for each in (train, scored)]
    if kinds[0] != kinds[1]:
        raise DataError(
            f"label set {shown(request.labels)} labels {_what(train)} in the train split and {_what(scored)} in the "
            f"{request.score_on} split; add both in one way with `biocache label`"
        )
    (own_level, numeric, iob2), tags = kinds[0], {name for each in (train, scored) for name in each.names}
    level = _level(request, own_level, numeric=numeric)
    typed = level != own_level
    scheme = request.label_scheme if iob2 and not typed else None
    names = ordered(map(entity_type, tags) if iob2 and scheme != "bio" else tags)
    if typed:
        names = tuple(name for name in names if name != OUTSIDE)
    if typed and not names:
        raise DataError(
            f"label set {shown(request.labels)} of {request.task} has no entity: all its words are {OUTSIDE}; name "
            "another set with --labels, or leave --level out"
        )
    _refuse_rows(request, level)
    _refuse_mix(request, numeric=numeric)
    probe, own = request.probe or ("ridge" if numeric else "logistic"), None
    if probe in (*PROBES, *NUMBER_PROBES):
        _refuse_unfit(request, probe, level, numeric=numeric)
    else:
        from biocache.engine.analyses.probing.own import find_own

        own = find_own(probe, numeric=numeric, mdl=request.mdl)
    target = Target(request.labels, level, numeric, scheme, names, _views(request, level), str(probe), own)
    if request.given is not None and not target.has_probabilities:
        raise SettingError(
            f"--given measures bits, which need probabilities of classes, and {shown(target.probe)} gives none; "
            + ("leave it out" if numeric else f"use {', '.join(CODERS)}")
        )
    return target


def _level(request: ProbeRequest, own: str, *, numeric: bool) -> str:
    """Return what a row is: what the labels are of, or a span of the words that they are of."""
    if request.level is None or f"{request.level}s" == own:
        return own
    if (request.level, own) != ("span", "words"):
        raise SettingError(
            f"--level {request.level}, and labels{_named(request)} of {request.task} are of {own}; leave it out"
        )
    if numeric:
        raise SettingError(
            f"--level span needs tags or classes of words, and labels{_named(request)} of {request.task} are "
            "numbers; leave it out"
        )
    return "spans"


def _what(labels: LabelSet) -> str:
    kinds = {"number": "with numbers", "iob2": "with IOB2 tags", "class": "with classes"}
    return f"{labels.level} {kinds[labels.kind]}"


def _views(request: ProbeRequest, level: str) -> tuple[str, ...]:
    """Return the views whose features make a row: those of single texts, or that of all."""
    views = TASKS[request.task].views
    whole = TASKS[request.task].whole_view
    if level != "samples" or request.features == "pair" or len(views) == 1:
        return (whole,)
    return tuple(view for view, texts in views.items() if len(texts) == 1)


def _named(request: ProbeRequest) -> str:
    return "" if request.labels == GOLD else f" {shown(request.labels)}"


def _refuse_rows(request: ProbeRequest, level: str) -> None:
    """Refuse settings that make no rows of what is labelled."""
    pairs = any(len(texts) > 1 for texts in TASKS[request.task].views.values())
    refuse_pooling(request.pooling, level)
    combine = "concat" if level == "relations" else request.combine
    if (level != "samples" or not pairs) and (request.features, combine) != (None, "concat"):
        rows = level if level != "samples" else "single texts"
        raise SettingError(
            f"--features {request.features or 'separate'!r} and --combine {request.combine!r} are for labels of pairs, "
            f"and the rows of labels{_named(request)} of {request.task} are {rows}; leave both out"
        )


def _refuse_mix(request: ProbeRequest, *, numeric: bool) -> None:
    """Refuse a learnt mean of layers for probes that do not learn one."""
    probe = request.probe or ("ridge" if numeric else "logistic")
    fitting = [name for name in MIXERS if not numeric or name in NUMBER_PROBES]
    if MIX in (request.layers or ()) and probe not in fitting:
        raise SettingError(
            f"--layers={MIX} is learnt by {' and '.join(fitting)}, and the probe is {probe}; pass "
            f"--probe={fitting[0]}, or join layers, such as --layers=0+6"
        )


def _refuse_unfit(request: ProbeRequest, probe: str, level: str, *, numeric: bool) -> None:
    """Refuse a probe that does not fit the labels."""
    name = _named(request)
    if probe == "bilstm-crf" and level != "words":
        raise SettingError(
            f"--probe 'bilstm-crf' reads the words of a sentence, and a row of labels{name} of {request.task} is a "
            f"{level.removesuffix('s')}; use svc, logistic, linear-svc or mlp"
        )
    fitting = NUMBER_PROBES if numeric else PROBES
    if probe not in fitting:
        kind = "classes, and labels" if numeric else "numbers, and labels"
        what = "numbers" if numeric else "classes"
        raise SettingError(f"--probe {probe!r} predicts {kind}{name} are {what}; use {', '.join(fitting)}")
    if request.mdl and (numeric or probe not in CODERS):
        why = "is of classes" if numeric else f"needs probabilities, which {probe} does not give"
        raise SettingError(f"the code length {why}; " + ("leave --mdl out" if numeric else f"use {', '.join(CODERS)}"))
