"""What a command asks for, before it is known what is there."""

from __future__ import annotations

from dataclasses import dataclass, field

from tune_app.plan.plan import SweepPlan
from tune_app.stopping.all_rules import StoppingRules
from tune_app.sweep.inheritance import Inheritance
from tune_app.terminal.facts import Fact


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A sweep that a command asks for."""

    plan: SweepPlan
    rules: StoppingRules
    inheritance: Inheritance = field(default_factory=Inheritance)
    """What it begins with."""
    facts: tuple[Fact, ...] = ()
    """What is said first: what it begins with, in words."""
