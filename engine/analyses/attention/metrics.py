"""The metrics of attention comparison: what each measures of one sample, and what its mean says."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from biocache.engine.analyses.attention import kernels
from biocache.engine.analyses.attention.maps import Block, Layout, Maps, Pairs, Tokens

__all__ = ["METRICS", "Metric", "Part"]

Values = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Part:
    """Some samples of one run, as metrics take them.

    Attributes
    ----------
    stored
        The block that they are in.
    tokens
        The samples' tokens.
    maps
        Their maps, prepared.
    """

    stored: Block
    tokens: Tokens
    maps: Maps


class Metric(ABC):
    """What is measured of each sample and pair of heads, and averaged over samples.

    The statistics of a block are sums over its samples of `measure`, of its square and of its resampled copies; sums of
    any blocks add. `finalise` turns a mean into the metric's value. A new metric is a subclass in `METRICS`.

    Attributes
    ----------
    name
        Its name on the command line.
    title
        Its title in figures and files.
    unit
        Unit of its values, as UDUNITS has it; ``1`` for none.
    lowest, highest
        Range of its values.
    identity
        Its value for identical maps.
    has_chance
        Whether mismatched heads give a chance level to read values against. A change is read against 0.
    of_rows
        Whether it is a mean over the rows of a map that have mass, and so splits by the words that attend.
    of_norms
        Whether its maps are norm-based: attention times the norm of the key's value vector.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    unit: ClassVar[str] = "1"
    lowest: ClassVar[float] = 0.0
    highest: ClassVar[float] = 1.0
    identity: ClassVar[float] = 0.0
    has_chance: ClassVar[bool] = True
    of_rows: ClassVar[bool] = True
    of_norms: ClassVar[bool] = False

    @abstractmethod
    def measure(self, first: Part, second: Part, layout: Layout, pairs: Pairs) -> Values:
        """Measure every sample.

        Parameters
        ----------
        first, second
            The samples in the baseline run and in the other.
        layout
            Where the prepared maps of both lie.
        pairs
            Heads to compare.

        Returns
        -------
        numpy.ndarray
            float64 (sample, pair); NaN for a sample without anything to measure, which does not count.
        """

    def finalise(self, mean: Values) -> Values:
        """Return the metric of means over samples, of any shape: the mean itself, within the range."""
        return np.clip(mean, self.lowest, self.highest)


class _PairMetric(Metric):
    """A metric of two maps, whose kernel writes the values of some samples (sample, pair).

    Queries that see one key have the same row in every head, and take no part: the first of a causal model, and those
    of samples of one token or word.
    """

    kernel: ClassVar[Callable[[Maps, Maps, Layout, Pairs, Values], None]]

    def measure(self, first: Part, second: Part, layout: Layout, pairs: Pairs) -> Values:
        values = np.empty(pairs.left.shape)
        type(self).kernel(first.maps, second.maps, layout, pairs, values)
        return values


class _Change(Metric):
    """A change of a property of single maps, the second's minus the first's; the kernel writes it (sample, head)."""

    lowest = -1.0
    has_chance = False
    kernel: ClassVar[Callable[[Maps, Layout, Values], None]]

    def measure(self, first: Part, second: Part, layout: Layout, pairs: Pairs) -> Values:
        before, after = self._property(first, layout), self._property(second, layout)
        return np.take_along_axis(after, pairs.right, axis=1) - np.take_along_axis(before, pairs.left, axis=1)

    def _property(self, part: Part, layout: Layout) -> Values:
        values = np.empty((len(layout.size), part.stored.heads))
        type(self).kernel(part.maps, layout, values)
        return values


class Cosine(_PairMetric):
    """Cosine similarity of flattened maps.

    ``sum(A * B) / sqrt(sum(A**2) * sum(B**2))`` over the queries that see several keys of a sample's maps A and B, and
    all keys. Range [0, 1], 1
    for identical maps, no unit. Maps of unrelated heads are far from 0 too, so read it beside its chance level.

    References
    ----------
    Kovaleva O, Romanov A, Rogers A, Rumshisky A. Revealing the dark secrets of BERT. EMNLP 2019.
    https://doi.org/10.18653/v1/D19-1445 (pre-trained against fine-tuned heads, section 4.3)
    """

    name, title = "cosine", "cosine similarity of maps"
    identity = 1.0
    of_rows = False
    kernel = kernels.cosine


