"""More seeds for a sweep that exists, whatever seeds it has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tune_app.journal.journal import Journal
from tune_app.plan.wishes import Wishes
from tune_app.sweep.folder import JOURNAL

OPTION = "--add-seeds"


def grown(wishes: Wishes, add: int, *, name: str, results: Path) -> Wishes:
    """The wishes with the seeds of the sweep and as many new ones as asked for, the lowest unused.

    What the sweep has trained is adopted; only cells of the new seeds are added.

    Args:
        wishes: what else the command asks for.
        add: how many seeds to add.
        name: of the sweep.
        results: folder that holds it.

    Raises ValueError if there is no such sweep, or if the seeds are named as well.
    """
    if add < 1:
        raise ValueError(f"{OPTION} is {add}; it must be at least 1")
    if wishes.seeds != Wishes().seeds:
        raise ValueError(
            f"--seeds names all seeds and {OPTION} adds some to those of the sweep; use one of them"
        )
    path = results / name / JOURNAL
    if not path.exists():
        raise ValueError(
            f"there is no sweep {name!r} in {results} that {OPTION} could add to; start it with "
            "--seeds 0,1,2"
        )
    with Journal.open(path, read_only=True) as journal:
        seeds = list(journal.sweep().seeds)
    unused = (seed for seed in range(len(seeds) + add) if seed not in seeds)
    more = [next(unused) for _ in range(add)]
    return replace(wishes, seeds=(*seeds, *more))


def with_seeds_named(arguments: Sequence[str], seeds: Sequence[int]) -> list[str]:
    """The arguments with the seeds by name, so that a repeated command adds none again."""
    found: list[str] = []
    skip = False
    for argument in arguments:
        if skip:
            skip = False
        elif argument == OPTION:
            skip = True
        elif not argument.startswith(f"{OPTION}="):
            found.append(argument)
    return [*found, "--seeds", ",".join(map(str, seeds))]
