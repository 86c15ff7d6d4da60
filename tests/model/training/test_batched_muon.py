"""Muon in batches against torch's, which takes one matrix after another."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import nn

from model.training.batched_muon import BatchedMuon

SHAPES = [(12, 8), (8, 12), (12, 8), (8, 8), (8, 12), (12, 8)]


def matrices() -> list[nn.Parameter]:
    torch.manual_seed(0)
    return [nn.Parameter(torch.randn(shape)) for shape in SHAPES]


def muon(kind: type[torch.optim.Muon], parameters: Sequence[nn.Parameter]) -> torch.optim.Muon:
    return kind(parameters, lr=0.05, weight_decay=0.1, momentum=0.95, adjust_lr_fn="original")


def give_gradients(parameters: Sequence[nn.Parameter], *, seed: int) -> None:
    torch.manual_seed(seed)
    for parameter in parameters:
        parameter.grad = torch.randn(parameter.shape)


def test_it_steps_as_torch_s() -> None:
    ours, theirs = matrices(), matrices()
    our_muon, their_muon = muon(BatchedMuon, ours), muon(torch.optim.Muon, theirs)
    for seed in range(3):
        give_gradients(ours, seed=seed)
        give_gradients(theirs, seed=seed)
        our_muon.step()
        their_muon.step()
    start = matrices()
    for one, other, first in zip(ours, theirs, start, strict=True):
        # A step is 0.05; what bf16 rounds away of it is a hundredth.
        torch.testing.assert_close(one, other, atol=2e-3, rtol=0)
        assert (one - first).abs().max() > 0.03


def test_the_state_of_one_goes_on_with_the_other() -> None:
    ours, theirs = matrices(), matrices()
    our_muon, their_muon = muon(BatchedMuon, ours), muon(torch.optim.Muon, theirs)
    give_gradients(ours, seed=0)
    our_muon.step()
    their_muon.load_state_dict(our_muon.state_dict())
    buffers = [their_muon.state[one]["momentum_buffer"] for one in theirs]
    assert len(buffers) == len(SHAPES)
    assert torch.equal(buffers[0], our_muon.state[ours[0]]["momentum_buffer"])


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_a_gradient_that_is_not_finite_changes_nothing(wrong: float) -> None:
    parameters = matrices()
    optimizer = muon(BatchedMuon, parameters)
    give_gradients(parameters, seed=0)
    optimizer.step()
    before = [parameter.clone() for parameter in parameters]
    momenta = [optimizer.state[one]["momentum_buffer"].clone() for one in parameters]
    give_gradients(parameters, seed=1)
    assert parameters[2].grad is not None
    parameters[2].grad[0, 0] = wrong
    optimizer.found_inf = torch.ones(())
    optimizer.step()
    for parameter, old, momentum in zip(parameters, before, momenta, strict=True):
        assert torch.equal(parameter, old)
        assert torch.equal(optimizer.state[parameter]["momentum_buffer"], momentum)


def test_a_matrix_without_a_gradient_stays() -> None:
    parameters = matrices()
    optimizer = muon(BatchedMuon, parameters)
    give_gradients(parameters[1:], seed=0)
    before = parameters[0].clone()
    optimizer.step()
    assert torch.equal(parameters[0], before)
