"""A small sweep that has not started: cells, a journal and observations to feed it with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.tune_app.observations import observation
from tune_app.journal.journal import Journal
from tune_app.journal.records import Observation, SweepRecord
from tune_app.plan.plan import SweepPlan, make_plan
from tune_app.plan.space import Space
from tune_app.plan.tokenizer import tokenizer_of
from tune_app.plan.wishes import Wishes
from tune_app.stopping.kill_rule import KillRule

TOKENS = 1_000


def planned(
    *,
    expansions: Sequence[float] = (2.0, 2.66, 4.0),
    seeds: Sequence[int] = (0,),
    axes: Mapping[str, Sequence[Any]] | None = None,
    nuisance: Mapping[str, Sequence[Any]] | None = None,
    **fixed: Any,
) -> SweepPlan:
    """A small plan; `axes` and `fixed` add to those of `new_journal`."""
    sizes = {"target_parameters": 1_000_000, "vocab_size": 4_096, "tokens": TOKENS}
    space = Space(
        name="small",
        axes={"glu_expansion": list(expansions), **(axes or {})},
        nuisance=nuisance or {},
        fixed={**sizes, **fixed},
    )
    return make_plan(space, Wishes(seeds=tuple(seeds)))


def record_of(plan: SweepPlan, **changed: Any) -> SweepRecord:
    """The record of a sweep of this plan on a text that is not there."""
    values: dict[str, Any] = {
        "name": plan.name,
        "space": plan.space,
        "corpus": plan.corpus,
        "corpus_sha256": "0" * 64,
        "baseline": plan.baseline.key,
        "tokens": plan.tokens,
        "seeds": plan.seeds,
        "scheduler": {"name": "asha-stop"},
        "kill_rule": KillRule().as_dict(),
        "bytes_per_token": {tokenizer_of(cell.values).key: 3.0 for cell in plan.cells},
        "created_at": 0.0,
        "command": "python -m tune_app.sweep",
        "axes": plan.axes,
        "nuisance": plan.nuisance,
    }
    return SweepRecord(**{**values, **changed})


def new_journal(
    path: Path,
    *,
    expansions: Sequence[float] = (2.0, 2.66, 4.0),
    seeds: Sequence[int] = (0,),
    nuisance: Mapping[str, Sequence[Any]] | None = None,
) -> Journal:
    """A journal of pending cells; the baseline is the first."""
    plan = planned(expansions=expansions, seeds=seeds, nuisance=nuisance)
    return Journal.create(path, record_of(plan), plan.cells)


def observe(cell: str, tokens: int, bpb: float, *, whole: float | None = None) -> Observation:
    """An observation; its perplexity is ten times its bits per byte, for easy sums."""
    return observation(
        cell,
        tokens,
        bits_per_byte=bpb,
        perplexity=10 * bpb,
        baseline_token_perplexity=10 * bpb,
        train_loss=1.0,
        learning_rate=1e-3,
        seconds={"train": tokens / 100},
        full_bits_per_byte=whole,
        full_perplexity=None if whole is None else 10 * whole,
    )
