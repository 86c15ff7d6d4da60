"""Draws from the distributions of a space: seeded, feasible, and the same when more are asked for.

A sampler names the next points; `feasible_draws` keeps those that have a solution. Both are pure:
a plan made again, or with more samples, begins with the same points.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from tune_app.plan.identity import canonical

Values = Mapping[str, Any]

_TRIES = 20
"""Draws that are tried for each one wanted."""


@dataclass(frozen=True, kw_only=True)
class Told:
    """A point that was drawn before, for samplers that learn from results."""

    values: Values
    score: float | None = None
    """Bits per byte on the full dev split, lower is better; None if it is not known."""


class Sampler(Protocol):
    """Names points to try. A sampler that adapts is another class of this protocol."""

    def ask(
        self, distributions: Mapping[str, Any], *, told: Sequence[Told], count: int
    ) -> list[dict[str, Any]]:
        """The next points after those told. Equal arguments give equal points.

        Args:
            distributions: an Optuna distribution for each axis.
            told: every earlier point, in the order they were drawn.
            count: of points to name.
        """


@dataclass(frozen=True, kw_only=True)
class RandomSampler:
    """Independent draws by Optuna's random sampler; scores do not matter."""

    seed: int

    def ask(
        self, distributions: Mapping[str, Any], *, told: Sequence[Told], count: int
    ) -> list[dict[str, Any]]:
        import optuna  # noqa: PLC0415 - takes half a second, and only distributions need it

        # Optuna logs every new study through a handler of its own.
        logging.getLogger("optuna.storages").setLevel(logging.WARNING)
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=self.seed))
        points = [study.ask(dict(distributions)).params for _ in range(len(told) + count)]
        return points[len(told) :]


@dataclass(frozen=True, kw_only=True)
class Draws:
    """The draws kept for one combination of the listed values."""

    kept: tuple[Values, ...]
    tried: int
    """Different draws that were looked at, kept ones included."""
    infeasible: tuple[Values, ...]
    """Those without a solution."""


def feasible_draws(
    sampler: Sampler,
    distributions: Mapping[str, Any],
    is_feasible: Sequence[Callable[[Values], bool]],
    *,
    wanted: int,
    redraw: bool = True,
) -> list[Draws]:
    """The first `wanted` draws that are feasible and differ, for each combination.

    All combinations look at the same draws in the same order, so they share as many as possible.
    After 20 draws for each one wanted, a combination has those that were found.

    Args:
        is_feasible: for each combination, whether it has a solution with these drawn values.
        wanted: draws for each combination.
        redraw: whether another draw may have a solution where one has none. If not, a combination
            is given up at its first infeasible draw.
    """
    stream: list[Values] = []
    found = []
    for accepts in is_feasible:
        kept: list[Values] = []
        infeasible: list[Values] = []
        seen: set[str] = set()
        for at in range(wanted * _TRIES):
            if len(kept) == wanted or (infeasible and not redraw):
                break
            if at == len(stream):
                told = [Told(values=values) for values in stream]
                count = max(wanted, len(stream))
                stream += sampler.ask(distributions, told=told, count=count)
            draw = stream[at]
            key = json.dumps(canonical(draw), sort_keys=True, default=str)
            if key in seen:
                continue
            seen.add(key)
            (kept if accepts(draw) else infeasible).append(draw)
        found.append(Draws(kept=tuple(kept), tried=len(seen), infeasible=tuple(infeasible)))
    return found
