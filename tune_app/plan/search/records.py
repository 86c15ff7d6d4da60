"""What a search proposed and what it was told: plain records, which the journal keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

SEARCH_TITLE = "round.place in the round, and the variants that the baseline does not have"
"""What the names of a search's cells are made of."""


class Result(str, Enum):
    """What became of a proposal, as the sampler counts it."""

    FINISHED = "finished"
    """Trained to the end: its score counts."""
    STOPPED = "stopped"
    """Stopped early, or paused: worse than every finished one; among those, whoever came further is
    better, then the lower score at that point (Optuna's rule for pruned trials)."""
    DIVERGED = "diverged"
    """Its loss was NaN or infinite: worse than every stopped one."""
    INFEASIBLE = "infeasible"
    """No such model: it was never trained, and the sampler avoids its neighbourhood."""


@dataclass(frozen=True, kw_only=True)
class Told:
    """What the sampler is told about an earlier proposal."""

    number: int
    values: Mapping[str, Any]
    """The settings that the sampler chose."""
    result: Result
    score: float | None = None
    """Bits per byte: on the full dev split if it finished, else on the sample."""
    tokens: int | None = None
    """Baseline tokens at which a stopped one was stopped."""

    def to_values(self) -> dict[str, Any]:
        return {
            "number": self.number,
            "values": dict(self.values),
            "result": self.result.value,
            "score": self.score,
            "tokens": self.tokens,
        }

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Told:
        return cls(**{**values, "result": Result(values["result"])})


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """A point that the sampler named."""

    number: int
    """From 1, over all rounds."""
    values: Mapping[str, Any]
    """The settings that the sampler chose; those that do not apply are not in it."""
    cell: str | None = None
    """Key of the design's cell on the first seed; None if there is no such model."""
    refused: str = ""
    """Why it is not trained: it has no solution, or is a cell of the sweep already. Else empty."""

    @property
    def is_new(self) -> bool:
        return not self.refused

    @property
    def is_infeasible(self) -> bool:
        return self.cell is None


@dataclass(frozen=True, kw_only=True)
class Round:
    """The proposals that were made at once, before any of them was trained."""

    number: int
    """From 1."""
    search: Mapping[str, Any]
    """The search that made it: see `Search.as_dict`."""
    told: tuple[Told, ...] = ()
    """What the sampler knew."""
    proposals: tuple[Proposal, ...] = ()
    at: float = field(default=0.0, compare=False)
    """Seconds since the epoch; set by the journal."""

    @property
    def new(self) -> tuple[Proposal, ...]:
        """The proposals that are trained."""
        return tuple(one for one in self.proposals if one.is_new)

    @property
    def is_full(self) -> bool:
        return len(self.new) >= int(self.search["sampler"]["cells"])


def rounds_left(search: Mapping[str, Any], rounds: Sequence[Round]) -> int:
    """How many rounds a search still has; none once one could not be filled.

    Args:
        search: as the sweep's record has it; empty for a sweep without a search.
        rounds: those so far.
    """
    if not search:
        return 0
    exhausted = rounds and not rounds[-1].is_full and _same_but_rounds(rounds[-1].search, search)
    return 0 if exhausted else max(0, int(search["sampler"]["rounds"]) - len(rounds))


def _same_but_rounds(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    first, second = ({**search["sampler"], "rounds": 0} for search in (one, other))
    same: bool = (first, one["parameters"]) == (second, other["parameters"])
    return same
