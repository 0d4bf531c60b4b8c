"""Views of extracted runs, against plain Hugging Face outputs reduced by hand."""

import numpy as np
import pytest
import torch
from extractions import only_run, request, small_packs
from reference import VIEWS, Reference, assert_equals_plain, read_rows

from biocache.engine import extract

FAMILIES = ("bert", "gpt2", "biogpt")
MAX_LENGTH = 24
EVERY = [(family, task, view) for family in FAMILIES for task, views in VIEWS.items() for view in views]
EVERY_TASK = [(family, task) for family in FAMILIES for task in VIEWS]
LIMIT = 16


@pytest.fixture(scope="module")
def references(checkpoints):
    return {family: Reference(checkpoints[family]) for family in FAMILIES}


@pytest.fixture(scope="module")
def stores(checkpoints, corpus_folder, tmp_path_factory):
    """All views of the first test samples, cut so short that words are lost, in many packs."""
    made = {}
    with pytest.MonkeyPatch.context() as patch:
        small_packs(patch)
        for family, task in EVERY_TASK:
            store = tmp_path_factory.mktemp("views") / f"{family}-{task}.zarr"
            asked = request(corpus_folder, checkpoints[family], task=task, max_length=MAX_LENGTH, limit=LIMIT)
            extract(store, asked)
            made[family, task] = store
    return made


def sizes_of_words(reference, texts):
    """Return how many tokens the tokenizer makes of each word alone."""
    special = {"bert": 2, "gpt2": 0, "biogpt": 1}[reference.model.config.model_type]
    return {
        word: len(reference.encode(((word,),), None)["input_ids"]) - special
        for word in {w for text in texts for w in text}
    }


def owners(reference, texts, plain):
    """Return the word of every token, counted over all texts of the sample, -1 for special tokens."""
    tokenizer, family = reference.tokenizer, reference.model.config.model_type
    special = {tokenizer.cls_token_id, tokenizer.sep_token_id} if family == "bert" else {tokenizer.eos_token_id}
    sizes = sizes_of_words(reference, texts)
    # Special tokens part the texts: those of the ids between them are consecutive.
    parts, part = [], []
    for place, token in enumerate(plain.ids):
        if token in special:
            parts.append(part)
            part = []
        else:
            part.append(place)
    parts = [part for part in [*parts, part] if part]
    assert len(parts) == len(texts)
    found, before = np.full(len(plain.ids), -1), 0
    for text, places in zip(texts, parts, strict=True):
        spelt = [before + n for n, word in enumerate(text) for _ in range(sizes[word])]
        assert len(places) <= len(spelt)
        found[places] = spelt[: len(places)]
        before += len(text)
    return found


def reduce(rows, pooling):
    """Reduce (layer, token, feature) to (layer, feature), token after token."""
    if not rows.shape[1]:
        return np.full((rows.shape[0], rows.shape[2]), np.nan)
    if pooling in {"first", "last"}:
        return rows[:, 0 if pooling == "first" else -1]
    total = rows[:, 0].astype(np.float64)
    for token in range(1, rows.shape[1]):
        total = np.maximum(total, rows[:, token]) if pooling == "max" else total + rows[:, token]
    return total / rows.shape[1] if pooling == "mean" else total


def assert_reduced(stored, parts, pooling):
    """Assert equality with tokens (layer, token, feature) of every row, reduced, within the rounding of each token."""
    assert stored.dtype == np.float32
    expected = np.stack([reduce(rows, pooling) for rows in parts], axis=1)
    scale = np.stack([reduce(np.abs(rows), pooling) for rows in parts], axis=1)
    largest = scale.max(axis=(1, 2), keepdims=True)
    assert stored.shape == expected.shape
    assert (np.abs(stored - expected) <= 2**-10 * scale + 1e-5 * largest).all()


@pytest.fixture
def case(request, stores, references, corpus_folder):
    family, task, view = request.param
    run = only_run(stores[family, task], view=view)
    assert run.counts.packs > 2
    reference = references[family]
    rows = read_rows(corpus_folder, task, "test")[:LIMIT]
    plain = [reference(row.view(view), MAX_LENGTH) for row in rows]
    words = [owners(reference, row.view(view), p) for row, p in zip(rows, plain, strict=True)]
    return run, rows, view, plain, words


every_case = pytest.mark.parametrize("case", EVERY, indirect=True, ids="-".join)


def computed(dataset, name="hidden"):
    return dataset[name].compute(scheduler="synchronous").to_numpy()


