import itertools

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from plain_windows import context, plain_windows, words_in_windows

from biocache.engine.corpora.base import TASKS
from biocache.engine.corpora.encoding import Encoding, encode
from biocache.engine.corpora.task import Sample
from biocache.engine.corpora.tokenizers import load_tokenizer
from biocache.engine.corpora.windows import cut_words
from biocache.store.errors import DataError, SettingError

FAMILIES = ("bert", "gpt2", "biogpt")


@pytest.fixture(scope="session")
def tokenizers(checkpoints):
    return {family: load_tokenizer(checkpoints[family]) for family in FAMILIES}


def windows_in(encoding: Encoding, column: str = "token_id") -> list[list[list[int]]]:
    """Return a column by sample and window."""
    ends = np.cumsum(encoding.token_count)[:-1]
    parts = zip(np.split(getattr(encoding, column), ends), np.split(encoding.window, ends), strict=True)
    return [[values[number == one].tolist() for one in range(number.max() + 1)] for values, number in parts]


@pytest.mark.slow
@given(st.data(), st.integers(1, 30))
@settings(max_examples=300, deadline=None)
def test_windows_are_those_of_a_loop_over_words(data, room):
    sizes = data.draw(st.lists(st.integers(1, room), min_size=1, max_size=40))
    stride = data.draw(st.integers(0, room - 1))
    windows = [list(window) for window in cut_words(sizes, room, stride)]
    assert windows == words_in_windows(sizes, room, stride)
    assert sorted({word for window in windows for word in window}) == list(range(len(sizes)))
    for one, other in itertools.pairwise(windows):
        assert sum(sizes[word] for word in other) <= room
        new = one[-1] + 1
        assert new in other
        # It is full: the next word would not fit.
        assert sum(sizes[word] for word in one) + sizes[new] > room
        overlap = sum(sizes[word] for word in one if word in other)
        more = sizes[other[0] - 1] + overlap + sizes[new] if other[0] else 0
        assert overlap >= stride or more > room
        # No more than is needed is repeated.
        assert overlap - sizes[other[0]] < stride or overlap == 0


WORD = st.text(st.sampled_from("abcdeIL-2βp5#x"), min_size=1, max_size=9)
TEXT = st.lists(WORD, min_size=1, max_size=40)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
@given(texts=st.lists(TEXT, min_size=1, max_size=4), max_length=st.integers(6, 30), share=st.floats(0, 0.999))
@example(texts=[["a", "x" * 60, "b"], ["a"]], max_length=8, share=0.5)
@settings(max_examples=40, deadline=None)
def test_no_word_is_lost_and_windows_hold_the_text(tokenizers, family, texts, max_length, share):
    tokenizer = tokenizers[family]
    room = max_length - tokenizer.num_special_tokens_to_add()
    stride = int(share * room)
    samples = [Sample(str(place), (tuple(words),)) for place, words in enumerate(texts)]
    encoding = encode(tokenizer, samples, TASKS["ner"], "sentence", max_length, stride)
    longest = encode(tokenizer, samples, TASKS["ner"], "sentence", 10_000)
    assert encoding.notes["words_lost"] == longest.notes["words_lost"]
    cut = longest.word_token_count > room
    np.testing.assert_array_equal(encoding.word_token_count, np.minimum(longest.word_token_count, room))
    of_sample = np.repeat(np.arange(len(samples)), longest.word_count)
    is_long = longest.token_count > max_length
    expected = np.bincount(of_sample, cut, len(samples)) > 0
    assert encoding.truncated.tolist() == (expected & is_long).tolist()
    assert encoding.notes.get("samples_windowed", 0) == _several(encoding).sum()
    ends = np.cumsum(encoding.token_count)[:-1]
    words = np.split(encoding.word, ends)
    for place, windows in enumerate(windows_in(encoding)):
        assert max(map(len, windows)) <= max_length
        if not is_long[place]:
            assert windows == [np.split(longest.token_id, np.cumsum(longest.token_count)[:-1])[place].tolist()]
            continue
        number = np.split(encoding.window, ends)[place]
        ids, seen = [], -1
        for one in range(len(windows)):
            there = words[place][number == one]
            # Tokens of words that were not in the window before.
            ids += [token for token, word in zip(windows[one], there.tolist(), strict=True) if word > seen]
            seen = max(seen, int(there.max()))
            for word in np.unique(there[there >= 0]):
                assert (there == word).sum() == encoding.word_token_count[word]
        whole = [
            (word, token)
            for word, token in zip(longest.word.tolist(), longest.token_id.tolist(), strict=True)
            if word >= 0 and of_sample[word] == place
        ]
        uncut = [token for at, (word, token) in enumerate(whole) if [w for w, _ in whole[:at]].count(word) < room]
        assert ids == uncut


