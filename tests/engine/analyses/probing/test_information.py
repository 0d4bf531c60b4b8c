"""V-information and conditional information are those of plain scikit-learn, in bits a row."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from planted import ner_store, nli_store, relabelled, runs_of, split_runs, word_rows, write
from report_factory import Page
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from store_factory import Synthetic

from biocache.engine import ClassifierOptions, ProbeRequest, compare_probes, probe, write_report
from biocache.engine.analyses.probing import fitting
from biocache.engine.analyses.probing.analysis import Probing
from biocache.engine.analyses.probing.code_length import label_bits, mixed_bits
from biocache.engine.analyses.probing.features import Rows
from biocache.engine.analyses.probing.information import fitted_as
from biocache.engine.analyses.probing.layers import beside
from biocache.engine.analyses.probing.planning import fit_bytes
from biocache.engine.analysis import find
from biocache.store.errors import RunNotFoundError, SettingError

OPTIONS = ClassifierOptions(c=1.0, hidden_size=16, epochs=12, learning_rate=0.01)
PLAIN = {
    "logistic": LogisticRegression(C=1.0, max_iter=1000),
    "mlp": MLPClassifier((16,), max_iter=12, n_iter_no_change=12, learning_rate_init=0.01, random_state=0),
}


def request(**settings: Any) -> ProbeRequest:
    return ProbeRequest(**{"task": "ner", "label_scheme": "bio", "options": OPTIONS, **settings})


def copied(source: Synthetic) -> Synthetic:
    """Write layer 1 into layer 2 again: layer 2 knows nothing beyond layer 1."""
    hidden = [states.copy() for states in source.hidden]
    for states in hidden:
        states[2] = states[1]
    return replace(source, hidden=hidden)


def weak(root: Path) -> dict[str, Synthetic]:
    """Write labels weakly into layers 0 and 1, of which layer 2 is a copy."""
    made = {}
    for split in ("train", "test"):
        both = [split_runs(split, planted=layer, strength=1.5) for layer in (0, 1)]
        pairs = zip(*(each.hidden for each in both), strict=True)
        hidden = [np.stack([zero[0], one[1], one[2]]) for zero, one in pairs]
        made[split] = copied(replace(both[0], hidden=hidden))
    write(root, made.values())
    return made


def plain_bits(
    runs: dict[str, Synthetic], name: str, layers: tuple[int, ...]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the bits of each test word by a probe of some layers, and by the label frequencies of the train words."""
    found = {}
    for split, run in runs.items():
        parts = [word_rows(run, layer) for layer in layers]
        found[split] = np.hstack([part[0] for part in parts]), parts[0][1], parts[0][2]
    (train, labels, _), (test, own, position) = found["train"], found["test"]
    scaler = StandardScaler().fit(train)
    with np.errstate(all="ignore"):
        chances = PLAIN[name].fit(scaler.transform(train), labels).predict_proba(scaler.transform(test))
    frequency = (np.bincount(labels, minlength=3) + 1) / (len(labels) + 3)
    prior = -np.log2(frequency[runs["test"].columns["words/label"]])
    bits = prior.copy()
    for place, label, row in zip(position, own, chances, strict=True):
        bits[place] = -np.log2((len(labels) * row[label] + 1) / (len(labels) + 3))
    return bits, prior


def jackknife(gain: NDArray[np.float64], sample: NDArray[Any]) -> tuple[float, float]:
    """Return the 95 % t interval of a mean over words, by leaving out one sentence after another."""
    names, sizes = np.unique(sample, return_counts=True)
    without = np.array([gain[sample != name].mean() for name in names])
    count = len(names)
    error = np.sqrt((count - 1) / count * ((without - without.mean()) ** 2).sum())
    half = stats.t.ppf(0.975, sizes.sum() ** 2 / (sizes**2).sum() - 1) * error
    return gain.mean() - half, gain.mean() + half


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", ["logistic", "mlp"])
def test_bits_are_those_of_scikit_learn(tmp_path: Path, name: str) -> None:
    runs = weak(tmp_path)
    result = probe(tmp_path, request(probe=name, given=0)).squeeze()
    sample = runs["test"].columns["words/sample"]
    within = {"rel": 1e-4, "abs": 1e-5}
    alone, prior = plain_bits(runs, name, (0,))
    for layer in range(3):
        bits, _ = plain_bits(runs, name, (layer,))
        own = result.sel(layer=layer)
        assert own.entropy.item() == pytest.approx(prior.mean())
        assert own.cross_entropy.item() == pytest.approx(bits.mean(), **within)
        assert own.v_information.item() == pytest.approx((prior - bits).mean(), **within)
        bounds = [own[f"v_information_{end}"].item() for end in ("ci_low", "ci_high")]
        assert bounds == pytest.approx(jackknife(prior - bits, sample), **within)
        gain = alone - plain_bits(runs, name, (0, layer) if layer else (0,))[0]
        assert own.conditional_information.item() == pytest.approx(gain.mean(), **within)
        bounds = [own[f"conditional_information_{end}"].item() for end in ("ci_low", "ci_high")]
        assert bounds == pytest.approx(jackknife(gain, sample), **within)
    assert result.conditional_information.sel(layer=0).item() == 0
    assert result.conditional_information_ci_low.sel(layer=1) > 0.05


