import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, AutoTokenizer

from biocache.engine.demo.checkpoints import write_checkpoint
from biocache.engine.demo.pretraining import pretrain

TEXTS = ["p53 binds the IL-2 gene .", "the old sailor sold a red bicycle ."] * 20


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def loss_of(family, folder):
    """Return the loss of predicting each token of a text, given all others or those before it."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = torch.tensor(tokenizer(TEXTS[0].split(), is_split_into_words=True)["input_ids"])
    with torch.inference_mode():
        if family != "bert":
            return AutoModelForCausalLM.from_pretrained(folder)(ids[None], labels=ids[None]).loss.item()
        model = AutoModelForMaskedLM.from_pretrained(folder)
        places = torch.arange(1, len(ids) - 1)
        rows = ids.repeat(len(places), 1)
        rows[torch.arange(len(places)), places] = tokenizer.mask_token_id
        logits = model(rows).logits[torch.arange(len(places)), places]
        return torch.nn.functional.cross_entropy(logits, ids[places]).item()


@pytest.mark.slow
def test_every_family_learns_its_texts(tmp_path):
    for family in ("bert", "gpt2", "biogpt"):
        texts = [text.split() for text in TEXTS]
        source = write_checkpoint(family, tmp_path / family, texts, vocab_size=300, initializer_range=0.05)
        trained = pretrain(source, tmp_path / f"{family}-trained", TEXTS, steps=60)
        begun = pretrain(source, tmp_path / f"{family}-begun", TEXTS, steps=1)
        assert loss_of(family, trained) < 0.5 * loss_of(family, begun)


@pytest.mark.slow
def test_the_same_call_gives_the_same_files_and_leaves_random_numbers_alone(tmp_path):
    source = write_checkpoint("bert", tmp_path / "bert", [text.split() for text in TEXTS], vocab_size=300)
    state = torch.random.get_rng_state()
    one, two = (pretrain(source, tmp_path / name, TEXTS, steps=3) for name in ("one", "two"))
    other = pretrain(source, tmp_path / "other", TEXTS, steps=3, seed=1)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert files(one) == files(two)
    assert files(one)["model.safetensors"] != files(other)["model.safetensors"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bert", "one", "other", "two"]
