"""Probes that see several layers: side by side as scikit-learn would, and as a mean whose weights are learnt."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from matplotlib import pyplot
from numpy.typing import NDArray
from planted import ner_store, nli_store, runs_of, split_runs, word_rows, write
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from store_factory import Synthetic

from biocache.engine import ClassifierOptions, ProbeRequest, compare_probes, probe, write_report
from biocache.engine.analyses.probing import fitting
from biocache.engine.analyses.probing.analysis import Probing
from biocache.engine.analyses.probing.comparison import ProbeComparison
from biocache.engine.analyses.probing.features import Rows, read_rows
from biocache.engine.analyses.probing.fitting import Fit
from biocache.engine.analyses.probing.grid import find_cells, probed_layers
from biocache.engine.analyses.probing.layers import MixedProbe, labels_in_order, layers_of
from biocache.engine.analyses.probing.mixing import Mix, Mixed
from biocache.engine.analyses.probing.planning import fit_bytes
from biocache.engine.analysis import find
from biocache.engine.exporting import export_dataset
from biocache.store import Store
from biocache.store.errors import RunNotFoundError, SettingError

NETWORK = ClassifierOptions(epochs=12, hidden_size=16, learning_rate=0.01, batch_size=50)


def request(**settings: Any) -> ProbeRequest:
    return ProbeRequest(**{"task": "ner", "label_scheme": "bio", **settings})


def two_planted(store: Path) -> Store:
    """Write labels into layers 0 and 2, each weakly, so that both together say more than one."""
    for split in ("train", "test"):
        made = split_runs(split, planted=0, strength=1.2)
        other = split_runs(split, planted=2, strength=1.2)
        hidden = [np.stack([a[0], a[1], b[2]]) for a, b in zip(made.hidden, other.hidden, strict=True)]
        write(store, [replace(made, hidden=hidden)])
    return Store.open(store)


def joined(store: Store, layers: Sequence[int]) -> dict[str, tuple[NDArray[Any], NDArray[Any], NDArray[Any]]]:
    """Return standardised features of layers side by side, labels and positions of the words that have tokens."""
    found, scaler = {}, StandardScaler()
    for split in ("train", "test"):
        run = store.run(split=split)
        view = run.words().load()
        features = np.hstack([view.hidden.sel(layer=layer).to_numpy() for layer in layers])
        position = view.word.to_numpy()
        scaled = (scaler.fit_transform if split == "train" else scaler.transform)(features)
        found[split] = scaled.astype(np.float32), run.labels().values[position], position
    return found


def everywhere(store: Store, answers: NDArray[Any], rows: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the answers for all words, the usual class for those without tokens, and what is right."""
    test = store.run(split="test")
    found = np.full(test.counts.words, np.bincount(rows["train"][1]).argmax())
    found[rows["test"][2]] = answers
    return found, test.labels().values


@pytest.mark.slow
@pytest.mark.parametrize(("name", "plain"), [("logistic", LogisticRegression(max_iter=1000)), ("svc", SVC())])
def test_layers_side_by_side_are_those_of_plain_scikit_learn(tmp_path: Path, name: str, plain: Any) -> None:
    store = two_planted(tmp_path)
    result = probe(tmp_path, request(probe=name, layers=("2+0", "0+1+2")))
    assert result.layer.to_numpy().tolist() == ["0", "1", "2", "0+2", "0+1+2"]
    for label in result.layer.to_numpy().tolist():
        rows = joined(store, layers_of(label, ()))
        answers, gold = everywhere(store, plain.fit(*rows["train"][:2]).predict(rows["test"][0]), rows)
        assert result.accuracy.sel(layer=label).item() == (answers == gold).mean()
    assert result.accuracy.sel(layer="0+2").item() > result.accuracy.sel(layer=["0", "2"]).max().item()


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, {"combine": "full"}, {"features": "pair"}])
def test_rows_of_several_layers_are_the_rows_of_each_side_by_side(tmp_path: Path, settings: dict[str, Any]) -> None:
    views = ("pair",) if settings.get("features") == "pair" else ("premise", "hypothesis")
    store = nli_store(tmp_path, views)
    asked = ProbeRequest(task="nli", **settings)
    (cell,) = find_cells(store, asked)
    samples = np.arange(60)
    both, position = read_rows(cell.train, cell.target, asked, (2, 0), samples)
    alone = [read_rows(cell.train, cell.target, asked, (layer,), samples) for layer in (2, 0)]
    np.testing.assert_array_equal(both.features, np.hstack([rows.features for rows, _ in alone]))
    np.testing.assert_array_equal(position, alone[0][1])


