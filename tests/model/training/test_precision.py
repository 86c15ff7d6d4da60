"""Which precision a device trains in, and why."""

from __future__ import annotations

import pytest
import torch

from model.training.hardware import evaluation_precision_on, precision_on
from model.training.precision import chosen_precision


@pytest.mark.parametrize(
    ("asked", "multiplies", "shared", "name", "reason"),
    [
        ("auto", {"bf16", "fp16"}, False, "bf16", "cuda multiplies bf16"),
        ("auto", {"bf16"}, True, "bf16", "cuda multiplies bf16"),
        ("auto", {"fp16"}, False, "fp16", "and not bf16, so the loss is scaled"),
        ("auto", {"fp16"}, True, "fp32", "do not scale its loss"),
        ("auto", set(), False, "fp32", "neither bf16 nor fp16"),
        ("fp16", {"bf16", "fp16"}, False, "fp16", "as asked"),
        ("bf16", {"bf16"}, True, "bf16", "as asked"),
        ("fp32", {"bf16", "fp16"}, True, "fp32", "as asked"),
        ("fp8", {"bf16", "fp16"}, False, "fp8", "as asked"),
    ],
)
def test_it_is_chosen_by_what_the_device_can(
    asked: str, multiplies: set[str], shared: bool, name: str, reason: str
) -> None:
    choice = chosen_precision(asked, device="cuda", multiplies=multiplies, shared=shared)
    assert choice.name == name
    assert reason in choice.reason


@pytest.mark.parametrize(
    ("asked", "shared", "message"),
    [
        ("bf16", False, "precision is 'bf16', which mps has no instructions for; use 'auto'"),
        ("fp16", False, "precision is 'fp16', which mps has no instructions for; use 'auto'"),
        ("fp16", True, "which a model that several processes share is not trained in"),
    ],
)
def test_what_the_device_lacks_is_refused(asked: str, shared: bool, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        chosen_precision(asked, device="mps", multiplies=(), shared=shared)


@pytest.mark.parametrize(
    ("capability", "name"),
    [((9, 0), "bf16"), ((8, 0), "bf16"), ((7, 5), "fp16"), ((7, 0), "fp16"), ((6, 1), "fp32")],
)
def test_gpus_are_known_by_their_compute_capability(
    capability: tuple[int, int], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The other GPU of the machine is an older one.
    both = {"cuda:1": capability, "cuda:0": (6, 0)}
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: both[device])
    assert precision_on("cuda:1", "auto").name == name


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_plan_for_gpus_needs_none() -> None:
    assert precision_on("cuda", "auto").name == "fp32"


@pytest.mark.parametrize(
    ("capability", "training", "name", "reason"),
    [
        ((9, 0), "bf16", "tf32", "cuda:1 multiplies it, and training is in bf16"),
        ((8, 0), "fp8", "tf32", "cuda:1 multiplies it, and training is in fp8"),
        ((8, 0), "fp32", "fp32", "training is in fp32"),
        ((7, 5), "fp16", "fp32", "cuda:1 does not multiply TF32"),
    ],
)
def test_a_dev_sample_is_scored_in_tf32_where_the_training_is_not_in_fp32(
    capability: tuple[int, int],
    training: str,
    name: str,
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    choice = evaluation_precision_on("cuda:1", training)
    assert (choice.name, choice.reason) == (name, reason)
    assert [evaluation_precision_on(one, "bf16").name for one in ("cpu", "mps")] == ["fp32"] * 2
