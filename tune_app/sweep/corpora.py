"""The prepared corpora of a sweep, one for each tokenizer, and the record that they complete."""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping
from importlib.metadata import version

from rich.console import Console

from data.display import progress_display
from data.prepare import prepare
from data.prepared import PreparedCorpus
from tune_app.journal.records import SweepRecord
from tune_app.plan.cell import Cell
from tune_app.plan.plan import SweepPlan
from tune_app.stopping.all_rules import StoppingRules
from tune_app.sweep.source import source_version
from tune_app.trial.data import check_fits


def prepared_corpora(plan: SweepPlan, console: Console) -> dict[str, PreparedCorpus]:
    """The corpus encoded with each tokenizer of the plan, by tokenizer key; checks every cell.

    Raises ValueError if the corpus is not available or too small for a context.
    """
    cells = [Cell.from_values(record.values) for record in plan.feasible]
    corpora = {}
    for tokenizer in plan.tokenizers:
        with progress_display(console) as report:
            corpora[tokenizer.key] = prepare(plan.corpus, tokenizer, report=report)
    for cell in cells:
        check_fits(cell, corpora[cell.tokenizer.key])
    return corpora


def sweep_record(
    plan: SweepPlan,
    rules: StoppingRules,
    corpora: Mapping[str, PreparedCorpus],
    *,
    command: str,
) -> SweepRecord:
    """What the journal records about a plan, its stopping rules and its corpus."""
    return SweepRecord(
        name=plan.name,
        space=plan.space,
        corpus=plan.corpus,
        corpus_sha256=next(iter(corpora.values())).manifest.corpus_sha256,
        baseline=plan.baseline.key,
        tokens=plan.tokens,
        seeds=plan.seeds,
        scheduler=rules.scheduler_record,
        kill_rule=rules.kill_rule.as_dict(),
        bytes_per_token={key: corpus.bytes_per_token("dev") for key, corpus in corpora.items()},
        created_at=time.time(),
        command=command,
        axes=plan.axes,
        log_axes=plan.log_axes,
        nuisance=plan.nuisance,
        paired=plan.paired,
        search={} if plan.search is None else plan.search.as_dict(),
        test_bytes=_test_bytes(corpora),
        versions={
            "source": source_version(),
            "python": platform.python_version(),
            **{name: version(name) for name in ("torch", "ray", "tokenizers", "optuna")},
        },
    )


def _test_bytes(corpora: Mapping[str, PreparedCorpus]) -> int:
    corpus = next(iter(corpora.values()))
    return corpus.manifest.splits["test"].text_bytes if corpus.has_test else 0
