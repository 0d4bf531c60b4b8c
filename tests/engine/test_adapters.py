"""Adapters of peft: merged on request with the numbers of peft, or refused with the reason."""

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from extractions import only_run, request
from safetensors.torch import load_file, save_file
from zoo_adapters import edit
from zoo_corpus import samples, write_corpus
from zoo_models import make
from zoo_outcomes import outcome
from zoo_species import SPECIES

from biocache.engine import extract
from biocache.engine.models import adapters
from biocache.engine.models.adapters import with_adapter
from biocache.engine.models.loading import load_model, weights_digest
from biocache.engine.models.shape import quiet_transformers
from biocache.engine.models.sources import ModelSource
from biocache.engine.recompute import recompute_samples
from biocache.store.errors import BiocacheError, ModelError, SettingError, SpecMismatchError

peft = pytest.importorskip("peft")
# peft warns of much where it makes adapters.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


class Adapted:
    """A base, an adapter that was trained on it, and what peft makes of both."""

    def __init__(self, folder: Path, species: str, kind: str, config: Any, seed: int = 3) -> None:
        self.base, self.adapter, self.kind = folder / "base", folder / "adapter", kind
        make(SPECIES[species], self.base, folder / "scratch")
        model = peft.get_peft_model(self._base(), config)
        generator = torch.Generator().manual_seed(seed)
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data.add_(0.3 * torch.randn(parameter.shape, generator=generator))
        model.save_pretrained(self.adapter)

    def _base(self) -> Any:
        import transformers

        with quiet_transformers():
            return getattr(transformers, self.kind).from_pretrained(self.base, attn_implementation="eager").eval()

    def by_hand(self) -> Any:
        """Merge with peft, in the class that it was trained in."""
        return peft.PeftModel.from_pretrained(self._base(), self.adapter).merge_and_unload().base_model.eval()

    def beside(self) -> Path:
        """Put the adapter beside the weights."""
        for file in self.adapter.glob("adapter_*"):
            shutil.copy(file, self.base)
        return self.base


def lora(**settings: Any) -> Any:
    return peft.LoraConfig(**({"r": 4, "target_modules": ["query", "value"]} | settings))