def made_up(classes: int, layers: int, count: int = 300, features: int = 6) -> tuple[Rows, Rows]:
    """Make up rows whose labels are in the middle layers, a little."""
    rng = np.random.default_rng(classes + layers)
    labels = rng.integers(0, classes, 2 * count) + (np.arange(2 * count) % 2 if classes == 1 else 0)
    values = rng.normal(size=(2 * count, layers, features)).astype(np.float32)
    for layer in range(layers):
        values[np.arange(2 * count), layer, labels % features] += [0.3, 1.2, 0.9, 0.1][layer]
    flat = values.reshape(2 * count, -1)
    split = [
        Rows(np.ascontiguousarray(flat[part]), labels[part], np.arange(count))
        for part in (slice(count), slice(count, None))
    ]
    return split[0], split[1]


@pytest.mark.parametrize("classes", [2, 3, 5])
@pytest.mark.parametrize("c", [0.01, 1.0])
def test_the_mean_of_one_layer_is_the_logistic_regression_of_scikit_learn(classes: int, c: float) -> None:
    train, test = made_up(classes, 1)
    mixed = Mixed(MixedProbe("logistic", 1), ClassifierOptions(c=c), classes, 0)
    mixed.fit(train)
    plain = LogisticRegression(C=c, max_iter=1000, tol=1e-6).fit(train.features, train.labels)
    expected = plain.predict_log_proba(test.features)
    found = mixed.log_probability(test)
    np.testing.assert_allclose(found, expected[np.arange(len(test)), test.labels], atol=5e-3)
    assert (mixed.predict(test) == plain.predict(test.features)).mean() > 0.98
    assert mixed.converged
    assert mixed.mix[0].tolist() == [1.0]


def plain_mix(train: Rows, layers: int, classes: int, c: float) -> tuple[Any, NDArray[Any], float]:
    """Minimise the same loss in double precision, all rows at once, with SciPy."""
    x = torch.from_numpy(train.features).double().reshape(len(train), layers, -1)
    y = torch.from_numpy(train.labels)
    sizes = [layers, 1, classes * x.shape[2], classes]

    def score(rows: Any, flat: Any) -> Any:
        scalars, gamma, weight, bias = flat.split(sizes)
        return gamma * (rows * scalars.softmax(0)[:, None]).sum(1) @ weight.reshape(classes, -1).T + bias

    def loss(values: NDArray[Any]) -> tuple[float, NDArray[Any]]:
        flat = torch.from_numpy(values).requires_grad_()
        _, gamma, weight, _ = flat.split(sizes)
        penalty = (gamma * weight).square().sum() / (2 * c * len(train))
        total = torch.nn.functional.cross_entropy(score(x, flat), y) + penalty
        total.backward()
        return total.item(), flat.grad.numpy()

    start = np.concatenate([np.zeros(layers), np.ones(1), np.zeros(sizes[2] + classes)])
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 2000, "gtol": 1e-8, "ftol": 1e-14})
    flat = torch.from_numpy(found.x)
    return (lambda rows: score(rows, flat)), flat[:layers].softmax(0).numpy(), found.fun


@pytest.mark.slow
@pytest.mark.parametrize("c", [1.0, 10.0])
def test_a_mean_of_layers_is_that_of_plain_torch(c: float) -> None:
    train, test = made_up(4, 4)
    mixed = Mixed(MixedProbe("logistic", 4), ClassifierOptions(c=c), 4, 0)
    mixed.fit(train)
    score, weights, least = plain_mix(train, 4, 4, c)
    np.testing.assert_allclose(mixed.mix[0], weights, atol=0.01)
    chances = mixed.log_probability(train)
    head, gamma = mixed._head.weight, mixed.mix[1]  # type: ignore[union-attr]
    own = -chances.mean() + (gamma * head).square().sum().item() / (2 * c * len(train))
    assert least <= own < least + 1e-4
    with torch.no_grad():
        expected = score(torch.from_numpy(test.features).double().reshape(len(test), 4, -1)).log_softmax(1).numpy()
    np.testing.assert_allclose(mixed.log_probability(test), expected[np.arange(len(test)), test.labels], atol=0.03)
    assert (mixed.predict(test) == expected.argmax(1)).mean() > 0.98
    assert mixed.mix[0].argmax() == 1
    assert mixed.mix[0].sum() == pytest.approx(1.0)
    assert mixed.converged
    few = Mixed(MixedProbe("logistic", 4), ClassifierOptions(c=c, max_iterations=2), 4, 0)
    few.fit(train)
    assert not few.converged


