import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biocache.engine.corpora.base import TASKS
from biocache.engine.corpora.encoding import Encoding, encode
from biocache.engine.corpora.task import Sample
from biocache.engine.corpora.tokenizers import load_tokenizer, tokenizer_digest
from biocache.store.errors import DataError, ModelError, SettingError

FAMILIES = ("bert", "gpt2", "biogpt")
VIEWS = [(task.name, view) for task in TASKS.values() for view in task.views]
ZERO_WIDTH = "\u200b"


@pytest.fixture(scope="session")
def tokenizers(checkpoints):
    return {family: load_tokenizer(checkpoints[family]) for family in FAMILIES}


@pytest.fixture(scope="session")
def samples(corpus_folder):
    blocks = (corpus_folder / "ner" / "test.conll").read_text(encoding="utf-8").split("\n\n")
    sentences = [tuple(line.split("\t")[0] for line in block.splitlines()) for block in blocks]
    sentences += [("IL-2",), ("&", "<b>", "naïve", "漢字", "(", "β-helix", "'s"), ("p53",) * 70]
    rows = map(json.loads, (corpus_folder / "nli" / "test.jsonl").read_text(encoding="utf-8").splitlines())
    pairs = [(tuple(row["sentence1"].split()), tuple(row["sentence2"].split())) for row in rows]
    pairs += [(("a",) * 30, ("b",)), (("a",), ("b",) * 30), (("IL-2",) * 9, ("p53",) * 8)]
    pairs += [(("IL-2",) * 8, ("p53",) * 12), (("a",) * 11, ("b",) * 11)]
    single = [Sample(str(i), (words,)) for i, words in enumerate(sentences)]
    return {
        **dict.fromkeys(("ner", "tokens", "text"), single),
        "nli": [Sample(str(i), texts) for i, texts in enumerate(pairs)],
    }


def starts(encoding: Encoding) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(encoding.token_count)])


def rows(encoding: Encoding, column: str) -> list[list]:
    return [part.tolist() for part in np.split(getattr(encoding, column), starts(encoding)[1:-1])]


def plain_pair_ids(tokenizer, texts, max_length):
    """What Hugging Face gives; for a template without a separator, eos between the two texts it cuts."""
    words = [list(text) for text in texts]
    options = {"is_split_into_words": True, "truncation": "longest_first"}
    if len(words) == 2 and tokenizer.num_special_tokens_to_add(pair=True) == 0:
        plain = tokenizer(*words, max_length=max_length - 1, **options)
        first = [i for i, s in zip(plain["input_ids"], plain.sequence_ids(0), strict=True) if s == 0]
        return [*first, tokenizer.eos_token_id, *plain["input_ids"][len(first) :]]
    return tokenizer(*words, max_length=max_length, **options)["input_ids"]


@pytest.mark.slow
@pytest.mark.parametrize("max_length", [5, 16, 17, 128])
@pytest.mark.parametrize(("task", "view"), VIEWS)
@pytest.mark.parametrize("family", FAMILIES)
def test_ids_equal_those_of_a_plain_call(tokenizers, samples, family, task, view, max_length):
    tokenizer = tokenizers[family]
    encoding = encode(tokenizer, samples[task], TASKS[task], view, max_length)
    texts = [[s.texts[i] for i in TASKS[task].views[view]] for s in samples[task]]
    expected = [plain_pair_ids(tokenizer, text, max_length) for text in texts]
    whole = [plain_pair_ids(tokenizer, text, 10_000) for text in texts]
    assert rows(encoding, "token_id") == expected
    assert encoding.truncated.tolist() == [cut != all_ for cut, all_ in zip(expected, whole, strict=True)]
    assert encoding.notes["samples_truncated"] == sum(len(ids) > max_length for ids in whole)
    assert encoding.token_count.max() <= max_length
    assert encoding.token_text.tolist() == tokenizer.convert_ids_to_tokens(encoding.token_id.tolist())


@pytest.mark.parametrize(("task", "view"), VIEWS)
@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_words_equal_those_of_a_fast_tokenizer(tokenizers, samples, family, task, view):
    encoding = encode(tokenizers[family], samples[task], TASKS[task], view, 20)
    base = 0
    for number, sample in enumerate(samples[task]):
        texts = [list(sample.texts[i]) for i in TASKS[task].views[view]]
        limit = 20 - (family == "gpt2" and len(texts) == 2)
        plain = tokenizers[family](*texts, is_split_into_words=True, truncation="longest_first", max_length=limit)
        offsets = (base, base + len(texts[0]))
        expected = [
            offsets[s] + w for w, s in zip(plain.word_ids(0), plain.sequence_ids(0), strict=True) if w is not None
        ]
        at = slice(*starts(encoding)[number : number + 2])
        assert encoding.word[at][~encoding.special[at]].tolist() == expected
        base += sum(map(len, texts))
        assert encoding.word_text[offsets[0] : base].tolist() == [word for text in texts for word in text]