BERT = ("bert", "AutoModel", lora)
KINDS: dict[str, tuple[str, str, Callable[[], Any]]] = {
    "bert": BERT,
    "bert, tokens": (
        *("bert", "BertForTokenClassification"),
        lambda: lora(task_type="TOKEN_CLS", target_modules=["query", "word_embeddings"]),
    ),
    "gpt2": (
        *("gpt2", "GPT2LMHeadModel"),
        lambda: lora(task_type="CAUSAL_LM", target_modules=["c_attn"], fan_in_fan_out=True),
    ),
    "gpt2, patterns": (
        *("gpt2", "GPT2LMHeadModel"),
        lambda: lora(
            target_modules="all-linear",
            rank_pattern={"transformer.h.0.attn.c_attn": 2},
            alpha_pattern={"transformer.h.1.attn.c_attn": 32},
        ),
    ),
    "dora": ("llama", "LlamaForCausalLM", lambda: lora(target_modules=["q_proj", "lm_head"], use_dora=True)),
    "saved": (
        *("llama", "LlamaForCausalLM"),
        lambda: lora(target_modules=["q_proj"], modules_to_save=["embed_tokens", "lm_head"]),
    ),
    "ia3": (
        *("llama", "LlamaForCausalLM"),
        lambda: peft.IA3Config(target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"]),
    ),
    "loha": ("llama", "LlamaForCausalLM", lambda: peft.LoHaConfig(target_modules=["k_proj"])),
    "norms": ("llama", "LlamaForCausalLM", lambda: peft.LNTuningConfig(target_modules=["input_layernorm"])),
    "decoder alone": ("bart, decoder", "BartForCausalLM", lambda: lora(target_modules=["q_proj"])),
}


@pytest.mark.parametrize("name", KINDS)
def test_merged_weights_are_those_of_peft(tmp_path: Path, name: str) -> None:
    species, kind, config = KINDS[name]
    made = Adapted(tmp_path, species, kind, config())
    expected = made.by_hand()
    plain = load_model(ModelSource("tiny", str(made.base), 0, 42), "cpu", "float32")
    found = load_model(with_adapter(ModelSource("tiny", str(made.adapter), 0, 42), merge=True), "cpu", "float32")
    stack = expected.decoder if name == "decoder alone" else expected
    assert found.digest == weights_digest(stack) != plain.digest
    assert type(found.model) is type(plain.model)


@pytest.mark.parametrize("name", ["bert, tokens", "gpt2"])
@pytest.mark.parametrize("beside", [False, True])
def test_states_and_maps_are_those_of_the_merged_model(tmp_path: Path, name: str, beside: bool) -> None:
    species, kind, config = KINDS[name]
    made = Adapted(tmp_path, species, kind, config())
    expected = made.by_hand()
    folder = made.beside() if beside else made.adapter
    if not beside:
        for file in made.base.glob("tokenizer*"):
            shutil.copy(file, made.adapter)
    merged = outcome(folder, tmp_path / "out", truth=expected, merge_adapters=True)
    assert (merged.kind, merged.message) == ("exact", "")
    told = outcome(folder, tmp_path / "out", truth=expected)
    assert told.kind == "refused"
    assert "pass merge_adapters to have it merged into its base, which needs peft (pip install" in told.message


def test_the_encoder_of_two_with_an_adapter(tmp_path: Path) -> None:
    made = Adapted(tmp_path, "t5", "T5ForConditionalGeneration", lora(target_modules=["q", "o"]))
    source = with_adapter(ModelSource("tiny", str(made.adapter), 0, 42, part="encoder"), merge=True)
    assert load_model(source, "cpu", "float32").digest == weights_digest(made.by_hand().get_encoder())


UNMERGEABLE: dict[str, tuple[str, str, Callable[[], Any], str]] = {
    "prefix": (
        *("bert", "BertForTokenClassification"),
        lambda: peft.PrefixTuningConfig(task_type="TOKEN_CLS", num_virtual_tokens=4),
        "of type PREFIX_TUNING .* changes no weights",
    ),
    "prompt": (
        *("gpt2", "GPT2LMHeadModel"),
        lambda: peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4),
        "of type PROMPT_TUNING .* changes no weights",
    ),
    "adaption": (
        *("llama", "LlamaForCausalLM"),
        lambda: peft.AdaptionPromptConfig(task_type="CAUSAL_LM", adapter_len=4, adapter_layers=2),
        "of type ADAPTION_PROMPT .* changes no weights",
    ),
    "poly": (
        *("llama", "LlamaForCausalLM"),
        lambda: peft.PolyConfig(task_type="CAUSAL_LM", target_modules=["q_proj"], r=4, n_tasks=2),
        "of type POLY .* cannot be merged",
    ),
    "activated": (
        *("llama", "LlamaForCausalLM"),
        lambda: lora(task_type="CAUSAL_LM", target_modules=["q_proj"], alora_invocation_tokens=[5, 6]),
        "of type LORA .* does not support safe merging",
    ),
}


@pytest.mark.parametrize("name", UNMERGEABLE)
def test_what_cannot_be_merged_is_refused_with_the_reason(tmp_path: Path, name: str) -> None:
    species, kind, config, reason = UNMERGEABLE[name]
    made = Adapted(tmp_path, species, kind, config())
    with pytest.raises(ModelError, match=reason) as told:
        load_model(with_adapter(ModelSource("tiny", str(made.adapter), 0, 42), merge=True), "cpu", "float32")
    assert "\n" not in str(told.value)


@pytest.fixture
def bert(tmp_path: Path) -> Adapted:
    made = Adapted(tmp_path, "bert", "AutoModel", lora())
    for file in made.base.glob("tokenizer*"):
        shutil.copy(file, made.adapter)
    return made


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return write_corpus(tmp_path / "corpus", samples(), "ner")


