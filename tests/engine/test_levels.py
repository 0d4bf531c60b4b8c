"""Runs of words and of samples, against plain forward passes that loops reduce, and against runs of tokens."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from extractions import holdings, only_run, request, small_packs
from numpy.typing import NDArray
from plain_windows import MAX_LENGTH, STRIDE, Plain, context, pairs_that_fit
from reference import read_rows
from zoo_models import make
from zoo_species import SPECIES

from biocache.engine import extract
from biocache.store import Run
from biocache.store.copying import copy_run
from biocache.store.errors import SettingError
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
        return [
            POOLS[pooling](own)
            for own in self.words
            for pooling in ("mean", "first", "last")[: 3 if own.shape[1] > 1 else own.shape[1]]
        ]


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
