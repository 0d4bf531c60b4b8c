"""What a probing is asked for."""

from dataclasses import asdict, dataclass, field
from typing import Any

from biocache.engine.tasks.base import TASKS
from biocache.store.errors import SettingError

__all__ = ["COMBINES", "FEATURES", "POOLINGS", "PROBES", "ClassifierOptions", "ProbeRequest"]

PROBES = ("svc", "logistic", "linear-svc", "mlp", "bilstm-crf")
POOLINGS = ("mean", "first", "last", "max")
FEATURES = ("separate", "pair")
COMBINES = ("concat", "full")

#: Probes that say how probable each class is, which an online code needs.
CODERS = ("logistic", "mlp", "bilstm-crf")
# Probes whose fit draws random numbers. The others give the same answer for every seed.
_RANDOM = ("linear-svc", "mlp", "bilstm-crf")


@dataclass(frozen=True, kw_only=True)
class ClassifierOptions:
    """Settings of the classifiers; each uses those that concern it.

    Attributes
    ----------
    c
        Inverse strength of the penalty of ``svc``, ``logistic`` and ``linear-svc``, above 0.
    gamma
        Width of the kernel of ``svc``, exp(-gamma |u - v|^2), above 0; None for 1 / (features x variance).
    hidden_size
        Units of the hidden layer of ``mlp``, and of each direction of ``bilstm-crf``.
    epochs
        Passes of ``mlp`` and ``bilstm-crf`` over the train split; there is no early stopping.
    learning_rate
        Step of Adam, for ``mlp`` and ``bilstm-crf``.
    batch_size
        Rows of a step of ``mlp`` (None for 200), sentences of a step of ``bilstm-crf`` (None for 32).
    max_iterations
        Most steps of the solvers of ``logistic`` and ``linear-svc``.
    """

    c: float = 1.0
    gamma: float | None = None
    hidden_size: int = 256
    epochs: int = 10
    learning_rate: float = 1e-3
    batch_size: int | None = None
    max_iterations: int = 1000

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            # So written that it holds for NaN as well.
            if value is not None and not 0 < value < float("inf"):
                raise SettingError(f"{name} {value} is not a positive number")

    def used_by(self, probe: str) -> dict[str, Any]:
        """Return the options that decide what a probe computes."""
        names = {
            "svc": ("c", "gamma"),
            "logistic": ("c", "max_iterations"),
            "linear-svc": ("c", "max_iterations"),
            "mlp": ("hidden_size", "epochs", "learning_rate", "batch_size"),
            "bilstm-crf": ("hidden_size", "epochs", "learning_rate", "batch_size"),
        }[probe]
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True, kw_only=True)
class ProbeRequest:
    """Which runs to probe, and how.

    Attributes
    ----------
    task
        ``ner`` or ``nli``.
    dataset
        Name of the data set in the store; None for the only one of the task.
    models
        Names of models in the store; None for all.
    training_sizes
        Percents of the train split that the models were fine-tuned on; None for all.
    run_seeds
        Seeds of the runs; None for all.
    probe
        ``svc``, ``logistic``, ``linear-svc``, ``mlp`` or ``bilstm-crf``.
    options
        Settings of the classifier.
    layers
        Layers to probe; None for all. Layer 0 is always probed beside them where it is stored.
    pooling
        How the tokens of a word (``ner``: ``mean``, ``first`` or ``last``) or of a text (``nli``: ``max`` as well)
        become one row.
    features
        For ``nli``: ``separate``, premise u and hypothesis v encoded each alone, or ``pair``, both encoded together.
    combine
        For separate texts: ``concat``, the features (u, v), or ``full``, (u, v, |u - v|, u * v).
    seeds
        Seeds of the probe, 0 to `seeds` - 1: of its initial weights, of the draw of train samples, of the control's
        labels and of the order of the online code.
    max_train_samples
        Most samples of the train split to fit on, drawn whole. The draws of a seed are nested. None for all.
    control
        Whether to fit a control task as well, for selectivity.
    mdl
        Whether to measure the online code length of the train split as well.
    resamples
        Bootstrap resamples of the test samples.
    max_memory
        Bytes the fits may use together; None for half of the machine's. On a running cluster it holds for one fit.

    Raises
    ------
    SettingError
        If a value is out of its range, or does not go with the task or the probe.
    """

    task: str
    dataset: str | None = None
    models: tuple[str, ...] | None = None
    training_sizes: tuple[int, ...] | None = None
    run_seeds: tuple[int, ...] | None = None
    probe: str = "logistic"
    options: ClassifierOptions = field(default_factory=ClassifierOptions)
    layers: tuple[int, ...] | None = None
    pooling: str = "mean"
    features: str = "separate"
    combine: str = "concat"
    seeds: int = 1
    max_train_samples: int | None = None
    control: bool = False
    mdl: bool = False
    resamples: int = 1000
    max_memory: int | None = None

    def __post_init__(self) -> None:
        for what, value, known in (
            ("task", self.task, tuple(TASKS)),
            ("probe", self.probe, PROBES),
            ("pooling", self.pooling, POOLINGS[:3] if self.task == "ner" else POOLINGS),
            ("features", self.features, FEATURES),
            ("combine", self.combine, COMBINES),
        ):
            if value not in known:
                raise SettingError(f"{what} {value!r} is not one of {', '.join(known)}")
        for name in ("models", "training_sizes", "run_seeds", "layers"):
            if getattr(self, name) == ():
                raise SettingError(f"{name} is empty: name at least one, or None for all")
        for name in ("seeds", "max_train_samples", "resamples", "max_memory"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise SettingError(f"{name} {value} is not a positive number")
        self._refuse_mismatches()

    def _refuse_mismatches(self) -> None:
        if self.task == "ner" and (self.features, self.combine) != ("separate", "concat"):
            raise SettingError(
                f"features {self.features!r} and combine {self.combine!r} are for nli, and the rows of ner are words; "
                "leave both out"
            )
        if self.features == "pair" and self.combine != "concat":
            raise SettingError(f"combine {self.combine!r} needs two texts; leave it out, or pass features 'separate'")
        if self.probe == "bilstm-crf" and self.task != "ner":
            raise SettingError(
                f"probe 'bilstm-crf' reads the words of a sentence, and a sample of {self.task} is one row; use svc, "
                "logistic, linear-svc or mlp"
            )
        if self.mdl and self.probe not in CODERS:
            raise SettingError(
                f"the code length needs probabilities, which {self.probe} does not give; use {', '.join(CODERS)}"
            )

    @property
    def views(self) -> tuple[str, ...]:
        """Views whose features are read."""
        if self.task == "ner":
            return ("sentence",)
        return ("pair",) if self.features == "pair" else ("premise", "hypothesis")

    @property
    def is_random(self) -> bool:
        """Whether the fit of the task depends on the probe's seed."""
        return self.probe in _RANDOM or self.max_train_samples is not None
