"""The classifiers, behind one protocol, and their scaling, which knows the train split only."""

from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from biocache.engine.analyses.probing.features import Rows
from biocache.engine.analyses.probing.layers import MixedProbe
from biocache.engine.analyses.probing.request import ClassifierOptions

if TYPE_CHECKING:
    from biocache.engine.analyses.probing.own import OwnProbe

    Fitted = str | MixedProbe | OwnProbe

__all__ = ["Classifier", "Constant", "Scaled", "backend_of", "fit_scaled", "make_classifier", "moments"]

# Rows whose moments are taken at once, as copies in float64.
_BLOCK = 4096
# A standard deviation below this share of the mean is rounding: a mean of hundreds of tokens in float32 rounds by a few
# units in the last place.
_ROUNDING = 16 * float(np.finfo(np.float32).eps)


class Classifier(Protocol):
    """What predicts the label of a row."""

    @property
    def backend(self) -> str:
        """The library that computes: ``scikit-learn``, ``scikit-learn-intelex``, ``torch``, another, or ``none``."""

    @property
    def converged(self) -> bool:
        """Whether the solver reached its tolerance; True where there is none to reach."""

    @property
    def mix(self) -> tuple[NDArray[np.float64], float] | None:
        """The learnt weights of layers (layer) and their scale; None where layers are not mixed."""

    def fit(self, rows: Rows) -> None:
        """Fit to rows of the train split, which are scaled."""

    def predict(self, rows: Rows) -> NDArray[Any]:
        """Return the label of every row (row)."""

    def log_probability(self, rows: Rows) -> NDArray[np.float64]:
        """Return the natural logarithm of the probability of labels.

        Returns
        -------
        numpy.ndarray
            float64 (row,) where each row is predicted alone, (sequence,) where the rows of a sample are predicted
            together; -inf for a class that the train split does not have.
        """


class Constant:
    """Predicts the only label of a train split that has one class, or one number."""

    backend = "none"
    converged = True
    mix = None

    def __init__(self) -> None:
        self._only: Any = 0

    def fit(self, rows: Rows) -> None:
        """Keep the label."""
        self._only = rows.labels[0].item()

    def predict(self, rows: Rows) -> NDArray[Any]:
        """Return that label for every row (row)."""
        return np.full(len(rows), self._only)

    def log_probability(self, rows: Rows) -> NDArray[np.float64]:
        """Return 0 for rows of that class, -inf for others (row)."""
        return np.where(rows.labels == self._only, 0.0, -np.inf)


class _Estimator:
    """A classifier of scikit-learn, or of a library with its interface."""

    mix = None

    def __init__(self, estimator: Any, backend: str = "scikit-learn", iterations: int | None = None) -> None:
        self._estimator = estimator
        self._most_iterations = iterations
        self.backend = backend

    @property
    def converged(self) -> bool:
        # Not from the warning: warning filters are shared by all threads of a process.
        return self._most_iterations is None or int(np.max(self._estimator.n_iter_)) < self._most_iterations

    def fit(self, rows: Rows) -> None:
        self._estimator.fit(rows.features, rows.labels)

    def predict(self, rows: Rows) -> NDArray[Any]:
        return np.asarray(self._estimator.predict(rows.features), rows.labels.dtype)

    def log_probability(self, rows: Rows) -> NDArray[np.float64]:
        known = np.asarray(self._estimator.classes_)
        place = np.searchsorted(known, rows.labels).clip(max=len(known) - 1)
        with np.errstate(divide="ignore"):
            scores = np.asarray(self._estimator.predict_log_proba(rows.features), np.float64)
        return np.where(known[place] == rows.labels, scores[np.arange(len(rows)), place], -np.inf)


