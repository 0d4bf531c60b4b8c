"""Checkpoints of the zoo that hold a part of what their type has, and language models that are no more than a stack."""

from typing import Any

from zoo_settings import ENCODER_DECODER, T5, table

# The decoder differs from the encoder, whose sizes some configurations give as the model's.
_PROPHETNET = {
    "num_encoder_layers": 2,
    "num_decoder_layers": 3,
    "num_encoder_attention_heads": 4,
    "num_decoder_attention_heads": 2,
    "encoder_ffn_dim": 96,
    "decoder_ffn_dim": 80,
}
_DECODER = {**ENCODER_DECODER, "decoder_layers": 3, "decoder_attention_heads": 2, "decoder_ffn_dim": 80}
_CAUSAL = {"is_decoder": True}


def _decoder(name: str, **settings: Any) -> dict[str, Any]:
    return {"made_as": name, **_DECODER, **settings}


PARTS = table(
    "part",
    "roberta",
    {
        "bart, decoder": {"is_a": "bart", **_decoder("BartForCausalLM")},
        "mbart, decoder": {"is_a": "mbart", **_decoder("MBartForCausalLM")},
        "pegasus, decoder": {"is_a": "pegasus", **_decoder("PegasusForCausalLM")},
        "blenderbot, decoder": {"is_a": "blenderbot", **_decoder("BlenderbotForCausalLM")},
        "blenderbot-small, decoder": {"is_a": "blenderbot-small", **_decoder("BlenderbotSmallForCausalLM")},
        "marian, decoder": {"is_a": "marian", **_decoder("MarianForCausalLM")},
        "plbart, decoder": {"is_a": "plbart", **_decoder("PLBartForCausalLM")},
        "mvp, decoder": {"is_a": "mvp", **_decoder("MvpForCausalLM")},
        "bigbird_pegasus, decoder": {"is_a": "bigbird_pegasus", **_decoder("BigBirdPegasusForCausalLM")},
        "trocr": _decoder("TrOCRForCausalLM"),
        "prophetnet, decoder": {"is_a": "prophetnet", "made_as": "ProphetNetForCausalLM", **_PROPHETNET},
        "prophetnet, encoder": {"is_a": "prophetnet", "made_as": "ProphetNetEncoder", **_PROPHETNET},
        "t5, --part=encoder": {"is_a": "t5", "part": "encoder", **T5, "num_decoder_layers": 3},
        "umt5, --part=encoder": {"is_a": "umt5", "part": "encoder", **T5},
        "bart, --part=encoder": {"is_a": "bart", "part": "encoder", **_DECODER},
        "pegasus, --part=encoder": {"is_a": "pegasus", "part": "encoder", **_DECODER},
        "led, --part=encoder": {
            "is_a": "led",
            "part": "encoder",
            **_DECODER,
            "num_hidden_layers": 2,
            "attention_window": [4, 4],
        },
        "prophetnet, --part=encoder": {
            "is_a": "prophetnet",
            "part": "encoder",
            "num_encoder_layers": 2,
            "num_decoder_layers": 2,
            "num_encoder_attention_heads": 4,
            "num_decoder_attention_heads": 4,
            "encoder_ffn_dim": 96,
            "decoder_ffn_dim": 96,
        },
        "t5, encoder": {"is_a": "t5", "made_as": "T5EncoderModel", **T5, "num_decoder_layers": 3},
        "t5, bytes": {"is_a": "t5", "made_as": "T5EncoderModel", "reads": "bytes", **T5},
        "t5, tokens": {"is_a": "t5", "made_as": "T5ForTokenClassification", **T5},
        "mt5, encoder": {"is_a": "mt5", "made_as": "MT5EncoderModel", **T5},
        "umt5, encoder": {"is_a": "umt5", "made_as": "UMT5EncoderModel", **T5},
        "longt5, encoder": {"is_a": "longt5", "made_as": "LongT5EncoderModel", **T5, "local_radius": 3},
        "switch_transformers, encoder": {
            "is_a": "switch_transformers",
            "made_as": "SwitchTransformersEncoderModel",
            **T5,
            "num_sparse_encoder_layers": 1,
            "num_experts": 4,
        },
        "dpr, contexts": {"is_a": "dpr", "made_as": "DPRContextEncoder", "reads": "wordpiece"},
        "dpr, reader": {"is_a": "dpr", "made_as": "DPRReader", "reads": "wordpiece"},
        "bert, language model": {"is_a": "bert", "made_as": "BertLMHeadModel", "reads": "wordpiece", **_CAUSAL},
        "bert, language model of both sides": {"is_a": "bert", "made_as": "BertLMHeadModel", "reads": "wordpiece"},
        "bert, decoder of two": {
            "is_a": "bert",
            "made_as": "BertLMHeadModel",
            "reads": "wordpiece",
            **_CAUSAL,
            "add_cross_attention": True,
        },
        "bert-generation, decoder": {"is_a": "bert-generation", "made_as": "BertGenerationDecoder", **_CAUSAL},
        "roberta, language model": {"is_a": "roberta", "made_as": "RobertaForCausalLM", **_CAUSAL},
        "xlm-roberta, language model": {"is_a": "xlm-roberta", "made_as": "XLMRobertaForCausalLM", **_CAUSAL},
        "camembert, language model": {"is_a": "camembert", "made_as": "CamembertForCausalLM", **_CAUSAL},
        "data2vec-text, language model": {"is_a": "data2vec-text", "made_as": "Data2VecTextForCausalLM", **_CAUSAL},
        "electra, language model": {
            "is_a": "electra",
            "made_as": "ElectraForCausalLM",
            "reads": "wordpiece",
            **_CAUSAL,
        },
        "rembert, language model": {
            "is_a": "rembert",
            "made_as": "RemBertForCausalLM",
            "input_embedding_size": 32,
            **_CAUSAL,
        },
        "megatron-bert, language model": {
            "is_a": "megatron-bert",
            "made_as": "MegatronBertForCausalLM",
            **_CAUSAL,
        },
        "ernie, language model": {"is_a": "ernie", "made_as": "ErnieForCausalLM", **_CAUSAL},
    },
)
