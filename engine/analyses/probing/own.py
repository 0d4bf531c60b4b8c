"""Probes of one's own: estimators with the interface of scikit-learn, as biocache fits and asks them."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biocache.engine.analyses.probing.features import Rows
from biocache.engine.fingerprints import code_of, described
from biocache.engine.plugins import Given, arguments_of, object_of
from biocache.store.errors import BiocacheError, SettingError
from biocache.store.text import one_line, shown

__all__ = ["OwnClassifier", "OwnProbe", "OwnProbeError", "find_own"]

# What biocache calls of an estimator.
_INTERFACE = ("get_params", "set_params", "fit", "predict")


class OwnProbeError(Exception):
    """An estimator failed, or predicted what is no prediction; whoever fits it knows the layer and the run."""


@dataclass(frozen=True)
class OwnProbe:
    """An estimator of the user's own, which every process makes anew.

    Attributes
    ----------
    code
        Its place, ``module:name``, or what was given in Python.
    folder
        The folder whose modules are found.
    identity
        All that tells it from other estimators, as JSON: its place, its parameters without seeds, and the sources of
        its classes.
    library
        The package that its class is of.
    is_random
        Whether it has a ``random_state``, which is set to the seed of the probe.
    has_probabilities
        Whether it has ``predict_proba``.
    """

    code: str | Given
    folder: str
    identity: str
    library: str
    is_random: bool
    has_probabilities: bool

    def __str__(self) -> str:
        return str(self.code)

    def estimator(self, seed: int) -> Any:
        """Return a new estimator that is not fitted.

        Raises
        ------
        SettingError
            If it cannot be made here, or is another than where the fits were planned.
        """
        made = _made(self.code, self.folder)
        # An object that was sent is the one that was planned with.
        if isinstance(self.code, str) and _identity(self.code, self.folder, made) != self.identity:
            raise SettingError(
                f"--probe {shown(self.code)} is not the same in this process as where the fits were planned: its "
                "source, its parameters or the version of its package differ; give all workers the same, or start "
                "Python again"
            )
        return _seeded(made, seed)


def find_own(code: str | Given, *, numeric: bool, mdl: bool) -> OwnProbe:
    """Return a probe of the user's own.

    Parameters
    ----------
    code
        Its place, or what was given.
    numeric
        Whether it is to predict numbers.
    mdl
        Whether it is to give probabilities.

    Raises
    ------
    SettingError
        If it cannot be imported or made, lacks what a probe needs, or predicts something else.
    """
    from sklearn.base import is_classifier, is_regressor

    folder = str(Path.cwd())
    estimator = _made(code, folder)
    kinds = {"classes": _says(is_classifier, estimator), "numbers": _says(is_regressor, estimator)}
    wanted, other = ("numbers", "classes") if numeric else ("classes", "numbers")
    if not kinds[wanted]:
        base = "RegressorMixin" if numeric else "ClassifierMixin"
        found = (
            f"predicts {other}" if kinds[other] else "is neither a classifier nor a regressor to scikit-learn"
        ) + f", and the labels are {wanted}"
        raise SettingError(f"--probe {shown(str(code))} {found}; name another, or derive it from sklearn.base.{base}")
    if mdl and not hasattr(estimator, "predict_proba"):
        raise SettingError(
            f"the code length needs probabilities, and --probe {shown(str(code))} has no predict_proba; give it one, "
            "or leave --mdl out"
        )
    library = type(estimator).__module__.partition(".")[0]
    return OwnProbe(
        code,
        folder,
        _identity(code, folder, estimator),
        {"sklearn": "scikit-learn"}.get(library, library),
        bool(_seeds(estimator)),
        hasattr(estimator, "predict_proba"),
    )


def _says(question: Any, estimator: Any) -> bool:
    try:
        return bool(question(estimator))
    # A class without the tags of scikit-learn.
    except Exception:
        return False


def _made(code: str | Given, folder: str) -> Any:
    """Return an estimator that is not fitted: that of an instance, of a class, or of a function that returns one."""
    from sklearn.base import clone

    found = code.object if isinstance(code, Given) else object_of(code, folder)
    arguments = None if isinstance(code, Given) else arguments_of(code)
    called = isinstance(found, type) or not hasattr(found, "fit")
    if not called and arguments is not None:
        raise SettingError(f"--probe {shown(str(code))} is an estimator already; leave the parentheses out")
    try:
        # What is no estimator and cannot be called lacks all methods.
        estimator = found(**(arguments or {})) if called and callable(found) else found
    except BiocacheError:
        raise
    except (Exception, SystemExit) as error:
        raise SettingError(
            f"--probe {shown(str(code))} could not be made ({type(error).__name__}: {one_line(error)}); name a "
            "function that returns an estimator, and write what arguments it needs, such as module:name(C=0.5)"
        ) from error
    lacks = [name for name in _INTERFACE if isinstance(estimator, type) or not hasattr(estimator, name)]
    if lacks:
        kind = estimator.__name__ if isinstance(estimator, type) else type(estimator).__name__
        raise SettingError(
            f"--probe {shown(str(code))} gives a {kind} without {', '.join(lacks)}; name an estimator with the "
            "interface of scikit-learn"
        )
    try:
        return clone(estimator)
    except Exception as error:
        raise SettingError(
            f"--probe {shown(str(code))} cannot be cloned ({type(error).__name__}: {one_line(error)}); its __init__ "
            "must keep its parameters as they are"
        ) from error


def _seeds(estimator: Any) -> list[str]:
    return [name for name in estimator.get_params() if name == "random_state" or name.endswith("__random_state")]


def _seeded(estimator: Any, seed: int) -> Any:
    return estimator.set_params(**dict.fromkeys(_seeds(estimator), seed))


def _identity(code: str | Given, folder: str, estimator: Any) -> str:
    """Return what tells an estimator, whose seeds do not count, from others; never cached, as its source may change."""
    of = f"--probe {shown(str(code))}"
    found = {"probe": str(code), "estimator": described(_seeded(estimator, 0), of)}
    source = code.object if isinstance(code, Given) else object_of(code, folder)
    if isinstance(source, type) or not hasattr(source, "fit"):
        found["made by"] = code_of(source, of)
    return json.dumps(found, sort_keys=True)


class OwnClassifier:
    """An estimator of the user's own as a classifier of rows, or as a regression of numbers.

    Parameters
    ----------
    probe
        The probe.
    seed
        Seed of its random numbers.
    """

    # Whether a solver stopped early is not known of any estimator.
    converged = True
    mix = None

    def __init__(self, probe: OwnProbe, seed: int) -> None:
        self.backend = probe.library
        self._estimator = probe.estimator(seed)
        self._known: NDArray[Any] = np.empty(0)

    def fit(self, rows: Rows) -> None:
        """Fit the estimator.

        Raises
        ------
        OwnProbeError
            If it raises an error.
        """
        self._known = np.unique(rows.labels)
        self._called("fit", rows.features, rows.labels)

    def predict(self, rows: Rows) -> NDArray[Any]:
        """Return the label of every row (row).

        Raises
        ------
        OwnProbeError
            If the estimator raises an error, or returns something else than one label of the train split, or one
            number, for each row.
        """
        found = self._array("predict", rows, (len(rows),))
        of_classes = rows.labels.dtype.kind != "f"
        sound = np.isin(found, self._known) if of_classes else _finite(found)
        if not sound.all():
            what = "none of the labels it was fitted to" if of_classes else "no number"
            raise OwnProbeError(f"predicted {shown(found[~sound][0].item())}, {what}")
        return found.astype(rows.labels.dtype)

    def log_probability(self, rows: Rows) -> NDArray[np.float64]:
        """Return the natural logarithm of the probability of labels (row); -inf for a class it does not know.

        Raises
        ------
        OwnProbeError
            If the estimator raises an error, or returns something else than a probability for each row and class.
        """
        known = np.asarray(getattr(self._estimator, "classes_", self._known))
        chances = self._array("predict_proba", rows, (len(rows), len(known)))
        if not (_finite(chances).all() and (chances >= 0).all()):
            raise OwnProbeError("returned from predict_proba what are no probabilities")
        order = np.argsort(known)
        place = order[np.searchsorted(known[order], rows.labels).clip(max=len(known) - 1)]
        with np.errstate(divide="ignore"):
            own = np.log(chances[np.arange(len(rows)), place].astype(np.float64))
        return np.where(known[place] == rows.labels, own, -np.inf)

    def _array(self, method: str, rows: Rows, shape: tuple[int, ...]) -> NDArray[Any]:
        found = self._called(method, rows.features)
        try:
            array = np.asarray(found)
        except Exception:
            array = np.empty(0, object)
        if array.shape != shape or array.dtype.kind not in "biuf":
            got = f"{array.dtype} of shape {array.shape}" if array.dtype.kind != "O" else type(found).__name__
            raise OwnProbeError(f"returned from {method} {got} instead of numbers of shape {shape}")
        return array

    def _called(self, method: str, *arguments: Any) -> Any:
        try:
            return getattr(self._estimator, method)(*arguments)
        except (Exception, SystemExit) as error:
            raise OwnProbeError(f"failed in {method} ({type(error).__name__}: {one_line(error)})") from error


def _finite(values: NDArray[Any]) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = np.isfinite(values)
    return found
