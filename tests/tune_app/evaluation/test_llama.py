"""A model that is a Llama has Llama's logits; another one says why it is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from model.mup import standard
from model.network.transformer import Transformer
from tests.tune_app.untrained import untrained
from tune_app.evaluation.exporting import write_export
from tune_app.evaluation.llama import llama_config, llama_weights, why_not_llama


@pytest.mark.slow
@pytest.mark.parametrize(
    "variant",
    [
        {},
        {"embedding": "untied", "n_heads": 4, "n_kv_heads": 2},
        {"rotary_base": 50_000.0, "head_dim": 10, "n_heads": 4},
    ],
)
def test_transformers_has_the_models_logits(variant: dict[str, Any], tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    trained = untrained(**variant)
    write_export(trained, tmp_path / "one", source={}, documents={}, transformers=True)
    folder = tmp_path / "one/transformers"
    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    tokens_BT = torch.arange(2 * 32).view(2, 32)
    with torch.inference_mode():
        torch.testing.assert_close(
            model(tokens_BT).logits, trained.model(tokens_BT), atol=1e-4, rtol=0
        )
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    text = "the film, 東京"
    assert tokenizer.encode(text) == trained.tokenizer.encode(text).ids
    assert tokenizer.eos_token_id == trained.end_of_text


def test_every_weight_gets_a_name_and_every_multiplier_a_weight() -> None:
    trained = untrained()
    weights, scales = llama_weights(trained.model), trained.model.scales
    ours = trained.model.state_dict()
    assert len(weights) == len(ours) + 1  # tied before, apart now
    assert torch.equal(
        weights["model.layers.1.mlp.down_proj.weight"],
        ours["blocks.1.feed_forward.down.weight"] * scales.residual,
    )
    assert torch.equal(weights["model.norm.weight"], ours["final_norm.weight"] * scales.logits)
    assert llama_config(trained.config, end_of_text=0)["num_key_value_heads"] == 2


def test_a_model_in_the_standard_parametrization_has_its_weights_as_they_are() -> None:
    config = untrained().config
    model = Transformer(config, scales=standard(config, config))
    weights, ours = llama_weights(model), model.state_dict()
    assert torch.equal(weights["model.embed_tokens.weight"], ours["embeddings.embedding"])
    assert torch.equal(weights["lm_head.weight"], ours["embeddings.embedding"])


@pytest.mark.parametrize(
    "variant", [{"feed_forward": "geglu"}, {"attention": "qk_norm"}, {"embedding": "untied"}]
)
def test_what_is_no_llama_says_why(variant: dict[str, str]) -> None:
    ((name, value),) = variant.items()
    trained = untrained(**variant)
    if value == "untied":
        assert why_not_llama(trained.config) is None
        return
    with pytest.raises(ValueError, match=f"Llama has no {name} '{value}'"):
        llama_weights(trained.model)
