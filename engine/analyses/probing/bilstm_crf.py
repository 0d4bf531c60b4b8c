"""A recurrent probe of word sequences: bidirectional LSTM and conditional random field."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence
from torchcrf import CRF

from biocache.engine.analyses.probing.features import Rows
from biocache.engine.analyses.probing.request import ClassifierOptions
from biocache.engine.machine import seeded

__all__ = ["BiLstmCrf", "Network"]

_SENTENCES = 32


class Network(nn.Module):
    """A bidirectional LSTM over the words of a sentence, whose emission scores a linear-chain CRF decodes.

    Parameters
    ----------
    features
        Length of a word's features.
    hidden_size
        Units of each direction of the LSTM.
    classes
        Number of labels.
    """

    def __init__(self, features: int, hidden_size: int, classes: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(features, hidden_size, batch_first=True, bidirectional=True)
        self.emit = nn.Linear(2 * hidden_size, classes)
        self.crf = CRF(classes, batch_first=True)

    def emissions(self, words: Tensor, lengths: Tensor) -> Tensor:
        """Return scores (sentence, word, class) of padded sentences (sentence, word, feature); padding is not read."""
        packed = pack_padded_sequence(words, lengths, batch_first=True, enforce_sorted=False)
        states, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True)
        return self.emit(states)  # type: ignore[no-any-return]


@dataclass(frozen=True, eq=False)
class _Batch:
    words: Tensor
    labels: Tensor
    lengths: Tensor
    mask: Tensor


class BiLstmCrf:
    """`Network` as a classifier of rows; the rows of a sample, in their order, are one sequence.

    It is trained with Adam on the mean negative log-likelihood of the sentences of a batch [1]_, for a fixed number of
    epochs, on the CPU.

    Parameters
    ----------
    options
        ``hidden_size``, ``epochs``, ``learning_rate`` and ``batch_size`` are used.
    classes
        Number of labels.
    seed
        Seed of the initial weights and of the order of the sentences.

    References
    ----------
    .. [1] G. Lample et al., "Neural architectures for named entity recognition", NAACL 2016.
       https://doi.org/10.18653/v1/N16-1030
    """

    backend = "torch"
    converged = True
    mix = None

    def __init__(self, options: ClassifierOptions, classes: int, seed: int) -> None:
        self._options = options
        self._batch_size = options.batch_size or _SENTENCES
        self._classes = classes
        self._seed = seed
        self._network: Network | None = None

    def fit(self, rows: Rows) -> None:
        """Train a new network."""
        options = self._options
        with seeded(self._seed):
            network = Network(rows.features.shape[1], options.hidden_size, self._classes)
        optimizer = torch.optim.Adam(network.parameters(), lr=options.learning_rate)
        sequences = rows.sequences()
        order = np.random.default_rng(self._seed)
        for _ in range(options.epochs):
            shuffled = [sequences[i] for i in order.permutation(len(sequences))]
            for batch in _batches(rows, shuffled, self._batch_size):
                scores = network.emissions(batch.words, batch.lengths)
                loss = -network.crf(scores, batch.labels, mask=batch.mask, reduction="mean")
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        self._network = network.eval()

    def predict(self, rows: Rows) -> NDArray[np.int64]:
        """Return the classes of the best path through each sentence (row)."""
        with torch.inference_mode():
            paths = [crf.decode(scores, mask=batch.mask) for crf, batch, scores in self._scored(rows)]
        return np.array([label for batch in paths for path in batch for label in path], np.int64)

    def log_probability(self, rows: Rows) -> NDArray[np.float64]:
        """Return the natural logarithm of the probability of the labels of each sentence (sequence)."""
        with torch.inference_mode():
            parts = [
                crf(scores, batch.labels, mask=batch.mask, reduction="none").double().numpy()
                for crf, batch, scores in self._scored(rows)
            ]
        return np.concatenate(parts) if parts else np.empty(0)

    def _scored(self, rows: Rows) -> Iterator[tuple[CRF, _Batch, Tensor]]:
        """Yield batches of sentences with their emission scores, and the layer that decodes them."""
        if self._network is None:
            raise RuntimeError("the probe is not fitted")
        for batch in _batches(rows, rows.sequences(), self._batch_size):
            yield self._network.crf, batch, self._network.emissions(batch.words, batch.lengths)


def _batches(rows: Rows, sequences: Sequence[slice], size: int) -> Iterator[_Batch]:
    for first in range(0, len(sequences), size):
        chosen = sequences[first : first + size]
        lengths = torch.tensor([part.stop - part.start for part in chosen])
        words = pad_sequence([torch.from_numpy(rows.features[part]) for part in chosen], batch_first=True)
        labels = pad_sequence([torch.from_numpy(rows.labels[part]) for part in chosen], batch_first=True)
        mask = torch.arange(words.shape[1]) < lengths[:, None]
        yield _Batch(words, labels, lengths, mask)
