"""Where the race of a sweep stands, from its results. Pure."""

from __future__ import annotations

from tune_app.formats import one_line
from tune_app.journal.records import Status
from tune_app.results.summary import SweepResults
from tune_app.stopping.all_rules import scheduler_from_record
from tune_app.stopping.race import PairedRaceSettings
from tune_app.stopping.race_state import Standing, standing
from tune_app.stopping.racing import End


def race_of(results: SweepResults) -> tuple[PairedRaceSettings, Standing] | None:
    """The settings of a sweep's race, and where it stands; None for a sweep that is none, and for
    one of another version whose settings are not known."""
    if not results.is_race:
        return None
    try:
        settings = scheduler_from_record(results.sweep.scheduler)
    except ValueError:
        return None
    assert isinstance(settings, PairedRaceSettings)
    out = {
        cell.cell.key
        for cell in results.cells
        if cell.cell.status in (Status.STOPPED, Status.FAILED)
        or (cell.cell.status is Status.PAUSED and cell.curve)
    }
    now = standing(
        results.curves,
        settings.bounds,
        pilot=settings.pilot,
        budget=int(settings.budget),
        out=out,
    )
    return settings, now


def race_text(results: SweepResults) -> str:
    """What a race has shown, in a sentence without its full stop; empty for other sweeps."""
    found = race_of(results)
    if found is None or not found[1].state.seeds:
        return ""
    settings, now = found
    told = one_line(now.reason)
    gone = len(now.grid.cells) - len(now.state.left)
    if now.state.end is None:
        return f"the race goes on: {told}"
    if now.state.end is End.SAME:
        told += f", which is less than the {settings.smallest_difference:g} that matter"
    elif now.state.end is End.BUDGET:
        spent = (
            "its budget is spent" if now.state.seeds < len(now.grid.seeds) else "no seed is left"
        )
        told += f", and {spent}"
    others = "no design" if not gone else "1 design" if gone == 1 else f"{gone} designs"
    return f"the race: {told}; {others} left it before (α = {settings.alpha:g})"
