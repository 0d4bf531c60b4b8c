"""The metrics of single maps: what each measures of one sample and head."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biocache.engine.analyses.attention import kernels
from biocache.engine.analyses.attention.maps import Layout, Maps
from biocache.engine.analyses.attention.metrics import Part
from biocache.engine.analyses.attention.projection import entries_of, row_end
from biocache.engine.analyses.heads.request import TARGET
from biocache.engine.analyses.heads.targets import Targets
from biocache.store.compiling import compiled

__all__ = ["HeadMetric", "find_metric"]

Values = NDArray[np.float64]
Array = NDArray[Any]

_F, _N = np.float32, np.uint64

_OF_MAPS = {"entropy": kernels.entropy, "distance": kernels.distance}
_TITLES = {
    "entropy": "normalised row entropy",
    "distance": "mean attended distance",
    "special-mass": "attention on special positions",
    "previous-mass": "attention on the key before",
    "next-mass": "attention on the key after",
    "self-mass": "attention on the query itself",
    "mass:entities": "attention on entities",
    "mass:punctuation": "attention on punctuation",
    "mass:premise": "attention on the premise",
    "mass:hypothesis": "attention on the hypothesis",
    "mass:other-text": "attention on the other text",
}


@dataclass(frozen=True)
class HeadMetric:
    """What is measured of each map, a mean over its queries, and averaged over samples.

    ``entropy``
        ``mean_q(H(a_q) / log2(n_q))`` with ``H(p) = -sum(p * log2(p))`` and ``n_q`` the keys that query q may see; of
        queries that see several. Range [0, 1]: 1 for even attention [1]_.
    ``distance``
        ``mean_q(sum_k(a_qk * abs(q - k)))``, where q and k are positions in the sample; in tokens or words [2]_.
    ``special-mass``
        ``mean_q(sum_s(a_qs))`` over the special positions s: tokens that the tokenizer added and, in a causal model,
        the first position [1]_ [3]_.
    all others
        ``mean_q(sum_t(a_qt))`` over the targets t of the query, of queries that see both targets and other keys
        [1]_ [2]_.

    Attributes
    ----------
    name
        Its name on the command line.
    title
        Its title in figures and files.

    References
    ----------
    .. [1] Clark K, Khandelwal U, Levy O, Manning CD. What does BERT look at? BlackboxNLP 2019.
       https://doi.org/10.18653/v1/W19-4828
    .. [2] Vig J, Belinkov Y. Analyzing the structure of attention in a transformer language model. BlackboxNLP 2019.
       https://doi.org/10.18653/v1/W19-4808
    .. [3] Kovaleva O, Romanov A, Rogers A, Rumshisky A. Revealing the dark secrets of BERT. EMNLP 2019.
       https://doi.org/10.18653/v1/D19-1445
    """

    name: str
    title: str

    @property
    def in_positions(self) -> bool:
        """Whether the unit is a token or word; others have none."""
        return self.name == "distance"

    def finalise(self, mean: Values) -> Values:
        """Return means over samples, of any shape, within the range of the metric."""
        return np.clip(mean, 0.0, np.inf if self.in_positions else 1.0)

    def measure(self, part: Part, layout: Layout, targets: Targets | None) -> Values:
        """Measure every map.

        Parameters
        ----------
        part
            The maps.
        layout
            Where they lie.
        targets
            Targets of the metric, None where it has none.

        Returns
        -------
        numpy.ndarray
            float64 (map, head); NaN for a map without anything to measure, which does not count.
        """
        values = np.empty((len(layout.size), len(part.maps.values)))
        if targets is not None:
            _mass(part.maps, layout, targets, values)
        elif self.name in _OF_MAPS:
            _OF_MAPS[self.name](part.maps, layout, values)
        else:
            kernels.special_mass(part.stored, part.tokens, values)
        return values


def find_metric(name: str) -> HeadMetric:
    """Return the metric of a name that the request has checked."""
    return HeadMetric(name, _TITLES.get(name) or f"attention on words of {name.removeprefix(TARGET)}")


@compiled
def _mass(maps: Maps, layout: Layout, targets: Targets, out: Array) -> None:
    """Average over the queries with a choice and mass the attention on their targets; NaN where there is none."""
    for head in range(maps.values.shape[0]):
        for s in range(layout.size.size):
            row, size, first = layout.row_start[s], layout.size[s], layout.entry_start[s]
            own = maps.values[head, first : first + entries_of(size, layout.triangular)]
            kind = targets.kind[row : row + size]
            begin, total, rows = _N(0), 0.0, 0
            for q in range(size):
                low, high = targets.begin[row + q], targets.end[row + q]
                if high > low and maps.mass[head, row + q] > 0:
                    total += _share(own, begin, kind, _N(low), _N(high), targets.sought[row + q])
                    rows += 1
                begin = row_end(begin, q, size, layout.triangular)
            out[s, head] = total / rows if rows else np.nan


@compiled
def _share(own: Array, begin: Any, kind: Array, low: Any, high: Any, sought: Any) -> float:
    total = _F(0)
    for key in range(low, high):
        total += own[begin + key] if kind[key] & sought else _F(0)
    return float(total)
