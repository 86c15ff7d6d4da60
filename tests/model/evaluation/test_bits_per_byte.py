from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn import functional

from model.evaluation.bits_per_byte import evaluate
from model.mup import Scales
from model.network.transformer import Transformer
from model.spec import ModelConfig

CONFIG = ModelConfig(
    vocab_size=61, context=8, d_model=24, n_layers=2, n_heads=2, head_dim=10, d_ff=36
)
END = 0


@dataclass(frozen=True, kw_only=True)
class Windows:
    inputs_BT: NDArray[np.int64]
    targets_BT: NDArray[np.int64]
    mask_BT: NDArray[np.bool_]
    extras: Mapping[str, NDArray[Any]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Documents:
    """Random windows of tokens, of which `END` is not text."""

    batch_size: int
    text_bytes: int = 400
    windows: int = 12

    def __iter__(self) -> Iterator[Windows]:
        tokens = np.random.default_rng(0).integers(0, 61, (self.windows, 9))
        tokens[:, 5] = END
        for start in range(0, self.windows, self.batch_size):
            rows = tokens[start : start + self.batch_size]
            targets = rows[:, 1:]
            yield Windows(inputs_BT=rows[:, :-1], targets_BT=targets, mask_BT=targets != END)


class Stored(list[Windows]):
    """Given windows."""

    text_bytes = 400


@pytest.fixture
def model() -> Transformer:
    torch.manual_seed(0)
    return Transformer(CONFIG, scales=Scales.own(CONFIG))


def test_it_is_the_count_by_hand(model: Transformer) -> None:
    nats, tokens = 0.0, 0
    for window in Documents(batch_size=1):
        targets, scored = window.targets_BT, window.mask_BT
        features, weight = model.output(model.hidden_states(torch.from_numpy(window.inputs_BT)))
        probabilities = functional.softmax((features @ weight.T).double(), dim=-1)[0]
        for position in np.flatnonzero(scored[0]):
            nats -= math.log(probabilities[position, targets[0, position]].item())
            tokens += 1
    score = evaluate(model, Documents(batch_size=1))
    assert score.tokens == tokens < 12 * 8
    assert score.nats == pytest.approx(nats, rel=1e-6)
    assert score.bits_per_byte == pytest.approx(nats / math.log(2) / 400, rel=1e-6)
    assert score.perplexity == pytest.approx(math.exp(nats / tokens), rel=1e-6)


def test_the_batch_size_changes_nothing(model: Transformer) -> None:
    scores = [evaluate(model, Documents(batch_size=size)) for size in (1, 5, 12)]
    for score in scores[1:]:
        assert score.tokens == scores[0].tokens
        assert score.nats == pytest.approx(scores[0].nats, rel=1e-6)


def test_masked_documents_are_scored_with_their_own_context_alone(model: Transformer) -> None:
    """As if each were scored alone."""
    masking = Transformer(replace(CONFIG, document_masking=True), scales=model.scales)
    masking.load_state_dict(model.state_dict())
    with pytest.raises(ValueError, match="do not say which document a position is of"):
        evaluate(masking, Documents(batch_size=4))
    nats, tokens = 0.0, np.random.default_rng(0).integers(1, 61, (6, 9))
    tokens[:, 5] = END
    whole = Windows(
        inputs_BT=tokens[:, :-1],
        targets_BT=tokens[:, 1:],
        mask_BT=tokens[:, 1:] != END,
        extras={"documents_BT": (tokens[:, :-1] == END).cumsum(axis=1)},
    )
    for row in tokens:
        for part in (row[:6], row[5:]):
            inputs, targets = torch.from_numpy(part[None, :-1]), torch.from_numpy(part[1:])
            lost = functional.cross_entropy(model(inputs)[0], targets, reduction="none")
            nats += lost[targets != END].sum().item()
    assert evaluate(masking, Stored([whole])).nats == pytest.approx(nats, rel=1e-5)
    assert evaluate(model, Stored([whole])).nats != pytest.approx(nats, rel=1e-5)


def test_an_untrained_model_knows_nothing(model: Transformer) -> None:
    with torch.no_grad():
        model.embeddings.embedding.zero_()
    assert evaluate(model, Documents(batch_size=4)).perplexity == pytest.approx(61)


def test_it_leaves_no_trace(model: Transformer) -> None:
    model.train()
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].tolist()
    with torch.autocast("cpu", torch.bfloat16):
        under_autocast = evaluate(model, Documents(batch_size=4))
    assert under_autocast == evaluate(model, Documents(batch_size=4))
    assert model.training
    assert torch.equal(torch_state, torch.get_rng_state())
    assert numpy_state == np.random.get_state()[1].tolist()
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_model_that_is_not_finite_has_a_score_that_is_not(model: Transformer) -> None:
    with torch.no_grad():
        model.final_norm.weight.fill_(math.nan)
    assert math.isnan(evaluate(model, Documents(batch_size=4)).bits_per_byte)
    with torch.no_grad():
        model.final_norm.weight.fill_(1e6)
    score = evaluate(model, Documents(batch_size=4))
    assert score.perplexity == math.inf
    assert math.isfinite(score.bits_per_byte)


def test_documents_without_text_are_refused(model: Transformer) -> None:
    with pytest.raises(ValueError, match="no token to score"):
        evaluate(model, Documents(batch_size=4, windows=0))
