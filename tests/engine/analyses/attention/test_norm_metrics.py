"""Metrics of attention times value norms: against models that are run with transformers, and runs without norms."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from attention_factory import source
from extractions import request
from numpy.typing import NDArray
from scipy.spatial.distance import jensenshannon
from transformers import AutoModel, AutoTokenizer

from biocache.engine import AttentionRequest, compare_attention, extract
from biocache.store import Store
from biocache.store.errors import RunNotFoundError

METRICS = ("norm-cosine", "norm-js")


def moved(checkpoint: Path, folder: Path) -> Path:
    """Write a checkpoint of which only the output projections of its attention have moved: maps of layer 1 stay."""
    model = AutoModel.from_pretrained(checkpoint, dtype=torch.float32)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for block in model.encoder.layer:
            weight = block.attention.output.dense.weight
            weight += weight.std() * torch.randn(weight.shape, generator=generator)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(checkpoint).save_pretrained(folder)
    return folder


def norm_maps(checkpoint: Path, ids: NDArray[Any]) -> NDArray[np.float64]:
    """Return attention times ||f(x)|| of the first layer of BERT, float64 (head, query, key)."""
    model = AutoModel.from_pretrained(checkpoint, attn_implementation="eager", dtype=torch.float32)
    model.eval().requires_grad_(requires_grad=False)
    with torch.inference_mode():
        out = model(
            torch.from_numpy(ids[np.newaxis].astype(np.int64)), output_hidden_states=True, output_attentions=True
        )
    own = model.encoder.layer[0].attention
    x, maps = out.hidden_states[0][0].double().numpy(), out.attentions[0][0].double().numpy()
    values = x @ own.self.value.weight.double().numpy().T + own.self.value.bias.double().numpy()
    projection, size = own.output.dense.weight.double().numpy().T, values.shape[1] // len(maps)
    parts = [slice(head * size, (head + 1) * size) for head in range(len(maps))]
    norms = np.stack([np.linalg.norm(values[:, part] @ projection[part], axis=1) for part in parts])
    return maps * norms[:, np.newaxis, :]


@pytest.mark.slow
def test_metrics_are_those_of_models_that_are_run(
    corpus_folder: Path, checkpoints: Mapping[str, Path], tmp_path: Path
) -> None:
    folders = {"own": checkpoints["bert"], "moved": moved(checkpoints["bert"], tmp_path / "moved")}
    models = tuple(f"{name}={folder}" for name, folder in folders.items())
    keep = ("hidden", "attention", "norms")
    settings: dict[str, Any] = {"models": models, "keep": keep, "dtype": "float32", "limit": 6}
    extract(tmp_path / "s", request(corpus_folder, checkpoints["bert"], **settings))
    asked = AttentionRequest(
        model="moved", against="own", training_sizes=(0,), metrics=("cosine", *METRICS), per_sample=True
    )
    found = compare_attention(tmp_path / "s", asked).sel(layer=1).squeeze()["value"]
    run = Store.open(tmp_path / "s").run(model="own")
    ids, begin = run.token_column("tokens/token_id"), run.plan.tokens.dense_start
    for sample in range(6):
        first, second = (norm_maps(folder, ids[begin[sample] : begin[sample + 1]]) for folder in folders.values())
        for head, (a, b) in enumerate(zip(first, second, strict=True)):
            expected = {
                "norm-cosine": np.vdot(a, b) / np.linalg.norm(a) / np.linalg.norm(b),
                # It scales rows to the sum 1.
                "norm-js": np.mean(jensenshannon(a, b, base=2, axis=1) ** 2),
                "cosine": 1.0,
            }
            for metric, value in expected.items():
                got = found.sel(metric=metric).transpose("sample", "head")[sample, head]
                assert float(got) == pytest.approx(value, abs=5e-6), metric
    assert float(found.sel(metric="norm-js").min()) > 1e-4


def test_runs_without_norms_are_refused_with_the_command_that_keeps_them(tmp_path: Path) -> None:
    source(training_size=0).write_all(tmp_path)
    source(training_size=30, keep=("attention",)).write_all(tmp_path)
    with pytest.raises(RunNotFoundError) as refusal:
        compare_attention(tmp_path, AttentionRequest(model="tiny", metrics=("js", "norm-js")))
    assert str(refusal.value) == (
        "run ner/corpus/tiny/size-030/seed-42/sentence/test keeps no value norms, which metrics='norm-js' needs; "
        "extract it again with `extract(task='ner', dataset='corpus', model='tiny', training_sizes=30, seeds=42, "
        "view='sentence', split='test', keep=('attention', 'norms'), overwrite=True)`"
    )
    assert "mean" in compare_attention(tmp_path, AttentionRequest(model="tiny", metrics=("js",)))


def test_the_baseline_needs_norms_as_well(tmp_path: Path) -> None:
    source(training_size=0, keep=("hidden", "attention")).write_all(tmp_path)
    source(training_size=30).write_all(tmp_path)
    with pytest.raises(
        RunNotFoundError, match=r"size-000/.* keeps no value norms, .*keep=\('hidden', 'attention', 'norms'\)"
    ):
        compare_attention(tmp_path, AttentionRequest(model="tiny", metrics=METRICS))
