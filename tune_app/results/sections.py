"""What the report says of a sweep, section by section, as text that a template lays out. Pure."""

from __future__ import annotations

from typing import Any

from tune_app import formats
from tune_app.journal.metrics import label, metric
from tune_app.journal.records import DISPLAY_ORDER, PHASES
from tune_app.plan.search.settings import describe_search
from tune_app.results import nuisance, verdict
from tune_app.results.amendments import amendment_text
from tune_app.results.designs import CellResult, Design
from tune_app.results.summary import SweepResults
from tune_app.stopping.all_rules import describe_scheduler, title_of
from tune_app.stopping.kill_rule import KillRule


def size_text(results: SweepResults, text: str) -> str:
    """The text with the model size filled in; empty if the sweep varies it."""
    target = results.target_parameters
    return "" if target is None else text.format(formats.count(target))


def subtitle_of(results: SweepResults) -> str:
    """What was trained, in a line."""
    sweep = results.sweep
    return (
        f"{len(results.cells)} cells{size_text(results, ' of {} parameters')}, "
        f"{formats.count(sweep.tokens)} tokens each, on {sweep.corpus}"
    )


def counts_of(results: SweepResults) -> list[dict[str, Any]]:
    numbers = [(status.value, len(results.with_status(status))) for status in DISPLAY_ORDER]
    return [{"status": name, "number": number} for name, number in numbers if number]


def leader_of(results: SweepResults) -> dict[str, Any] | None:
    leader = results.leader
    if leader is None:
        return None
    seeds, finished = leader.wanted, len(leader.finished)
    if seeds == 1:
        trust = "a leader on one seed, not a verdict"
    elif finished == seeds:
        trust = f"a leader on the mean of {seeds} seeds, not a verdict"
    else:
        trust = f"a leader on {finished} of {seeds} seeds, not a verdict"
    scores = leader.scores.values()
    spread = ""
    if leader.deviation is not None:
        spread = (
            f"± {leader.deviation:.4f} (standard deviation of {finished} seeds), from "
            f"{formats.bits_per_byte(min(scores))} to {formats.bits_per_byte(max(scores))}"
        )
    return {
        "label": leader.label,
        "trust": trust,
        "size": size_text(results, "{} parameters only"),
        "score": formats.bits_per_byte(leader.mean),
        "spread": spread,
        "how": nuisance.how_chosen(leader),
        "perplexity": formats.perplexity(leader.perplexity),
        "gap": "" if leader.is_baseline else formats.gap(results.gap(leader)),
        "test": _tested(results, leader),
        "against": _against(results, leader),
        "apart": verdict.standing_text(results.contest),
        "verdict": verdict.verdict(results),
        "interval": verdict.interval_text(results),
    }


def noise_of(results: SweepResults) -> dict[str, str] | None:
    """The seeds' noise, by which the designs are told apart; None if it is unknown."""
    noise, leader = results.contest.noise, results.leader
    if noise is None or leader is None:
        return None
    return {
        "text": verdict.noise_text(noise, seeds=len(leader.scores)),
        "limit": f"{noise.limit:.2g}",
    }


def _tested(results: SweepResults, leader: Design) -> dict[str, str] | None:
    """The leader's score on the test split, and the gap to the baseline there."""
    if leader.test_mean is None:
        return None
    gap = None if leader.is_baseline else results.test_gap(leader)
    return {
        "score": formats.bits_per_byte(leader.test_mean),
        "gap": "" if gap is None else formats.gap(gap),
    }


def _against(results: SweepResults, leader: Design) -> str:
    """How the leader compares with the baseline and the second."""
    sentences = []
    baseline = results.baseline
    if leader.is_baseline:
        sentences.append("The leader is the baseline itself.")
    elif baseline is not None and baseline.mean is not None:
        sentences.append(
            f"The baseline, {baseline.label}, has {formats.bits_per_byte(baseline.mean)}"
            f"{verdict.against_baseline(results)}."
        )
    else:
        sentences.append("The baseline has not finished, so there is no gap to it.")
    if len(ranking := results.ranking) > 1:
        second = ranking[1]
        assert second.mean is not None and leader.mean is not None
        sentences.append(
            f"Second is {second.label}, {formats.bits_per_byte(second.mean - leader.mean)} behind"
            f"{verdict.behind_text(results, second)}."
        )
    else:
        sentences.append("Nothing else has finished.")
    return " ".join(sentences)


