"""Comparisons from the store against models run live with Hugging Face, and where no model can be loaded."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from extractions import small_packs
from reference import Reference, read_rows
from sklearn.metrics.pairwise import cosine_similarity
from transformers import AutoModel

from biocache.engine import AttentionRequest, ExtractionRequest, compare_attention, extract

FAMILIES = ("bert", "gpt2", "biogpt")
LIMIT = 12


def changed(checkpoint: Path, folder: Path) -> Path:
    """Write a checkpoint whose weights have moved a little, as fine-tuning moves them."""
    from transformers import AutoTokenizer

    model = AutoModel.from_pretrained(checkpoint, dtype=torch.float32)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weights in model.parameters():
            weights += 0.1 * weights.std(unbiased=False) * torch.randn(weights.shape, generator=generator)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(checkpoint).save_pretrained(folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_cosine_is_that_of_maps_of_live_models(
    family: str,
    checkpoints: Mapping[str, Path],
    corpus_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    small_packs(monkeypatch)
    moved = changed(checkpoints[family], tmp_path / "moved")
    extract(
        tmp_path / "store",
        ExtractionRequest(
            task="ner",
            dataset=str(corpus_folder / "ner"),
            models=(f"own={checkpoints[family]}", f"moved={moved}"),
            splits=("test",),
            limit=LIMIT,
            device="cpu",
        ),
    )
    request = AttentionRequest(model="moved", against="own", training_sizes=(0,), metrics=("cosine",), per_sample=True)
    result = compare_attention(tmp_path / "store", request)
    rows = read_rows(corpus_folder, "ner", "test")[:LIMIT]
    live = [Reference(checkpoints[family]), Reference(moved)]
    # The first query of a causal model sees one key.
    begin = 0 if family == "bert" else 1
    values = []
    for row in rows:
        first, second = (model(row.texts).attention[:, :, begin:] for model in live)
        layers, heads = first.shape[:2]
        values.append(
            [
                [
                    cosine_similarity(first[layer, head].reshape(1, -1), second[layer, head].reshape(1, -1)).item()
                    for head in range(heads)
                ]
                for layer in range(layers)
            ]
        )
    expected = np.array(values)
    assert expected.min() < 0.999
    own = result.isel(metric=0, training_size=0)
    np.testing.assert_allclose(own["value"].transpose("sample", "layer", "head"), expected, atol=3e-4)
    np.testing.assert_allclose(own["mean"], expected.mean(axis=0), atol=1e-4)
    assert (own["count"] == LIMIT).all()


@pytest.mark.slow
def test_no_model_is_loaded(checkpoints: Mapping[str, Path], corpus_folder: Path, tmp_path: Path) -> None:
    extract(
        tmp_path / "store",
        ExtractionRequest(
            task="ner",
            dataset=str(corpus_folder / "ner"),
            models=(f"bert={checkpoints['bert']}", f"gpt2={checkpoints['gpt2']}"),
            splits=("test",),
            limit=4,
            device="cpu",
        ),
    )
    code = f"""
import json, sys
for name in ("transformers", "torch", "tokenizers", "datasets"):
    sys.modules[name] = None
from biocache.engine import AttentionRequest, compare_attention
result = compare_attention({str(tmp_path / "store")!r}, AttentionRequest(model="gpt2", against="bert"))
print(json.dumps([result.attrs["level"], *result["count"].values.ravel().tolist()]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == ["word"] + [4] * 8
    assert done.stderr == ""
