"""The request of a probing."""

from dataclasses import dataclass, field
from typing import Any

from biocache.engine.analyses.probing.layers import layers_setting
from biocache.engine.analyses.probing.transfer import refuse_of_each_size
from biocache.engine.corpora.base import TASKS
from biocache.engine.plugins import own_code
from biocache.engine.request import Request, option
from biocache.engine.selection import seed_selector, selector, size_selector, trained_on_selector
from biocache.store.errors import SettingError
from biocache.store.schema import GOLD, LABEL_SCHEMES

__all__ = [
    "CODERS",
    "COMBINES",
    "C_GRID",
    "FEATURES",
    "MIXERS",
    "NUMBER_PROBES",
    "POOLINGS",
    "PROBES",
    "PROTOCOL",
    "RANDOM",
    "SCORES",
    "ClassifierOptions",
    "ProbeRequest",
]

#: Version of the protocol, raised by a change of what is fitted or scored: older results are then not found any more.
PROTOCOL = 6

#: Probes of classes.
PROBES = ("svc", "logistic", "linear-svc", "mlp", "bilstm-crf")
#: Probes of numbers.
NUMBER_PROBES = ("ridge", "svr", "mlp")
POOLINGS = ("mean", "first", "last", "max", "cls")
FEATURES = ("separate", "pair")
COMBINES = ("concat", "full")
#: Names of `SCORE_TITLES`, available without importing NumPy.
SCORES = ("accuracy", "macro_f1", "micro_f1", "entity_f1", "merged_entity_f1", "r2", "pearson", "spearman")

#: Probes that can learn a mean of layers.
MIXERS = ("logistic", "mlp")
#: Probes that give class probabilities, which an online code needs.
CODERS = ("logistic", "mlp", "bilstm-crf")
#: Probes whose fit draws random numbers. The others give the same result for every seed.
RANDOM = ("linear-svc", "mlp", "bilstm-crf")
#: Values of C that ``--tune`` chooses from, the strongest regularisation first.
C_GRID = (1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0)
# Value of C where none is given and none can be chosen.
_FIXED_C = 1.0


@dataclass(frozen=True, kw_only=True)
class ClassifierOptions(Request):
    """Settings of the classifiers; see `used_by`.

    Attributes
    ----------
    c
        Inverse regularisation strength of ``svc``, ``svr``, ``logistic``, ``linear-svc`` and ``ridge``, above 0. None
        to choose it for each layer, from `C_GRID`, by the main score on the validation split, and for 1 where the store
        has no validation run.
    gamma
        Width of the kernel of ``svc`` and ``svr``, exp(-gamma |u - v|^2), above 0; None for 1 / (features x variance).
    hidden_size
        Units of the hidden layer of ``mlp``, and of each direction of ``bilstm-crf``.
    epochs
        Training epochs of ``mlp`` and ``bilstm-crf``; there is no early stopping.
    learning_rate
        Learning rate of Adam, for ``mlp`` and ``bilstm-crf``.
    batch_size
        Rows in a batch of ``mlp`` (None for 200), sentences in a batch of ``bilstm-crf`` (None for 32).
    max_iterations
        Maximum iterations of the solvers of ``logistic`` and ``linear-svc``.
    """

    c: float | None = option(
        None,
        flag="--C",
        low=0,
        above=True,
        help="Inverse regularisation strength of svc and linear models.",
        unset="chosen on the validation split; 1 without one",
    )
    gamma: float | None = option(
        None, low=0, above=True, help="Kernel width of svc and svr.", unset="1 / (features x variance)"
    )
    hidden_size: int = option(256, low=1, help="Hidden units of mlp, of each LSTM direction.")
    epochs: int = option(10, low=1, help="Training epochs of mlp and bilstm-crf.")
    learning_rate: float = option(1e-3, low=0, above=True, help="Learning rate of mlp and bilstm-crf.")
    batch_size: int | None = option(
        None, low=1, help="Batch size: rows of mlp, sentences of bilstm-crf.", unset="200, and 32"
    )
    max_iterations: int = option(1000, low=1, help="Maximum iterations of logistic and linear-svc.")

    def used_by(self, probe: str | None) -> dict[str, Any]:
        """Return the options that a probe uses."""
        # Where no probe is named it is one of the two that use these. An estimator of one's own has its parameters.
        known: dict[str | None, tuple[str, ...]] = {
            None: ("c", "max_iterations"),
            "svc": ("c", "gamma"),
            "logistic": ("c", "max_iterations"),
            "linear-svc": ("c", "max_iterations"),
            "svr": ("c", "gamma"),
            "ridge": ("c",),
            "mlp": ("hidden_size", "epochs", "learning_rate", "batch_size"),
            "bilstm-crf": ("hidden_size", "epochs", "learning_rate", "batch_size"),
        }
        return {name: getattr(self, name) for name in known.get(probe, ())}

    @property
    def strength(self) -> float:
        """C where it is not chosen: as given, else 1."""
        return _FIXED_C if self.c is None else self.c


