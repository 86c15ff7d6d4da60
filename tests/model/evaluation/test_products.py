from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from model.evaluation import bits_per_byte
from model.evaluation.bits_per_byte import evaluate
from model.evaluation.products import products_in
from model.mup import Scales
from model.network.transformer import Transformer
from model.precisions import FP32, TF32
from tests.model.evaluation.test_bits_per_byte import CONFIG, Documents

MATMUL = torch.backends.cuda.matmul


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    yield
    torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize("before", ["highest", "high"])
def test_torch_is_told_and_told_again_what_it_was_told_before(before: str) -> None:
    torch.set_float32_matmul_precision(before)
    on_cuda, on_cpu = MATMUL.fp32_precision, torch.backends.mkldnn.matmul.fp32_precision
    for precision, told in ((FP32, "ieee"), (TF32, "tf32")):
        with products_in(precision):
            assert MATMUL.fp32_precision == told
            assert torch.backends.mkldnn.matmul.fp32_precision == on_cpu
        assert MATMUL.fp32_precision == on_cuda
        with pytest.raises(ZeroDivisionError), products_in(precision):
            raise ZeroDivisionError
        assert MATMUL.fp32_precision == on_cuda
    # torch raises here if its two ways to say this disagree.
    assert torch.get_float32_matmul_precision() == before


def test_an_evaluation_multiplies_in_fp32_unless_it_is_told_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = Transformer(CONFIG, scales=Scales.own(CONFIG))
    nats_per_token = bits_per_byte.nats_per_token
    seen: list[str] = []

    def watched(*tensors: torch.Tensor) -> torch.Tensor:
        seen.append(MATMUL.fp32_precision)
        return nats_per_token(*tensors)

    monkeypatch.setattr(bits_per_byte, "nats_per_token", watched)
    torch.set_float32_matmul_precision("high")
    scores = [evaluate(model, Documents(batch_size=12), precision=one) for one in (FP32, TF32)]
    assert evaluate(model, Documents(batch_size=12)) == scores[0] == scores[1], "on a CPU"
    assert seen == ["ieee", "tf32", "ieee"]
