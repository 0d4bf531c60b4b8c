"""The architectures of the zoo, each with the settings that make its peculiarities show in short samples."""

from zoo_decoders import DECODERS
from zoo_encoders import ENCODERS
from zoo_models import Species
from zoo_parts import PARTS
from zoo_settings import DELTA, ENCODER_DECODER, LATENT, LINEAR, MAMBA, SLIDING, T5, WINDOW, parts, table

_HYBRIDS = table(
    "hybrid",
    "byte-level",
    {
        "jamba": {
            "attn_layer_period": 2,
            "attn_layer_offset": 1,
            "mamba_d_state": 8,
            "mamba_dt_rank": 8,
            "use_mamba_kernels": False,
            "num_hidden_layers": 4,
        },
        "bamba": {**MAMBA, "attn_layer_indices": [1]},
        "zamba": {
            "mamba_d_state": 8,
            "mamba_dt_rank": 8,
            "use_mamba_kernels": False,
            "attention_hidden_size": 128,
            "attention_head_dim": 32,
            "num_key_value_heads": 4,
            "num_hidden_layers": 5,
            "layers_block_type": ["linear_attention", "hybrid", "linear_attention", "hybrid", "linear_attention"],
        },
        "zamba2": {
            "mamba_d_state": 8,
            "n_mamba_heads": 8,
            "mamba_headdim": 16,
            "chunk_size": 8,
            "num_hidden_layers": 4,
            "layers_block_type": ["linear_attention", "hybrid", "linear_attention", "hybrid"],
            "num_key_value_heads": 4,
            "num_mem_blocks": 1,
            "use_mamba_kernels": False,
        },
        "falcon_h1": {**MAMBA, "mamba_d_ssm": 128},
        "recurrent_gemma": {
            "reads": "gemma",
            "attention_window_size": WINDOW,
            "lru_width": 64,
            "block_types": ["recurrent", "recurrent", "attention"],
        },
        "granitemoehybrid": {
            **MAMBA,
            "layer_types": ["mamba", "attention", "mamba"],
            "shared_intermediate_size": 48,
            "embedding_multiplier": 3.0,
        },
        "nemotron_h": {
            "layers_block_type": ["mamba", "attention", "mlp"],
            "ssm_state_size": 8,
            "mamba_num_heads": 8,
            "mamba_head_dim": 16,
            "n_groups": 2,
            "chunk_size": 8,
            "use_mamba_kernels": False,
        },
        "qwen3_next": {**DELTA, "layer_types": LINEAR, "shared_expert_intermediate_size": 32},
        "olmo_hybrid": {**DELTA, "layer_types": LINEAR},
        "minimax": {"layer_types": LINEAR, "block_size": 8},
        "qwen3_5_text": {**DELTA, "layer_types": LINEAR},
        "lfm2_moe": {"layer_types": ["conv", "full_attention", "conv"]},
        "lfm2": {"layer_types": ["conv", "full_attention", "conv"], "block_auto_adjust_ff_dim": False},
        "kimi_linear": {
            **LATENT,
            "q_lora_rank": None,
            "layer_types": LINEAR,
            "mlp_layer_types": ["dense", "sparse", "sparse"],
            "num_experts_per_token": 2,
        },
    },
)

_RECURRENT = table(
    "recurrent",
    "byte-level",
    {
        "mamba": {"state_size": 8, "time_step_rank": 8},
        "falcon_mamba": {"state_size": 8, "time_step_rank": 8},
        "mamba2": {"num_heads": 8, "head_dim": 16, "state_size": 8, "n_groups": 2, "chunk_size": 8},
        "rwkv": {"attention_hidden_size": 64, "context_length": 128, "rescale_every": 2},
        "xlstm": {"embedding_dim": 64, "num_heads": 4, "num_blocks": 3, "chunk_size": 16},
    },
)

SMALL = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 96,
    "vocab_size": 700,
}

_WRAPPERS = table(
    "wrapper",
    "roberta",
    {
        "t5": dict(T5),
        "umt5": dict(T5),
        "bart": dict(ENCODER_DECODER),
        "pegasus": dict(ENCODER_DECODER),
        "led": {**ENCODER_DECODER, "num_hidden_layers": 2, "attention_window": [4, 4]},
        "prophetnet": {
            "num_encoder_layers": 2,
            "num_decoder_layers": 2,
            "num_encoder_attention_heads": 4,
            "num_decoder_attention_heads": 4,
            "encoder_ffn_dim": 96,
            "decoder_ffn_dim": 96,
        },
        "clip": {"finish": parts(text_config=SMALL, vision_config={**SMALL, "image_size": 32, "patch_size": 16})},
        "clip_text_model": {"num_key_value_heads": None},
        "siglip": {"finish": parts(text_config=SMALL, vision_config={**SMALL, "image_size": 32, "patch_size": 16})},
        "flava": {
            "finish": parts(
                text_config=SMALL,
                image_config={**SMALL, "image_size": 32},
                multimodal_config=SMALL,
            )
        },
        "gemma3": {
            "finish": parts(
                text_config={**SMALL, "head_dim": 16, "num_key_value_heads": 2, "layer_types": SLIDING[:2]},
                vision_config={**SMALL, "image_size": 32, "patch_size": 16},
            )
        },
        "qwen2_vl": {
            "finish": parts(
                text_config={
                    **SMALL,
                    "num_key_value_heads": 2,
                    "layer_types": ["full_attention"] * 2,
                    "rope_parameters": {"rope_type": "default", "rope_theta": 100.0, "mrope_section": [2, 3, 3]},
                },
                vision_config={"embed_dim": 32, "hidden_size": 64, "depth": 2, "num_heads": 2},
            )
        },
        "embedding_gemma2": {},
    },
)

#: Name to species.
SPECIES: dict[str, Species] = ENCODERS | DECODERS | _HYBRIDS | _RECURRENT | _WRAPPERS | PARTS