@pytest.mark.parametrize(("task", "view"), VIEWS)
def test_biogpt_tokens_are_those_of_their_word(tokenizers, samples, task, view):
    tokenizer = tokenizers["biogpt"]
    encoding = encode(tokenizer, samples[task], TASKS[task], view, 500)
    assert encoding.notes["words_lost"] == 0
    columns = (encoding.word_text, encoding.word_token_start, encoding.word_token_count)
    for word, start, count in zip(*columns, strict=True):
        ids = tokenizer.convert_tokens_to_ids(tokenizer.tokenize(word))
        assert encoding.token_id[start : start + count].tolist() == ids


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_tokens_of_a_word_spell_it(tokenizers, samples, family):
    encoding = encode(tokenizers[family], samples["nli"], TASKS["nli"], "pair", 200)
    decode = tokenizers[family].convert_tokens_to_string
    columns = (encoding.word_text, encoding.word_token_start, encoding.word_token_count)
    for word, start, count in zip(*columns, strict=True):
        tokens = encoding.token_text[start : start + count].tolist()
        spelled = "".join(t.removeprefix("##") for t in tokens) if family == "bert" else decode(tokens)
        assert spelled.lstrip(" ") == word


def test_special_tokens_and_segments_of_each_template(tokenizers):
    sample = Sample("x", (("p53",), ("IL-2",)))
    expected = {
        "bert": ["[CLS]", 0, "[SEP]", 1, "[SEP]"],
        "gpt2": [0, "<|endoftext|>", 1],
        "biogpt": ["</s>", 0, "</s>", 1],
    }
    for family, template in expected.items():
        encoding = encode(tokenizers[family], [sample], TASKS["nli"], "pair", 50)
        columns = (encoding.token_text, encoding.special, encoding.word, encoding.word_token_count)
        built = [text if special else int(word) for text, special, word in zip(*columns[:3], strict=True)]
        once = [x for i, x in enumerate(built) if i == 0 or isinstance(x, str) or x != built[i - 1]]
        assert once == template
        second = encoding.word == 1
        after = np.cumsum(second) > 0
        assert encoding.segment.tolist() == after.astype(int).tolist()
        assert encoding.word_segment.tolist() == [0, 1]


def test_token_types_are_what_the_model_is_fed(tokenizers, samples):
    texts = [[list(text) for text in s.texts] for s in samples["nli"]]
    encoding = encode(tokenizers["bert"], samples["nli"], TASKS["nli"], "pair", 24)
    plain = tokenizers["bert"](
        [a for a, _ in texts], [b for _, b in texts], is_split_into_words=True, truncation=True, max_length=24
    )
    assert rows(encoding, "token_type") == plain["token_type_ids"]
    assert rows(encoding, "segment") == plain["token_type_ids"]
    for family in ("gpt2", "biogpt"):
        assert encode(tokenizers[family], samples["nli"], TASKS["nli"], "pair", 24).token_type is None


def test_gpt2_words_start_with_a_space(tokenizers, checkpoints):
    from transformers import AutoTokenizer

    encoding = encode(tokenizers["gpt2"], [Sample("x", (("the", "gene"),))], TASKS["ner"], "sentence", 20)
    assert all(text.startswith("Ġ") for text in encoding.token_text[encoding.word_token_start])
    glued = AutoTokenizer.from_pretrained(checkpoints["gpt2"])(["the", "gene"], is_split_into_words=True)
    assert glued["input_ids"] != encoding.token_id.tolist()


@pytest.mark.parametrize("use_regex", [True, False])
def test_space_goes_before_words_only_when_another_splitter_comes_first(tokenizers, checkpoints, tmp_path, use_regex):
    from tokenizers import Regex, pre_tokenizers
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    backend = AutoTokenizer.from_pretrained(checkpoints["gpt2"]).backend_tokenizer
    first = pre_tokenizers.Split(Regex(r" ?\w+|[^\w\s]+"), "isolated")
    second = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=use_regex)
    backend.pre_tokenizer = pre_tokenizers.Sequence([first, second])
    PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|endoftext|>").save_pretrained(tmp_path)
    tokenizer = load_tokenizer(tmp_path)
    encoding = encode(tokenizer, [Sample("x", (("IL-2", "gene"),))], TASKS["ner"], "sentence", 50)
    spelled = "".join(encoding.token_text)
    assert spelled == "ĠIL-2Ġgene"
    assert [encoding.token_text[i][0] for i in encoding.word_token_start] == ["Ġ", "Ġ"]
    tokenizer.save_pretrained(tmp_path / "again")
    assert tokenizer_digest(load_tokenizer(tmp_path / "again")) == tokenizer_digest(tokenizer)


