"""A toy corpus with models that know its words, and checkpoints made once."""

import pytest
from finetunings import Made, Toy, make
from toys import ToyModels, write_toy


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    folder = tmp_path_factory.mktemp("toy")
    return Toy(write_toy(folder / "corpus"), ToyModels(folder / "models"), folder / "kept")


@pytest.fixture(scope="session")
def made(toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Return the checkpoints of BERT on sentences at 30 and 100 %, never to be changed."""
    folder = tmp_path_factory.mktemp("made")
    return make(folder / "store", toy.request(folder / "checkpoints", training_sizes=(30, 100)))