def ranked_row(results: SweepResults, place: int, design: Design) -> dict[str, Any]:
    cell = design.finished[0].cell
    size = cell.config or {}
    table = cell.parameters or {}
    return {
        "place": place,
        "label": design.label,
        "is_baseline": design.is_baseline,
        "score": formats.bits_per_byte(design.mean),
        "deviation": "" if design.deviation is None else f"{design.deviation:.4f}",
        "seeds": f"{len(design.finished)}/{design.wanted}",
        "chosen": nuisance.values_text(design),
        "compared": nuisance.compared(design),
        "perplexity": formats.perplexity(design.perplexity),
        "test": "" if design.test_mean is None else formats.bits_per_byte(design.test_mean),
        "gap": "baseline" if design.is_baseline else formats.gap(results.gap(design)),
        "behind": verdict.sigmas_behind(results, design),
        "close": design is results.leader or results.contest.told_apart(design) is False,
        "parameters": formats.parameters(table.get("total")),
        "share": percent_text(table.get("embedding_share"), 1),
        "shape": f"{size.get('d_model', '?')} × {size.get('n_layers', '?')}",
        "inner": size.get("d_ff", formats.UNKNOWN),
        "train": formats.duration(design.training_seconds),
        "flops": flops_text(design.training_flops),
    }


def training_of(results: SweepResults) -> dict[str, Any]:
    """The drawn metrics of each cell at its last evaluation."""
    names = results.drawn_metrics
    return {
        "heads": [label(name) for name in names],
        "rows": [
            {
                "label": result.cell.label,
                "tokens": formats.progress(last.baseline_tokens, results.sweep.tokens),
                "values": [metric(name).text(last.metrics.get(name)) for name in names],
            }
            for result in results.cells
            if names and (last := result.last) is not None
        ],
    }


def stopped_row(results: SweepResults, result: CellResult) -> dict[str, Any]:
    last, decision = result.last, result.decision
    gaps = dict(results.gap_curve(result))
    return {
        "label": result.cell.label,
        "rule": title_of(decision.rule).short if decision else formats.UNKNOWN,
        "tokens": _trained(results, result),
        "score": formats.bits_per_byte(last.bits_per_byte if last else None),
        "gap": formats.gap(gaps.get(last.baseline_tokens) if last else None),
        "reason": formats.one_line(result.cell.reason),
    }


def _trained(results: SweepResults, result: CellResult) -> str:
    if result.last is None:
        # A race ends with cells of later blocks that no one ever trained.
        return formats.UNKNOWN if result.attempts else "not started"
    return formats.progress(result.last.baseline_tokens, results.sweep.tokens)


def spent_on(results: SweepResults) -> dict[str, Any]:
    seconds = results.seconds
    total = sum(seconds.values())
    flops = [cell.training_flops or 0.0 for cell in results.cells]
    tokens = [cell.last.tokens for cell in results.cells if cell.last is not None]
    saved = results.saved_share
    return {
        "phases": [
            {
                "name": phase,
                "seconds": formats.duration(seconds[phase]),
                "share": percent_text(seconds[phase] / total if total else None),
                "width": round(100 * seconds[phase] / total, 1) if total else 0,
            }
            for phase in PHASES
        ],
        "total": formats.duration(total),
        "tokens": formats.count(sum(tokens)),
        "flops": flops_text(sum(flops)),
        "saved": percent_text(saved),
    }


def percent_text(share: float | None, digits: int = 0) -> str:
    return formats.UNKNOWN if share is None else f"{share:.{digits}%}"


def flops_text(number: float | None) -> str:
    return formats.UNKNOWN if number is None else f"{number:.2e}"


def settings_of(results: SweepResults) -> list[tuple[str, str]]:
    sweep = results.sweep
    text = "; ".join(f"{key}: {value:.3f}" for key, value in sweep.bytes_per_token.items())
    values = results.cells[0].cell.values
    versions = dict(sweep.versions)
    source = versions.pop("source", "unknown")
    return [
        *((("begun as", sweep.begun_as),) if sweep.begun_as != sweep.name else ()),
        *(
            ("changed", f"{amendment_text(one, tokens=sweep.tokens)}; by {one.command}")
            for one in results.amendments
        ),
        ("space", f"{sweep.space} ({', '.join(sweep.axes)})"),
        ("baseline", next(c.cell.label for c in results.cells if c.cell.key == sweep.baseline)),
        *((("nuisance", ", ".join(results.nuisance)),) if results.nuisance else ()),
        *((("search", describe_search(sweep.search)),) if sweep.search else ()),
        ("scheduler", describe_scheduler(sweep.scheduler, sweep.tokens)),
        ("kill rule", KillRule.from_record(sweep.kill_rule).describe(sweep.tokens)),
        ("corpus", f"{sweep.corpus}, SHA-256 {sweep.corpus_sha256}"),
        ("dev bytes per token", text),
        ("tokens per cell", f"{sweep.tokens:,}"),
        ("seeds", ", ".join(map(str, sweep.seeds))),
        *(
            (name.replace("_", " "), str(values[name]))
            for name in ("batch_size", "context", "learning_rate", "schedule", "precision")
            if name in values and name not in sweep.axes
        ),
        ("source", source),
        ("versions", ", ".join(f"{name} {number}" for name, number in versions.items())),
        ("command", sweep.command),
    ]
