from __future__ import annotations

import pytest
import torch

from model.network.running_mean import BLOCK, running_mean


@pytest.mark.parametrize("length", [1, 7, BLOCK, BLOCK + 1, 3 * BLOCK + 5])
def test_it_is_the_mean_up_to_each_position(length: int) -> None:
    torch.manual_seed(0)
    values = torch.randn(2, length, 3, dtype=torch.float64)
    expected = values.cumsum(1) / torch.arange(1, length + 1)[:, None]
    torch.testing.assert_close(running_mean(values), expected)
    one = torch.zeros(2, length, dtype=torch.int64)
    torch.testing.assert_close(running_mean(values, one), expected)


@pytest.mark.parametrize("ends", [[3], [BLOCK], [1, 2, 3 * BLOCK - 1], [50, 70, 71, 190], []])
def test_it_starts_anew_with_each_document(ends: list[int]) -> None:
    torch.manual_seed(0)
    length = 3 * BLOCK + 9
    values = torch.randn(2, length, 3)
    documents = torch.zeros(2, length, dtype=torch.int64)
    for end in ends:
        documents[1, end:] += 1
    means = running_mean(values, documents)
    torch.testing.assert_close(means[0], running_mean(values)[0])
    for start, end in zip([0, *ends], [*ends, length], strict=True):
        alone = running_mean(values[1:, start:end])
        torch.testing.assert_close(means[1, start:end], alone[0])


def test_another_document_leaves_no_trace() -> None:
    torch.manual_seed(0)
    values = torch.randn(1, 200, 3)
    documents = (torch.arange(200) >= 100).long()[None]
    changed = values.clone()
    changed[:, :100] *= 1e6
    before, after = running_mean(values, documents), running_mean(changed, documents)
    assert torch.equal(before[:, 100:], after[:, 100:])


def test_bf16_is_averaged_in_fp32_also_under_autocast() -> None:
    values = torch.ones(1, 300, 2, dtype=torch.bfloat16) / 3
    with torch.autocast("cpu", torch.bfloat16):
        means = running_mean(values)
    assert means.dtype == torch.float32
    torch.testing.assert_close(means, values.float())
