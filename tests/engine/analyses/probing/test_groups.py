"""Intervals and tests of probes are over groups of test samples, against groups left out or drawn by hand."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from grouped import keep_groups
from numpy.typing import NDArray
from planted import ner_store, nli_store, split_runs
from scipy import stats
from sklearn.metrics import f1_score

from biocache.engine import ProbeRequest, ReportRequest, compare_probes, probe, write_report
from biocache.engine.analyses.probing.analysis import Probing
from biocache.engine.analyses.probing.fitting import FIT_KIND
from biocache.engine.statistics import drawn_weights
from biocache.store import Store
from biocache.store.results import list_results

# Sentences of a group do not all follow each other, and one has no group.
NAMES: tuple[str | None, ...] = (*(f"document {number * number % 7}" for number in range(29)), None)


def grouped(root: Path, groups: Any = NAMES, **changes: Any) -> Store:
    """Return a store whose test samples are in groups; layer 1 knows a little."""
    store = ner_store(root, strength=1.0, **changes)
    keep_groups(root, split_runs("test", strength=1.0, **changes), groups)
    return store


def asked(**changes: Any) -> ProbeRequest:
    return ProbeRequest(task="ner", label_scheme="bio", **changes)


def predictions(store: Store) -> tuple[NDArray[Any], dict[int, NDArray[Any]]]:
    """Return whether each layer is right about each test word, and the word's sample."""
    run = store.run(split="test")
    fits = {found.inputs["layer"]: found.load().predicted.to_numpy() for found in list_results(store.path, FIT_KIND)}
    return run.column("words/sample"), {layer: own == run.labels().values for layer, own in fits.items()}


def group_of(names: tuple[str | None, ...]) -> NDArray[Any]:
    return np.unique([f"alone {at}" if name is None else name for at, name in enumerate(names)], return_inverse=True)[1]


@pytest.mark.slow
def test_of_few_groups_each_is_left_out(tmp_path: Path) -> None:
    page, tmp_path = tmp_path / "report.html", tmp_path / "store"
    store = grouped(tmp_path)
    result, pairs = probe(tmp_path, asked()), compare_probes(tmp_path, asked(score="accuracy"))
    sample, right = predictions(store)
    group = group_of(NAMES)[sample]
    count = int(group.max()) + 1
    assert (result.attrs["group"], result.attrs["groups"]) == ("group", count) == ("group", 5)
    assert pairs.attrs["groups"] == 5
    write_report(tmp_path, page, ReportRequest(samples=0))
    text = page.read_text(encoding="utf-8")
    assert "Intervals are over 5 groups of samples" in text
    assert "All runs have one seed" in text
    size = np.bincount(group)
    freedom = size.sum() ** 2 / (size**2).sum() - 1

    def t_of(rows: NDArray[Any]) -> tuple[float, float]:
        left = np.array([rows[group != out].mean() for out in range(count)])
        return rows.mean(), np.sqrt((count - 1) / count * ((left - left.mean()) ** 2).sum())

    for layer in range(3):
        mean, error = t_of(right[layer])
        bounds = mean + np.array([-1, 1]) * stats.t.ppf(0.975, freedom) * error
        found = [result[name].sel(score="accuracy", layer=layer).item() for name in ("ci_low", "ci_high")]
        np.testing.assert_allclose(found, np.clip(bounds, 0, 1))
    for place in range(pairs.sizes["comparison"]):
        pair = pairs.isel(comparison=place)
        mean, error = t_of(right[pair.layer_b.item()].astype(float) - right[pair.layer_a.item()])
        assert pair.difference.item() == pytest.approx(mean)
        assert pair.p.item() == pytest.approx(max(2 * stats.t.sf(abs(mean / error), freedom), 2.0**-4))


@pytest.mark.slow
def test_many_groups_are_drawn(tmp_path: Path) -> None:
    lengths = [3] * 120
    names = tuple(f"document {number // 2}" for number in range(120))
    store = grouped(tmp_path, names, lengths=lengths)
    result = probe(tmp_path, asked(resamples=200))
    sample, right = predictions(store)
    (weights,) = drawn_weights(60, 200, 0)
    of_rows = weights[:, group_of_order(names)[sample]]
    shares = (of_rows * right[1]).sum(axis=1) / of_rows.sum(axis=1)
    found = [result[name].sel(score="accuracy", layer=1).item() for name in ("ci_low", "ci_high")]
    np.testing.assert_allclose(found, np.quantile(shares, [0.025, 0.975]))


def group_of_order(names: tuple[str, ...]) -> NDArray[Any]:
    """Number groups as they first appear."""
    return np.array([list(dict.fromkeys(names)).index(name) for name in names])


@pytest.mark.slow
def test_pairs_of_one_premise_are_one_group(tmp_path: Path) -> None:
    nli_store(tmp_path, strength=1.0)
    alone = probe(tmp_path, ProbeRequest(task="nli"))
    for view in ("premise", "hypothesis"):
        run = split_runs("test", task="nli", view=view, planted=None, label_names=("a", "b", "c"), iob2=False)
        keep_groups(tmp_path, run, [str(number // 3) for number in range(30)])
    together = probe(tmp_path, ProbeRequest(task="nli"))
    # The groups are of what the result is found by.
    assert (alone.attrs["group"], alone.attrs["groups"]) == ("samples", 30)
    assert (together.attrs["group"], together.attrs["groups"]) == ("group", 10)
    np.testing.assert_array_equal(alone.accuracy, together.accuracy)
    assert (alone.ci_low != together.ci_low).any()
    run = Store.open(tmp_path).run(split="test", view="premise")
    fit = next(each for each in list_results(tmp_path, FIT_KIND) if each.inputs["layer"] == 1).load()
    rows = np.arange(30)

    def macro(kept: NDArray[Any]) -> float:
        return float(f1_score(run.labels().values[kept], fit.predicted.to_numpy()[kept], average="macro"))

    left = np.array([macro(rows[rows // 3 != out]) for out in range(10)])
    error = np.sqrt(9 / 10 * ((left - left.mean()) ** 2).sum())
    low = together.ci_low.sel(score="macro_f1", layer=1).item()
    assert low == pytest.approx(macro(rows) - stats.t.ppf(0.975, 9) * error)


@pytest.mark.slow
def test_notes_say_what_intervals_hold(tmp_path: Path) -> None:
    store = ner_store(tmp_path / "alone")
    notes = list(Probing().notes(probe(store.path, asked()), asked()))
    assert notes[:2] == [
        "intervals are over 30 samples, taken as independent: the dataset names no groups of them; with so few, by "
        "the jackknife and Student's t",
        "all runs have one seed: the intervals hold what other samples would change, and not what another seed of the "
        "training would",
    ]
    result = probe(grouped(tmp_path / "groups").path, asked())
    notes = list(Probing().notes(result, asked()))
    assert notes[0].startswith("intervals are over 5 groups of samples (label set group); with so few")
    assert notes[1].startswith("all runs have one seed")
    several = result.reindex(seed=[*result.seed.values, 43])
    assert not any("seed of the training" in note for note in Probing().notes(several, asked()))
    result = probe(grouped(tmp_path / "one", ["one"] * 30).path, asked())
    assert next(Probing().notes(result, asked())) == "there are no intervals: all samples are of one group"
    assert result.ci_low.isnull().all()
