"""Studies whose sweeps are made up: their journals are written, and nothing is trained."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from io import StringIO
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from rich.console import Console

from tests.tune_app.sweeps import observe, record_of
from tune_app.cluster.options import RunOptions
from tune_app.journal.endings import CTRL_C
from tune_app.journal.journal import Journal
from tune_app.journal.records import Action, Decision, Score
from tune_app.plan.plan import SweepPlan
from tune_app.stopping.all_rules import StoppingRules
from tune_app.study import run
from tune_app.study.file import study_from
from tune_app.study.forecast import Timed
from tune_app.study.run import read_study, run_study
from tune_app.study.spec import Study
from tune_app.sweep.folder import JOURNAL
from tune_app.sweep.inheritance import Inheritance
from tune_app.sweep.outcome import Outcome

Scorer = Callable[[Mapping[str, Any]], float]
"""A cell's values → its bits per byte at the end."""

TINY: Mapping[str, Any] = {
    "tokens": 1_000,
    "corpus": "stdlib",
    "target_parameters": 1_000_000,
    "vocab_size": 4_096,
    "axes": {"glu_expansion": [2.0, 2.66, 3.0]},
    "scheduler": {"name": "none"},
    "kill_rule": {"unit": "off"},
    "evaluate": [],
    "phase": [
        {"kind": "baseline", "seeds": 3, "rates": [0.5], "rate_seeds": 2},
        {"kind": "rank", "seeds": 1},
        {"kind": "finalists", "seeds": 3, "most": 2, "tokens": 2_000},
    ],
}


_NOISY = (
    "seed",
    "tokens",
    "glu_expansion",
    "learning_rate_factor",
    "vocab_size",
    "embedding",
    "n_heads",
)


def study_of(**changes: Any) -> Study:
    return study_from({**TINY, **changes}, name="tiny")


def noisy(by: float, effect: Callable[[Mapping[str, Any]], float] = lambda _: 0.0) -> Scorer:
    """Scores around 2 with an effect and with noise that depends on the cell alone.

    Not on settings that later versions add, so that scores stay what they are.
    """

    def score(values: Mapping[str, Any]) -> float:
        draw = random.Random(repr([values[name] for name in _NOISY]))
        return 2.0 + effect(values) + draw.gauss(0.0, by)

    return score


class MadeUp:
    """Stands in for `train_sweep`: writes the journal of a sweep in which all cells finish.

    Args:
        score: of each cell.
        stops: whether a rule stops a cell half-way.
        pauses: whether a scheduler has a cell wait half-way, at a rung.
    """

    def __init__(
        self,
        score: Scorer,
        *,
        stops: Callable[[Mapping[str, Any]], bool] = lambda _: False,
        pauses: Callable[[Mapping[str, Any]], bool] = lambda _: False,
    ) -> None:
        self.score, self.stops, self.pauses = score, stops, pauses
        self.trained: dict[str, list[str]] = {}
        """Keys of the cells by phase that were not adopted."""
        self.limits: dict[str, float | None] = {}
        """What each phase may cost, in dollars."""
        self.interrupt_after: int | None = None
        """Cells after which the sweep is interrupted."""
        self.at = ""
        """The name of the sweep now."""

    def __call__(
        self,
        plan: SweepPlan,
        rules: StoppingRules,
        options: RunOptions,
        *,
        console: Console,
        command: str,
        inheritance: Inheritance,
        daemon: None = None,
    ) -> Outcome:
        self.at = plan.name
        self.limits[plan.name] = options.max_dollars
        path = options.results / plan.name / JOURNAL
        if not path.exists():
            record = record_of(
                plan,
                scheduler=rules.scheduler_record,
                kill_rule=rules.kill_rule.as_dict(),
                command=command,
                origin=inheritance.origin,
            )
            Journal.create(path, record, plan.cells, adopted=inheritance.cells).close()
        with Journal.open(path) as journal:
            for cell in journal.cells():
                if cell.status.ended or cell.config is None:
                    continue
                if self.interrupt_after == 0:
                    return Outcome(statuses=(cell.status,), ending=CTRL_C)
                if self.interrupt_after is not None:
                    self.interrupt_after -= 1
                self.trained.setdefault(plan.name, []).append(cell.key)
                self._train(journal, cell.key, cell.values, int(cell.values["tokens"]))
            if inheritance.tested == "all":
                for cell in journal.cells():
                    journal.score(_test_score(cell.key, self.score(cell.values)))
            return Outcome(statuses=tuple(one.status for one in journal.cells()), ending=None)

    def _train(self, journal: Journal, key: str, values: Mapping[str, Any], tokens: int) -> None:
        journal.start_attempt(key)
        final = self.score(values)
        for quarter in (2, 4):
            at = tokens * quarter // 4
            if journal.observation(key, at) is not None:
                continue
            whole = final if quarter == 4 else None
            seen = observe(key, at, final + 0.1 * (4 - quarter), whole=whole)
            decision = None
            if quarter == 4:
                decision = _decision(key, at, Action.FINISH, "completed")
            elif quarter == 2 and self.stops(values):
                decision = _decision(key, at, Action.STOP, "kill_rule")
            elif quarter == 2 and self.pauses(values):
                rung = {"milestone": at, "bits_per_byte": seen.bits_per_byte}
                decision = _decision(key, at, Action.PAUSE, "asha", rung)
            journal.record(seen, decision)
            if decision is not None:
                break


def run_made_up(
    study: Study,
    sweeps: MadeUp,
    results: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    timed: Timed | None = None,
    **options: Any,
) -> tuple[int, str]:
    """The exit code of a study and what it showed.

    timed: as `run_study` has it.
    options: of RunOptions.
    """
    monkeypatch.setattr(run, "train_sweep", sweeps)
    shown = StringIO()
    console = Console(file=shown, width=200)
    wanted = RunOptions(results=results, **options)
    code = run_study(study, wanted, console=console, command="again", timed=timed)
    return code, shown.getvalue()


def origins(study: Study, results: Path) -> list[Mapping[str, Any]]:
    found = read_study(study, results / study.name)
    return [phase.origin for phase in found.phases]


def _decision(
    key: str,
    tokens: int,
    action: Action,
    rule: str,
    evidence: Mapping[str, Any] = MappingProxyType({}),
) -> Decision:
    return Decision(
        cell=key,
        tokens=tokens,
        action=action,
        rule=rule,
        reason=f"by {rule}",
        evidence=evidence,
    )


def _test_score(key: str, value: float) -> Score:
    return Score(
        cell=key, split="test", tokens=1, bits_per_byte=value + 0.5, perplexity=9.0, text_bytes=100
    )
