"""What cannot be compared is refused in one line that says what to do."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from attention_factory import source
from store_factory import chunk_file

from biocache.engine import AttentionRequest, compare_attention
from biocache.store import Store
from biocache.store.errors import (
    AmbiguousRunError,
    BiocacheError,
    IncompleteRunError,
    IntegrityError,
    RunNotFoundError,
    SettingError,
    SpecMismatchError,
)

Refused = Callable[..., str]


@pytest.fixture
def refused(tmp_path: Path) -> Refused:
    """Return the message that a comparison ends in."""

    def run(error: type[BiocacheError], **settings: Any) -> str:
        with pytest.raises(error) as caught:
            compare_attention(tmp_path, AttentionRequest(**({"model": "tiny"} | settings)))
        message = str(caught.value)
        assert "\n" not in message
        return message

    return run


def write(root: Path, size: int = 0, **changes: Any) -> Any:
    return source(training_size=size, maps=size, **changes).write_all(root)


def test_a_missing_baseline(refused: Refused, tmp_path: Path) -> None:
    write(tmp_path, 30)
    message = refused(RunNotFoundError)
    assert "has no run of model='tiny', training_size=0" in message
    assert "`extract(model='tiny', training_sizes=0)`" in message


def test_nothing_to_compare_with_the_baseline(refused: Refused, tmp_path: Path) -> None:
    write(tmp_path)
    message = refused(RunNotFoundError)
    assert "has no run to compare with ner/corpus/tiny/size-000" in message
    assert "training_sizes=(10, 30, 50, 100)" in message
    message = refused(RunNotFoundError, training_sizes=(10,), seeds=(42,))
    assert "extract(task='ner', dataset='corpus', model='tiny', training_sizes=10, seeds=42" in message


def test_runs_without_attention(refused: Refused, tmp_path: Path) -> None:
    write(tmp_path)
    write(tmp_path, 30, keep=("hidden",))
    assert "keeps hidden and no attention; extract it with keep='attention'" in refused(RunNotFoundError)


def test_an_incomplete_run(refused: Refused, tmp_path: Path) -> None:
    write(tmp_path)
    run = write(tmp_path, 30)
    (run.path / "packs/record/c/1").unlink()
    assert "size-030/seed-42/sentence/test is incomplete" in refused(IncompleteRunError)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "what", "remedy"),
    [
        (
            {"dataset_digest": "f" * 64},
            f"dataset digest differ ({source().spec.dataset_digest[:12]}... and ffffffffffff...)",
            "from the same data",
        ),
        ({"limit": 3}, "limit differ (None and 3)", "limit"),
        ({"max_length": 64}, "max length differ (512 and 64)", "max_length"),
        ({"layers": (0, 2)}, "layers differ (1, 2 and 2)", "all_pairs"),
        ({"head_count": 3}, "head count differ (2 and 3)", "all_pairs"),
    ],
)
def test_runs_that_are_unlike(
    refused: Refused, tmp_path: Path, changes: dict[str, Any], what: str, remedy: str
) -> None:
    write(tmp_path)
    write(tmp_path, 30, **changes)
    message = refused(SpecMismatchError)
    assert "ner/corpus/tiny/size-000/seed-42/sentence/test and ner/corpus/tiny/size-030" in message
    assert what in message
    assert remedy in message


@pytest.mark.slow
def test_compared_runs_of_several_shapes(refused: Refused, tmp_path: Path) -> None:
    write(tmp_path)
    write(tmp_path, 10)
    write(tmp_path, 30, head_count=3)
    assert "head count differ (2 and 3); compare them one by one" in refused(SpecMismatchError, all_pairs=True)


@pytest.mark.slow
def test_several_runs_match(refused: Refused, tmp_path: Path) -> None:
    write(tmp_path)
    write(tmp_path, split="train")
    write(tmp_path, 30)
    # Of several splits, test is taken.
    assert compare_attention(tmp_path, AttentionRequest(model="tiny", metrics=("tv",))).attrs["split"] == "test"
    write(tmp_path, dataset="second")
    message = refused(AmbiguousRunError)
    assert "2 runs with attention match model='tiny', training_size=0: ner/corpus/tiny/size-000" in message
    assert refused(RunNotFoundError, split="train").endswith("against")


@pytest.mark.slow
def test_a_run_without_attention_is_no_candidate(tmp_path: Path) -> None:
    write(tmp_path)
    write(tmp_path, split="train", keep=("hidden",))
    write(tmp_path, 30)
    result = compare_attention(tmp_path, AttentionRequest(model="tiny"))
    assert result.attrs["split"] == "test"


@pytest.mark.slow
def test_the_pretrained_run_serves_every_seed(tmp_path: Path, refused: Refused) -> None:
    write(tmp_path)
    write(tmp_path, 30, seed=7)
    result = compare_attention(tmp_path, AttentionRequest(model="tiny", seeds=(7,)))
    assert result.attrs["baseline_run"] == "ner/corpus/tiny/size-000/seed-42/sentence/test"
    assert result.attrs["runs"] == "ner/corpus/tiny/size-030/seed-7/sentence/test"
    assert "has no run of" in refused(RunNotFoundError, seeds=(7,), baseline=10)


def test_labels_that_samples_do_not_have(refused: Refused, tmp_path: Path) -> None:
    write(tmp_path)
    write(tmp_path, 30)
    assert "has no label set 'gold' for ner corpus test (it has none)" in refused(RunNotFoundError, by="gold")
    words = len(source().columns["words/word_text"])
    where = {"task": "ner", "dataset": "corpus", "split": "test"}
    store = Store.open(tmp_path)
    store.add_labels("length", list(range(words)), **where, level="words")
    assert (
        "label set 'length' labels words with numbers, and means of maps are split by classes of samples or words"
        in (refused(SettingError, by="length"))
    )
    spans = pd.DataFrame([("s0", 0, 1, "a")], columns=["sample_id", "start", "end", "label"])
    store.add_labels("spans", spans, **where, level="spans")
    assert "label set 'spans' labels spans, and means of maps" in refused(SettingError, by="spans")
    source().keep_labels(tmp_path)
    told = refused(SettingError, by="gold", metrics=("cosine",))
    assert "by='gold' labels words, and cosine is of whole maps, not of their rows" in told
    assert "name a metric of rows with metrics, such as js" in told


def test_damaged_chunks(refused: Refused, tmp_path: Path) -> None:
    write(tmp_path)
    run = write(tmp_path, 30)
    chunk = chunk_file(run, "attention", 1, 0)
    chunk.write_bytes(chunk.read_bytes()[:-8])
    assert "layer 2 of attention in pack 0" in refused(IntegrityError)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"metrics": ("cosinus",)}, "metrics 'cosinus' is not one of cosine, row-cosine"),
        ({"metrics": ()}, "metrics is empty"),
        ({"metrics": ("special-mass",), "exclude_special": True}, "measures what exclude_special leaves out"),
        ({"training_sizes": (130,)}, "training_sizes 130 is not a whole number from 0 to 100"),
        ({"training_sizes": ()}, "training_sizes is empty"),
        ({"baseline": -1}, "baseline -1 is not"),
        ({"resamples": 0}, "resamples 0 is not a whole number from 1"),
        ({"resampling_seed": -1}, "resampling_seed -1 is not"),
        ({"all_pairs": True, "match_heads": True}, "all_pairs and match_heads exclude each other"),
        ({"all_pairs": True, "by": "label"}, "all_pairs and by exclude each other"),
        ({"all_pairs": True, "per_sample": True}, "all_pairs and per_sample exclude each other"),
    ],
)
def test_settings_out_of_range(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        AttentionRequest(**settings)


def test_what_is_named_twice_is_asked_for_once() -> None:
    twice = AttentionRequest(metrics=("js", "js", "tv"), training_sizes=(10, 10))
    assert twice == AttentionRequest(metrics=("js", "tv"), training_sizes=(10,))


def test_against_without_a_model(tmp_path: Path) -> None:
    write(tmp_path)
    with pytest.raises(SettingError, match="against='tiny' is compared with a model: name it with model"):
        compare_attention(tmp_path, AttentionRequest(against="tiny"))
