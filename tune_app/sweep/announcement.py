"""What a sweep says before it starts: its cells and the rules that stop them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Console

from data.display import corpus_facts
from data.division import RULE
from data.prepared import PreparedCorpus
from data.stretches import Choice, choose
from tune_app.formats import count, counted
from tune_app.plan.cell import Cell
from tune_app.plan.plan import SweepPlan
from tune_app.stopping.all_rules import StoppingRules, describe_scheduler
from tune_app.stopping.rule import Trial
from tune_app.terminal.facts import Fact, print_facts


def announce(
    plan: SweepPlan,
    rules: StoppingRules,
    corpora: Mapping[str, PreparedCorpus],
    console: Console,
    *,
    ended: int,
    cells: int | None = None,
    infeasible: bool = True,
    first: Sequence[Fact] = (),
    more: Sequence[Fact] = (),
) -> None:
    """Prints what is about to run, and the stopping rules.

    Args:
        corpora: by tokenizer key.
        ended: number of cells that an earlier run has trained or stopped.
        cells: number of cells of the sweep, if it has more than the plan names.
        infeasible: whether to name the cells without a solution.
        first: other facts, shown above: what the sweep continues.
        more: other facts, shown below.
    """
    done = f", {ended} of them done" if ended else ""
    number = f"{counted(cells or len(plan.cells), 'cell')}{done}"
    head = f"Sweep {plan.name}: {number}, {count(plan.tokens)} tokens each, on {plan.corpus}"
    manifest = next(iter(corpora.values())).manifest
    sample = _sample(plan, corpora)
    facts = [
        *first,
        *(fact for fact in corpus_facts(manifest) if fact[0] != "splits" or RULE in fact[1]),
        *([("cells", f"named by {plan.title}")] if plan.title else []),
        ("baseline", plan.baseline.label),
        *_search(plan),
        *([("nuisance", plan.nuisance_text)] if plan.nuisance else []),
        ("dev sample", sample.reason),
        ("scheduler", describe_scheduler(rules.scheduler_record, plan.tokens)),
        ("kill rule", rules.kill_rule.describe(plan.tokens)),
        *(("note", note) for note in plan.notes),
        *(("note", note) for note in rules.notes(_trial(plan, sample))),
        *(
            ("infeasible", f"{cell.label}: {cell.reason}")
            for cell in plan.cells
            if infeasible and cell.config is None
        ),
        *more,
    ]
    print_facts(console, head, facts)


def _search(plan: SweepPlan) -> list[Fact]:
    """What is searched, and by what; nothing for a sweep that knows all its cells."""
    if plan.search is None:
        return []
    here = len(plan.rounds)
    return [
        ("search", f"{plan.search.settings.describe()}; round {here} is the newest proposed"),
        ("parameters", ", ".join(plan.search.space.settings)),
    ]


def _trial(plan: SweepPlan, sample: Choice) -> Trial:
    """What the rules know about a trial; the dev sample is the same text for every cell."""
    return Trial(
        tokens=plan.tokens,
        evaluations=Cell.from_values(plan.baseline.values).settings.evaluations,
        sample_bytes=sample.text_bytes,
        stretches=sample.stretches,
    )


def _sample(plan: SweepPlan, corpora: Mapping[str, PreparedCorpus]) -> Choice:
    corpus = next(iter(corpora.values()))
    settings = Cell.from_values(plan.baseline.values).settings
    return choose(corpus.stretches().document_bytes, settings.evaluation_bytes)