def make_classifier(
    probe: "Fitted", options: ClassifierOptions, labels: NDArray[Any], classes: int, seed: int
) -> Classifier:
    """Return an unfitted classifier.

    Parameters
    ----------
    probe
        One of `PROBES` for classes, of `NUMBER_PROBES` for numbers, one of a mean of layers, or an estimator of the
        user's own.
    options
        Its settings.
    labels
        Labels that it will be fitted to (row).
    classes
        Number of classes; 0 for numbers.
    seed
        Seed of its random numbers.

    Returns
    -------
    Classifier
        `Constant` if all labels are equal.
    """
    if labels.min() == labels.max():
        return Constant()
    if isinstance(probe, MixedProbe):
        from biocache.engine.analyses.probing.mixing import Mixed

        mixed = Mixed(probe, options, classes, seed)
        return mixed if classes else Centred(mixed)
    if not isinstance(probe, str):
        from biocache.engine.analyses.probing.own import OwnClassifier

        own = OwnClassifier(probe, seed)
        return own if classes else Centred(own)
    if probe == "bilstm-crf":
        from biocache.engine.analyses.probing.bilstm_crf import BiLstmCrf

        return BiLstmCrf(options, classes, seed)
    makers = {"svc": _svc, "logistic": _logistic, "linear-svc": _linear_svc, "mlp": _mlp, "ridge": _ridge, "svr": _svr}
    if probe == "mlp" and not classes:
        return _mlp_of_numbers(options, seed)
    return makers[probe](options, seed)


def fast_svc() -> bool:
    """Return whether scikit-learn-intelex, whose kernel machine is many times faster, is installed."""
    return find_spec("sklearnex") is not None


def backend_of(probe: "Fitted") -> str:
    """Return the library that computes a probe here."""
    if isinstance(probe, MixedProbe):
        return "torch"
    if not isinstance(probe, str):
        return probe.library
    if probe == "svc" and fast_svc():
        return "scikit-learn-intelex"
    return "torch" if probe == "bilstm-crf" else "scikit-learn"


def _svc(options: ClassifierOptions, _seed: int) -> Classifier:
    settings = {"C": options.strength, "kernel": "rbf", "gamma": "scale" if options.gamma is None else options.gamma}
    if fast_svc():
        # Imported by name: patching scikit-learn would change what other code in the process computes.
        from sklearnex.svm import SVC as FastSVC  # noqa: N811

        return _Estimator(FastSVC(**settings), "scikit-learn-intelex")
    from sklearn.svm import SVC

    return _Estimator(SVC(**settings))


def _logistic(options: ClassifierOptions, _seed: int) -> Classifier:
    from sklearn.linear_model import LogisticRegression

    most = options.max_iterations
    return _Estimator(LogisticRegression(C=options.strength, max_iter=most), iterations=most)


def _linear_svc(options: ClassifierOptions, seed: int) -> Classifier:
    from sklearn.svm import LinearSVC

    most = options.max_iterations
    return _Estimator(LinearSVC(C=options.strength, max_iter=most, random_state=seed), iterations=most)


def _mlp(options: ClassifierOptions, seed: int) -> Classifier:
    from sklearn.neural_network import MLPClassifier

    return _Estimator(MLPClassifier(**_network(options, seed)))


def _mlp_of_numbers(options: ClassifierOptions, seed: int) -> Classifier:
    from sklearn.neural_network import MLPRegressor

    return Centred(_Estimator(MLPRegressor(**_network(options, seed))))


def _network(options: ClassifierOptions, seed: int) -> dict[str, Any]:
    return {
        "hidden_layer_sizes": (options.hidden_size,),
        "max_iter": options.epochs,
        # No early stopping: the patience equals the number of epochs.
        "n_iter_no_change": options.epochs,
        "random_state": seed,
        "batch_size": options.batch_size or "auto",
        "learning_rate_init": options.learning_rate,
    }


def _ridge(options: ClassifierOptions, _seed: int) -> Classifier:
    from sklearn.linear_model import Ridge

    return Centred(_Estimator(Ridge(alpha=1 / options.strength)))


