"""Comparisons from the store against models run live with Hugging Face, at every level and data type."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import plain_similarity as plain
import pytest
from extractions import small_packs
from numpy.typing import NDArray
from reference import Reference, read_rows

from biocache.engine import ExtractionRequest, RepresentationRequest, compare_representations, extract
from biocache.store import Store

LIMIT = 16
# What a data type costs.
TOLERANCE = {"float32": 1e-4, "float16": 2e-3, "int8": 2e-2}


def live(checkpoint: Path, sentences: list[tuple[str, ...]], level: str) -> NDArray[np.float64]:
    """Return the mean of the tokens of every word, or of every sentence (layer, unit, feature)."""
    model, found = Reference(checkpoint), []
    for words in sentences:
        hidden = model((words,)).hidden.astype(np.float64)
        owner = np.array([-1 if word is None else word for word in model.tokenizer(
            list(words), is_split_into_words=True).word_ids()])  # fmt: skip
        units = range(len(words)) if level == "word" else [slice(None)]
        found += [hidden[:, owner == unit if level == "word" else owner >= 0].mean(axis=1) for unit in units]
    return np.stack(found, axis=1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kept", "dtype", "level"),
    [
        ("token", "float32", "word"),
        ("token", "float16", "sample"),
        ("token", "int8", "word"),
        ("word", "float16", "word"),
        ("word", "float32", "sample"),
        ("sample", "float32", "sample"),
        ("sample", "int8", "sample"),
    ],
)
def test_values_are_those_of_live_models(
    kept: str,
    dtype: str,
    level: str,
    checkpoints: Mapping[str, Path],
    corpus_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    small_packs(monkeypatch)
    extract(
        tmp_path / "store",
        ExtractionRequest(
            task="ner",
            dataset=str(corpus_folder / "ner"),
            models=(f"bert={checkpoints['bert']}", f"gpt2={checkpoints['gpt2']}"),
            splits=("test",),
            keep=("hidden",),
            limit=LIMIT,
            level=kept,
            dtype=dtype,
            device="cpu",
        ),
    )
    request = RepresentationRequest(
        model="gpt2", against="bert", training_sizes=(0,), level=level, metrics=("cka", "procrustes"), blocks=4
    )
    result = compare_representations(tmp_path / "store", request).squeeze("training_size")
    sentences = [row.texts[0] for row in read_rows(corpus_folder, "ner", "test")[:LIMIT]]
    rows = [live(checkpoints[family], sentences, level) for family in ("bert", "gpt2")]
    assert result.attrs["units"] == rows[0].shape[1]
    for layer in range(len(rows[0])):
        for other in range(len(rows[1])):
            own = result["value"].sel(layer=layer, other_layer=other)
            expected = [metric(rows[0][layer], rows[1][other]) for metric in (plain.cka, plain.procrustes)]
            np.testing.assert_allclose(own, expected, atol=TOLERANCE[dtype])
    assert len(Store.open(tmp_path / "store").select()) == 2
