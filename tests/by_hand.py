"""What views of a synthetic run must hold, in loops over samples and tokens."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from store_factory import Synthetic


def pooled(rows: Sequence[NDArray[Any]], pooling: str, features: int) -> NDArray[np.float64]:
    """Reduce rows (feature) one after another; NaN where there are none."""
    if len(rows) == 0:
        return np.full(features, np.nan)
    result = rows[-1 if pooling == "last" else 0].astype(np.float64)
    if pooling in {"first", "last"}:
        return result
    for row in rows[1:]:
        result = np.maximum(result, row) if pooling == "max" else result + row
    return result / len(rows) if pooling == "mean" else result


def of_sample(source: Synthetic, column: str, sample: int) -> list[Any]:
    """Return a token column's values of one sample."""
    begin = int(source.plan.tokens.start[sample])
    values: list[Any] = source.columns[f"tokens/{column}"][begin : begin + len(source.hidden[sample][0])].tolist()
    return values


def words_by_hand(source: Synthetic, pooling: str) -> dict[int, NDArray[np.float64]]:
    """Return (layer, feature) of every word that has tokens, by its position among all words."""
    layers, features = len(source.spec.layers), source.spec.feature_size
    words: dict[int, NDArray[np.float64]] = {}
    for sample, hidden in enumerate(source.hidden):
        owners = of_sample(source, "word", sample)
        for word in sorted(set(owners) - {-1}):
            tokens = [token for token, owner in enumerate(owners) if owner == word]
            words[word] = np.array([pooled(hidden[layer, tokens], pooling, features) for layer in range(layers)])
    return words


def samples_by_hand(source: Synthetic, pooling: str, special_tokens: bool) -> NDArray[np.float64]:
    """Return (layer, sample, feature)."""
    features = source.spec.feature_size
    return np.array(
        [
            [
                pooled(
                    [
                        row
                        for row, special in zip(hidden[layer], of_sample(source, "special", sample), strict=True)
                        if special_tokens or not special
                    ],
                    pooling,
                    features,
                )
                for sample, hidden in enumerate(source.hidden)
            ]
            for layer in range(len(source.spec.layers))
        ]
    )


def assert_close(values: NDArray[Any], expected: NDArray[Any]) -> None:
    """Assert equality within the rounding of sums in float32, NaN where NaN is expected."""
    assert values.dtype == np.float32
    np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-6)
