"""Runs of words and of samples, against plain forward passes that loops reduce, and against runs of tokens."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from extractions import files, holdings, only_run, request, small_packs
from numpy.typing import NDArray
from plain_windows import MAX_LENGTH, STRIDE, Plain, context, pairs_that_fit
from reference import read_rows
from victims import Job, run_jobs
from zoo_models import make
from zoo_species import SPECIES

from biocache.engine import ProbeRequest, extract, probe
from biocache.engine.recompute import recompute_samples
from biocache.store import Run, Store
from biocache.store.copying import copy_run
from biocache.store.errors import IntegrityError, SettingError, SpecMismatchError
from biocache.store.integrity import verify_run
from biocache.store.levels import SAMPLE_ROWS

pytestmark = pytest.mark.slow

SMALL = {"batch_tokens": 96, "window_tokens": 200}
# Family, task, view, data type, stride.
CASES = [
    ("bert", "ner", "sentence", "float16", None),
    ("gpt2", "ner", "sentence", "float16", STRIDE),
    ("roberta", "nli", "pair", "float32", STRIDE),
    ("gpt2", "nli", "pair", "float16", None),
    ("bert", "nli", "pair", "int8", STRIDE),
]
LEVELS = ("token", "word", "sample")


@pytest.fixture(scope="module")
def corpora(corpus_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {"ner": corpus_folder, "nli": pairs_that_fit(corpus_folder, tmp_path_factory.mktemp("pairs"))}


@pytest.fixture(scope="module")
def models(checkpoints: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    make(SPECIES["roberta"], folder / "roberta", folder / "scratch")
    return {"roberta": folder / "roberta", "bert": checkpoints["bert"], "gpt2": checkpoints["gpt2"]}


def asked(corpora: Any, models: Any, case: tuple[Any, ...], **settings: Any) -> Any:
    family, task, view, dtype, stride = case
    chosen = {"task": task, "views": (view,), "attention_views": (view,), "dtype": dtype, "limit": 20}
    cut = {} if stride is None else {"max_length": MAX_LENGTH, "stride": stride}
    return request(corpora[task], models[family], **chosen, **cut, **SMALL, **settings)


@pytest.fixture(scope="module")
def stores(corpora: Any, models: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[Any, dict[str, Path]]:
    """A store of each level, by case, all of many packs."""
    made: dict[Any, dict[str, Path]] = {}
    with pytest.MonkeyPatch.context() as patch:
        small_packs(patch, 128)
        for case in CASES:
            folder = tmp_path_factory.mktemp("levels")
            made[case] = {level: folder / level for level in LEVELS}
            for level, store in made[case].items():
                extract(store, asked(corpora, models, case, level=level))
    return made


@pytest.fixture(scope="module")
def runs(stores: Any) -> dict[Any, dict[str, Run]]:
    return {case: {level: only_run(store) for level, store in made.items()} for case, made in stores.items()}


POOLS = {
    "mean": lambda own: own.astype(np.float64).mean(axis=1),
    "first": lambda own: own[:, 0],
    "last": lambda own: own[:, -1],
    "max": lambda own: own.max(axis=1),
}


class ByHand:
    """The rows of a sample (layer, feature), from plain forward passes of its windows."""

    def __init__(self, plain: Plain, texts: tuple[tuple[str, ...], ...], case: tuple[Any, ...]) -> None:
        *_, dtype, stride = case
        self.windows = plain.windows(texts, MAX_LENGTH if stride else 10_000, stride)
        hidden = np.concatenate([plain.forward(window)[0] for window in self.windows], axis=1)
        self.hidden = hidden.astype(np.float16).astype(np.float32) if dtype == "float16" else hidden
        tokens = [
            (number, owner, text)
            for number, window in enumerate(self.windows)
            for owner, text in zip(window.words, window.texts, strict=True)
        ]
        self.words: list[NDArray[Any]] = []
        self.places: list[list[int]] = []
        for text, words in enumerate(texts):
            for word in range(len(words)):
                best = context(self.windows, text, word)
                own = [place for place, token in enumerate(tokens) if token == (best, word, text)]
                self.places.append(own)
                self.words.append(self.hidden[:, own])
        special = [owner is None for _, owner, _ in tokens]
        number = np.array([number for number, *_ in tokens])
        kept = {place for own in self.places for place in own}
        first_text = [special[: place + 1].count(False) for place in range(len(tokens))]
        before = [
            first_text[place] == first_text[np.flatnonzero(number == number[place])[0]] for place in range(len(tokens))
        ]
        last = len(self.windows) - 1
        chosen = {"first": number == 0, "last": number == last}
        once = [
            place in kept or (special[place] and number[place] == (0 if before[place] else last))
            for place in range(len(tokens))
        ]
        chosen |= {"mean": np.array(once), "max": np.array(once)}
        self.samples = {
            (with_special, pooling): self.hidden[:, chosen[pooling] & (np.array(with_special) | ~np.array(special))]
            for with_special, pooling in SAMPLE_ROWS
        }

    def rows(self, level: str) -> list[NDArray[Any]]:
        if level == "sample":
            return [POOLS[pooling](own) for (_, pooling), own in self.samples.items()]
        return [POOLS[pooling](own) for own in self.words for pooling in ("first", "last", "mean")[: own.shape[1]]]


@pytest.fixture(scope="module")
def by_hand(corpora: Any, models: Any) -> dict[Any, list[ByHand]]:
    return {
        case: [
            ByHand(Plain(models[case[0]]), row.view(case[2]), case)
            for row in read_rows(corpora[case[1]], case[1], "test")[:20]
        ]
        for case in CASES
    }


def tolerance(run: Run, values: NDArray[Any]) -> Any:
    """Return the certified error of each layer, half a step of the tokens' type, and the order of the model's sums."""
    largest = np.max([record.errors["hidden"]["absolute"] for record in run.records().values()], axis=0)
    size = np.abs(values).max(axis=(1, 2))
    step = 2.0**-10 if run.spec.dtype == "float16" else 2.0**-22
    return (largest + (step + 1e-5) * size)[:, np.newaxis, np.newaxis]


def computed(array: Any) -> NDArray[np.float64]:
    return np.asarray(array.compute(scheduler="synchronous"), np.float64)


@pytest.mark.parametrize("level", ["word", "sample"])
@pytest.mark.parametrize("case", CASES)
def test_rows_are_those_of_a_plain_forward(runs: Any, by_hand: Any, case: Any, level: str) -> None:
    run, token = runs[case][level], runs[case]["token"]
    assert run.counts.packs == token.counts.packs > 3
    expected = np.stack([row for sample in by_hand[case] for row in sample.rows(level)], axis=1)
    stored = computed(run.activations("hidden"))
    assert stored.shape == expected.shape
    assert (np.abs(stored - expected) <= tolerance(run, expected)).all()
    assert run.counts.rows == run.plan.rows.total == expected.shape[1]
    assert any(own.shape[1] > 1 for sample in by_hand[case] for own in sample.words)
    if case[4]:
        assert run.windows.count.max() > 1
    for name in ("samples/token_count", "tokens/token_id", "words/token_count"):
        np.testing.assert_array_equal(run.column(name), token.column(name))
    np.testing.assert_array_equal(computed(run.activations("attention")), computed(token.activations("attention")))


@pytest.mark.parametrize("level", ["word", "sample"])
@pytest.mark.parametrize("case", [case for case in CASES if case[3] != "int8"])
def test_a_copy_at_a_level_is_an_extraction_at_it(
    stores: Any, runs: Any, case: Any, level: str, tmp_path: Path
) -> None:
    copy_run(runs[case]["token"], tmp_path / "copy", level=level)
    assert holdings(tmp_path / "copy") == holdings(stores[case][level])
    copied, extracted = only_run(tmp_path / "copy"), runs[case][level]
    assert copied.spec == extracted.spec
    assert copied.counts == extracted.counts
    for pack, record in extracted.records().items():
        own = copied.records()[pack]
        assert (own.checksums, own.errors, own.stored_bytes) == (record.checksums, record.errors, record.stored_bytes)
    assert list(verify_run(copied)) == []


@pytest.mark.parametrize("case", CASES)
def test_words_spans_and_samples_are_those_of_tokens(runs: Any, by_hand: Any, case: Any) -> None:
    token, word, sample = (runs[case][level] for level in LEVELS)
    samples = by_hand[case]
    for pooling in ("mean", "first", "last"):
        own, other = word.words(pooling), token.words(pooling)
        expected = np.stack([POOLS[pooling](w) for each in samples for w in each.words if w.size], axis=1)
        assert own.drop_vars("hidden").equals(other.drop_vars("hidden"))
        assert own.attrs["words_lost"] == other.attrs["words_lost"]
        assert own.hidden.dtype == np.float32
        assert own.hidden.data.numblocks == other.hidden.data.numblocks
        assert (np.abs(computed(own.hidden) - expected) <= tolerance(word, expected)).all()
        assert (np.abs(computed(own.hidden) - computed(other.hidden)) <= 2 * tolerance(word, expected)).all()
    for special, pooling in SAMPLE_ROWS:
        expected = np.stack([POOLS[pooling](each.samples[special, pooling]) for each in samples], axis=1)
        own = sample.samples(pooling, special)
        assert own.drop_vars("hidden").equals(token.samples(pooling, special).drop_vars("hidden"))
        assert (np.abs(computed(own.hidden) - expected) <= tolerance(sample, expected)).all()
        if special or pooling == "max":
            continue
        if pooling == "last" and case[2] == "pair" and case[4]:
            # A hypothesis that is whole in each window is read from the first, and the last token is in the last.
            with pytest.raises(SettingError, match="from which the last token of samples in windows cannot be made"):
                word.samples(pooling)
            continue
        assert (np.abs(computed(word.samples(pooling).hidden) - expected) <= tolerance(word, expected)).all()
    if case[1] == "ner":
        for pooling in ("mean", "first", "last"):
            own, other = word.spans(pooling=pooling), token.spans(pooling=pooling)
            assert own.drop_vars("hidden").equals(other.drop_vars("hidden"))
            assert own.word_count.values.max() > 1
            expected = computed(other.hidden)
            assert (np.abs(computed(own.hidden) - expected) <= 2 * tolerance(word, expected)).all()


KEPT = {
    "word": "keeps the mean, first and last of the tokens of each word, from which",
    "sample": "keeps the mean, first, last and maximum of the tokens of each sample, from which",
}


@pytest.mark.parametrize(
    ("level", "view", "wanted", "other"),
    [
        ("word", lambda run: run.tokens(), "tokens", "token"),
        ("word", lambda run: run.iter_batches(0), "batches of tokens", "token"),
        ("word", lambda run: run.torch_dataset(), "batches of tokens", "token"),
        ("word", lambda run: run.words(windows="mean"), "a mean over windows", "token"),
        ("word", lambda run: run.spans(pooling="max"), "a maximum over the tokens of spans of words", "token"),
        ("word", lambda run: run.samples("max"), "a maximum over the tokens of samples", "token"),
        ("word", lambda run: run.samples("mean", True), "samples with special tokens", "token"),
        ("sample", lambda run: run.tokens(), "tokens", "token"),
        ("sample", lambda run: run.words(), "words", "word"),
        ("sample", lambda run: run.spans(), "spans of words", "word"),
        ("sample", lambda run: run.torch_dataset(layers=[0]), "batches of tokens", "token"),
    ],
)
def test_what_a_run_cannot_tell_is_refused(runs: Any, level: str, view: Any, wanted: str, other: str) -> None:
    run = runs[CASES[1]][level]
    with pytest.raises(SettingError) as error:
        view(run)
    assert error.value.message == (
        f"run {run.key} {KEPT[level]} {wanted} cannot be made; extract it with --level={other} and --overwrite, or "
        "into another --store"
    )


def test_other_levels_are_made_of_tokens_that_are_no_codes(runs: Any, stores: Any, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="holds int8 codes, and words and samples are made of values that are no c"):
        copy_run(runs[CASES[4]]["token"], tmp_path / "copy", level="word")
    with pytest.raises(SettingError, match="keeps hidden states of each word, and those of each sample are made of t"):
        copy_run(runs[CASES[0]]["word"], tmp_path / "copy", level="sample")
    with pytest.raises(SettingError, match="level 'page' is not one of token, word, sample"):
        copy_run(runs[CASES[0]]["token"], tmp_path / "copy", level="page")
    assert not (tmp_path / "copy").exists()
    for level, case in (("word", CASES[4]), ("sample", CASES[0])):
        copy_run(runs[case][level], tmp_path / level, level=level, layers=[1, 2])
        copied = only_run(tmp_path / level)
        assert copied.spec == replace(runs[case][level].spec, layers=(1, 2))
        np.testing.assert_array_equal(
            computed(copied.activations("hidden")), computed(runs[case][level].activations("hidden"))[1:3]
        )
        assert list(verify_run(copied)) == []
    copy_run(runs[CASES[0]]["token"], tmp_path / "maps", level="word", keep=["attention"])
    assert only_run(tmp_path / "maps").spec.level == "token"


@pytest.mark.parametrize("level", ["word", "sample"])
@pytest.mark.parametrize("case", CASES)
def test_a_run_of_a_level_is_verified_and_recomputed(runs: Any, case: Any, level: str, monkeypatch: Any) -> None:
    run = runs[case][level]
    assert list(verify_run(run)) == []
    assert list(recompute_samples(run, run.counts.samples, device="cpu")) == []
    sample = int(np.argmax(run.plan.rows.count))
    plain = Run.read_sample

    def spoiled(self: Run, name: str, place: int) -> Any:
        values = plain(self, name, place)
        values[1, -1, 3] += 0.05 * np.abs(values[1]).max() * (name == "hidden" and place == sample)
        return values

    monkeypatch.setattr(Run, "read_sample", spoiled)
    (problem,) = recompute_samples(run, run.counts.samples, device="cpu")
    assert (
        f"hidden of layer 1 of sample {run.column('samples/sample_id')[sample]!r} differs by up to" in problem.message
    )


@pytest.mark.parametrize("level", ["word", "sample"])
def test_a_killed_extraction_goes_on_and_damage_is_seen(
    checkpoints: Any, corpus_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, level: str
) -> None:
    small_packs(monkeypatch, 128)
    settings = SMALL | {"max_length": MAX_LENGTH, "stride": STRIDE, "level": level, "limit": 30}
    killed = Job(str(tmp_path / "killed"), at="chunk", call=9, after=True)
    ((outcome,),) = run_jobs([[killed]], corpus_folder, checkpoints["bert"], 128, settings)
    assert outcome.killed
    asked = request(corpus_folder, checkpoints["bert"], **settings)
    extract(tmp_path / "whole", asked)
    run = only_run(tmp_path / "killed")
    begun = files(run.path / "packs/record/c")
    assert 0 < len(run.committed()) < run.counts.packs
    with pytest.raises(SpecMismatchError, match=f"level: stored {level}, asked for token"):
        extract(tmp_path / "killed", request(corpus_folder, checkpoints["bert"], **settings | {"level": "token"}))
    extract(tmp_path / "killed", asked)
    assert files(run.path / "packs/record/c").items() >= begun.items()
    assert holdings(tmp_path / "killed") == holdings(tmp_path / "whole")
    # A row of a pack that is not what was committed, under a sound checksum.
    run = only_run(tmp_path / "killed")
    chunks = run.chunks("hidden")
    values = chunks.read_committed_arrays(1, 1)
    values["hidden"] = np.where(np.arange(chunks.used[1])[:, np.newaxis] == 2, np.float16(0), values["hidden"])
    (run.path / chunks.path(1, 1)).write_bytes(chunks.encoded(values)["hidden"])
    (problem,) = verify_run(run)
    assert (problem.pack, "values are not those that were committed" in problem.message) == (1, True)
    view = run.words() if level == "word" else run.samples()
    with pytest.raises(IntegrityError, match=r"layer 1 of hidden in pack 1 of .* is not what was committed"):
        view.hidden.compute(scheduler="synchronous")
    # Tables that give other rows than the run was made with.
    again = Store.open(tmp_path / "killed").run()
    again.counts = replace(again.counts, rows=again.counts.rows + 1)
    with pytest.raises(IntegrityError, match="do not agree on where its samples lie"):
        again.samples()


def test_probes_of_words_are_those_of_tokens_and_are_kept_apart(
    checkpoints: Any, corpus_folder: Path, tmp_path: Path
) -> None:
    """In float32 the rows are those of tokens to the last bit of a mean, and so are the answers."""
    found = {}
    for level in ("token", "word"):
        asked = request(
            corpus_folder, checkpoints["bert"], dtype="float32", splits=("train", "test"), keep=("hidden",), limit=30
        )
        extract(tmp_path / level, replace(asked, level=level))
        for rows in ("word", "span"):
            settings = ProbeRequest(task="ner", models=("tiny",), probe="logistic", level=rows)
            found[level, rows] = probe(tmp_path / level, settings)
    for rows in ("word", "span"):
        np.testing.assert_array_equal(found["token", rows].accuracy, found["word", rows].accuracy)
    identities = {only_run(tmp_path / level, split="test").identity["spec"] for level in ("token", "word")}
    assert len(identities) == 2
    with pytest.raises(SettingError, match="a maximum over the tokens of spans of words cannot be made"):
        probe(tmp_path / "word", ProbeRequest(task="ner", models=("tiny",), level="span", pooling="max"))
    # Replaced by tokens under the same key, the run is another one to the results that are kept.
    asked = request(
        corpus_folder, checkpoints["bert"], dtype="float32", splits=("train", "test"), keep=("hidden",), limit=30
    )
    extract(tmp_path / "word", replace(asked, overwrite=True))
    again = probe(tmp_path / "word", ProbeRequest(task="ner", models=("tiny",), probe="logistic", level="word"))
    assert len(Store.open(tmp_path / "word").results("probe")) == 3
    np.testing.assert_array_equal(again.accuracy, found["token", "word"].accuracy)


@pytest.mark.parametrize("level", ["word", "sample"])
def test_probes_of_pairs_are_those_of_tokens(checkpoints: Any, corpus_folder: Path, tmp_path: Path, level: str) -> None:
    settings = {"task": "nli", "splits": ("train", "test"), "keep": ("hidden",), "limit": 30, "dtype": "float32"}
    found = []
    for kept in ("token", level):
        extract(tmp_path / kept, request(corpus_folder, checkpoints["gpt2"], level=kept, **settings))
        asked = ProbeRequest(task="nli", models=("tiny",), probe="logistic", pooling="last", combine="full")
        found.append(probe(tmp_path / kept, asked).accuracy)
    np.testing.assert_array_equal(*found)
    asked = ProbeRequest(task="nli", models=("tiny",), probe="logistic", pooling="max")
    if level == "sample":
        np.testing.assert_array_equal(
            probe(tmp_path / "token", asked).accuracy, probe(tmp_path / level, asked).accuracy
        )
    else:
        with pytest.raises(SettingError, match="a maximum over the tokens of samples cannot be made"):
            probe(tmp_path / level, asked)
