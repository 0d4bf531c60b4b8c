"""The token that a head reads, and the first of a sequence, as rows: as transformers and scikit-learn have them."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import store_factory
import torch
from extractions import request as extraction_request
from planted import ner_store, nli_store
from reference import Reference, read_rows
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score
from sklearn.preprocessing import StandardScaler
from transformers import AutoModelForSequenceClassification

from biocache.engine import ClassifierOptions, ProbeRequest, extract, probe
from biocache.engine.analyses.probing.features import view_of
from biocache.engine.analyses.probing.grid import find_cells
from biocache.store import Store
from biocache.store.errors import SettingError

FAMILIES = {"bert": 0, "gpt2": -1, "biogpt": -1}
LIMIT = 30


@pytest.fixture(scope="module", params=["token", "sample"])
def store(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    corpus_folder: Path,
    checkpoints: Mapping[str, Path],
) -> Path:
    """Return a store of pairs, and of their texts alone, through every family, in single precision."""
    folder = tmp_path_factory.mktemp("pooling") / "biocache.zarr"
    settings: dict[str, Any] = {"dtype": "float32", "limit": LIMIT, "splits": ("train", "test"), "keep": ("hidden",)}
    models = tuple(f"{family}={checkpoints[family]}" for family in FAMILIES)
    asked = extraction_request(corpus_folder, Path(), task="nli", models=models, level=request.param, **settings)
    extract(folder, asked)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_cls_is_what_the_head_reads(store: Path, family: str, checkpoints: Mapping[str, Path]) -> None:
    """The head of transformers says of a padded batch what it says of these rows alone."""
    asked = ProbeRequest(task="nli", models=(family,), features="pair", pooling="cls")
    (cell,) = find_cells(Store.open(store), asked)
    run = cell.test[0]
    rows = torch.tensor(view_of(run, cell.target, asked).hidden.isel(layer=-1).to_numpy())
    torch.manual_seed(3)
    model = AutoModelForSequenceClassification.from_pretrained(checkpoints[family], num_labels=3).eval()
    if model.config.pad_token_id is None:
        # As a classifier of GPT-2 is trained, which has no token to pad with.
        model.config.pad_token_id = model.config.eos_token_id
    tokens = run.plan.tokens
    ids = torch.full((len(rows), int(tokens.count.max())), model.config.pad_token_id)
    mask = torch.zeros_like(ids)
    own = torch.tensor(run.token_column("tokens/token_id").astype(np.int64))
    for sample, (first, count) in enumerate(zip(tokens.dense_start.tolist(), tokens.count.tolist(), strict=False)):
        ids[sample, :count], mask[sample, :count] = own[first : first + count], 1
    types = {}
    if run.spec.token_types:
        types["token_type_ids"] = torch.zeros_like(ids)
        for sample, (first, count) in enumerate(zip(tokens.dense_start.tolist(), tokens.count.tolist(), strict=False)):
            segments = run.token_column("tokens/segment")[first : first + count]
            types["token_type_ids"][sample, :count] = torch.tensor(segments.astype(np.int64))
    with torch.inference_mode():
        whole = model(input_ids=ids, attention_mask=mask, **types).logits
        alone = model.classifier(model.bert.pooler(rows[:, None])) if family == "bert" else model.score(rows)
    torch.testing.assert_close(alone, whole, rtol=1e-4, atol=1e-4)
    assert run.provenance.head_token == ("first" if FAMILIES[family] == 0 else "last")


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("pooling", ["cls", "first"])
@pytest.mark.parametrize("features", ["pair", "separate"])
def test_scores_are_those_of_scikit_learn(
    store: Path, corpus_folder: Path, checkpoints: Mapping[str, Path], family: str, pooling: str, features: str
) -> None:
    options = ClassifierOptions(c=0.1)
    result = probe(
        store, ProbeRequest(task="nli", models=(family,), features=features, pooling=pooling, options=options)
    )
    reference = Reference(checkpoints[family])
    place = FAMILIES[family] if pooling == "cls" else 0
    views = ("pair",) if features == "pair" else ("premise", "hypothesis")
    splits = {}
    for split in ("train", "test"):
        rows = read_rows(corpus_folder, "nli", split)[:LIMIT]
        states = [[reference(row.view(view)).hidden[:, place] for view in views] for row in rows]
        splits[split] = np.concatenate(np.array(states).transpose(1, 2, 0, 3), axis=-1), [r.labels[0] for r in rows]
    (train, gold), (test, expected) = splits["train"], splits["test"]
    for layer in range(3):
        scaler = StandardScaler().fit(train[layer])
        fitted = LogisticRegression(C=0.1, max_iter=1000).fit(scaler.transform(train[layer]), gold)
        answers = fitted.predict(scaler.transform(test[layer]))
        assert result.accuracy.sel(layer=layer).item() == pytest.approx(accuracy_score(expected, answers)), layer


@pytest.mark.slow
def test_the_result_says_which_token(store: Path) -> None:
    result = probe(store, ProbeRequest(task="nli", features="pair", pooling="cls", layers=(0,)))
    assert result.attrs["head_token"] == "first of bert, last of biogpt and gpt2"
    assert result.attrs["pooling"] == "cls"


@pytest.mark.slow
def test_runs_of_words_have_no_special_tokens(
    tmp_path: Path, corpus_folder: Path, checkpoints: Mapping[str, Path]
) -> None:
    settings: dict[str, Any] = {"level": "word", "limit": 9, "splits": ("train", "test"), "keep": ("hidden",)}
    extract(tmp_path, extraction_request(corpus_folder, checkpoints["bert"], task="nli", **settings))
    for pooling in ("cls", "first"):
        with pytest.raises(SettingError, match=r"samples with special tokens cannot be made; extract it with level"):
            probe(tmp_path, ProbeRequest(task="nli", features="pair", pooling=pooling))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("read", "says"),
    [("none", "reads no one token of it, or there is no such head"), ("", "does not say which token")],
)
def test_runs_without_one_token_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: str, says: str
) -> None:
    monkeypatch.setattr(store_factory, "PROVENANCE", replace(store_factory.PROVENANCE, head_token=read))
    nli_store(tmp_path)
    with pytest.raises(SettingError, match=says) as caught:
        probe(tmp_path, ProbeRequest(task="nli", pooling="cls"))
    assert "\n" not in str(caught.value)
    assert "pooling 'cls' cannot be read of run" in str(caught.value)


@pytest.mark.slow
def test_words_and_mentions_have_no_head(tmp_path: Path) -> None:
    ner_store(tmp_path)
    with pytest.raises(SettingError, match="pooling 'cls' is not for words; use mean, first or last"):
        probe(tmp_path, ProbeRequest(task="ner", pooling="cls"))
    with pytest.raises(SettingError, match="pooling 'cls' is not for spans; use mean, first, last or max"):
        probe(tmp_path, ProbeRequest(task="ner", level="span", pooling="cls"))