def merged(made: Adapted) -> str:
    source = with_adapter(ModelSource("tiny", str(made.adapter), 0, 42), merge=True)
    return load_model(source, "cpu", "float32").digest


def change(file: Path, **changes: Any) -> None:
    """Change tensors of a file; None removes one."""
    tensors = {name: value for name, value in (load_file(file) | changes).items() if value is not None}
    save_file(tensors, file)


FIRST = "base_model.model.encoder.layer.0.attention.self.query.lora_A.weight"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({FIRST: None}, "it lacks base_model.model.encoder.layer.0.attention.self.query.lora_A.weight"),
        ({FIRST.replace("query", "key"): torch.ones(4, 64)}, "it has .*key.lora_A.weight, which is of no module"),
        ({FIRST.replace("query", "nothing"): torch.ones(4, 64)}, "it has .*nothing.lora_A.weight, which is of no"),
        ({FIRST: torch.ones(4, 32)}, "size mismatch"),
        ({FIRST: torch.full((4, 64), float("nan"))}, "it has NaN|not finite|NaNs|is not read as it is stored"),
    ],
)
def test_every_tensor_of_an_adapter_is_accounted_for(bert: Adapted, changes: dict[str, Any], told: str) -> None:
    change(bert.adapter / "adapter_model.safetensors", **changes)
    with pytest.raises(ModelError, match=told) as raised:
        merged(bert)
    assert "\n" not in str(raised.value)


def test_nothing_is_warned_of(bert: Adapted) -> None:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        merged(bert)
    assert [str(each.message) for each in told] == []


def test_tensors_of_a_head_are_left_aside(bert: Adapted) -> None:
    plain = merged(bert)
    change(bert.adapter / "adapter_model.safetensors", **{"base_model.model.classifier.weight": torch.ones(3, 64)})
    assert merged(bert) == plain


def test_an_adapter_of_another_model_is_refused(bert: Adapted, tmp_path: Path) -> None:
    make(SPECIES["gpt2"], tmp_path / "other", tmp_path / "more")
    edit(bert.adapter / "adapter_config.json", base_model_name_or_path=str(tmp_path / "other"))
    with pytest.raises(ModelError, match=r"its weights, such as .* are of no module of the base"):
        merged(bert)


def test_a_damaged_adapter_is_refused(bert: Adapted) -> None:
    file = bert.adapter / "adapter_model.safetensors"
    whole = file.read_bytes()
    for share in (0, 0.01, 0.5, 0.99):
        file.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(ModelError, match="cannot be merged"):
            merged(bert)
    file.unlink()
    with pytest.raises(ModelError, match="cannot be merged"):
        merged(bert)


@pytest.mark.parametrize(
    ("base", "told"),
    [
        (None, "names null as its base|names None as its base"),
        (7, "names 7 as its base"),
        ("", "as its base"),
        ("/nowhere/at/all", "/nowhere/at/all, is not a folder; correct base_model_name_or_path"),
        ("./nowhere", "is not a folder; correct base_model_name_or_path"),
        ("nobody/no-such-model", "'nobody/no-such-model'"),
    ],
)
def test_a_base_that_is_missing_is_one_line(bert: Adapted, corpus: Path, tmp_path: Path, base: Any, told: str) -> None:
    values = json.loads((bert.adapter / "adapter_config.json").read_bytes()) | {"base_model_name_or_path": base}
    (bert.adapter / "adapter_config.json").write_text(json.dumps(values), encoding="utf-8")
    with pytest.raises(ModelError, match=told) as raised:
        extract(tmp_path / "s", request(corpus, bert.adapter, merge_adapters=True))
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize("text", ["", "[", "[]", "null", "{}"])
def test_a_configuration_that_is_none_is_one_line(bert: Adapted, text: str) -> None:
    (bert.adapter / "adapter_config.json").write_text(text, encoding="utf-8")
    with pytest.raises(BiocacheError) as raised:
        merged(bert)
    assert "\n" not in str(raised.value)


