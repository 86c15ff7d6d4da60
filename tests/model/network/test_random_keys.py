from __future__ import annotations

import numpy as np
import torch

from model.network import random_keys
from model.network.random_keys import sequence_keys, uniform


def test_it_is_splitmix64() -> None:
    """The generator's outputs for the seed 1234567, as its reference implementation gives them."""
    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    states = [1234567 + place * 0x9E3779B97F4A7C15 for place in (1, 2, 3)]
    assert [random_keys._mixed_number(state) for state in states] == expected
    signed = torch.tensor([random_keys._signed(state % 2**64) for state in states])
    assert random_keys._mixed(signed).numpy().view(np.uint64).tolist() == expected


def test_numbers_are_spread_equally_and_never_0_or_1() -> None:
    keys = sequence_keys(seed=0, step=0, sequences=10)
    numbers = uniform(keys, 2_000, stream=0)
    assert numbers.min() > 0 and numbers.max() < 1
    counts = torch.histc(numbers, bins=20, min=0, max=1)
    # Chi squared with 19 degrees of freedom: 43.8 is exceeded once in a thousand times.
    assert ((counts - 1_000).square() / 1_000).sum() < 43.8
    rows = torch.corrcoef(numbers)
    assert (rows - torch.eye(10)).abs().max() < 0.1


def test_seeds_steps_sequences_and_streams_draw_their_own() -> None:
    keys = [
        sequence_keys(seed=seed, step=step, sequences=16)
        for seed in (0, 1, 2**32 - 1)
        for step in (0, 1, 10**6)
    ]
    assert len(torch.cat(keys).unique()) == 9 * 16
    numbers = [uniform(keys[0], 50, stream=stream) for stream in range(4)]
    assert len(torch.stack(numbers).unique()) > 0.99 * 4 * 16 * 50
    assert torch.equal(uniform(keys[0][3:5], 50, stream=1), numbers[1][3:5])
