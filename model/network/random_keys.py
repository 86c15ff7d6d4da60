"""Random numbers as a function of a key: what training draws inside the network.

Each sequence of a step has a key, made of the run's seed, the step and the sequence's place in the
batch. What is drawn from it is a hash of the key, the layer and the place of the number. So no
generator has a state: a resumed run draws what it would have drawn, with micro-batches of any size,
compiled or not, on every device.

The hash is SplitMix64 (Steele, Lea and Flood, 2014, "Fast splittable pseudorandom number
generators", figure 16), in int64, whose products wrap around as they must.

Shapes: B sequences, N numbers for each of them.
"""

from __future__ import annotations

import torch
from torch import Tensor

RANDOM_KEYS = "random_keys"
"""The name of the keys among the extras of a batch, int64 [B]."""

_BITS = 64
_GOLDEN = 0x9E3779B97F4A7C15
_MULTIPLIERS = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
_DIGITS = 23
"""Random bits of a number: with half a step added it is exact in fp32, and never 0 or 1."""


def sequence_keys(*, seed: int, step: int, sequences: int) -> Tensor:
    """The keys of a step's sequences, int64 [B], on the CPU."""
    of_step = _mixed_number(_mixed_number(seed + _GOLDEN) + step * _GOLDEN)
    keys = [_mixed_number(of_step + (place + 1) * _GOLDEN) for place in range(sequences)]
    return torch.tensor([_signed(key) for key in keys], dtype=torch.int64)


def uniform(keys_B: Tensor, count: int, *, stream: int) -> Tensor:
    """Numbers [B, N] in (0, 1), in fp32, equally distributed; another stream gives others."""
    offset = _signed(_mixed_number((stream + 1) * _GOLDEN))
    start_B1 = _mixed(keys_B ^ offset)[:, None]
    places_N = torch.arange(1, count + 1, device=keys_B.device, dtype=torch.int64)
    # The sum before the product: torch.compile bounds the product of a place and a number without
    # wrapping it around, and refuses a bound beyond int64.
    bits_BN = _logical_shift(_mixed((start_B1 + places_N) * _signed(_GOLDEN)), _BITS - _DIGITS)
    return (bits_BN.float() + 0.5) * 2.0**-_DIGITS


def _mixed(words: Tensor) -> Tensor:
    first, second = map(_signed, _MULTIPLIERS)
    words = (words ^ _logical_shift(words, 30)) * first
    words = (words ^ _logical_shift(words, 27)) * second
    return words ^ _logical_shift(words, 31)


def _logical_shift(words: Tensor, bits: int) -> Tensor:
    """Shifts zeros in from the left; `>>` alone repeats the sign."""
    return (words >> bits) & ((1 << (_BITS - bits)) - 1)


def _mixed_number(word: int) -> int:
    """`_mixed` of one number, taken modulo 2⁶⁴."""
    mask = (1 << _BITS) - 1
    word &= mask
    word = (word ^ (word >> 30)) * _MULTIPLIERS[0] & mask
    word = (word ^ (word >> 27)) * _MULTIPLIERS[1] & mask
    return word ^ (word >> 31)


def _signed(word: int) -> int:
    """The int64 with the bits of an unsigned number."""
    return word - (1 << _BITS) if word >> (_BITS - 1) else word