@pytest.mark.slow
@pytest.mark.parametrize("classes", [3, 0])
def test_a_network_of_a_mean_of_layers_is_that_of_plain_torch(classes: int) -> None:
    train, test = made_up(3, 4)
    if not classes:
        train, test = (replace(rows, labels=rows.features[:, 3] * 2.0 + 1.0) for rows in (train, test))
    mixed = Mixed(MixedProbe("mlp", 4), NETWORK, classes, 7)
    mixed.fit(train)
    torch.manual_seed(7)
    first, second = torch.nn.Linear(6, 16), torch.nn.Linear(16, classes or 1)
    scalars, gamma = torch.zeros(4, requires_grad=True), torch.ones((), requires_grad=True)

    def score(rows: NDArray[Any]) -> Any:
        x = torch.from_numpy(rows).reshape(len(rows), 4, 6)
        return second(torch.relu(first(gamma * (x * scalars.softmax(0)[:, None]).sum(1))))

    solver = torch.optim.Adam([*first.parameters(), *second.parameters(), scalars, gamma], lr=0.01)
    order = np.random.default_rng(7)
    for _ in range(12):
        shuffled = order.permutation(len(train))
        for batch in (shuffled[begin : begin + 50] for begin in range(0, len(train), 50)):
            scores, labels = score(train.features[batch]), torch.from_numpy(train.labels[batch])
            if classes:
                loss = torch.nn.functional.cross_entropy(scores, labels)
            else:
                loss = (scores[:, 0] - labels.float()).square().mean() / 2
            loss = loss + 1e-4 * (first.weight.square().sum() + second.weight.square().sum()) / (2 * len(batch))
            solver.zero_grad()
            loss.backward()
            solver.step()
    with torch.no_grad():
        expected = score(test.features)
    if classes:
        np.testing.assert_array_equal(mixed.predict(test), expected.argmax(1).numpy())
        chances = expected.double().log_softmax(1).numpy()[np.arange(len(test)), test.labels]
        np.testing.assert_allclose(mixed.log_probability(test), chances, atol=1e-4)
    else:
        np.testing.assert_allclose(mixed.predict(test), expected[:, 0].numpy(), atol=1e-4)
    weights, scale = mixed.mix
    np.testing.assert_allclose(weights, scalars.detach().softmax(0).numpy(), atol=1e-5)
    assert scale == pytest.approx(gamma.item(), abs=1e-5)
    assert np.ptp(weights) > 0


def test_a_class_that_the_train_split_lacks_is_not_predicted_by_a_mean() -> None:
    train, test = made_up(3, 2)
    kept = train.labels != 1
    two = Rows(np.ascontiguousarray(train.features[kept]), train.labels[kept], train.sample[kept])
    for name in ("logistic", "mlp"):
        mixed = Mixed(MixedProbe(name, 2), NETWORK, 3, 0)
        mixed.fit(two)
        assert set(mixed.predict(test).tolist()) == {0, 2}
        assert (np.isneginf(mixed.log_probability(test)) == (test.labels == 1)).all()


def test_a_mean_begins_as_the_plain_mean() -> None:
    rows = torch.arange(24.0).reshape(2, 12)
    np.testing.assert_allclose(Mix(3)(rows).detach(), rows.reshape(2, 3, 4).mean(1), rtol=1e-6)


@pytest.mark.slow
def test_a_mean_finds_the_layers_that_know_and_its_weights_are_kept(tmp_path: Path) -> None:
    two_planted(tmp_path)
    asked = request(layers=("mix",), seeds=2, max_train_samples=50, control=True, mdl=True)
    result = probe(tmp_path, asked)
    assert result.layer.to_numpy().tolist() == ["0", "1", "2", "mix"]
    weights = result.mix_weight.squeeze()
    np.testing.assert_allclose(weights.sum("layer"), [1.0, 1.0])
    assert weights.sel(layer="mix").isnull().all()
    assert (weights.sel(layer="1") < 0.15).all()
    assert result.mix_gamma.dims == ("model", "training_size", "seed", "probe_seed")
    assert result.mix_gamma.notnull().all()
    means = result.accuracy.mean("probe_seed").squeeze()
    assert means.sel(layer="mix").item() > means.sel(layer="1").item() + 0.2
    assert result.code_length.notnull().all()
    assert result.selectivity.notnull().all()
    assert result.attrs["backend"] == "scikit-learn, torch"
    # Found again, as it was.
    xr.testing.assert_identical(probe(tmp_path, asked), result)
    frame = Probing().frame(result, asked)
    assert frame["layer"].tolist() == [0, 1, 2, "mix"]
    assert frame["mix_weight"][:3].tolist() == pytest.approx(weights.mean("probe_seed")[:3].to_numpy().tolist())
    # The best layer is one: what sees several is none.
    assert frame["layer"][frame["best"]].tolist() in ([0], [2])
    (note,) = (note for note in Probing().notes(result, asked) if "centre" in note)
    centre = (weights.mean("probe_seed")[:3] * [0, 1, 2]).sum().item()
    assert f"the mean of layers of tiny at training size 30, seed 42 has its centre at layer {centre:.1f}" in note


