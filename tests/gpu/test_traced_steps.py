"""What training and evaluation ask of a GPU, found without one: see tests/gpu/fake_cuda.py."""

from __future__ import annotations

import json
import os
import shutil
from functools import cache
from typing import Any

import pytest

from tests.gpu.fake_cuda import with_fake_cuda
from tests.gpu.kernel_bounds import MOST_KERNELS
from tests.gpu.refusals import ATTEMPTS
from tests.gpu.traced_steps import HELD, SEQUENCES, SIZES, cases

pytestmark = pytest.mark.skipif(
    shutil.which(os.environ.get("CXX", "g++")) is None,
    reason="needs a C++ compiler, for a fake GPU",
)

MAY = {"to device without waiting", "cumsum of whole numbers", "index", "a number"}
MAY |= {"repeats by a number"}

STEP = ("forward and backward", "optimizer")
WITH_MORE = (
    "default",
    "grouped queries",
    "attention qk_norm",
    "masked documents",
    "feed_forward moe",
    "moe on an RTX 4090",
    "moe under Muon",
    "feed_forward polyglu",
)
"""Cases traced once more with more heads and experts."""


BRIEF = (
    "default",
    "attention qk_norm",
    "feed_forward moe",
    "feed_forward polyglu",
    "moe on an RTX 4090",
    "masked documents, grouped queries",
    "Muon, two layers",
    "fp8",
    "fp16 on a Turing",
    "gradient checkpointing, moe",
    "some targets",
    "held text",
    "held text, masked documents",
)
"""Cases of `make test`: one of each kind of layer, optimizer, precision and batch. The other
activations, embeddings and combinations are traced by make test-slow."""

EACH = [name if name in BRIEF else pytest.param(name, marks=pytest.mark.slow) for name in cases()]


def traced(name: str) -> dict[str, Any]:
    """What was traced of a case."""
    found: dict[str, Any] = _all_traced(brief=name in BRIEF)[name]
    return found


@cache
def _all_traced(*, brief: bool) -> dict[str, Any]:
    names = [name for name in cases() if (name in BRIEF) == brief]
    found: dict[str, Any] = json.loads(with_fake_cuda("tests.gpu.traced_steps", "small", *names))
    return found


@pytest.fixture(scope="module")
def refused() -> dict[str, str | None]:
    found: dict[str, str | None] = json.loads(with_fake_cuda("tests.gpu.refusals"))
    return found


@pytest.mark.parametrize("name", EACH)
def test_a_step_and_an_evaluation_never_wait_for_the_gpu(name: str) -> None:
    assert not traced(name)["refused"]
    kernels = traced(name)["kernels"]
    assert all(kernels[stage] > 0 for stage in ("forward and backward", "optimizer", "evaluation"))


@pytest.mark.parametrize("name", EACH)
def test_a_step_can_be_recorded_unless_a_part_is_not_scored(name: str) -> None:
    assert not traced(name)["not_recorded"]
    if cases()[name].masked:
        assert not traced(name)["recorded"]
        return
    eager = sum(traced(name)["kernels"][stage] for stage in STEP)
    # What brings the batch is left out; Muon makes its rates of one that is on the device.
    assert 0.9 * eager < traced(name)["recorded"] < 1.1 * eager


def test_every_variant_has_a_bound_and_no_bound_is_left_over() -> None:
    assert list(MOST_KERNELS) == list(cases())


@pytest.mark.parametrize("name", EACH)
def test_a_step_starts_no_more_kernels_than_its_bound(name: str) -> None:
    step = sum(traced(name)["kernels"][stage] for stage in STEP)
    assert step <= MOST_KERNELS[name], "more kernels than tests/gpu/kernel_bounds.py allows"


def test_a_step_sends_its_tokens_or_only_where_they_are_held() -> None:
    config, number = SIZES["small"], 8
    keys = SEQUENCES * number
    arrays = 3  # inputs, targets, and the documents that this source always names
    assert traced("default")["copied"] == arrays * SEQUENCES * config.context * number + keys
    for name in ("held text", "held text, masked documents"):
        assert traced(name)["copied"] == SEQUENCES * number + keys, "a place of each sequence"


@pytest.mark.parametrize("name", EACH)
def test_an_evaluation_of_a_held_sample_copies_nothing(name: str) -> None:
    copied = traced(name)["copied_to_evaluate"]
    assert copied.pop("evaluation") > 0
    assert copied == dict.fromkeys(HELD, 0)


# A loop over the heads or experts of `small` goes beyond its bound already.
@pytest.mark.slow
def test_heads_and_experts_are_no_loops_of_python() -> None:
    more = json.loads(with_fake_cuda("tests.gpu.traced_steps", "more", *WITH_MORE))
    counted = {name: more[name]["kernels"] for name in WITH_MORE}
    assert counted == {name: traced(name)["kernels"] for name in WITH_MORE}


def test_the_optimizer_takes_all_parameters_at_once() -> None:
    default, muon = (traced(name)["operations"] for name in ("default", "Muon, two layers"))
    assert default["optimizer: _fused_adamw_"] <= 5, "one for each group"
    # Newton and Schulz iterate five times over each shape of matrix, not over each matrix.
    shapes = 4
    assert muon["optimizer: baddbmm"] == 2 * 5 * shapes


def test_hopper_has_a_kernel_for_groups_and_other_cards_get_blocks() -> None:
    product = "forward and backward: _grouped_mm"
    assert traced("feed_forward moe")["operations"][product] == 3 * 3, (
        "of 3 matrices, forward and backward"
    )
    assert product not in traced("moe on an RTX 4090")["operations"]


def test_no_logits_are_scattered() -> None:
    assert not [name for name in traced("default")["operations"] if "scatter" in name]


@pytest.mark.parametrize("name", ATTEMPTS)
def test_what_waits_is_refused_and_nothing_else(name: str, refused: dict[str, str | None]) -> None:
    assert (refused[name] is None) == (name in MAY), refused[name]
