"""The recurrent probe, against one that reads a sentence at a time and enumerates the paths through it."""

from itertools import chain, pairwise, product
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from biocache.engine import ClassifierOptions
from biocache.engine.analyses.probing.bilstm_crf import BiLstmCrf, Network
from biocache.engine.analyses.probing.features import Rows

CLASSES = 3
OPTIONS = ClassifierOptions(hidden_size=6, epochs=4, learning_rate=0.02, batch_size=4)


def made(seed: int = 0, lengths: tuple[int, ...] = (3, 1, 5, 2, 4, 4, 1, 2, 3)) -> Rows:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, sum(lengths))
    states = rng.normal(size=(len(labels), 4)).astype(np.float32)
    states[np.arange(len(labels)), labels] += 1
    return Rows(states, labels, np.repeat(np.arange(len(lengths)) * 2, lengths))


def network(seed: int = 0) -> Network:
    torch.manual_seed(seed)
    return Network(4, OPTIONS.hidden_size, CLASSES)


def emissions(model: Network, words: NDArray[Any]) -> torch.Tensor:
    """Return the scores (word, class) of one sentence, without padding."""
    states, _ = model.lstm(torch.from_numpy(words)[None])
    return model.emit(states)[0]


def score(model: Network, scores: torch.Tensor, path: tuple[int, ...]) -> torch.Tensor:
    crf = model.crf
    steps = sum((crf.transitions[a, b] for a, b in pairwise(path)), start=torch.zeros(()))
    states = sum((scores[place, label] for place, label in enumerate(path)), start=torch.zeros(()))
    return crf.start_transitions[path[0]] + states + steps + crf.end_transitions[path[-1]]


def likelihood(model: Network, words: NDArray[Any], labels: NDArray[Any]) -> torch.Tensor:
    scores = emissions(model, words)
    paths = [score(model, scores, path) for path in product(range(CLASSES), repeat=len(words))]
    return score(model, scores, tuple(labels.tolist())) - torch.logsumexp(torch.stack(paths), 0)


def trained_plainly(rows: Rows, seed: int) -> Network:
    model = network(seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=OPTIONS.learning_rate)
    rng = np.random.default_rng(seed)
    sentences = [rows.sample == sample for sample in np.unique(rows.sample)]
    for _ in range(OPTIONS.epochs):
        order = rng.permutation(len(sentences))
        for first in range(0, len(order), 4):
            batch = [sentences[place] for place in order[first : first + 4]]
            loss = -sum(likelihood(model, rows.features[part], rows.labels[part]) for part in batch) / len(batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return model


@pytest.mark.slow
def test_training_is_that_of_one_sentence_at_a_time() -> None:
    rows, unseen = made(), made(1)
    probe = BiLstmCrf(OPTIONS, CLASSES, seed=5)
    probe.fit(rows)
    plain = trained_plainly(rows, seed=5)
    with torch.inference_mode():
        expected, answers = [], []
        for sample in np.unique(unseen.sample):
            part = unseen.sample == sample
            expected.append(likelihood(plain, unseen.features[part], unseen.labels[part]).item())
            scores = emissions(plain, unseen.features[part])
            paths = list(product(range(CLASSES), repeat=int(part.sum())))
            answers += max(paths, key=lambda path, scores=scores: score(plain, scores, path).item())
    np.testing.assert_allclose(probe.log_probability(unseen), expected, rtol=1e-3)
    np.testing.assert_array_equal(probe.predict(unseen), answers)


def test_what_is_behind_a_sentence_in_its_batch_is_not_read() -> None:
    rows = made(lengths=(2, 6))
    model = network()
    longer = torch.randn(2, 6, 4)
    longer[0, :2] = torch.from_numpy(rows.features[:2])
    padded = model.emissions(longer, torch.tensor([2, 6]))
    torch.testing.assert_close(padded[0, :2], emissions(model, rows.features[:2]))


def test_the_seed_decides_and_torch_is_left_as_it_was() -> None:
    rows, unseen = made(), made(1)
    before = torch.random.get_rng_state()
    first, again, other = (BiLstmCrf(OPTIONS, CLASSES, seed=seed) for seed in (1, 1, 2))
    for probe in (first, again, other):
        probe.fit(rows)
    np.testing.assert_array_equal(first.log_probability(unseen), again.log_probability(unseen))
    assert (first.log_probability(unseen) != other.log_probability(unseen)).any()
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_order_of_the_train_split_is_shuffled() -> None:
    rows = made()
    ordered = BiLstmCrf(OPTIONS, CLASSES, seed=0)
    seen: list[list[int]] = []
    forward = Network.emissions

    def spy(self: Network, words: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        seen.append(lengths.tolist())
        return forward(self, words, lengths)

    try:
        Network.emissions = spy  # type: ignore[method-assign]
        ordered.fit(rows)
    finally:
        Network.emissions = forward  # type: ignore[method-assign]
    epochs = [[*chain(*seen[place : place + 3])] for place in range(0, len(seen), 3)]
    assert len(epochs) == OPTIONS.epochs
    assert all(sorted(epoch) == sorted(epochs[0]) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1


def test_a_class_that_the_train_split_lacks_has_a_probability() -> None:
    rows = made()
    known = Rows(rows.features, rows.labels % 2, rows.sample)
    probe = BiLstmCrf(OPTIONS, CLASSES, seed=0)
    probe.fit(known)
    assert np.isfinite(probe.log_probability(rows)).all()
