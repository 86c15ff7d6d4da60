"""The stopping-rule protocol: curves and an observation in; continue, stop or pause out, and why.

A rule only decides; it changes nothing outside itself. The referee (`referee.py`) combines the
verdicts of several rules into one decision, and makes the baseline immune.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar, Protocol, Self, get_type_hints

from tune_app.journal.records import Action, Observation
from tune_app.plan.identity import unknown_setting
from tune_app.stopping.curves import Curves


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """A rule's answer to an observation, with its reason."""

    action: Action
    """CONTINUE, STOP or PAUSE. CONTINUE is for a verdict worth noting, such as a rung passed."""
    reason: str
    """One sentence with the numbers, for people."""
    evidence: Mapping[str, Any] = field(default_factory=dict)
    """The numbers, as plain values."""


class Rule(Protocol):
    """Judges the observations of one sweep."""

    def judge(self, curves: Curves, observation: Observation) -> Verdict | None:
        """Whether the observation's cell continues; None if the rule has nothing to say.

        Called once for each observation of every cell, also the baseline, in order of arrival, so
        a rule may keep a memory; a continued sweep feeds its earlier observations first. Not called
        for evaluations that diverged, nor for those at the end of training.

        Args:
            curves: of all cells so far, including the new observation.
            observation: the new one.
        """


class PausingRule(ABC):
    """A rule that pauses cells and lets some of them go on later."""

    @abstractmethod
    def judge(self, curves: Curves, observation: Observation) -> Verdict | None:
        """As for every Rule."""

    @abstractmethod
    def settle(self, cell: str, action: Action | None) -> None:
        """What became of a cell: after each judgement, by whichever rule; after a promotion of its
        own; and STOP for a cell that failed. None: it continues.

        A continued sweep settles what its journal says.
        """

    def holds(self, curves: Curves) -> Iterable[tuple[str, Verdict]]:
        """Cells that are to wait, paused before their first step, and why; asked before any cell
        of a command starts. Its answer depends on what was observed alone."""
        return ()

    @abstractmethod
    def promotions(self, curves: Curves) -> Iterable[tuple[str, Verdict]]:
        """Paused cells that go on now, in the order in which they do, and why; and those of which
        it is now known that they stay paused, with PAUSE and the reason."""


@dataclass(frozen=True, kw_only=True)
class Title:
    """Display names of a rule."""

    short: str
    """In a table or a legend: `kill rule`."""
    by: str
    """In a sentence, after "by": `the kill rule`."""
    verb: str = "stopped"
    """What it did to a cell."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What rules may know of a trial before the sweep starts."""

    tokens: int
    """Baseline tokens of a full trial."""
    evaluations: int
    """Evenly spaced, the last one at the end."""
    sample_bytes: int
    """Bytes of text in the dev sample."""
    stretches: int
    """Stretches of text in the dev sample."""


_KINDS: Mapping[Any, tuple[tuple[type, ...], str]] = {
    int: ((int, float), "a number"),
    float: ((int, float), "a number"),
    str: ((str,), "a name"),
}
"""Annotation of a setting → the types it accepts, and what an error calls them."""


@dataclass(frozen=True, kw_only=True)
class RuleSettings(ABC):
    """Base class of a rule's settings, which are recorded with the sweep and build the rule.

    Subclasses raise ValueError for invalid values.
    """

    NAME: ClassVar[str]
    """The name in decisions, in a sweep's record, and on the command line."""
    TITLE: ClassVar[Title]

    def as_dict(self) -> dict[str, Any]:
        """The settings as plain values; `from_record` reads them back."""
        return asdict(self)

    @classmethod
    def from_record(cls, values: Mapping[str, Any]) -> Self:
        """Settings from plain values; ignores `name`.

        Raises ValueError for an unknown setting, and for a value of the wrong type.
        """
        known = [one.name for one in fields(cls)]
        for name in values:
            if name not in (*known, "name"):
                raise ValueError(unknown_setting(name, known, of=cls.TITLE.by))
        hints = get_type_hints(cls)
        for name in values.keys() & set(known):
            kinds, kind = _KINDS.get(hints[name], ((object,), ""))
            value = values[name]
            if not isinstance(value, kinds) or (kind and isinstance(value, bool)):
                raise ValueError(f"{name} of {cls.TITLE.by} is {value!r}; it must be {kind}")
        return cls(**{name: value for name, value in values.items() if name != "name"})

    @abstractmethod
    def build(self, *, tokens: int) -> Rule | None:
        """A fresh rule for trials of `tokens` baseline tokens; None if it is off."""

    @abstractmethod
    def describe(self, tokens: int) -> str:
        """One line that is shown when a sweep starts, for trials of `tokens` baseline tokens."""

    def milestones(self, tokens: int) -> tuple[int, ...]:
        """Baseline tokens at which a trial is likely to be stopped or paused, ascending.

        A checkpoint is taken there, so that a paused cell resumes without training anything twice.
        """
        return ()

    def notes(self, trial: Trial) -> tuple[str, ...]:
        """Warnings about the rule in this sweep, for example that it never stops a cell."""
        return ()
