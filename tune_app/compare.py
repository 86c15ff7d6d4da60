"""The command line that sets sweeps side by side: python -m tune_app.compare."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tune_app import formats
from tune_app.command_line import command_name, examples, run_command, version_text

if TYPE_CHECKING:
    from tune_app.results.comparison import Group
    from tune_app.results.summary import SweepResults

MODULE = "tune_app.compare"
_NAME = command_name(MODULE)

app = App(
    name=_NAME,
    help="""Set sweeps side by side.

    Sweeps on the same text with as many tokens a cell are ranked together, by bits
    per byte of the same dev split; of others it says in what they differ.""",
    help_epilogue=examples(f"{_NAME} quick wider", f"{_NAME} runs/quick elsewhere/quick --rows 20"),
    help_format="plaintext",
    version=version_text,
)


@app.default
def compare(
    names: Annotated[
        tuple[str, ...], Parameter(name="NAMES", help="Names of sweeps, or paths of their folders.")
    ],
    /,
    *,
    rows: int = 12,
    results: Annotated[Path, Parameter(help="Folder that holds all sweeps.")] = Path("runs"),
) -> int:
    """Compare sweeps.

    Parameters
    ----------
    rows
        Designs shown of each ranking.
    """
    from tune_app.results.comparison import compare as compared  # noqa: PLC0415

    if rows < 1:
        raise ValueError(f"{rows} rows; it must be at least 1")
    found = compared(_opened(names, results.expanduser()))
    console = Console()
    for group in found.groups:
        console.print(_sweeps_table(group.sweeps))
        console.print(_ranking_table(group, rows))
    for sentence in found.differences:
        console.print(Text(f"{sentence}."))
    return 0


def _opened(names: Sequence[str], results: Path) -> list[SweepResults]:
    """Raises ValueError for an unknown sweep, and for fewer than two."""
    from tune_app.results.summary import summarise  # noqa: PLC0415 - imports numpy
    from tune_app.sweep.folder import JOURNAL  # noqa: PLC0415
    from tune_app.sweep.listing import open_named  # noqa: PLC0415

    found: dict[Path, SweepResults] = {}
    for name in names:
        given = Path(name).expanduser()
        folder = given if (given / JOURNAL).is_file() else results / name
        with open_named(folder.name, folder.parent) as journal:
            found[folder.resolve()] = summarise(journal)
    if len(found) < 2:
        raise ValueError(f"{formats.counted(len(found), 'sweep')} to compare; name two or more")
    names_of = [one.sweep.name for one in found.values()]
    return [
        one if names_of.count(one.sweep.name) == 1 else _renamed(one, str(folder))
        for folder, one in found.items()
    ]


def _renamed(one: SweepResults, name: str) -> SweepResults:
    """For sweeps in folders of one name."""
    return replace(one, sweep=replace(one.sweep, name=name))


def _sweeps_table(sweeps: Sequence[SweepResults]) -> Table:
    table = Table(title="Sweeps", title_justify="left")
    for head in ("sweep", "leader", "bits per byte", "σ", "finished", "stopped", "time", "saved"):
        table.add_column(head, justify="left" if head in ("sweep", "leader") else "right")
    for one in sweeps:
        leader, noise = one.leader, one.contest.noise
        statuses = [cell.cell.status.value for cell in one.cells]
        saved = one.saved_share
        table.add_row(
            Text(one.sweep.name),
            Text("none yet" if leader is None else leader.label),
            formats.bits_per_byte(None if leader is None else leader.mean),
            "unknown" if noise is None else f"{noise.sigma:.4f}",
            f"{statuses.count('finished')}/{len(statuses)}",
            str(statuses.count("stopped") + statuses.count("paused")),
            formats.duration(sum(one.seconds.values())),
            formats.UNKNOWN if saved is None else f"{saved:.0%}",
        )
    return table


def _ranking_table(group: Group, rows: int) -> Table:
    from tune_app.results.comparison import behind_text  # noqa: PLC0415

    left = len(group.ranking) - rows
    table = Table(
        title="All their designs that finished, best first",
        title_justify="left",
        caption=f"{left} more; --rows shows them" if left > 0 else None,
        caption_justify="left",
    )
    for head in ("#", "sweep", "design", "bits per byte", "behind", "seeds", "FLOPs"):
        told = head in ("sweep", "design")
        table.add_column(head, justify="left" if told else "right", no_wrap=not told)
    for place, entry in enumerate(group.ranking[:rows], 1):
        flops = entry.design.training_flops
        table.add_row(
            str(place),
            Text(entry.sweep),
            Text(entry.design.label),
            formats.bits_per_byte(entry.design.mean),
            behind_text(entry),
            str(len(entry.design.finished)),
            formats.UNKNOWN if flops is None else f"{flops:.2e}",
        )
    return table


def main() -> int:
    """Runs the command line of this process; returns its exit code."""
    return run_command(app, MODULE)


if __name__ == "__main__":
    sys.exit(main())
