from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

import model.network.loss
from model.network.loss import linear_cross_entropy, nats_per_token

TOKENS, FEATURES, VOCABULARY = 37, 12, 50


@pytest.fixture
def problem() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(1, TOKENS, FEATURES, generator=generator, requires_grad=True)
    weight = torch.randn(VOCABULARY, FEATURES, generator=generator, requires_grad=True)
    targets = torch.randint(0, VOCABULARY, (1, TOKENS), generator=generator)
    return features, weight, targets


def plain(features_BTE: Tensor, weight_VE: Tensor, targets_BT: Tensor) -> Tensor:
    logits_SV = functional.linear(features_BTE, weight_VE).flatten(0, 1)
    return functional.cross_entropy(logits_SV.float(), targets_BT.flatten())


@pytest.mark.parametrize("rows", [1, 8, TOKENS, 1000])
def test_value_and_gradients_are_those_of_plain_cross_entropy(
    problem: tuple[Tensor, Tensor, Tensor], rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model.network.loss, "CHUNK_LOGITS", {"cpu": rows * VOCABULARY})
    features, weight, targets = problem
    ours, theirs = linear_cross_entropy(features, weight, targets), plain(*problem)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(
        torch.autograd.grad(3 * ours, (features, weight)),
        torch.autograd.grad(3 * theirs, (features, weight)),
    )


def test_under_autocast_it_is_as_exact_as_plain_cross_entropy(
    problem: tuple[Tensor, Tensor, Tensor],
) -> None:
    features, weight, _ = problem
    exact = torch.autograd.grad(plain(*problem), (features, weight))
    errors = []
    for loss in (linear_cross_entropy, plain):
        with torch.autocast("cpu", torch.bfloat16):
            value = loss(*problem)
        assert value.dtype == torch.float32
        gradients = torch.autograd.grad(value, (features, weight))
        errors.append([(g - e).norm() / e.norm() for g, e in zip(gradients, exact, strict=True)])
    for ours, theirs in zip(*errors, strict=True):
        assert ours < 1.2 * theirs
        assert ours < 0.01


def test_probabilities_near_zero_keep_their_loss() -> None:
    features = torch.tensor([[[300.0]]])
    weight = torch.tensor([[0.0], [1.0]], requires_grad=True)
    assert linear_cross_entropy(features, weight, torch.tensor([[0]])).item() == 300


@pytest.mark.parametrize("rows", [1, 8, 1000])
def test_with_a_mask_it_is_the_mean_over_the_scored_targets(
    problem: tuple[Tensor, Tensor, Tensor], rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model.network.loss, "CHUNK_LOGITS", {"cpu": rows * VOCABULARY})
    features, weight, targets = problem
    mask = torch.arange(TOKENS)[None] % 3 == 0
    unscored = targets.where(mask, -100)
    ours = linear_cross_entropy(features, weight, unscored, mask)
    theirs = functional.cross_entropy((features @ weight.T)[0], unscored[0], ignore_index=-100)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(
        torch.autograd.grad(ours, (features, weight)),
        torch.autograd.grad(theirs, (features, weight)),
    )
    nothing = linear_cross_entropy(features, weight, targets, torch.zeros_like(mask))
    assert nothing.item() == 0
    assert not torch.autograd.grad(nothing, weight)[0].any()


def test_nats_per_token_are_not_averaged(problem: tuple[Tensor, Tensor, Tensor]) -> None:
    features, weight, targets = problem
    nats = nats_per_token(features.flatten(0, 1), weight, targets.flatten())
    assert nats.shape == (TOKENS,)
    torch.testing.assert_close(nats.mean(), plain(*problem))
    assert nats_per_token(features[0, :0], weight, targets[0, :0]).shape == (0,)