@pytest.mark.slow
def test_a_copy_of_a_layer_adds_nothing_to_it(tmp_path: Path) -> None:
    weak(tmp_path)
    found = probe(tmp_path, request(given=1)).squeeze()
    copy, other = (found.sel(layer=layer) for layer in (2, 0))
    assert copy.v_information.item() == found.v_information.sel(layer=1).item() > 0.1
    assert abs(copy.conditional_information.item()) < 0.02
    assert other.conditional_information.item() > 0.05


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_information_is_the_mean_over_seeds_of_probes(tmp_path: Path) -> None:
    weak(tmp_path)
    asked = request(given=0, seeds=3, max_train_samples=25, layers=(1,))
    result = probe(tmp_path, asked)
    found = result.squeeze()
    means = []
    for name in ("v_information", "conditional_information"):
        own = found[name].sel(layer=1)
        assert len(set(own.to_numpy().tolist())) == 3
        low, high = (found[f"{name}_{end}"].sel(layer=1).item() for end in ("ci_low", "ci_high"))
        # The jackknife's interval lies around the mean.
        assert own.mean().item() == pytest.approx((low + high) / 2)
        means.append(own.mean().item())
    (row,) = (row for _, row in Probing().frame(result, asked).iterrows() if row["layer"] == 1)
    assert [row["v_information"], row["conditional_information"]] == pytest.approx(means)
    assert row["entropy"] - row["cross_entropy"] == pytest.approx(row["v_information"])


def test_bits_of_a_sentence_are_shared_by_its_words() -> None:
    rows = Rows(np.zeros((5, 1), np.float32), np.zeros(5, np.int64), np.array([0, 0, 0, 1, 1]))
    chances = np.log([0.25, 1e-300])
    bits = mixed_bits(chances, rows, 100, 4)
    expected = [-np.log2((100 * 0.25 + 4 * 4.0**-3) / 104), -np.log2((100 * 1e-300 + 4 * 4.0**-2) / 104)]
    np.testing.assert_allclose(bits, [expected[0] / 3] * 3 + [expected[1] / 2] * 2)
    np.testing.assert_allclose(mixed_bits(np.log(np.full(5, 0.5)), rows, 10, 4), -np.log2((10 * 0.5 + 1) / 14))
    np.testing.assert_allclose(label_bits(np.array([6, 0, 2])), -np.log2(np.array([7, 1, 3]) / 11))


@pytest.mark.slow
def test_bits_of_a_recurrent_probe_are_of_whole_sentences(tmp_path: Path) -> None:
    store = ner_store(tmp_path, strength=3.0)
    found = probe(tmp_path, request(probe="bilstm-crf", layers=(1,), given=0)).squeeze()
    assert 0 < found.cross_entropy.sel(layer=1) < found.entropy.sel(layer=1)
    assert found.v_information.sel(layer=1) > 0.3
    assert found.conditional_information.sel(layer=1) > 0.3
    assert found.attrs["groups"] == runs_of(store)[1].counts.samples


@pytest.mark.slow
def test_a_class_that_the_train_split_lacks_is_not_infinitely_unlikely(tmp_path: Path) -> None:
    def merged(source: Synthetic) -> Synthetic:
        labels = source.columns["words/label"]
        return relabelled(source, np.where(labels == 2, 1, labels))

    store = ner_store(tmp_path, change={"train": merged})
    found = probe(tmp_path, request(layers=(1,))).squeeze()
    train, test = runs_of(store)
    known = int((train.column("words/token_count") > 0).sum())
    assert found.attrs["label_scheme"] == "bio"
    frequency = (np.bincount(train.labels().values[train.column("words/token_count") > 0], minlength=3) + 1) / (
        known + 3
    )
    names = train.labels().names
    assert names == test.labels().names[: len(names)]
    assert found.entropy.sel(layer=1).item() == pytest.approx(-np.log2(frequency[test.labels().values]).mean())
    assert np.isfinite(found.cross_entropy).all()
    # Each of these words costs about as much as one label among all that were fitted on.
    rare = (test.labels().values == 2).mean()
    assert found.cross_entropy.sel(layer=1).item() > 0.5 * rare * np.log2(known)


