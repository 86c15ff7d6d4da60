"""What a sweep says before it starts: its cells and the rules that stop them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Console

from data.batches import EvaluationDocuments
from data.display import corpus_facts
from data.division import RULE
from data.prepared import PreparedCorpus
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
    facts = [
        *first,
        *(fact for fact in corpus_facts(manifest) if fact[0] != "splits" or RULE in fact[1]),
        *([("cells", f"named by {plan.title}")] if plan.title else []),
        ("baseline", plan.baseline.label),
        *([("nuisance", plan.nuisance_text)] if plan.nuisance else []),
        ("scheduler", describe_scheduler(rules.scheduler_record, plan.tokens)),
        ("kill rule", rules.kill_rule.describe(plan.tokens)),
        *(("note", note) for note in plan.notes),
        *(("note", note) for note in rules.notes(_trial(plan, corpora))),
        *(
            ("infeasible", f"{cell.label}: {cell.reason}")
            for cell in plan.cells
            if infeasible and cell.config is None
        ),
        *more,
    ]
    print_facts(console, head, facts)


def _trial(plan: SweepPlan, corpora: Mapping[str, PreparedCorpus]) -> Trial:
    """What the rules know about a trial; the dev sample is the same text for every cell."""
    cell = Cell.from_values(plan.baseline.values)
    corpus = next(iter(corpora.values()))
    whole = int(corpus.split("dev").document_bytes.sum())
    sample = EvaluationDocuments(
        corpus.split("dev"),
        context=cell.model.context,
        batch_size=1,
        end_of_text=corpus.end_of_text,
        max_bytes=cell.settings.evaluation_bytes,
    )
    return Trial(
        tokens=plan.tokens,
        evaluations=cell.settings.evaluations,
        sample_bytes=sample.text_bytes,
        wanted_bytes=min(whole, cell.settings.evaluation_bytes),
    )
