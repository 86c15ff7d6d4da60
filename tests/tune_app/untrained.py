"""Models with random weights and a small tokenizer, for tests that need no training."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from tokenizers import Tokenizer

from data.tokenizers.base import kind_of
from data.tokenizers.spec import TokenizerSpec
from model.mup import transfer
from model.network.transformer import Transformer
from model.sizing.budget import solve
from model.spec import ModelSpec
from tune_app.trial.tokenizer_files import TokenizerIdentity
from tune_app.trial.trained import TrainedModel

VOCABULARY = 280
TEXT = "the film is a film of the cinema, and people watch it in the evening with friends again. "


def small_tokenizer(text: str = TEXT) -> Tokenizer:
    """A byte-level tokenizer of VOCABULARY tokens, for which 東 and 京 are three bytes each."""
    spec = TokenizerSpec(vocab_size=VOCABULARY)
    return kind_of(spec).train([[text, text]])


def untrained(*, context: int = 32, **model: Any) -> TrainedModel:
    """A model that is neither as wide nor as deep as its baseline, so that no multiplier is 1."""
    sizes = {"target_parameters": 30_000, "vocab_size": VOCABULARY, "n_heads": 2}
    free = {"embedding_ratio": None, "glu_expansion": None, "n_layers": 3}
    wanted = {**free, "context": context, **model}
    config = solve(ModelSpec(**{**sizes, **wanted}))
    baseline = solve(ModelSpec(**{**sizes, **free, "n_layers": 2, "context": context}))
    tokenizer = small_tokenizer()
    content = tokenizer.to_str(pretty=True).encode()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        scales = transfer(config, baseline=baseline, parametrization="complete_p")
        transformer = Transformer(config, scales=scales).eval()
        for parameter in transformer.parameters():
            parameter.data += 0.05 * torch.randn_like(parameter)
    return TrainedModel(
        model=transformer,
        tokens=1_000,
        cell={"parametrization": "complete_p"},
        observation=None,
        identity=TokenizerIdentity(
            kind="byte_level_bpe",
            vocab_size=VOCABULARY,
            options={},
            sha256=hashlib.sha256(content).hexdigest(),
            end_of_text=0,
        ),
        _tokenizer=tokenizer,
        _searched="",
    )
