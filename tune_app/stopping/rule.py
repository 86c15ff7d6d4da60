"""What a stopping rule is: curves and a new observation in; continue, stop or pause out, and why.

A rule decides and touches nothing. Several rules work beside each other, and how their answers
become one decision is the referee's to say (`referee.py`); so is that the baseline is immune.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar, Protocol, Self, get_type_hints

from tune_app.journal.records import Action, Observation
from tune_app.stopping.curves import Curves


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a rule says to an observation, with what it rests on."""

    action: Action
    """CONTINUE, STOP or PAUSE. CONTINUE is for a verdict worth noting, such as a rung passed."""
    reason: str
    """One sentence with the numbers, for a person."""
    evidence: Mapping[str, Any] = field(default_factory=dict)
    """The numbers, as plain values."""


class Rule(Protocol):
    """Judges the observations of one sweep."""

    def judge(self, curves: Curves, observation: Observation) -> Verdict | None:
        """Says whether the observation's cell goes on; None where there is nothing to say.

        Called once for each observation of every cell, the baseline's too, in the order of
        arrival, so a rule may keep a memory: also for what a sweep that continues observed before.
        Evaluations that diverged and those at the end of training are not asked about.

        Args:
            curves: of all cells as known so far, the new observation among them.
            observation: the new one.
        """


@dataclass(frozen=True, kw_only=True)
class Title:
    """How a rule is called where people read of it."""

    short: str
    """In a table or a legend: `kill rule`."""
    by: str
    """In a sentence, after "by": `the kill rule`."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What rules may know of a trial before the sweep starts."""

    tokens: int
    """Of a whole trial, in the baseline's tokens."""
    evaluations: int
    """Evenly spread, the last one at the end."""
    sample_bytes: int
    """Text of the dev sample that an evaluation scores."""
    wanted_bytes: int
    """What the sample was meant to hold, or the full dev split where that is smaller."""


_KINDS: Mapping[Any, tuple[tuple[type, ...], str]] = {
    int: ((int, float), "a number"),
    float: ((int, float), "a number"),
    str: ((str,), "a name"),
}
"""By the annotation of a setting: what is taken for it, and what that is called."""


@dataclass(frozen=True, kw_only=True)
class RuleSettings(ABC):
    """Base of a rule's settings: recorded with the sweep, and what the rule is built from.

    Subclasses raise ValueError for values that could never be meant.
    """

    NAME: ClassVar[str]
    """In decisions, in a sweep's record, and on the command line."""
    TITLE: ClassVar[Title]

    def as_dict(self) -> dict[str, Any]:
        """The settings as plain values; `from_record` reads them back."""
        return asdict(self)

    @classmethod
    def from_record(cls, values: Mapping[str, Any]) -> Self:
        """Settings from plain values, `name` aside.

        Raises ValueError for an unknown setting, and for one that is no number or no name where it
        has to be.
        """
        known = [one.name for one in fields(cls)]
        for name in values:
            if name not in (*known, "name"):
                raise ValueError(
                    f"unknown setting {name!r} of {cls.TITLE.by}; expected one of "
                    f"{', '.join(known) or 'none'}"
                )
        hints = get_type_hints(cls)
        for name in values.keys() & set(known):
            kinds, kind = _KINDS.get(hints[name], ((object,), ""))
            value = values[name]
            if not isinstance(value, kinds) or (kind and isinstance(value, bool)):
                raise ValueError(f"{name} of {cls.TITLE.by} is {value!r}; it must be {kind}")
        return cls(**{name: value for name, value in values.items() if name != "name"})

    @abstractmethod
    def build(self, *, tokens: int) -> Rule | None:
        """The rule with an empty memory, for trials of so many tokens; None where it is off."""

    @abstractmethod
    def describe(self, tokens: int) -> str:
        """One line for the person who starts a sweep of trials of so many tokens."""

    def milestones(self, tokens: int) -> tuple[int, ...]:
        """Baseline tokens at which a trial is likely to be stopped or paused, ascending.

        A checkpoint is taken there, so that a paused cell goes on from it and trains nothing twice.
        """
        return ()

    def notes(self, trial: Trial) -> tuple[str, ...]:
        """What the person should know of the rule in this sweep, such as that it never fires."""
        return ()
