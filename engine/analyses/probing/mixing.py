"""Probes of a learnt mean of layers: its weights and a classifier, trained together."""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from biocache.engine.analyses.probing.features import Rows
from biocache.engine.analyses.probing.layers import MixedProbe
from biocache.engine.analyses.probing.planning import BLOCK_ROWS
from biocache.engine.analyses.probing.request import ClassifierOptions
from biocache.engine.machine import seeded

__all__ = ["Mix", "Mixed"]

# Largest slope of the loss where the logistic regression has converged: the weights of layers move slowly there.
_TOLERANCE = 1e-5
# Penalty of the weights of a network, as scikit-learn's.
_PENALTY = 1e-4
_ROWS = 200


class Mix(nn.Module):
    """The mean of layers, weighted by a softmax, times a scalar [1]_. It begins as the plain mean.

    Parameters
    ----------
    layers
        Number of layers.

    References
    ----------
    .. [1] I. Tenney et al., "What do you learn from context? Probing for sentence structure in contextualized word
       representations", ICLR 2019. https://openreview.net/forum?id=SJzSgnRcKX
    """

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.scalars = nn.Parameter(torch.zeros(layers))
        self.gamma = nn.Parameter(torch.ones(()))

    def forward(self, rows: Tensor) -> Tensor:
        """Mix rows of features, those of the layers one after another (row, layer * feature), to (row, feature)."""
        layered = rows.reshape(len(rows), len(self.scalars), -1)
        return self.gamma * torch.einsum("rlf,l->rf", layered, self.scalars.softmax(0))