def _several(encoding: Encoding) -> np.ndarray:
    sample = np.repeat(np.arange(len(encoding.token_count)), encoding.token_count)
    return np.bincount(sample, encoding.window, len(encoding.token_count)) > 0


@pytest.mark.parametrize("stride", [0, 1, 3, 6])
@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_windows_of_words_of_one_token_are_those_of_hugging_face(tokenizers, family, stride):
    tokenizer = tokenizers[family]
    candidates = ("the", "cells", "of", "in", "and", "with", "gene", "protein", "to", "by")
    words = [word for word in candidates if _tokens(tokenizer, word) == 1]
    assert len(words) >= 5
    texts = [(words[:5] * 9)[:size] for size in (5, 8, 9, 10, 11, 18, 25, 45)]
    samples = [Sample(str(n), (tuple(text),)) for n, text in enumerate(texts)]
    encoding = encode(tokenizer, samples, TASKS["text"], "text", 10, stride)
    for words, windows in zip(texts, windows_in(encoding), strict=True):
        options = {"max_length": 10, "stride": stride, "return_overflowing_tokens": True}
        plain = tokenizer(words, is_split_into_words=True, truncation=True, **options)
        assert windows == plain["input_ids"]
    windowed = sum(len(text) > 10 - tokenizer.num_special_tokens_to_add() for text in texts)
    assert encoding.notes == {"samples_truncated": 0, "samples_windowed": windowed, "words_lost": 0}


def _tokens(tokenizer, word: str) -> int:
    return len(tokenizer([word], is_split_into_words=True, add_special_tokens=False)["input_ids"])


@pytest.mark.parametrize(("first", "second"), [(30, 4), (4, 30), (9, 9), (12, 2)])
@pytest.mark.parametrize("stride", [0, 2, 3])
def test_pairs_are_cut_as_hugging_face_cuts_one_text(tokenizers, first, second, stride):
    tokenizer = tokenizers["bert"]
    texts = (list("abcde" * 6)[:first], list("edcba" * 6)[:second])
    sample = Sample("x", tuple(map(tuple, texts)))
    encoding = encode(tokenizer, [sample], TASKS["nli"], "pair", 16, stride)
    options = {"max_length": 16, "stride": stride, "return_overflowing_tokens": True, "is_split_into_words": True}
    plain = tokenizer(*texts, truncation="only_second" if second > first else "only_first", **options)
    assert windows_in(encoding)[0] == plain["input_ids"]
    assert windows_in(encoding, "token_type")[0] == windows_in(encoding, "segment")[0] == plain["token_type_ids"]


@pytest.mark.parametrize("family", ["bert", "gpt2"])
@given(first=TEXT, second=TEXT, max_length=st.integers(10, 40), stride=st.integers(0, 6))
@settings(max_examples=40, deadline=None)
def test_pairs_are_cut_as_a_loop_cuts_them(tokenizers, family, first, second, max_length, stride):
    tokenizer = tokenizers[family]
    sample = Sample("s-7", (tuple(first), tuple(second)))
    (whole,) = plain_windows(tokenizer, [first, second], 10_000, None)
    room = max_length - len(whole.ids) + max(map(whole.texts.count, (0, 1)))
    if len(whole.ids) > max_length and room <= stride:
        with pytest.raises(DataError, match="sample 's-7' does not fit windows in view 'pair'"):
            encode(tokenizer, [sample], TASKS["nli"], "pair", max_length, stride)
        return
    encoding = encode(tokenizer, [sample], TASKS["nli"], "pair", max_length, stride)
    windows = plain_windows(tokenizer, [first, second], max_length, stride)
    assert windows_in(encoding)[0] == [window.ids for window in windows]
    begin = np.cumsum([0, *(len(window.ids) for window in windows)])
    for word in range(len(first) + len(second)):
        text, own = (0, word) if word < len(first) else (1, word - len(first))
        number = context(windows, text, own)
        places = [
            begin[number] + place
            for place, owner in enumerate(zip(windows[number].texts, windows[number].words, strict=True))
            if owner == (text, own)
        ]
        start, count = encoding.word_token_start[word], encoding.word_token_count[word]
        assert list(range(start, start + count)) == places
        assert (encoding.word[places] == word).all()


