"""A model as transformers' Llama, where it is one: its multipliers go into the weights.

Llama has no multipliers. Each is linear, so a weight beside it takes it: a branch's into the
branch's last matrix, that of attention logits into the queries, that of the vocabulary's logits
into the gains of the last norm, and the division of embedded tokens into the embedding. That leaves
embedding and head apart, even if they were tied.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from model.network.embeddings import EMBEDDING_STD
from model.network.transformer import Transformer
from model.spec import ModelConfig

_NEEDED: Mapping[str, tuple[str, ...]] = {
    "attention": ("multi_head",),
    "feed_forward": ("swiglu",),
    "norm": ("rms_norm",),
    "embedding": ("tied", "untied"),
}
"""Variants that Llama has."""
_NORM_EPS = 1e-5
_BLOCK = {
    "attention_norm.weight": "input_layernorm.weight",
    "attention.query.weight": "self_attn.q_proj.weight",
    "attention.key.weight": "self_attn.k_proj.weight",
    "attention.value.weight": "self_attn.v_proj.weight",
    "attention.output.weight": "self_attn.o_proj.weight",
    "feed_forward_norm.weight": "post_attention_layernorm.weight",
    "feed_forward.gate.weight": "mlp.gate_proj.weight",
    "feed_forward.up.weight": "mlp.up_proj.weight",
    "feed_forward.down.weight": "mlp.down_proj.weight",
}
"""Names in a block → names in Llama's."""


def why_not_llama(config: ModelConfig) -> str | None:
    """Why a model is no Llama; None if it is one."""
    for name, known in _NEEDED.items():
        if (value := getattr(config, name)) not in known:
            return f"Llama has no {name} {value!r}, only {' or '.join(known)}"
    return None


def llama_config(config: ModelConfig, *, end_of_text: int) -> dict[str, Any]:
    """config.json of transformers."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": config.vocab_size,
        "hidden_size": config.d_model,
        "intermediate_size": config.d_ff,
        "num_hidden_layers": config.n_layers,
        "num_attention_heads": config.n_heads,
        "num_key_value_heads": config.n_kv_heads or config.n_heads,
        "head_dim": config.head_dim,
        "hidden_act": "silu",
        "max_position_embeddings": config.context,
        "rms_norm_eps": _NORM_EPS,
        "rope_theta": config.rotary_base,
        "rope_parameters": {"rope_type": "default", "rope_theta": config.rotary_base},
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": False,
        "bos_token_id": end_of_text,
        "eos_token_id": end_of_text,
        "dtype": "float32",
    }


def llama_weights(model: Transformer) -> dict[str, Tensor]:
    """The weights under Llama's names, with the multipliers in them.

    Raises ValueError if the model is no Llama.
    """
    if (reason := why_not_llama(model.config)) is not None:
        raise ValueError(reason)
    scales = model.scales
    weights = {name: tensor.detach() for name, tensor in model.state_dict().items()}
    embedding = weights.pop("embeddings.embedding")
    found = {
        "model.embed_tokens.weight": embedding.clone()
        if scales.standard
        else embedding / EMBEDDING_STD,
        "lm_head.weight": weights.pop("embeddings.head", embedding).clone(),
        "model.norm.weight": weights.pop("final_norm.weight") * scales.logits,
    }
    factors = {
        "attention.query.weight": scales.attention_logits,
        "attention.output.weight": scales.residual,
        "feed_forward.down.weight": scales.residual,
    }
    for layer in range(model.config.n_layers):
        for ours, theirs in _BLOCK.items():
            weight = weights.pop(f"blocks.{layer}.{ours}")
            found[f"model.layers.{layer}.{theirs}"] = weight * factors.get(ours, 1.0)
    assert not weights, f"weights that Llama has no name for: {', '.join(weights)}"
    return {name: tensor.contiguous() for name, tensor in found.items()}


def tokenizer_config(*, context: int, end_of_text: str) -> dict[str, Any]:
    """tokenizer_config.json of transformers."""
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": context,
        "bos_token": end_of_text,
        "eos_token": end_of_text,
        "clean_up_tokenization_spaces": False,
        "add_bos_token": False,
    }
