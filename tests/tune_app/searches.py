"""A made-up search in a journal: planned for real, its cells given results without training."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from optuna.distributions import FloatDistribution

from tests.tune_app.sweeps import observe, record_of
from tune_app.journal.journal import Journal
from tune_app.journal.records import COMPLETED, DIVERGED, Action, CellRecord, Decision
from tune_app.plan.plan import SweepPlan, make_plan
from tune_app.plan.search.rounds import NextRound
from tune_app.plan.space import Space, space_from
from tune_app.plan.wishes import Wishes
from tune_app.stopping.kill_rule import KillRule
from tune_app.sweep.rounds import next_round

TOKENS = 1_000

NAMES: dict[str, Any] = {
    "SEARCH": {
        "feed_forward": ["swiglu", "relu", "moe"],
        "glu_expansion": FloatDistribution(1.0, 6.0),
        "learning_rate_factor": FloatDistribution(0.25, 4.0, log=True),
    },
    "WHEN": {"feed_forward": {"moe": {"n_experts": [2, 4], "top_k": [1, 4]}}},
    "SAMPLER": {"rounds": 4, "cells": 4, "startup": 4},
    "FIXED": {
        "target_parameters": 300_000,
        "vocab_size": 512,
        "n_heads": 2,
        "d_model": 48,
        "embedding_ratio": None,
        "tokens": TOKENS,
    },
}


def space(**changed: Any) -> Space:
    return space_from({**NAMES, **changed}, name="mine", source="mine")


def planned(made: Space | None = None, **wishes: Any) -> SweepPlan:
    return make_plan(made or space(), Wishes(**wishes))


def search_journal(path: Path, plan: SweepPlan) -> Journal:
    assert plan.search is not None
    record = record_of(
        plan,
        scheduler={"name": "none"},
        kill_rule=KillRule(unit="off").as_dict(),
        command="stellux sweep mine.py",
        search=plan.search.as_dict(),
    )
    return Journal.create(path, record, plan.cells, rounds=plan.rounds, clock=lambda: 10.0)


def end(journal: Journal, cell: CellRecord, *, how: str = "finished") -> None:
    """Gives a cell a result that its expansion and its seed decide."""
    score = 2.0 + 0.1 * cell.values["glu_expansion"] + 0.01 * cell.values["seed"]
    action, rule, tokens, whole = Action.FINISH, COMPLETED, TOKENS, score
    if how != "finished":
        action, rule, tokens, whole = Action.STOP, "asha", TOKENS // 2, None
        rule = DIVERGED if how == "diverged" else rule
    journal.start_attempt(cell.key)
    decision = Decision(cell=cell.key, tokens=tokens, action=action, rule=rule, reason=how)
    journal.record(observe(cell.key, tokens, score, whole=whole), decision)


def end_all(journal: Journal, *, fates: dict[str, str] | None = None, turn: int = 1) -> None:
    """Ends every cell that waits; `turn` -1 ends the last one first."""
    waiting: Iterable[CellRecord] = [one for one in journal.cells() if one.status.waits][::turn]
    for cell in waiting:
        end(journal, cell, how=(fates or {}).get(cell.label.split()[0], "finished"))


def go_on(journal: Journal, plan: SweepPlan) -> NextRound | None:
    """Proposes and journals the next round, if there is one."""
    following = next_round(plan.search, journal)
    if following is not None:
        journal.propose(following.round, following.cells)
    return following