def test_a_base_with_an_adapter_of_its_own_is_refused(bert: Adapted, tmp_path: Path) -> None:
    shutil.copytree(bert.adapter, tmp_path / "second")
    edit(tmp_path / "second" / "adapter_config.json", base_model_name_or_path=str(bert.adapter))
    with pytest.raises(ModelError, match=r"the base .*/adapter of the adapter .* holds an adapter itself"):
        with_adapter(ModelSource("tiny", str(tmp_path / "second"), 0, 42), merge=True)


def test_weights_that_hold_the_adapter_beside_them_are_refused(bert: Adapted, tmp_path: Path) -> None:
    expected = bert.by_hand()
    folder = Path(shutil.copytree(bert.base, tmp_path / "copy"))
    for file in bert.adapter.glob("adapter_*"):
        shutil.copy(file, folder)
    source = with_adapter(ModelSource("tiny", str(folder), 0, 42), merge=True)
    # Its base, which is elsewhere too.
    assert load_model(source, "cpu", "float32").digest == weights_digest(expected)
    with quiet_transformers():
        expected.save_pretrained(folder)
    with pytest.raises(ModelError, match=r"these weights are those of .* with the adapter merged already"):
        load_model(source, "cpu", "float32")


def test_without_peft_it_is_one_line(bert: Adapted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapters, "find_spec", lambda _: None)
    with pytest.raises(SettingError, match=r"peft, .* is not installed; .* pip install 'biocache\[adapters\]'") as told:
        merged(bert)
    assert "\n" not in str(told.value)


def test_nothing_to_merge_is_said(bert: Adapted, corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="none of the models has an adapter"):
        extract(tmp_path / "s", request(corpus, bert.base, merge_adapters=True))


def test_the_run_says_what_was_merged_and_is_computed_again(bert: Adapted, corpus: Path, tmp_path: Path) -> None:
    asked = request(corpus, bert.adapter, merge_adapters=True, limit=4)
    (report,) = extract(tmp_path / "s", asked)
    assert report.remarks == (f"model tiny has the adapter in {bert.adapter} merged into the weights of {bert.base}",)
    run = only_run(tmp_path / "s")
    assert (run.provenance.model_source, run.provenance.adapter) == (str(bert.base), str(bert.adapter))
    assert run.provenance.tokenizer_source == str(bert.adapter)
    assert run.spec.model_digest == weights_digest(bert.by_hand())
    assert list(recompute_samples(run, 2, device="cpu")) == []
    # From the adapter's folder, and from one of the merged model.
    with quiet_transformers():
        bert.by_hand().save_pretrained(tmp_path / "merged")
    for place in (bert.adapter, tmp_path / "merged"):
        assert list(recompute_samples(run, 2, device="cpu", model=str(place))) == []
    with pytest.raises(SpecMismatchError, match="are not those that run"):
        list(recompute_samples(run, 2, device="cpu", model=str(bert.base)))
    # Nothing is computed again.
    assert [report.packs_written for report in extract(tmp_path / "s", asked)] == [0]


def test_an_adapter_of_a_fine_tuning_is_merged_into_the_model(bert: Adapted, corpus: Path, tmp_path: Path) -> None:
    asked: dict[str, Any] = {"finetuned": (f"{bert.adapter}=30",), "limit": 4}
    with pytest.raises(ModelError, match="pass merge_adapters to have it merged"):
        extract(tmp_path / "s", request(corpus, bert.base, **asked))
    extract(tmp_path / "s", request(corpus, bert.base, **asked, merge_adapters=True))
    run = only_run(tmp_path / "s", training_size=30)
    assert run.spec.model_digest == weights_digest(bert.by_hand())
    assert list(recompute_samples(run, 2, device="cpu")) == []


def test_a_random_twin_has_no_adapter(bert: Adapted, corpus: Path, tmp_path: Path) -> None:
    for store, folder in (("a", bert.adapter), ("b", bert.base)):
        merging = folder == bert.adapter
        extract(tmp_path / store, request(corpus, folder, random_weights=True, merge_adapters=merging, limit=2))
    one, other = (only_run(tmp_path / store) for store in ("a", "b"))
    assert one.spec.model_digest == other.spec.model_digest