class RowCosine(_PairMetric):
    """Cosine similarity of rows, averaged over queries.

    ``mean_q(sum_k(a_qk * b_qk) / sqrt(sum_k(a_qk**2) * sum_k(b_qk**2)))``. Range [0, 1], 1 for identical maps, no unit.
    Unlike `Cosine`, every query has the same weight, whether its attention is even or on one key.

    References
    ----------
    Salton G, Wong A, Yang CS. A vector space model for automatic indexing. Commun ACM 1975;18:613-620.
    https://doi.org/10.1145/361219.361220
    """

    name, title = "row-cosine", "cosine similarity of rows"
    identity = 1.0
    kernel = kernels.row_cosine


class JensenShannon(_PairMetric):
    """Jensen-Shannon divergence of rows, averaged over queries.

    ``mean_q((KL(a_q || m_q) + KL(b_q || m_q)) / 2)`` with ``m = (a + b) / 2`` and ``KL(p || q) = sum(p * log2(p /
    q))``. Range [0, 1], 0 for identical maps, in bits.

    References
    ----------
    Lin J. Divergence measures based on the Shannon entropy. IEEE Trans Inf Theory 1991;37:145-151.
    https://doi.org/10.1109/18.61115
    Clark K, Khandelwal U, Levy O, Manning CD. What does BERT look at? BlackboxNLP 2019.
    https://doi.org/10.18653/v1/W19-4828 (between heads, section 6)
    """

    name, title, unit = "js", "Jensen-Shannon divergence of rows", "bit"
    kernel = kernels.jensen_shannon


class NormCosine(Cosine):
    """Cosine similarity of flattened norm-based maps.

    As `Cosine`, of ``a_qk * ||f(x_k)||`` with ``f(x) = (x W_V + b_V) W_O`` of the head, whose rows are not scaled: they
    are what keys add to a query. Of words it is the sum over the key's tokens, and the mean over the query's.

    References
    ----------
    Kobayashi G, Kuribayashi T, Yokoi S, Inui K. Attention is not only a weight: analyzing transformers with vector
    norms. EMNLP 2020. https://doi.org/10.18653/v1/2020.emnlp-main.574
    """

    name, title = "norm-cosine", "cosine similarity of norm-based maps"
    of_norms = True

    def measure(self, first: Part, second: Part, layout: Layout, pairs: Pairs) -> Values:
        values = np.empty(pairs.left.shape)
        kernels.cosine(_unscaled(first, layout), _unscaled(second, layout), layout, pairs, values)
        return values


class NormJensenShannon(JensenShannon):
    """Jensen-Shannon divergence of rows of norm-based maps, scaled to the sum 1, averaged over queries.

    As `JensenShannon`, of ``a_qk * ||f(x_k)||`` with ``f(x) = (x W_V + b_V) W_O`` of the head.

    References
    ----------
    Kobayashi G, Kuribayashi T, Yokoi S, Inui K. Attention is not only a weight: analyzing transformers with vector
    norms. EMNLP 2020. https://doi.org/10.18653/v1/2020.emnlp-main.574
    """

    name, title = "norm-js", "Jensen-Shannon divergence of rows of norm-based maps"
    of_norms = True


def _unscaled(part: Part, layout: Layout) -> Maps:
    """Return maps whose rows are not scaled to the sum 1: means over the tokens of a query."""
    row = np.repeat(layout.row_start, part.tokens.length) + part.tokens.group
    queries = np.bincount(row[part.tokens.group >= 0], minlength=len(layout.position)).clip(1)
    place = np.arange(len(layout.position)) - np.repeat(layout.row_start, layout.size)
    keys = place + 1 if layout.triangular else np.repeat(layout.size, layout.size)
    scale = np.repeat(part.maps.mass / queries.astype(np.float32), keys, axis=1)
    return part.maps._replace(values=part.maps.values * scale)