@pytest.mark.slow
def test_numbers_are_read_from_a_mean_of_layers(tmp_path: Path) -> None:
    store = two_planted(tmp_path)
    for split, run in zip(("train", "test"), runs_of(store), strict=True):
        where = {"task": "ner", "dataset": run.key.dataset, "split": split}
        store.add_labels("size", 100 + 20.0 * run.labels().values, level="words", **where)
    options = ClassifierOptions(epochs=60, hidden_size=16, learning_rate=0.01)
    result = probe(tmp_path, request(labels="size", probe="mlp", layers=("mix",), options=options))
    assert result.r2.sel(layer="mix").item() > result.r2.sel(layer="1").item()
    assert result.mix_weight.sel(layer="1").item() < 1 / 3
    with pytest.raises(SettingError, match=r"layers='mix' is learnt by mlp, and the probe is ridge; pass probe='mlp'"):
        probe(tmp_path, request(labels="size", layers=("mix",)))
    for name in ("svc", "bilstm-crf", SVC()):
        with pytest.raises(SettingError, match=r"layers='mix' is learnt by logistic and mlp, and the probe is"):
            probe(tmp_path, request(probe=name, layers=("mix",)))


def deeper(source: Synthetic) -> Synthetic:
    spec = replace(source.spec, layers=(*source.spec.layers, 3))
    return replace(source, spec=spec, hidden=[np.concatenate([states, states[-1:]]) for states in source.hidden])


@pytest.mark.slow
def test_layers_come_beside_each_alone_where_they_are_stored(tmp_path: Path) -> None:
    ner_store(tmp_path, model="b")
    store = ner_store(tmp_path, model="a", change={"train": deeper, "test": deeper})

    def probed(*layers: Any) -> list[tuple[Any, ...]]:
        asked = request(layers=layers)
        return list(probed_layers(find_cells(store, asked), asked).values())

    assert probed("1+3", 2) == [(0, 1, 2, 3, "1+3"), (0, 1, 2)]
    assert probed("mix", "0+1") == [(0, 1, 2, 3, "mix", "0+1"), (0, 1, 2, "mix", "0+1")]
    with pytest.raises(RunNotFoundError, match=r"layer 1\+4 is in no run of a, b; stored are 0, 1, 2, 3"):
        probed("1+4")
    result = probe(tmp_path, request(layers=("mix", "1+3")))
    assert result.layer.to_numpy().tolist() == ["0", "1", "2", "3", "mix", "1+3"]
    assert result.accuracy.sel(model="b", layer="1+3").isnull().all()
    assert result.mix_weight.sel(model="b", layer="3").isnull().all()
    np.testing.assert_allclose(result.mix_weight.sum("layer"), 1.0)


@pytest.mark.slow
def test_layers_seen_together_cost_those_fits_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ner_store(tmp_path)
    seen: list[Any] = []
    original = fitting.run_fit

    def spy(root: Any, fit: Fit) -> xr.Dataset:
        seen.append(fit.layer)
        return original(root, fit)

    monkeypatch.setattr(fitting, "run_fit", spy)
    alone = probe(tmp_path, request())
    assert seen == [0, 1, 2] or sorted(seen) == [0, 1, 2]
    seen.clear()
    more = probe(tmp_path, request(layers=("mix", "0+2")))
    assert sorted(seen) == ["0+2", "mix"]
    np.testing.assert_array_equal(more.accuracy.isel(layer=slice(3)), alone.accuracy)
    assert alone.layer.dtype.kind == "i"
    # Written together in another order, they are the same.
    seen.clear()
    probe(tmp_path, request(layers=("2+0",)))
    assert seen == []


