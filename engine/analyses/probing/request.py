"""What a probing is asked for."""

from dataclasses import dataclass, field
from typing import Any

from biocache.engine.corpora.base import TASKS
from biocache.engine.request import Request, option
from biocache.store.errors import SettingError
from biocache.store.keys import MAX_SEED

__all__ = ["COMBINES", "FEATURES", "POOLINGS", "PROBES", "PROTOCOL", "SCORES", "ClassifierOptions", "ProbeRequest"]

#: Version of the protocol: a change of what is fitted or scored makes older results those of another question.
PROTOCOL = 3

PROBES = ("svc", "logistic", "linear-svc", "mlp", "bilstm-crf")
POOLINGS = ("mean", "first", "last", "max")
FEATURES = ("separate", "pair")
COMBINES = ("concat", "full")
#: Names of `SCORE_TITLES`, known before NumPy is imported.
SCORES = ("accuracy", "macro_f1", "micro_f1", "entity_f1", "merged_entity_f1")

#: Probes that say how probable each class is, which an online code needs.
CODERS = ("logistic", "mlp", "bilstm-crf")
# Probes whose fit draws random numbers. The others give the same answer for every seed.
_RANDOM = ("linear-svc", "mlp", "bilstm-crf")


@dataclass(frozen=True, kw_only=True)
class ClassifierOptions(Request):
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

    c: float = option(1.0, flag="--C", low=0, above=True, help="Inverse penalty of svc and the linear.")
    gamma: float | None = option(
        None, low=0, above=True, help="Kernel width of svc.", unset="1 / (features x variance)"
    )
    hidden_size: int = option(256, low=1, help="Units of mlp; of each LSTM direction.")
    epochs: int = option(10, low=1, help="Passes of mlp and bilstm-crf.")
    learning_rate: float = option(1e-3, low=0, above=True, help="Step of mlp and bilstm-crf.")
    batch_size: int | None = option(
        None, low=1, help="Rows of a step of mlp, sentences of bilstm-crf.", unset="200, and 32"
    )
    max_iterations: int = option(1000, low=1, help="Of logistic and linear-svc.")

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
class ProbeRequest(Request):
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
    score
        Score by which a layer is the best, and which is drawn; None for that of entities for ``ner``, the accuracy for
        ``nli``.
    resamples
        Bootstrap resamples of the test samples.
    options
        Settings of the classifier.
    max_memory
        Bytes the fits may use together; None for half of the machine's. On a running cluster it holds for one fit.

    Raises
    ------
    SettingError
        If a value is out of its range, or does not go with the task or the probe.
    """

    task: str = option(choices=tuple(TASKS), decides=False, help="Whose labels are read.")
    dataset: str | None = option(
        None, metavar="NAME", decides=False, help="Data set.", unset="the only one of the task"
    )
    models: tuple[str, ...] | None = option(
        None, flag="--model", decides=False, help="Models.", unset="all in the store"
    )
    training_sizes: tuple[int, ...] | None = option(
        None,
        flag="--training-size",
        low=0,
        high=100,
        decides=False,
        help="Percents of the train split that the models were fine-tuned on.",
        unset="all",
    )
    run_seeds: tuple[int, ...] | None = option(
        None, flag="--seed", low=0, high=MAX_SEED, decides=False, help="Seeds of the runs.", unset="all"
    )
    probe: str = option("logistic", choices=PROBES, help="The classifier.")
    layers: tuple[int, ...] | None = option(
        None,
        low=0,
        form="ranges",
        decides=False,
        help="Layers, such as 0,6,12 or 0-12; 0 is always among them.",
        unset="all",
    )
    pooling: str = option("mean", choices=POOLINGS, help="How the tokens of a word or text become one row.")
    features: str = option(
        "separate", choices=FEATURES, decides=False, help="Premise and hypothesis encoded alone, or as a pair."
    )
    combine: str = option("concat", choices=COMBINES, help="(u, v) of premise and hypothesis, or (u, v, |u-v|, u*v).")
    seeds: int = option(1, low=1, help="Seeds of the probe, from 0.")
    max_train_samples: int | None = option(None, low=1, help="Samples of the train split to fit on.", unset="all")
    control: bool = option(False, help="Also fit a control task: selectivity.")
    mdl: bool = option(False, help="Also measure the online code length of the labels.")
    score: str | None = option(
        None,
        choices=SCORES,
        decides=False,
        help="Score to mark and draw.",
        unset="that of entities for ner, accuracy for nli",
    )
    resamples: int = option(1000, low=1, help="Bootstrap resamples of test samples.")
    options: ClassifierOptions = field(default_factory=ClassifierOptions)
    max_memory: int | None = option(
        None,
        low=1,
        form="bytes",
        decides=False,
        help="Memory of all fits at once, such as 8G.",
        unset="half of the machine's",
    )

    def check(self) -> None:
        """Refuse what does not go with the task or the probe."""
        if self.task == "ner" and self.pooling == "max":
            raise SettingError(f"--pooling 'max' is not one of {', '.join(POOLINGS[:3])}, those of words")
        if self.task == "ner" and (self.features, self.combine) != ("separate", "concat"):
            raise SettingError(
                f"--features {self.features!r} and --combine {self.combine!r} are for nli, and the rows of ner are "
                "words; leave both out"
            )
        if self.features == "pair" and self.combine != "concat":
            raise SettingError(f"--combine {self.combine!r} needs two texts; leave it out, or pass --features=separate")
        if self.probe == "bilstm-crf" and self.task != "ner":
            raise SettingError(
                f"--probe 'bilstm-crf' reads the words of a sentence, and a sample of {self.task} is one row; use svc, "
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
