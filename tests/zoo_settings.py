"""Settings that several architectures of the zoo share."""

from collections.abc import Callable, Mapping
from typing import Any

from zoo_models import Species

# Windows are smaller than most samples.
WINDOW = 4


def table(family: str, tokenizer: str, entries: Mapping[str, Any]) -> dict[str, Species]:
    """Make species of ``name: settings``; a model type that is not the name is the setting ``is_a``."""
    made = {}
    for name, settings in entries.items():
        rest = dict(settings)
        kind, own, finish = rest.pop("is_a", name), rest.pop("reads", tokenizer), rest.pop("finish", None)
        texts = {flag: rest.pop(flag, "") for flag in ("made_as", "part")}
        flags = {flag: rest.pop(flag, False) for flag in ("warm", "unusable", "fours", "small")}
        made[name] = Species(kind, family, own, rest, finish, **flags, **texts)
    return made


def parts(**changes: Mapping[str, Any]) -> Callable[[Any], None]:
    """Return what changes settings of a configuration's parts."""

    def finish(config: Any) -> None:
        for part, settings in changes.items():
            for name, value in settings.items():
                setattr(getattr(config, part), name, value)

    return finish


ROPES = {
    "sliding_attention": {"rope_type": "default", "rope_theta": 100.0},
    "full_attention": {"rope_type": "default", "rope_theta": 1000.0},
}
SLIDING = ["sliding_attention", "full_attention", "sliding_attention"]
LINEAR = ["linear_attention", "full_attention", "linear_attention"]
MAMBA = {"mamba_d_state": 8, "mamba_n_heads": 8, "mamba_d_head": 16, "mamba_chunk_size": 8}
LATENT = {
    "q_lora_rank": 24,
    "kv_lora_rank": 16,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 8,
    "v_head_dim": 16,
    "head_dim": 8,
    "num_key_value_heads": 4,
}
DELTA = {
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
}
EXPERTS = {"n_group": 1, "topk_group": 1, "first_k_dense_replace": 1, "n_shared_experts": 1}
# With fewer heads many scores are zero, and which of equal ones are taken depends on the length of a batch.
INDEXER = {"index_topk": WINDOW, "index_n_heads": 16, "index_head_dim": 16}
NAMED = {"n_layers": 3, "n_heads": 4}
ENCODER_DECODER = {
    "d_model": 64,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 96,
    "decoder_ffn_dim": 96,
}
T5 = {"d_model": 64, "d_kv": 16, "d_ff": 96, "num_layers": 2, "num_decoder_layers": 2, "num_heads": 4}
