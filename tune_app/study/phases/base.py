"""What every phase of a study has: settings from the file, a worst case, and a promotion."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from tune_app.plan.cell import Cell
from tune_app.study.found import Found
from tune_app.study.frame import Frame

NOTHING_STOPPED: Mapping[str, Any] = {"name": "none"}
NO_KILL_RULE: Mapping[str, Any] = {"unit": "off"}


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A design that a phase trains."""

    values: Mapping[str, Any]
    """Of its cells, without the seed; with the phase's own tokens."""
    seeds: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Promotion:
    """What a phase trains, and why: a pure function of the phases before it."""

    entries: tuple[Entry, ...]
    """The baseline first."""
    reason: str
    """One sentence with the numbers, for people."""
    evidence: Mapping[str, Any]
    """The numbers, as plain values."""
    scheduler: Mapping[str, Any] = field(default_factory=lambda: dict(NOTHING_STOPPED))
    kill_rule: Mapping[str, Any] = field(default_factory=lambda: dict(NO_KILL_RULE))
    nuisance: tuple[str, ...] = ()
    tests_all: bool = False
    """Whether all of its cells are scored on the test split."""


class PromotionError(ValueError):
    """The phases before leave nothing that this one could train."""


@dataclass(frozen=True, kw_only=True)
class Phase(ABC):
    """A phase's settings, as in the study's file. Raises ValueError for impossible ones."""

    KIND: ClassVar[str]
    """What the file calls it."""
    ABOUT: ClassVar[str]
    """What it does, in a few words, for people."""
    FRESH: ClassVar[bool] = False
    """Whether its seeds must not have been used by another phase."""

    name: str = ""
    """Of its folder; default: its kind."""
    tokens: int | None = None
    """Baseline tokens of each run; default: the study's."""
    seeds: int = 1
    """How many seeds each design is trained on."""
    share: float | None = None
    """Share of the study's budget that is kept for it; default: it shares what is left."""

    def __post_init__(self) -> None:
        if not self.name:
            object.__setattr__(self, "name", self.KIND)
        if self.seeds < 1:
            raise ValueError(f"seeds is {self.seeds}; it must be at least 1")
        if self.tokens is not None and self.tokens < 1:
            raise ValueError(f"tokens is {self.tokens}; it must be at least 1")
        if self.share is not None and not 0 < self.share <= 1:
            raise ValueError(f"share is {self.share:g}; it must be above 0 and at most 1")

    def check(self, study: Frame, before: Sequence[Phase]) -> None:  # noqa: B027 - nothing to check
        """Raises ValueError if it cannot follow these phases, or has nothing to train."""

    def all_axes(self, study: Frame) -> Mapping[Any, Any]:
        """What varies in it, as a search space has it."""
        return {}

    @abstractmethod
    def most_runs(self, study: Frame) -> int:
        """Runs of its tokens that it needs at most, if nothing is stopped or adopted."""

    def known_designs(self, study: Frame) -> list[Cell]:
        """A cell of each design that is known before the study runs; the baseline alone if others
        are to be found."""
        return [study.baseline_cell(tokens=self.tokens_in(study))]

    @abstractmethod
    def promote(self, study: Frame, found: Found, *, seeds: Sequence[int]) -> Promotion:
        """What it trains.

        Args:
            study: what its phases share.
            found: what the phases before have found.
            seeds: as many as it names.

        Raises PromotionError if the phases before leave nothing to train.
        """

    def tokens_in(self, study: Frame) -> int:
        """Baseline tokens of each of its runs."""
        return study.tokens if self.tokens is None else self.tokens


def needs(phase: Phase, before: Sequence[Phase], *kinds: str) -> None:
    """Raises ValueError if none of the phases before is of one of the kinds."""
    if not any(one.KIND in kinds for one in before):
        raise ValueError(
            f"the phase {phase.name!r} ({phase.KIND}) follows no phase of kind "
            f"{' or '.join(kinds)}; put one in front of it"
        )