@dataclass(frozen=True, kw_only=True)
class ProbeRequest(Request):
    """Which runs to probe, and how.

    Attributes
    ----------
    task
        ``ner`` or ``nli``.
    dataset
        Name of the dataset in the store; None for the only one of the task.
    models
        Names of models in the store; None for all.
    training_sizes
        Percents of the train split that the models were fine-tuned on; None for all.
    run_seeds
        Seeds of the runs; None for all.
    labels
        Name of the label set that is predicted: ``gold``, the corpus's own, or one that was added.
    level
        What a row is: ``word``, ``sample``, ``span`` or ``relation``. None for what the labels are of; of tags or
        classes of words, ``span`` predicts the type of each entity mention.
    label_scheme
        ``type`` merges IOB2 tags by entity type, ``bio`` keeps them; no effect on other labels.
    score_on
        Split that is scored: ``test`` or ``validation``.
    fit_at
        Training size whose train runs the probes of all sizes are fitted to, with the C and the scaling of that size;
        None for that of the runs that are scored.
    probe
        For classes ``svc``, ``logistic``, ``linear-svc``, ``mlp`` or ``bilstm-crf``; for numbers ``ridge``, ``svr`` or
        ``mlp``. None for ``logistic``, and for numbers ``ridge``. Or a classifier or regressor of your own with the
        interface of scikit-learn: an instance, a class or a function that returns one, or its place,
        ``module:name`` or ``module:name(C=0.5)``; modules of the working directory are found too. It is fitted as the
        others are: features, and labels that are numbers, are standardised on the train split, and each
        ``random_state`` is the seed of the probe. Its parameters and sources are part of what a result is found by.
    layers
        Layers to probe; None for all. Layer 0, where it is stored, is always added. ``"0+6"`` is the features of layers
        0 and 6 side by side; ``"mix"`` is a mean of all stored layers with learnt weights, for ``logistic`` and
        ``mlp``. Both come beside each of their layers alone.
    pooling
        How the tokens of a word (``mean``, ``first`` or ``last``), or of a span or a text (``max`` as well), become one
        row. ``first`` of a text is the first token of the sequence, special ones counted; ``cls``, for texts alone, is
        the token that the classification head of the model's family reads.
    features
        For labels of pairs: ``separate``, premise u and hypothesis v encoded each alone, or ``pair``, both encoded
        together. None for ``separate``.
    combine
        For separate texts, and the two spans of a relation: ``concat``, the features (u, v), or ``full``,
        (u, v, |u - v|, u * v).
    erase
        What is erased from the features of each layer before the probe, so that no linear probe reads it:
        ``length``, ``position`` or ``frequency`` of the rows, or names of label sets; see
        `biocache.engine.analyses.probing.erasure.fit_eraser`. None for nothing.
    seeds
        Seeds of the probe, 0 to `seeds` - 1: of its initial weights, of the draw of train samples, of the control's
        labels and of the order of the online code.
    max_train_samples
        Maximum number of train samples to fit on, drawn whole; a smaller draw of a seed is part of a larger one. None
        for all.
    train_on
        Samples of the train split to fit on: ``all``; ``unseen``, those that none of the compared models was fine-tuned
        on; or ``seen``, those that all fine-tuned ones among them were. See `biocache.engine.analyses.probing.seen`.
    tune
        Whether to refuse runs on which C cannot be chosen: see `ClassifierOptions.c`.
    given
        Layer beyond which the others are measured: how many bits a row each of them adds to it, by probes of both side
        by side; see `biocache.engine.analyses.probing.information`. None not to.
    control
        Whether to fit a control task as well, for selectivity.
    mdl
        Whether to measure the online code length of the train split as well.
    score
        Score that decides which layer is the best, and that is drawn; None for that of entities, else the accuracy,
        for numbers R².
    resamples
        Bootstrap resamples of groups of test samples, where there are more than `FEW_GROUPS`.
    options
        Settings of the classifier.
    max_memory
        Memory of all running fits in bytes; None for half of the machine's. On a running cluster it limits one fit.

    Raises
    ------
    SettingError
        If a value is out of its range, or conflicts with another.
    """

    task: str = option(choices=tuple(TASKS), decides=False, help="Task of the runs, whose labels are read.")
    dataset: str | None = selector(metavar="NAME", help="Dataset.", unset="the only one of the task")
    models: tuple[str, ...] | None = selector(flag="--model", help="Models.", unset="all in the store")
    trained_on: tuple[str, ...] | None = trained_on_selector(unset="all")
    training_sizes: tuple[int, ...] | None = size_selector(
        help="Percents of the train split that the models were fine-tuned on.", unset="all"
    )
    run_seeds: tuple[int, ...] | None = seed_selector(help="Seeds of the runs.", unset="all")
    labels: str = option(GOLD, metavar="NAME", help="Label set to predict; gold is the dataset's own.")
    level: str | None = option(
        None,
        choices=("word", "sample", "span", "relation"),
        decides=False,
        help="What a row is; span predicts the type of each entity mention that labels of words spell.",
        unset="what the labels are of",
    )
    label_scheme: str = option("type", choices=LABEL_SCHEMES, help="IOB2 tags merged by entity type, or as they are.")
    score_on: str = option("test", choices=("validation", "test"), decides=False, help="Split to score.")
    fit_at: int | None = option(
        None,
        low=0,
        high=100,
        metavar="SIZE",
        help="Fit at this training size, and score at all: are labels lost, or only elsewhere?",
        unset="each at its own",
    )
    probe: str | Any | None = option(
        None,
        choices=tuple(dict.fromkeys((*PROBES, *NUMBER_PROBES))),
        check=own_code,
        help="The probe; ridge and svr are for numbers, mlp for both, the others for classes. MODULE:NAME is an "
        "estimator of your own, or a function that returns one.",
        unset="logistic, for numbers ridge",
    )
    layers: tuple[int | str, ...] | None = selector(
        check=layers_setting,
        form="ranges",
        help="Layers, such as 0,6,12 or 0-12; 0 is always among them. 0+6 joins the features of two; mix is a mean of "
        "all with learnt weights.",
        unset="all, each alone",
    )
    pooling: str = option(
        "mean",
        choices=POOLINGS,
        help="How the tokens of a word, span or text become one row. max is for spans and texts; cls, for texts, is "
        "the token that a classification head reads.",
    )
    features: str | None = option(
        None,
        choices=FEATURES,
        decides=False,
        help="Premise and hypothesis encoded alone, or as a pair.",
        unset="separate",
    )
    combine: str = option(
        "concat",
        choices=COMBINES,
        help="(u, v) of premise and hypothesis, or of the spans of a relation; or (u, v, |u-v|, u*v).",
    )
    erase: tuple[str, ...] | None = option(
        None,
        metavar="NAME,...",
        help="Erase length, position or frequency, or label sets, from the features first (LEACE).",
        unset="nothing",
    )
    seeds: int = option(1, low=1, help="Seeds of the probe, from 0.")
    max_train_samples: int | None = option(None, low=1, help="Samples of the train split to fit on.", unset="all")
    train_on: str = option(
        "all",
        choices=("all", "unseen", "seen"),
        help="Train samples to fit on: all, those that no compared model was fine-tuned on, or those that all were.",
    )
    tune: bool = option(
        False, decides=False, help="Require a validation run of each model, on which C is chosen for each layer."
    )
    given: int | None = option(
        None,
        low=0,
        metavar="LAYER",
        help="Also measure what each layer adds to this one, by probes of both side by side.",
        unset="not measured",
    )
    control: bool = option(False, help="Also fit a control task: selectivity.")
    mdl: bool = option(False, help="Also measure the online code length of the labels.")
    score: str | None = option(
        None,
        choices=SCORES,
        decides=False,
        help="Score to mark and draw.",
        unset="that of entities, else accuracy, for numbers r2",
    )
    resamples: int = option(1000, low=1, help="Bootstrap resamples, where there are more than 50 groups of samples.")
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
        """Refuse settings that conflict; `biocache.engine.analyses.probing.target` refuses what the labels forbid."""
        if self.features == "pair" and self.combine != "concat":
            raise SettingError(f"--combine {self.combine!r} needs two texts; leave it out, or pass --features=separate")
        if self.tune and self.options.c is not None:
            raise SettingError(f"--tune chooses C, and --C {self.options.c:g} fixes it; leave one of them out")
        if self.tune and self.score_on == "validation":
            raise SettingError("--tune chooses C on the validation split, which --score-on validation scores; fix --C")
        refuse_of_each_size(self)

    @property
    def splits(self) -> tuple[str, str]:
        """The split that is fitted to, and the one that is scored."""
        return "train", self.score_on