@pytest.mark.slow
def test_numbers_and_votes_have_no_bits(tmp_path: Path) -> None:
    nli_store(tmp_path, strength=2.0)
    asked = {"task": "nli", "layers": (1,), "options": OPTIONS}
    for name in ("svc", "linear-svc", SVC()):
        made = ProbeRequest(**asked, probe=name)
        result = probe(tmp_path, made)
        assert not {"entropy", "v_information"} & set(result)
        (said,) = (note for note in Probing().notes(result, made) if "V-information" in note)
        assert "gives no probabilities, and so no V-information; logistic, mlp, bilstm-crf do" in said
        with pytest.raises(SettingError, match=r"given measures bits, which need probabilities of classes"):
            probe(tmp_path, replace(made, given=0))
    made = ProbeRequest(**asked, probe=KNeighborsClassifier(5))
    result = probe(tmp_path, made)
    assert result.v_information.sel(layer=1).item() > 0.2
    assert not any("no V-information" in note for note in Probing().notes(result, made))


@pytest.mark.slow
def test_no_layer_is_beside_the_given_one_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ner_store(tmp_path)
    seen: list[Any] = []
    original = fitting.run_fit
    monkeypatch.setattr(fitting, "run_fit", lambda root, fit: (seen.append(fit.layer), original(root, fit))[1])
    result = probe(tmp_path, request(layers=(2, "0+1", "mix"), given=1))
    assert sorted(seen, key=str) == [0, "0+1", 1, "1+2", 2, "mix"]
    own = result.conditional_information.squeeze()
    assert own.sel(layer="mix").isnull()
    assert own.sel(layer="0+1").item() == own.sel(layer="0").item()
    assert own.sel(layer="1").item() == 0
    assert beside(6, 0) == "0+6"
    assert beside(6, "0+6") == "0+6"
    assert beside(6, "0+9") == "0+6+9"
    assert beside(6, "6") == 6
    assert fitted_as("given", "mix", 0) is None
    assert fitted_as("control", "mix", 0) == ("control", "mix")


@pytest.mark.slow
def test_a_given_layer_that_does_not_go_is_refused(tmp_path: Path) -> None:
    store = ner_store(tmp_path)
    with pytest.raises(RunNotFoundError, match=r"given 7 is no layer of run .*; stored are 0, 1, 2"):
        probe(tmp_path, request(given=7))
    with pytest.raises(SettingError, match=r"given is measured by `probe\(\)`, and not compared; leave it out"):
        compare_probes(tmp_path, request(given=0))
    for split, run in zip(("train", "test"), runs_of(store), strict=True):
        where = {"task": "ner", "dataset": run.key.dataset, "split": split}
        store.add_labels("size", 1.0 * run.labels().values, level="words", **where)
    with pytest.raises(SettingError, match=r"ridge'? gives none; leave it out"):
        probe(tmp_path, request(labels="size", given=0))

    def size(**settings: Any) -> int:
        made = request(**settings)
        return fit_bytes(find("probe", store.storage, made).runs, made)

    train = store.run(split="train")
    layer = 4 * int(train.column("samples/word_count").sum()) * train.spec.feature_size
    assert size(given=0) - size() >= layer


@pytest.mark.slow
def test_information_is_in_the_table_the_notes_and_the_report(tmp_path: Path) -> None:
    root = tmp_path / "s.zarr"
    weak(root)
    asked = request(given=0)
    result = probe(root, asked)
    table = Probing().summary(result, asked)
    own = result.squeeze()
    for title, name in (("V-information", "v_information"), ("conditional information", "conditional_information")):
        for end in ("", "_ci_low", "_ci_high"):
            assert table[f"{title}{end}"][1:].tolist() == pytest.approx(own[f"{name}{end}"].to_numpy().tolist())
    notes = list(Probing().notes(result, asked))
    assert sum("beyond a probe of layer 0 alone, in bits a row" in note for note in notes) == 1
    noise = result.assign(v_information=result.v_information - 5)
    assert any("V-information is not above 0 in 3 of 3 places" in note for note in Probing().notes(noise, asked))
    assert not any("is not above 0" in note for note in notes)
    write_report(root, tmp_path / "report.html")
    page = Page(tmp_path / "report.html")
    rows = sorted(page.rows("probes-1"), key=lambda row: row["layer"])
    assert [row["conditional_information"] for row in rows] == pytest.approx(
        own.conditional_information.to_numpy().tolist(), abs=1e-6
    )
    titles = [page.json(f"probes-1-variant-{place}")["panels"][0]["title"] for place in (4, 5)]
    assert titles == ["tiny: V-information", "tiny: conditional information"]
    assert "of a layer and layer 0 side by side" in page.text
