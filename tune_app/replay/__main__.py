"""The command line that replays schedulers over recorded curves: python -m tune_app.replay."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter
from rich.console import Console

from tune_app.command_line import command_name, examples, run_command, version_text

if TYPE_CHECKING:
    from tune_app.journal.journal import Journal
    from tune_app.replay.recorded import Recorded

MODULE = "tune_app.replay"
_NAME = command_name(MODULE)
_JOURNAL = "journal.sqlite3"

app = App(
    name=_NAME,
    help="""Replay schedulers over recorded learning curves, without training.

    Each scheduler runs many sweeps of the recorded cells, in random orders, on
    simulated workers with the recorded durations. Shown are the tokens it trains,
    how much worse its leader ends than the best cell (regret), and what it gives
    up wrongly. Only cells trained to their end can be replayed: record them with
    --scheduler none.

    A table of curves is CSV or Parquet, a row an evaluation, with the columns cell,
    tokens, bits_per_byte and, if they are known, seconds (so far) and
    full_bits_per_byte (at the end). A sweep writes one, curves.parquet.""",
    help_epilogue=examples(
        f"{_NAME} my_grid",
        f"{_NAME} runs/my_grid/curves.parquet --to regret.png",
        f"{_NAME} curves.csv --scheduler asha:reduction_factor=3",
        f"{_NAME} my_sweep --check",
    ),
    help_format="plaintext",
    version=version_text,
)


@app.default
def replay(
    source: Annotated[
        str, Parameter(help="The name of a sweep, or a CSV or Parquet file of curves.")
    ] = "quick",
    *,
    scheduler: Annotated[tuple[str, ...], Parameter(negative="", show_default=False)] = (),
    orders: int = 1_000,
    workers: int = 2,
    seed: int = 0,
    tolerance: float = 0.005,
    to: Path | None = None,
    results: Path = Path("runs"),
    check: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Replay schedulers over recorded learning curves.

    Parameters
    ----------
    scheduler
        A scheduler with settings, as asha:reduction_factor=3; repeat the option; default: all.
    orders
        Random orders in which the cells start.
    workers
        Cells at once.
    seed
        Of the orders.
    tolerance
        Bits per byte by which a leader may be worse and still count as near the best.
    to
        PNG file for the figure; default: none.
    results
        Folder that holds the sweeps.
    check
        Decide again on a recorded sweep, and compare with the decisions in its journal.
    """
    if orders < 1 or workers < 1:
        raise ValueError(f"{orders} orders on {workers} workers; both must be at least 1")
    if check:
        return _check(source, results)
    from tune_app.replay.orders import tally  # noqa: PLC0415 - imports numpy
    from tune_app.replay.report import table  # noqa: PLC0415
    from tune_app.replay.schedulers import CONTESTANTS, contestant  # noqa: PLC0415

    contestants = [contestant(text) for text in scheduler or CONTESTANTS]
    recorded = _recorded(source, results)
    tallies = [
        tally(one, recorded, orders=orders, workers=workers, seed=seed) for one in contestants
    ]
    Console().print(table(tallies, recorded, tolerance=tolerance, workers=workers))
    if to is not None:
        from tune_app.replay.figure import draw  # noqa: PLC0415 - imports Matplotlib

        draw(tallies, to, title=f"{len(recorded.curves)} cells of {source}, {workers} workers")
        Console(soft_wrap=True).print(f"drawn to {to}", markup=False, highlight=False)
    return 0


def _check(name: str, results: Path) -> int:
    """Prints the decisions that differ; returns 1 if any does."""
    from tune_app.replay.simulator import differing_decisions  # noqa: PLC0415

    with _journal(name, results) as journal:
        decisions, differing = journal.decisions(), differing_decisions(journal)
        labels = {cell.key: cell.label for cell in journal.cells()}
    console = Console(soft_wrap=True)
    told = f"{len(differing)} of {len(decisions)} recorded decisions differ"
    console.print(told, markup=False, highlight=False)
    for pair in differing:
        one = next(decision for decision in pair if decision is not None)
        texts = ["none" if each is None else f"{each.action.value}: {each.reason}" for each in pair]
        console.print(
            f"{labels[one.cell]} at {one.tokens:,} tokens: recorded {texts[0]}; now {texts[1]}",
            markup=False,
            highlight=False,
        )
    return 1 if differing else 0


def _recorded(source: str, results: Path) -> Recorded:
    from tune_app.replay.recorded import of_journal, of_table  # noqa: PLC0415

    if Path(source).suffix in (".csv", ".parquet"):
        return of_table(Path(source))
    with _journal(source, results) as journal:
        return of_journal(journal)


def _journal(name: str, results: Path) -> Journal:
    from tune_app.journal.journal import Journal  # noqa: PLC0415

    path = results / name / _JOURNAL
    if not path.is_file():
        raise ValueError(f"there is no sweep {name!r} in {str(results)!r}")
    return Journal.open(path, read_only=True)


if __name__ == "__main__":
    sys.exit(run_command(app, MODULE))
