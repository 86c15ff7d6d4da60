"""Every stopping rule by its name, and the rules of one sweep.

A sweep has the kill rule, which may be off, and at most one scheduler, from the table below. A new
rule is a file with its settings and an entry here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tune_app.journal.records import COMPLETED, DIVERGED, SweepRecord
from tune_app.stopping.asha import AshaSettings
from tune_app.stopping.asha_stop import AshaStopSettings
from tune_app.stopping.halving import HalvingSettings
from tune_app.stopping.kill_rule import KillRule
from tune_app.stopping.precision import too_few
from tune_app.stopping.race import PairedRaceSettings
from tune_app.stopping.rule import Rule, RuleSettings, Title, Trial

SCHEDULERS: Mapping[str, type[RuleSettings]] = {
    AshaSettings.NAME: AshaSettings,
    AshaStopSettings.NAME: AshaStopSettings,
    HalvingSettings.NAME: HalvingSettings,
    PairedRaceSettings.NAME: PairedRaceSettings,
}
NO_SCHEDULER = "none"

_TITLES = {
    KillRule.NAME: KillRule.TITLE,
    **{name: settings.TITLE for name, settings in SCHEDULERS.items()},
    DIVERGED: Title(short="diverged", by="divergence"),
    COMPLETED: Title(short="completed", by="the budget"),
}


def title_of(rule: str) -> Title:
    """Display names of a decision's rule, also of one that this version does not know."""
    name = rule.replace("_", " ")
    return _TITLES.get(rule, Title(short=name, by=name))


def describe_scheduler(record: Mapping[str, Any], tokens: int) -> str:
    """A recorded scheduler in one line, also one that this version does not know."""
    name = str(record.get("name", NO_SCHEDULER))
    if name in SCHEDULERS:
        return SCHEDULERS[name].from_record(record).describe(tokens)
    settings = ", ".join(f"{key} {value}" for key, value in record.items() if key != "name")
    return f"{name} ({settings})" if settings else name


@dataclass(frozen=True, kw_only=True)
class StoppingRules:
    """The rules of one sweep."""

    kill_rule: KillRule
    scheduler: RuleSettings | None
    """None: no cell is stopped or paused for its rank."""
    named: bool = True
    """Whether the command or its space names the scheduler. A default does not replace the one of
    a sweep that exists."""

    @classmethod
    def from_record(cls, sweep: SweepRecord) -> StoppingRules:
        """The rules a sweep was started with. Raises ValueError for an unknown rule or setting."""
        return cls(
            kill_rule=KillRule.from_record(sweep.kill_rule),
            scheduler=scheduler_from_record(sweep.scheduler),
        )

    @property
    def scheduler_record(self) -> dict[str, Any]:
        """The scheduler as it is stored in a sweep's record."""
        if self.scheduler is None:
            return {"name": NO_SCHEDULER}
        return {"name": self.scheduler.NAME, **self.scheduler.as_dict()}

    @property
    def settings(self) -> tuple[RuleSettings, ...]:
        """In the order in which the referee asks them."""
        return (self.kill_rule,) if self.scheduler is None else (self.kill_rule, self.scheduler)

    def build(self, *, tokens: int) -> dict[str, Rule]:
        """Fresh rules by name, for trials of `tokens` baseline tokens.

        Raises ValueError if a rule cannot work on such trials.
        """
        built = {settings.NAME: settings.build(tokens=tokens) for settings in self.settings}
        return {name: rule for name, rule in built.items() if rule is not None}

    def milestones(self, tokens: int) -> tuple[int, ...]:
        """Baseline tokens at which a trial is likely to be stopped or paused, ascending."""
        found = {one for settings in self.settings for one in settings.milestones(tokens)}
        return tuple(sorted(found))

    def notes(self, trial: Trial) -> tuple[str, ...]:
        """Warnings about the rules, shown before the sweep starts."""
        notes = [note for settings in self.settings for note in settings.notes(trial)]
        ranked = isinstance(self.scheduler, AshaStopSettings)
        if (ranked or self.kill_rule.unit != "off") and (why := too_few(trial)):
            notes.append(why)
        return tuple(notes)


def scheduler_from_record(record: Mapping[str, Any]) -> RuleSettings | None:
    """The scheduler that a sweep's record names, or None. Raises ValueError for an unknown one."""
    name = record.get("name", NO_SCHEDULER)
    if name == NO_SCHEDULER:
        return None
    if name not in SCHEDULERS:
        raise ValueError(
            f"unknown scheduler {name!r}; expected one of {', '.join((*SCHEDULERS, NO_SCHEDULER))}"
        )
    return SCHEDULERS[name].from_record(record)
