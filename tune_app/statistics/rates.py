"""How often something happens, of a few cases."""

from __future__ import annotations

ENOUGH = 5
"""Cases under which no rate is stated: none in four bounds it at 60 % only."""


def rate_interval(happened: int, of: int, *, level: float = 0.95) -> tuple[float, float]:
    """Where the true rate lies (Clopper and Pearson, 1934): exact, so never too narrow.

    Of n cases in which it never happened the upper end is about 3.7/n; with all error on that side,
    as the rule of three has it, 3/n.
    """
    from scipy.special import betaincinv  # noqa: PLC0415

    assert 0 <= happened <= of and of >= 1
    tail = (1 - level) / 2
    low = 0.0 if happened == 0 else float(betaincinv(happened, of - happened + 1, tail))
    high = 1.0 if happened == of else float(betaincinv(happened + 1, of - happened, 1 - tail))
    return low, high


def rate_text(happened: int, of: int) -> str:
    """`0 of 12 (0 %, 95 % interval 0 to 26 %)`; without a rate where cases are too few."""
    if of < ENOUGH:
        return f"{happened} of {of}; under {ENOUGH} no rate is stated"
    low, high = rate_interval(happened, of)
    return (
        f"{happened} of {of} ({100 * happened / of:.0f} %, 95 % interval {100 * low:.0f} to "
        f"{100 * high:.0f} %)"
    )
