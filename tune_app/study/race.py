"""What a study says of its finalists' race. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from tune_app.formats import counted
from tune_app.results.race import race_of, race_text
from tune_app.results.summary import SweepResults
from tune_app.statistics.best import Verdict
from tune_app.study.found import Found, PhaseFound
from tune_app.study.frame import Frame


def compared(
    results: SweepResults, scores: dict[str, dict[int, float]]
) -> dict[str, dict[int, float]]:
    """The designs that a verdict compares on their common seeds; in a race those that went
    furthest, and at least two: one that left after a seed would take the others' seeds away."""
    if not results.is_race or not scores:
        return scores
    lengths = sorted({len(own) for own in scores.values()}, reverse=True)
    kept: dict[str, dict[int, float]] = {}
    for length in lengths:
        kept |= {name: own for name, own in scores.items() if len(own) == length}
        if len(kept) > 1:
            break
    return kept


def by_the_race(results: SweepResults, verdict: Verdict) -> Verdict:
    """The verdict of a race: its winner, whose bound holds at every look, is named if it leads on
    the split of the verdict too. That verdict's own p counts nothing of the designs that left."""
    found = race_of(results)
    if found is None or not found[1].state.seeds:
        return verdict
    state, labels = found[1].state, found[1].grid.labels
    winner = None if state.winner is None else labels[state.winner]
    agrees = winner == verdict.leader
    reason = f"{race_text(results)}; at the end {verdict.reason}"
    if winner is not None and not agrees:
        reason += f", so {winner}, which is left, does not lead where the verdict is made"
    return replace(verdict, winner=winner if agrees else None, reason=reason)


def race_lines(study: Frame, found: Found, phase: PhaseFound) -> Iterator[str]:
    """Who left a race and why, as Markdown."""
    raced = race_of(phase.results)
    if raced is None:
        return
    settings, now = raced
    yield f"{race_text(phase.results).capitalize()}."
    yield ""
    if now.state.departures:
        yield "| design | left after | for | worse by | e-value | bound |"
        yield "|---|---|---|---|---|---|"
        for one in now.state.departures:
            yield (
                f"| {now.grid.labels[one.design]} | {counted(one.seeds, 'seed')} | "
                f"{now.grid.labels[one.better]} | {one.difference:.4f} | {one.e_value:.3g} | "
                f"{one.bound:.3g} |"
            )
        yield ""
    yield (
        f"With probability {1 - settings.alpha:.0%} no design has left for one that is no better, "
        "at whatever moment one looks: a mixture e-value a pair against the number of pairs over α."
    )
    yield ""