def test_special_token_written_in_the_text_belongs_to_its_word(tokenizers):
    for family, word in (("bert", "[SEP]"), ("gpt2", "<|endoftext|>"), ("biogpt", "</s>")):
        encoding = encode(tokenizers[family], [Sample("x", (("a", word, "b"),))], TASKS["ner"], "sentence", 20)
        at = encoding.word_token_start[1]
        assert encoding.token_text[at] == word
        assert not encoding.special[at]


def test_word_without_tokens_stays_in_the_table(tokenizers):
    samples = [
        Sample("x", (("a", ZERO_WIDTH, "b", ZERO_WIDTH),)),
        Sample("y", ((ZERO_WIDTH, "c"),)),
    ]
    encoding = encode(tokenizers["bert"], samples, TASKS["ner"], "sentence", 20)
    assert encoding.word_count.tolist() == [4, 2]
    assert encoding.word_token_count.tolist() == [1, 0, 1, 0, 0, 1]
    assert encoding.notes["words_lost"] == 3
    assert encoding.token_text[encoding.word_token_start[[0, 2, 5]]].tolist() == ["a", "b", "c"]
    assert encoding.word_token_start.tolist() == [1, 2, 2, 3, 5, 5]


def test_words_cut_by_truncation_are_counted(tokenizers):
    encoding = encode(tokenizers["bert"], [Sample("x", (tuple("abcdefgh"),))], TASKS["ner"], "sentence", 6)
    assert encoding.word_token_count.tolist() == [1, 1, 1, 1, 0, 0, 0, 0]
    assert encoding.notes == {"words_lost": 4, "samples_truncated": 1}
    assert encoding.word_token_start.tolist() == [1, 2, 3, 4, 5, 5, 5, 5]


def test_saved_truncation_and_padding_do_not_leak(tokenizers, checkpoints, samples, tmp_path):
    folder = shutil.copytree(checkpoints["bert"], tmp_path / "bert")
    file = folder / "tokenizer.json"
    state = json.loads(file.read_text(encoding="utf-8"))
    state["truncation"] = {"max_length": 7, "strategy": "LongestFirst", "stride": 0, "direction": "Left"}
    state["padding"] = {
        "strategy": {"Fixed": 40},
        "direction": "Left",
        "pad_to_multiple_of": None,
        "pad_id": 0,
        "pad_type_id": 0,
        "pad_token": "[PAD]",
    }
    file.write_text(json.dumps(state), encoding="utf-8")
    from transformers import AutoTokenizer

    clean = encode(tokenizers["bert"], samples["ner"], TASKS["ner"], "sentence", 30)
    loaded = load_tokenizer(folder)
    before = loaded.backend_tokenizer.to_str()
    for tokenizer in (loaded, AutoTokenizer.from_pretrained(folder)):
        assert tokenizer_digest(tokenizer) == tokenizer_digest(tokenizers["bert"])
        encoding = encode(tokenizer, samples["ner"], TASKS["ner"], "sentence", 30)
        assert encoding.digest() == clean.digest()
    assert loaded.backend_tokenizer.to_str() == before


@pytest.mark.parametrize("family", FAMILIES)
def test_chunks_do_not_show(tokenizers, samples, family, monkeypatch):
    whole = encode(tokenizers[family], samples["nli"], TASKS["nli"], "pair", 30)
    monkeypatch.setattr("biocache.engine.corpora.rows._CHUNK", 7)
    parts = encode(tokenizers[family], samples["nli"], TASKS["nli"], "pair", 30)
    assert parts.digest() == whole.digest()
    assert parts.truncated.tolist() == whole.truncated.tolist()


def test_no_samples_give_an_empty_encoding(tokenizers):
    for family in FAMILIES:
        encoding = encode(tokenizers[family], [], TASKS["nli"], "pair", 30)
        assert encoding.token_id.size == encoding.word_text.size == encoding.token_count.size == 0


WORD = st.text(st.characters(exclude_categories=("Z", "C")) | st.just(ZERO_WIDTH), min_size=1, max_size=6)
TEXT = st.lists(WORD.filter(lambda word: not any(c.isspace() for c in word)), max_size=8)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
@given(texts=st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=4), max_length=st.integers(6, 30))
@settings(max_examples=40, deadline=None)
def test_word_and_token_tables_agree(tokenizers, family, texts, max_length):
    samples = [Sample(str(i), (("x", *a), ("y", *b))) for i, (a, b) in enumerate(texts)]
    encoding = encode(tokenizers[family], samples, TASKS["nli"], "pair", max_length)
    words, tokens = encoding.word_text.size, encoding.token_id.size
    assert encoding.token_count.sum() == tokens
    assert encoding.word_count.sum() == words
    assert encoding.word_token_count.sum() == np.count_nonzero(~encoding.special)
    assert np.array_equal(encoding.word < 0, encoding.special)
    assert (np.diff(encoding.word_token_start) >= 0).all()
    token_sample = np.repeat(np.arange(len(samples)), encoding.token_count)
    word_sample = np.repeat(np.arange(len(samples)), encoding.word_count)
    assert np.array_equal(token_sample[encoding.word_token_start], word_sample)
    for row in range(words):
        start, count = encoding.word_token_start[row], encoding.word_token_count[row]
        assert np.array_equal(np.flatnonzero(encoding.word == row), start + np.arange(count))
    own = ~encoding.special
    assert np.array_equal(encoding.segment[own], encoding.word_segment[encoding.word[own]])