class Hellinger(_PairMetric):
    """Hellinger distance of rows, averaged over queries.

    ``mean_q(sqrt(sum_k((sqrt(a_qk) - sqrt(b_qk))**2) / 2))``. Range [0, 1], 0 for identical maps, no unit.

    References
    ----------
    Gibbs AL, Su FE. On choosing and bounding probability metrics. Int Stat Rev 2002;70:419-435.
    https://doi.org/10.1111/j.1751-5823.2002.tb00178.x
    """

    name, title = "hellinger", "Hellinger distance of rows"
    kernel = kernels.hellinger


class TotalVariation(_PairMetric):
    """Total variation distance of rows, averaged over queries: the attention that went to other keys.

    ``mean_q(sum_k(abs(a_qk - b_qk)) / 2)``. Range [0, 1], 0 for identical maps, no unit.

    References
    ----------
    Gibbs AL, Su FE. On choosing and bounding probability metrics. Int Stat Rev 2002;70:419-435.
    https://doi.org/10.1111/j.1751-5823.2002.tb00178.x
    """

    name, title = "tv", "total variation distance of rows"
    kernel = kernels.total_variation


class EntropyChange(_Change):
    """Change of the rows' normalised entropy, averaged over queries: positive where attention became more even.

    ``mean_q(H(b_q) / log2(n_q)) - mean_q(H(a_q) / log2(n_q))`` with ``H(p) = -sum(p * log2(p))`` and ``n_q`` the keys
    that query q may see; queries that see one key are left out. Range [-1, 1], 0 for identical maps, no unit.

    References
    ----------
    Shannon CE. A mathematical theory of communication. Bell Syst Tech J 1948;27:379-423.
    https://doi.org/10.1002/j.1538-7305.1948.tb01338.x
    Clark K, Khandelwal U, Levy O, Manning CD. What does BERT look at? BlackboxNLP 2019.
    https://doi.org/10.18653/v1/W19-4828 (section 3.3)
    """

    name, title = "entropy", "change of normalised row entropy"
    kernel = kernels.entropy


class DistanceChange(_Change):
    """Change of the mean attended distance, averaged over queries: positive where attention reaches farther.

    ``mean_q(sum_k(b_qk * abs(q - k))) - mean_q(sum_k(a_qk * abs(q - k)))``, where q and k are positions in the sample.
    0 for identical maps; unit: tokens, or words where runs are compared by word.

    References
    ----------
    Vig J, Belinkov Y. Analyzing the structure of attention in a transformer language model. BlackboxNLP 2019.
    https://doi.org/10.18653/v1/W19-4808 (section 4.2.3)
    """

    name, title = "distance", "change of mean attended distance"
    unit = "token"
    lowest, highest = -np.inf, np.inf
    kernel = kernels.distance


class SpecialMassChange(_Change):
    """Change of the attention on special positions, averaged over queries.

    ``mean_q(sum_s(b_qs) - sum_s(a_qs))`` over the special positions s: the tokens that the tokenizer added and, in a
    causal model, the first position. Range [-1, 1], 0 for identical maps, no unit.

    References
    ----------
    Clark K, Khandelwal U, Levy O, Manning CD. What does BERT look at? BlackboxNLP 2019.
    https://doi.org/10.18653/v1/W19-4828 (section 3.2)
    Xiao G, Tian Y, Chen B, Han S, Lewis M. Efficient streaming language models with attention sinks. ICLR 2024.
    https://doi.org/10.48550/arXiv.2309.17453
    """

    name, title = "special-mass", "change of attention on special positions"

    def _property(self, part: Part, layout: Layout) -> Values:
        # Of the maps as stored: preparing them may have left special positions out.
        values = np.empty((len(layout.size), part.stored.heads))
        kernels.special_mass(part.stored, part.tokens, values)
        return values


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Cosine(),
        RowCosine(),
        JensenShannon(),
        Hellinger(),
        TotalVariation(),
        EntropyChange(),
        DistanceChange(),
        SpecialMassChange(),
        NormCosine(),
        NormJensenShannon(),
    )
}