def _svr(options: ClassifierOptions, _seed: int) -> Classifier:
    from sklearn.svm import SVR

    settings = {"C": options.strength, "kernel": "rbf", "gamma": "scale" if options.gamma is None else options.gamma}
    return Centred(_Estimator(SVR(**settings)))


class Centred:
    """A regression of numbers that are standardised on the train split, so that settings mean the same for any unit.

    Parameters
    ----------
    regression
        Predicts the standardised numbers.
    """

    def __init__(self, regression: Classifier) -> None:
        self._regression = regression
        self._mean, self._scale = 0.0, 1.0

    @property
    def backend(self) -> str:
        """The library that computes."""
        return self._regression.backend

    @property
    def converged(self) -> bool:
        """Whether the solver reached its tolerance."""
        return self._regression.converged

    @property
    def mix(self) -> tuple[NDArray[np.float64], float] | None:
        """The learnt weights of layers and their scale."""
        return self._regression.mix

    def fit(self, rows: Rows) -> None:
        """Fit to standardised numbers."""
        self._mean, self._scale = float(rows.labels.mean()), float(rows.labels.std()) or 1.0
        self._regression.fit(replace(rows, labels=(rows.labels - self._mean) / self._scale))

    def predict(self, rows: Rows) -> NDArray[Any]:
        """Return the number of every row (row)."""
        found: NDArray[Any] = self._regression.predict(rows) * self._scale + self._mean
        return found

    def log_probability(self, rows: Rows) -> NDArray[np.float64]:
        """Numbers have no probability: the settings refuse to ask for it."""
        raise NotImplementedError(f"{len(rows)} numbers have no probability")


@dataclass(frozen=True, eq=False)
class Scaled:
    """A classifier of standardised features: mean 0 and variance 1 on the rows that it was fitted to.

    A feature that is constant there, but for float32's rounding of its mean, is 0.

    Attributes
    ----------
    classifier
        The classifier.
    mean, scale
        Subtracted from each feature, and divided by, float64 (feature); a scale of infinity leaves 0. See `moments`.
    """

    classifier: Classifier
    mean: NDArray[np.float64]
    scale: NDArray[np.float64]

    def predict(self, rows: Rows) -> NDArray[Any]:
        """Return the label of every row (row). The features of the rows are used up."""
        return self.classifier.predict(self.scaled(rows))

    def log_probability(self, rows: Rows) -> NDArray[np.float64]:
        """Return the natural logarithm of the probability of labels. The features of the rows are used up."""
        return self.classifier.log_probability(self.scaled(rows))

    def scaled(self, rows: Rows) -> Rows:
        """Return rows with standardised features, which take the place of their own."""
        # In place: the features of a large corpus are most of a fit's memory. Equal to scikit-learn's but for rounding.
        np.subtract(rows.features, self.mean, out=rows.features, casting="same_kind")
        np.divide(rows.features, self.scale, out=rows.features, casting="same_kind")
        return rows


def fit_scaled(rows: Rows, probe: "Fitted", options: ClassifierOptions, classes: int, seed: int) -> Scaled:
    """Fit a classifier and its scaling.

    Parameters
    ----------
    rows
        Rows of the train split. Their features are used up.
    probe, options, classes, seed
        As `make_classifier`.
    """
    scaled = Scaled(make_classifier(probe, options, rows.labels, classes, seed), *moments(rows))
    scaled.classifier.fit(scaled.scaled(rows))
    return scaled


def moments(rows: Rows) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the mean of each feature, and its standard deviation, float64 (feature).

    The deviation is infinite where it is float32's rounding of the mean: scaled to a variance of 1, the noise of a
    feature that a model does not use would be one that a probe reads.
    """
    from sklearn.preprocessing import StandardScaler

    found = StandardScaler()
    for first in range(0, len(rows), _BLOCK):
        found.partial_fit(rows.features[first : first + _BLOCK])
    deviation = np.sqrt(found.var_)
    return found.mean_, np.where(deviation > _ROUNDING * np.abs(found.mean_), deviation, np.inf)