def test_a_corpus_that_fits_is_encoded_as_without_windows(tokenizers):
    samples = [Sample(str(n), (("IL-2", "p53"), ("a",) * n)) for n in range(1, 4)]
    for family in FAMILIES:
        plain = encode(tokenizers[family], samples, TASKS["nli"], "pair", 30)
        windowed = encode(tokenizers[family], samples, TASKS["nli"], "pair", 30, 5)
        assert windowed.digest() == plain.digest()
        assert windowed.notes == plain.notes
        assert not windowed.window.any()


def test_the_digest_sees_where_windows_begin(tokenizers):
    # GPT-2 has no special tokens: with windows of 4 and 6 the ids of these are the same.
    samples = [Sample("x", (("a",) * 12,))]
    digests = {encode(tokenizers["gpt2"], samples, TASKS["text"], "text", size, 0).digest() for size in (4, 6, 12)}
    assert len(digests) == 3


@pytest.mark.parametrize("family", FAMILIES)
def test_chunks_do_not_show(tokenizers, family, monkeypatch):
    samples = [Sample(str(n), (("IL-2", "β") * (1 + 7 * n % 23),)) for n in range(40)]
    whole = encode(tokenizers[family], samples, TASKS["text"], "text", 20, 4)
    monkeypatch.setattr("biocache.engine.corpora.rows._CHUNK", 7)
    parts = encode(tokenizers[family], samples, TASKS["text"], "text", 20, 4)
    assert parts.digest() == whole.digest()
    assert parts.word_token_start.tolist() == whole.word_token_start.tolist()
    assert whole.notes["samples_windowed"] > 5


def test_a_stride_that_leaves_nothing_new_is_refused(tokenizers):
    sample = Sample("x", (tuple("abcdef") * 5, ("a",)))
    for family, view, room in (("bert", "premise", 8), ("bert", "pair", 7), ("gpt2", "pair", 9), ("biogpt", "pair", 8)):
        wanted = rf"stride {room} is not below {room}, the tokens .* pass stride={room - 1} or less"
        with pytest.raises(SettingError, match=wanted):
            encode(tokenizers[family], [sample], TASKS["nli"], view, 10, room)
    encode(tokenizers["bert"], [sample], TASKS["nli"], "premise", 10, 7)
    with pytest.raises(SettingError, match="stride 9 is not below 8"):
        # Also where nothing is long: what is refused does not depend on the corpus.
        encode(tokenizers["bert"], [Sample("x", (("a",),))], TASKS["text"], "text", 10, 9)


def test_two_long_texts_are_refused_with_the_sample(tokenizers):
    good, bad = Sample("good", (("a",) * 3, ("b",) * 30)), Sample("pair-7", (("a",) * 15, ("b",) * 16))
    with pytest.raises(DataError) as caught:
        encode(tokenizers["bert"], [good, bad], TASKS["nli"], "pair", 20, 4)
    assert str(caught.value) == (
        "sample 'pair-7' does not fit windows in view 'pair': beside its shorter text, of 15 tokens, 2 fit, and "
        "stride is 4; pass a smaller stride or a larger max_length, remove the sample, or leave stride out to cut both "
        "texts"
    )
    encode(tokenizers["bert"], [good, bad], TASKS["nli"], "pair", 20, 1)
