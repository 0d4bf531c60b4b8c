"""Any model: what is stored is what plain transformers say of every sample, or a line says why it is not stored."""

import re
from pathlib import Path

import pytest
from extractions import request
from zoo import FOLDERS, GROUPS, SPECIES, Row, group_of, visit, visit_folder
from zoo_corpus import samples, write_corpus
from zoo_models import make

from biocache.engine import extract
from biocache.store import Store
from biocache.store.errors import ModelError, SettingError

pytestmark = pytest.mark.slow

README = Path(__file__).parents[2] / "README.md"
# Their tokenizers differ in what is between two texts, and their models in whether they are told which is which.
PAIRED = (
    *("bert", "roberta", "xlm-roberta", "albert, pieces", "electra", "deberta-v2", "distilbert", "rembert", "luke"),
    *("modernbert", "xlnet", "biogpt", "gpt2", "llama", "llama, bytes", "gemma"),
    "gpt2, mark after words",
)
# One of each kind: the others are of the marker `zoo`, which takes minutes.
CHOSEN = {
    *("bert", "roberta", "electra", "albert", "distilbert", "deberta-v2", "modernbert", "xlnet", "t5", "clip"),
    *("convbert", "mobilebert", "longformer", "big_bird", "fnet", "reformer", "mra", "longcat_flash", "gemma3n_text"),
    *("gpt2", "biogpt", "opt", "llama", "mistral", "mixtral", "gemma", "gpt_oss", "phi3, longrope"),
    *("opt, projected, fours", "bert-generation", "jamba", "mamba", "zamba", "minimax"),
    *("bart, decoder", "t5, encoder", "t5, --part=encoder", "dpr, contexts", "bert-generation, decoder"),
    *("t5, bytes", "gpt2, mark after words"),
}


def said() -> dict[str, tuple[str, bool]]:
    """Return what the README says of model types or checkpoints: their group, and whether they are padded."""
    text = README.read_text(encoding="utf-8")
    found = {}
    for group, meaning in GROUPS.items():
        (row,) = re.findall(rf"^\| {re.escape(meaning)} \| (.*) \|$", text, re.MULTILINE)
        found |= {name: (group, not star) for name, star in re.findall(r"`([^`]+)`(\*?)", row)}
    return found


def assert_sound(row: Row) -> None:
    for what, outcome in (("hidden states alone", row.hidden), ("attention too", row.both)):
        assert outcome.sound, f"{row.name}, {what}: {outcome.kind}: {outcome.message}"
        assert "\n" not in outcome.message


def test_the_zoo_is_large() -> None:
    assert SPECIES.keys() > CHOSEN
    assert len({species.model_type for species in SPECIES.values()}) >= 70


def test_the_readme_names_every_model_type_and_no_other() -> None:
    named = {SPECIES[name].model_type if name in SPECIES else name for name in said()}
    assert named == {species.model_type for species in SPECIES.values()}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in CHOSEN else pytest.mark.zoo) for name in SPECIES]
)
def test_an_architecture_is_stored_exactly_or_refused_as_the_readme_says(tmp_path: Path, name: str) -> None:
    row = visit(name, tmp_path)
    assert_sound(row)
    known = said()
    group, padded = known.get(name) or known[SPECIES[name].model_type]
    assert group_of(row) == group
    assert row.both.padded or not padded


@pytest.mark.parametrize("name", PAIRED)
def test_pairs_are_stored_exactly_or_refused(tmp_path: Path, name: str) -> None:
    assert_sound(visit(name, tmp_path, "nli"))


@pytest.mark.parametrize("name", FOLDERS)
def test_an_odd_folder_is_stored_exactly_or_refused(tmp_path: Path, name: str) -> None:
    assert_sound(visit_folder(name, tmp_path))


def test_the_advice_for_a_layer_of_another_size_works(tmp_path: Path) -> None:
    make(SPECIES["opt, projected"], tmp_path / "model", tmp_path / "made")
    write_corpus(tmp_path / "corpus", samples(), "ner")
    with pytest.raises(SettingError, match=r"layer 3 of model .* has 32 features and others 64") as told:
        extract(tmp_path / "s", request(tmp_path / "corpus", tmp_path / "model"))
    (layers,) = re.findall(r"--layers=([\d,]+)", told.value.message)
    assert not (tmp_path / "s").exists()
    extract(tmp_path / "s", request(tmp_path / "corpus", tmp_path / "model", layers=tuple(map(int, layers.split(",")))))
    assert {run.spec.feature_size for run in Store.open(tmp_path / "s").select()} == {64}


def test_maps_alone_of_a_model_without_maps_are_refused_with_advice_that_works(tmp_path: Path) -> None:
    make(SPECIES["mamba"], tmp_path / "model", tmp_path / "made")
    write_corpus(tmp_path / "corpus", samples(), "ner")
    with pytest.raises(ModelError, match=r"has no attention maps that can be kept .*pass keep=.hidden.") as told:
        extract(tmp_path / "s", request(tmp_path / "corpus", tmp_path / "model", keep=("attention",)))
    assert "--keep=hidden" in told.value.message
    extract(tmp_path / "s", request(tmp_path / "corpus", tmp_path / "model", keep=("hidden",)))
    (report, *_) = extract(tmp_path / "s", request(tmp_path / "corpus", tmp_path / "model"))
    assert report.complete
    assert "has no attention maps of layers 1, 2, 3" in report.remarks[0]
