"""Any model: what is stored is what plain transformers say of every sample, or a line says why it is not stored."""

from pathlib import Path

import pytest
from zoo import FOLDERS, SPECIES, Row, visit, visit_folder

pytestmark = pytest.mark.slow

# Their tokenizers differ in what is between two texts, and their models in whether they are told which is which.
PAIRED = (
    *("bert", "roberta", "xlm-roberta", "albert, pieces", "electra", "deberta-v2", "distilbert", "rembert", "luke"),
    *("modernbert", "xlnet", "biogpt", "gpt2", "llama", "llama, bytes", "gemma"),
)


def assert_sound(row: Row) -> None:
    for what, outcome in (("hidden states alone", row.hidden), ("attention too", row.both)):
        assert outcome.sound, f"{row.name}, {what}: {outcome.kind}: {outcome.message}"
        assert "\n" not in outcome.message


def test_the_zoo_is_large() -> None:
    assert len({species.model_type for species in SPECIES.values()}) >= 70


@pytest.mark.parametrize("name", SPECIES)
def test_an_architecture_is_stored_exactly_or_refused(tmp_path: Path, name: str) -> None:
    assert_sound(visit(name, tmp_path))


@pytest.mark.parametrize("name", PAIRED)
def test_pairs_are_stored_exactly_or_refused(tmp_path: Path, name: str) -> None:
    assert_sound(visit(name, tmp_path, "nli"))


@pytest.mark.parametrize("name", FOLDERS)
def test_an_odd_folder_is_stored_exactly_or_refused(tmp_path: Path, name: str) -> None:
    assert_sound(visit_folder(name, tmp_path))