class Mixed:
    """A classifier of a learnt mean of layers, or a regression.

    ``logistic`` is trained with L-BFGS on all rows, to the optimum of scikit-learn's logistic regression on the mixed
    features: the penalty is of the weights as the layers' mean has them, times gamma, so that `c` means what it means
    for one layer, and the mean of one layer is the probe of that layer. ``mlp`` has one hidden layer and is trained
    with Adam for a fixed number of epochs. On the CPU.

    Parameters
    ----------
    probe
        The probe and the number of layers.
    options
        Its settings.
    classes
        Number of classes; 0 for numbers.
    seed
        Seed of the initial weights of ``mlp`` and of the order of its rows.
    """

    backend = "torch"

    def __init__(self, probe: MixedProbe, options: ClassifierOptions, classes: int, seed: int) -> None:
        self._probe = probe
        self._options = options
        self._numeric = not classes
        self._seed = seed
        self._known: NDArray[np.int64] = np.empty(0, np.int64)
        self._mix = Mix(probe.layers)
        self._head: nn.Module = nn.Identity()
        self._converged = True

    @property
    def converged(self) -> bool:
        """Whether the solver of ``logistic`` reached its tolerance."""
        return self._converged

    @property
    def mix(self) -> tuple[NDArray[np.float64], float]:
        """The weights of the layers (layer), which sum to 1, and gamma."""
        weights: NDArray[np.float64] = self._mix.scalars.detach().double().softmax(0).numpy()
        return weights, self._mix.gamma.detach().item()

    def fit(self, rows: Rows) -> None:
        """Train the weights of the layers and the classifier together."""
        features = rows.features.shape[1] // self._probe.layers
        if self._numeric:
            targets = torch.from_numpy(np.asarray(rows.labels, np.float32))
        else:
            self._known, codes = np.unique(rows.labels, return_inverse=True)
            targets = torch.from_numpy(codes.astype(np.int64))
        if self._probe.probe == "logistic":
            # Two classes have one score, as scikit-learn's have: with two the penalty would be half.
            self._head = nn.Linear(features, len(self._known) if len(self._known) > 2 else 1)
            self._fit_logistic(torch.from_numpy(rows.features), targets)
        else:
            hidden, outputs = self._options.hidden_size, 1 if self._numeric else len(self._known)
            with seeded(self._seed):
                self._head = nn.Sequential(nn.Linear(features, hidden), nn.ReLU(), nn.Linear(hidden, outputs))
            self._fit_network(torch.from_numpy(rows.features), targets)

    def predict(self, rows: Rows) -> NDArray[np.generic]:
        """Return the label of every row (row)."""
        with torch.inference_mode():
            scores = torch.cat(list(self._scored(torch.from_numpy(rows.features))))
        if self._numeric:
            return scores[:, 0].double().numpy()
        found: NDArray[np.int64] = self._known[scores.argmax(1).numpy()]
        return found

    def log_probability(self, rows: Rows) -> NDArray[np.float64]:
        """Return the natural logarithm of the probability of labels (row); -inf for a class that it does not know."""
        place = np.searchsorted(self._known, rows.labels).clip(max=len(self._known) - 1)
        with torch.inference_mode():
            scores = torch.cat(list(self._scored(torch.from_numpy(rows.features)))).double().log_softmax(1).numpy()
        return np.where(self._known[place] == rows.labels, scores[np.arange(len(rows)), place], -np.inf)

    def _scores(self, rows: Tensor) -> Tensor:
        scores: Tensor = self._head(self._mix(rows))
        if self._probe.probe == "logistic" and scores.shape[1] == 1:
            return torch.cat([torch.zeros_like(scores), scores], dim=1)
        return scores

    def _scored(self, rows: Tensor) -> Iterator[Tensor]:
        yield from (self._scores(part) for part in rows.split(BLOCK_ROWS))

    def _fit_logistic(self, rows: Tensor, targets: Tensor) -> None:
        head = self._head
        assert isinstance(head, nn.Linear)
        nn.init.zeros_(head.weight)
        nn.init.zeros_(head.bias)
        # First of the plain mean: the weights of layers would otherwise follow a classifier that knows nothing yet.
        self._minimise([head.weight, head.bias], rows, targets)
        self._converged = self._minimise([head.weight, head.bias, *self._mix.parameters()], rows, targets)

    def _minimise(self, parameters: list[Tensor], rows: Tensor, targets: Tensor) -> bool:
        """Minimise the loss of the logistic regression, and return whether the solver reached its tolerance."""
        head, most = self._head, self._options.max_iterations
        assert isinstance(head, nn.Linear)
        solver = torch.optim.LBFGS(
            parameters,
            max_iter=most,
            # Iterations are limited, not the steps of their line searches.
            max_eval=25 * most,
            tolerance_grad=_TOLERANCE,
            history_size=10,
            line_search_fn="strong_wolfe",
        )

        def loss() -> Tensor:
            solver.zero_grad()
            size = (self._mix.gamma * head.weight).square().sum().double()
            total = size / (2 * self._options.strength * len(rows))
            total.backward()
            # In blocks, whose gradients add: the mixed rows are never all in memory.
            for part, own in zip(rows.split(BLOCK_ROWS), targets.split(BLOCK_ROWS), strict=True):
                share = nn.functional.cross_entropy(self._scores(part), own, reduction="sum").double() / len(rows)
                share.backward()
                total = total + share.detach()
            return total.detach()

        solver.step(loss)
        return int(solver.state[parameters[0]]["n_iter"]) < most

    def _fit_network(self, rows: Tensor, targets: Tensor) -> None:
        weights = [each for name, each in self._head.named_parameters() if name.endswith("weight")]
        parameters = [*self._head.parameters(), *self._mix.parameters()]
        solver = torch.optim.Adam(parameters, lr=self._options.learning_rate)
        order = np.random.default_rng(self._seed)
        for _ in range(self._options.epochs):
            shuffled = torch.from_numpy(order.permutation(len(rows)))
            for batch in shuffled.split(self._options.batch_size or _ROWS):
                scores = self._scores(rows[batch])
                if self._numeric:
                    loss = (scores[:, 0] - targets[batch]).square().mean() / 2
                else:
                    loss = nn.functional.cross_entropy(scores, targets[batch])
                loss = loss + _PENALTY * sum(each.square().sum() for each in weights) / (2 * len(batch))
                solver.zero_grad()
                loss.backward()
                solver.step()
