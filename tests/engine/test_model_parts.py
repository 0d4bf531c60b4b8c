"""Checkpoints of a part of their type, as the class in their configuration says: what is read, and what is refused."""

from pathlib import Path
from typing import Any

import pytest
import torch
from extractions import only_run, request
from zoo_adapters import edit, put_weights, weights_of
from zoo_corpus import samples, write_corpus
from zoo_models import make
from zoo_species import SPECIES

from biocache.engine import extract
from biocache.engine.models.loading import load_model
from biocache.engine.models.shape import load_shape
from biocache.engine.models.sources import ModelSource
from biocache.engine.recompute import recompute_samples
from biocache.store.errors import ModelError


@pytest.fixture
def made(tmp_path: Path) -> Any:
    """Return a function that writes a species of the zoo, and returns its source."""

    def make_source(name: str, part: str = "", **settings: Any) -> ModelSource:
        make(SPECIES[name], tmp_path / name, tmp_path / "scratch")
        return ModelSource("tiny", str(tmp_path / name), 0, 42, part=part, **settings)

    return make_source


@pytest.mark.parametrize("name", ["bart, decoder", "mbart, decoder", "prophetnet, decoder", "pegasus, decoder"])
def test_a_decoder_alone_has_the_sizes_of_the_decoder(made: Any, name: str) -> None:
    shape = load_shape(made(name))
    assert (shape.layers, shape.heads, shape.causal) == (3, 2, True)


@pytest.mark.parametrize(
    ("name", "layers"), [("t5, encoder", 3), ("t5, tokens", 3), ("prophetnet, encoder", 2), ("longt5, encoder", 3)]
)
def test_an_encoder_alone_has_the_sizes_of_the_encoder(made: Any, name: str, layers: int) -> None:
    shape = load_shape(made(name))
    assert (shape.layers, shape.heads, shape.causal) == (layers, 4, False)


def test_an_encoder_alone_is_the_encoder_of_both(made: Any, tmp_path: Path) -> None:
    both = made("t5", part="encoder")
    alone = ModelSource("tiny", str(tmp_path / "alone"), 0, 42)
    from transformers import T5EncoderModel

    T5EncoderModel.from_pretrained(both.base).save_pretrained(alone.base)
    digests = {load_model(source, "cpu", "float32").digest for source in (both, alone)}
    # It may be named, too.
    digests.add(load_model(ModelSource("tiny", alone.base, 0, 42, part="encoder"), "cpu", "float32").digest)
    assert len(digests) == 1
    assert load_shape(ModelSource("tiny", alone.base, 0, 42, part="encoder")) == load_shape(alone)


def test_a_decoder_alone_has_no_encoder(made: Any) -> None:
    with pytest.raises(ModelError, match=r"has no encoder: its configuration names BartForCausalLM.*leave part out"):
        load_shape(made("bart, decoder", part="encoder"))


def test_a_model_of_one_stack_has_no_part(made: Any) -> None:
    with pytest.raises(ModelError, match="is no encoder-decoder, of which part='encoder' would name the encoder"):
        load_shape(made("bert", part="encoder"))


def test_weights_of_the_other_part_are_refused(made: Any) -> None:
    """A file that holds both is not what its configuration says."""
    source = made("bart")
    edit(Path(source.base) / "config.json", architectures=["BartForCausalLM"], is_encoder_decoder=False)
    weights = {f"model.{name}": value for name, value in weights_of(Path(source.base)).items()}
    weights["model.decoder.embed_tokens.weight"] = weights["model.shared.weight"]
    put_weights(Path(source.base), weights)
    with pytest.raises(ModelError, match=r"has weights .* BartForCausalLM .* does not take \(model.encoder"):
        load_model(source, "cpu", "float32")


@pytest.mark.parametrize("lost", ["model.decoder.layers.2.fc1.weight", "model.decoder.embed_positions.weight"])
def test_lost_weights_of_the_part_are_refused(made: Any, lost: str) -> None:
    source = made("bart, decoder")
    kept = weights_of(Path(source.base))
    del kept[lost]
    put_weights(Path(source.base), kept)
    with pytest.raises(ModelError, match=f"lacks weights of the encoder .{lost.removeprefix('model.decoder.')}"):
        load_model(source, "cpu", "float32")


def test_classes_that_are_not_of_the_type_are_passed_over(made: Any) -> None:
    source = made("bert")
    plain = load_model(source, "cpu", "float32").digest
    for names in (["T5EncoderModel"], ["NoSuchModel"], ["BartForCausalLM", 3], "BertModel", [], [None], ["torch"]):
        edit(Path(source.base) / "config.json", architectures=names)
        assert load_model(source, "cpu", "float32").digest == plain


@pytest.mark.slow
def test_a_part_is_extracted_fine_tuned_random_and_computed_again(made: Any, tmp_path: Path) -> None:
    source = made("bart, decoder")
    corpus = write_corpus(tmp_path / "corpus", samples(), "ner")
    state = tmp_path / "checkpoints" / "model_tiny_30.bin"
    state.parent.mkdir()
    torch.save({name: 1.5 * value for name, value in weights_of(Path(source.base)).items()}, state)
    asked: dict[str, Any] = {"limit": 4, "keep": ("hidden",)}
    extract(tmp_path / "s", request(corpus, Path(source.base), **asked))
    extract(
        tmp_path / "s",
        request(corpus, Path(source.base), **asked, training_sizes=(30,), checkpoints=state.parent),
    )
    extract(tmp_path / "s", request(corpus, Path(source.base), **asked, random_weights=True))
    selections: list[dict[str, Any]] = [
        {"model": "tiny", "training_size": 0},
        {"model": "tiny", "training_size": 30},
        {"model": "tiny-random"},
    ]
    runs = [only_run(tmp_path / "s", **selection) for selection in selections]
    assert len({run.spec.model_digest for run in runs}) == 3
    for run in runs:
        assert run.spec.layers == (0, 1, 2, 3)
        assert list(recompute_samples(run, 2, device="cpu")) == []
