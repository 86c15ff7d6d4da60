"""What an interruption costs: the training that has to be repeated. Pure."""

from __future__ import annotations


def repeated_dollars(
    dollars: float, *, resumed_from: int, reached: int, continued_from: int
) -> float:
    """The part of an attempt's dollars for tokens that the next attempt trains again.

    Args:
        dollars: of the interrupted attempt.
        resumed_from: tokens at its start.
        reached: tokens at its end.
        continued_from: tokens at which the next attempt starts: the last checkpoint.

    An attempt that was lost before it trained anything was wholly in vain.
    """
    trained = reached - resumed_from
    if trained <= 0:
        return dollars
    return dollars * min(1.0, max(0.0, (reached - continued_from) / trained))