@pytest.mark.slow
def test_what_sees_several_layers_goes_everywhere(tmp_path: Path) -> None:
    two_planted(tmp_path / "store")
    asked = request(layers=("mix", "0+2"))
    result = probe(tmp_path / "store", asked)
    for name in ("scores", "confusion"):
        figure = Probing().draw(name, result, asked)
        assert figure is not None
        if name == "scores":
            lines = [line.get_label() for line in figure.axes[0].get_lines()]
            assert {"layers 0+2", "mean of layers"} <= set(lines)
        pyplot.close(figure)
    for suffix in (".csv", ".json", ".zarr"):
        export_dataset(result, tmp_path / f"out{suffix}")
    with xr.open_zarr(tmp_path / "out.zarr", consolidated=False) as opened:
        assert opened.layer.to_numpy().tolist() == ["0", "1", "2", "mix", "0+2"]
    pairs = compare_probes(tmp_path / "store", replace(asked, score="accuracy"))
    assert len(pairs.comparison) == 10
    rows = ProbeComparison().frame(pairs, asked)
    assert set(rows["layer_a"]) | set(rows["layer_b"]) == {"0", "1", "2", "mix", "0+2"}
    one = rows[(rows.layer_a == "0") & (rows.layer_b == "mix")].iloc[0]
    means = result.accuracy.squeeze()
    assert one.difference == pytest.approx((means.sel(layer="mix") - means.sel(layer="0")).item())
    probe(tmp_path / "store", request())
    page = tmp_path / "page.html"
    from biocache.engine import ReportRequest

    made = write_report(tmp_path / "store", page, ReportRequest())
    assert made is not None
    assert "layers seen together" in page.read_text()


@pytest.mark.slow
def test_workers_learn_the_same_mean(tmp_path: Path) -> None:
    for name in ("threads", "workers"):
        two_planted(tmp_path / name)
    asked = request(layers=("mix", "0+2"), probe="mlp", seeds=2, options=NETWORK)
    threads = probe(tmp_path / "threads", asked).drop_vars("fit_seconds")
    xr.testing.assert_allclose(threads, probe(tmp_path / "workers", asked, workers=2).drop_vars("fit_seconds"))
    assert (threads.mix_weight.std("probe_seed") > 0).sum() == 3


@pytest.mark.slow
def test_memory_counts_the_layers(tmp_path: Path) -> None:
    store = ner_store(tmp_path)

    def size(**settings: Any) -> int:
        asked = request(**settings)
        return fit_bytes(find("probe", store.storage, asked).runs, asked)

    train = store.run(split="train")
    layer = 4 * int(train.column("samples/word_count").sum()) * train.spec.feature_size
    assert size(layers=("0+2",)) - size() >= layer
    assert size(layers=("0+1+2",)) - size() >= 2 * layer
    assert size(layers=("mix",)) - size() >= 2 * layer
    assert size(layers=("mix",), probe="mlp", mdl=True) - size(layers=("mix",), probe="mlp") >= 3 * layer
    assert size(layers=("0+2",), probe="svc") - size(probe="svc") >= 3 * layer


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (("6+0", 3, "3", "0+6", "mix", " 12 + 0 + 3"), ("0+6", 3, "mix", "0+3+12")),
        ((np.int64(2), "007"), (2, 7)),
        (None, None),
    ],
)
def test_layers_are_kept_in_one_spelling(given: Any, kept: Any) -> None:
    made = ProbeRequest(task="ner", layers=given)
    assert made.layers == kept
    assert ProbeRequest.from_json(made.to_json()) == made
    assert json.loads(made.to_json())["layers"] == (None if kept is None else list(kept))


@pytest.mark.parametrize(
    "value",
    ["0+0", "1+2+1", "+", "0+", "+0", "", "x", "Mix", "mix+1", "all", "1-2", "0.5", 0.5, True, -1, None, "9" * 12, "²"],
)
def test_what_is_no_layer_is_refused(value: Any) -> None:
    with pytest.raises(SettingError) as caught:
        ProbeRequest(task="ner", layers=(value,))
    text = str(caught.value)
    assert "is not a layer, different layers side by side, such as 0+6, or mix" in text or "whole number from 0" in text


def test_labels_are_in_the_order_of_a_table() -> None:
    assert labels_in_order(["mix", "10", "2", "0+2", "2"]) == ["2", "10", "mix", "0+2"]
    assert labels_in_order([12, 0, 3]) == [0, 3, 12]
    assert layers_of("mix", (0, 3)) == (0, 3)
    assert layers_of(4, ()) == (4,)
    assert word_rows(split_runs("train"), 1)[0].shape[0] == len(word_rows(split_runs("train"), 0)[1])