@pytest.mark.slow
@every_case
@pytest.mark.parametrize("pooling", ["mean", "first", "last"])
def test_words(case, pooling):
    run, rows, view, plain, owned = case
    parts, texts, samples, segments, places, labels = [], [], [], [], [], []
    before = 0
    for sample, (row, p, word) in enumerate(zip(rows, plain, owned, strict=True)):
        flat = [(segment, text) for segment, words in enumerate(row.view(view)) for text in words]
        for n, (segment, text) in enumerate(flat):
            if (word == n).any():
                parts.append(p.hidden[:, word == n])
                texts.append(text)
                samples.append(sample)
                segments.append(segment)
                places.append(before + n)
                labels += [row.labels[n]] if run.key.task == "ner" else []
        before += len(flat)
    words = run.words(pooling)
    assert words["word"].values.tolist() == places
    assert words.attrs["words_lost"] == before - len(places)
    # Words are lost where samples are cut, which all but the short hypotheses are.
    assert (before > len(places)) == any(p.truncated for p in plain)
    assert before > len(places) or view == "hypothesis"
    assert words["text"].values.tolist() == texts
    assert words["sample"].values.tolist() == samples
    assert words["segment"].values.tolist() == segments
    assert ("label" in words.coords) == (run.key.task == "ner")
    if labels:
        assert words["label"].values.tolist() == labels
        assert len(set(labels)) > 3
    assert_reduced(computed(words), parts, pooling)


@pytest.mark.slow
@every_case
@pytest.mark.parametrize("special_tokens", [False, True])
@pytest.mark.parametrize("pooling", ["mean", "first", "last", "max"])
def test_samples(case, pooling, special_tokens):
    run, rows, _, plain, owned = case
    parts = [p.hidden if special_tokens else p.hidden[:, word >= 0] for p, word in zip(plain, owned, strict=True)]
    samples = run.samples(pooling, special_tokens)
    assert_reduced(computed(samples), parts, pooling)
    assert samples["sample_id"].values.tolist() == [row.id for row in rows]
    assert samples["token_count"].values.tolist() == [len(p.ids) for p in plain]
    assert samples["truncated"].values.tolist() == [p.truncated for p in plain]
    assert ("label" in samples.coords) == (run.key.task == "nli")
    if run.key.task == "nli":
        assert samples["label"].values.tolist() == [row.labels[0] for row in rows]


@every_case
def test_tokens(case):
    run, rows, view, plain, owned = case
    tokens = run.tokens()
    assert_equals_plain(computed(tokens), np.concatenate([p.hidden for p in plain], axis=1))
    before = np.cumsum([0, *(sum(map(len, row.view(view))) for row in rows)])
    words = [np.where(word < 0, -1, word + start) for word, start in zip(owned, before, strict=False)]
    assert tokens["word"].values.tolist() == np.concatenate(words).tolist()
    assert tokens["special"].values.tolist() == (np.concatenate(owned) < 0).tolist()
    assert tokens["token_id"].values.tolist() == [token for p in plain for token in p.ids]
    assert tokens["token_text"].values.tolist() == [text for p in plain for text in p.token_texts]
    assert tokens["sample"].values.tolist() == [sample for sample, p in enumerate(plain) for _ in p.ids]
    assert tokens["position"].values.tolist() == [n for p in plain for n in range(len(p.ids))]


@every_case
def test_attention(case):
    run, _, _, plain, _ = case
    causal = run.spec.causal
    entries = []
    for p in plain:
        length = len(p.ids)
        rows = [p.attention[:, :, query, : query + 1 if causal else length] for query in range(length)]
        entries.append(np.concatenate(rows, axis=-1))
    view = run.attention()
    assert view["row_size"].values.tolist() == [part.shape[-1] for part in entries]
    assert_equals_plain(computed(view, "attention"), np.concatenate(entries, axis=-1))
    for sample in (0, LIMIT - 1):
        maps = run.attention_map(sample)
        assert_equals_plain(maps.to_numpy(), plain[sample].attention)
        assert maps["query_token"].values.tolist() == plain[sample].token_texts


@pytest.mark.parametrize("family", FAMILIES)
def test_batches_feed_a_data_loader(stores, references, corpus_folder, family):
    run = only_run(stores[family, "ner"])

    class Stream(torch.utils.data.IterableDataset):
        def __iter__(self):
            for batch in run.iter_batches(2, 100, shuffle=True, seed=1):
                yield torch.from_numpy(batch.hidden), batch.row_size, batch.sample

    seen = []
    rows = read_rows(corpus_folder, "ner", "test")
    for hidden, row_size, samples in torch.utils.data.DataLoader(Stream(), batch_size=None):
        assert hidden.dtype == torch.float32
        for sample, part in zip(samples.tolist(), torch.split(hidden, row_size.tolist()), strict=True):
            plain = references[family](rows[sample].texts, MAX_LENGTH)
            assert_equals_plain(part.numpy()[None], plain.hidden[2:3])
            seen.append(sample)
    assert sorted(seen) == list(range(LIMIT))
    assert seen != sorted(seen)
