"""What each kind of device can do."""

from __future__ import annotations

import pytest
import torch
from torch._inductor import config as inductor_config

from model.spec import ModelConfig
from model.training.compilation import should_compile
from model.training.hardware import (
    bf16_is_fast,
    compiler_name,
    deterministic_algorithms,
    environment,
    evaluation_precision_on,
    kind_of,
    precision_on,
)
from tests.model.training.cuda_errors import ILLEGAL_ADDRESS, OUT_OF_MEMORY, cuda_error

LONG = 10**12
CONFIG = ModelConfig(
    vocab_size=64, context=8, d_model=8, n_layers=1, n_heads=1, head_dim=8, d_ff=16
)


def test_a_mac_trains_in_fp32_and_compiles_only_on_demand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("model.training.compilation.compiler_found", lambda device: True)
    assert not bf16_is_fast("mps")
    assert not should_compile("auto", CONFIG, tokens=LONG, sequences=1, device="mps")
    assert should_compile("on", CONFIG, tokens=LONG, sequences=1, device="mps")
    assert should_compile("auto", CONFIG, tokens=LONG, sequences=1, device="cpu")


def test_a_gpu_is_known_by_its_name_and_its_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"GPU at {device}")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    monkeypatch.setenv("CC", "clang")
    assert environment("cuda:1", precision="bf16", compiled=False)["machine"] == "GPU at cuda:1"
    assert bf16_is_fast("cuda:1")
    assert compiler_name("cuda:1") == "C compiler (clang)"


def test_where_torch_has_no_gpu_none_multiplies_halves(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object, **__: object) -> bool:
        raise AssertionError("Torch not compiled with CUDA enabled")

    monkeypatch.setattr(torch.cuda, "get_device_capability", none)
    assert [precision_on("cuda", asked).name for asked in ("auto", "fp32")] == ["fp32", "fp32"]
    with pytest.raises(ValueError, match="bf16"):
        precision_on("cuda", "bf16")


@pytest.mark.parametrize("asked", ["auto", "fp32", "bf16"])
@pytest.mark.parametrize(
    ("code", "kind"),
    [(ILLEGAL_ADDRESS, torch.AcceleratorError), (OUT_OF_MEMORY, torch.OutOfMemoryError)],
)
def test_a_gpu_that_does_not_answer_is_not_one_that_cannot_multiply(
    code: int, kind: type[Exception], asked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise cuda_error(code)

    monkeypatch.setattr(torch.cuda, "get_device_capability", fails)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    with pytest.raises(kind, match="CUDA error"):
        precision_on("cuda:0", asked)
    with pytest.raises(kind, match="CUDA error"):
        evaluation_precision_on("cuda:0", "bf16")


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown device 'tpu'; expected one of cpu, cuda, mps"):
        kind_of("tpu")


@pytest.mark.parametrize("warns_only", [False, True])
@pytest.mark.parametrize("before", [False, True])
def test_what_torch_and_inductor_were_told_before_a_block_is_so_after_it(
    before: bool, warns_only: bool
) -> None:
    mode = torch.get_deterministic_debug_mode()
    try:
        torch.use_deterministic_algorithms(before, warn_only=warns_only)
        for within in (True, False):
            with deterministic_algorithms(within):
                assert torch.are_deterministic_algorithms_enabled() is within
                assert inductor_config.deterministic is within
            assert torch.are_deterministic_algorithms_enabled() is before
            assert inductor_config.deterministic is before
            assert torch.is_deterministic_algorithms_warn_only_enabled() is (before and warns_only)
    finally:
        torch.use_deterministic_algorithms(mode > 0, warn_only=mode == 1)