def test_digest_follows_what_the_model_reads(tokenizers, samples):
    def digest(family="bert", rows=samples["nli"], view="pair", max_length=30):
        return encode(tokenizers[family], rows, TASKS["nli"], view, max_length).digest()

    base = digest()
    assert base == digest()
    # One word split in two: same ids for BERT, other words.
    joined, split = (Sample("x", (words, ("b",))) for words in (("IL-2",), ("IL", "-", "2")))
    changed = [
        digest("gpt2"),
        digest("biogpt"),
        digest(max_length=12),
        digest(view="premise"),
        digest(rows=samples["nli"][1:]),
        digest(rows=[joined]),
        digest(rows=[split]),
    ]
    assert len({base, *changed}) == len(changed) + 1
    # A limit that cuts nothing changes nothing.
    assert digest(max_length=500) == digest(max_length=501)


@pytest.mark.parametrize("family", FAMILIES)
def test_tokenizer_digest_survives_saving_and_sees_the_vocabulary(tokenizers, family, tmp_path):
    tokenizer = tokenizers[family]
    tokenizer.save_pretrained(tmp_path / "copy")
    copy = load_tokenizer(tmp_path / "copy")
    assert tokenizer_digest(copy) == tokenizer_digest(tokenizer)
    copy.add_tokens(["IL-2"])
    assert tokenizer_digest(copy) != tokenizer_digest(tokenizer)
    assert len({tokenizer_digest(tokenizers[family]) for family in FAMILIES}) == len(FAMILIES)


@pytest.mark.parametrize("family", FAMILIES)
def test_loaded_tokenizers_pad_and_cut_on_the_right(tokenizers, family):
    tokenizer = tokenizers[family]
    assert (tokenizer.padding_side, tokenizer.truncation_side) == ("right", "right")
    assert tokenizer.pad_token_id is not None
    assert (tokenizer.pad_token_id == tokenizer.eos_token_id) == (family == "gpt2")


def test_too_small_a_length_is_refused_with_the_least_that_works(tokenizers, samples):
    least = {("bert", "pair"): 4, ("bert", "premise"): 3, ("gpt2", "pair"): 2, ("gpt2", "premise"): 1}
    least |= {("biogpt", "pair"): 3, ("biogpt", "premise"): 2}
    for (family, view), length in least.items():
        with pytest.raises(SettingError, match=rf"max_length {length - 1} .* give {length} or more"):
            encode(tokenizers[family], samples["nli"], TASKS["nli"], view, length - 1)
        encoding = encode(tokenizers[family], samples["nli"], TASKS["nli"], view, length)
        assert encoding.token_count.max() == length


def test_unknown_view_is_refused(tokenizers, samples):
    with pytest.raises(SettingError, match=r"view 'pair' is not one of task 'ner': choose from sentence"):
        encode(tokenizers["bert"], samples["ner"], TASKS["ner"], "pair", 30)


def test_sample_without_tokens_is_named(tokenizers):
    samples = [Sample("good", (("a",),)), Sample("blank-7", ((ZERO_WIDTH, ZERO_WIDTH),))]
    with pytest.raises(DataError, match=r"sample 'blank-7' has no tokens in view 'sentence'"):
        encode(tokenizers["bert"], samples, TASKS["ner"], "sentence", 30)


def test_pair_needs_a_separator(checkpoints, samples):
    tokenizer = load_tokenizer(checkpoints["gpt2"])
    tokenizer.eos_token = None
    with pytest.raises(ModelError, match="neither a separator nor an end-of-text token"):
        encode(tokenizer, samples["nli"], TASKS["nli"], "pair", 30)


def test_missing_tokenizer_is_one_line(tmp_path, checkpoints):
    with pytest.raises(ModelError, match=r"nowhere/at-all.*give a folder") as caught:
        load_tokenizer("nowhere/at-all")
    assert "\n" not in str(caught.value)
    with pytest.raises(ModelError, match="missing"):
        load_tokenizer(tmp_path / "missing")
    shutil.copy(Path(checkpoints["bert"]) / "config.json", tmp_path)
    with pytest.raises(ModelError, match="has no vocabulary"):
        load_tokenizer(tmp_path)
