"""How fast GPU models train a small language model, in tokens/s of the baseline cell of 10M
parameters.

`gpu_speeds.csv` says of each figure whether it was measured with this project or is a guess, and
how. A guess is the memory bandwidth over the 880 kB that a token moves, which is no more than an
order of the models. Where a market tells a benchmark of its own for an offer (Vast.ai's `dlperf`),
guesses are made from that instead: see `speeds_of`.
"""

from __future__ import annotations

import csv
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tune_app.cloud.market.records import Offer

MEASURED, GUESSED, SET = "measured", "guessed", "set in cluster.yaml"


@dataclass(frozen=True, kw_only=True)
class Speed:
    """The training speed of a GPU."""

    tokens_per_second: float
    source: str
    """`measured`, `set in cluster.yaml`, or `guessed` and from what."""

    @property
    def is_guess(self) -> bool:
        return self.source.startswith(GUESSED)


def read_speeds(path: Path) -> Mapping[str, Speed]:
    """The table, by model. Raises ValueError naming the line that is wrong."""
    found: dict[str, Speed] = {}
    with path.open(encoding="utf-8", newline="") as file:
        for number, row in enumerate(csv.DictReader(file), 2):
            try:
                name, speed = row["gpu"], float(row["tokens_per_second"])
            except (KeyError, TypeError, ValueError):
                raise ValueError(f"line {number} of {path} has no model or no speed") from None
            if not speed > 0 or row["source"] not in (MEASURED, GUESSED) or name in found:
                raise ValueError(
                    f"line {number} of {path}: each model stands once, with a speed over 0 and "
                    f"{MEASURED} or {GUESSED} as its source"
                )
            found[name] = Speed(tokens_per_second=speed, source=row["source"])
    return found


TABLE = read_speeds(Path(__file__).with_name("gpu_speeds.csv"))
SPEEDS: Mapping[str, float] = {name: speed.tokens_per_second for name, speed in TABLE.items()}


def speeds_of(offers: Iterable[Offer], speeds: Mapping[str, float]) -> Mapping[int, Speed]:
    """The speed of each offer's GPU, by the offer's id; none for models without one.

    Args:
        offers: to be compared.
        speeds: tokens/s by model, as set, or as in the table.

    A benchmark of the market is turned into tokens/s by the models whose speed is known and that
    are on offer with it; where none is known, by the guesses of the table, all of them together:
    then the benchmark decides the order. An offer without a benchmark keeps the table's guess.
    """
    known = {one.id: one for one in offers if one.gpu_name in speeds}
    stated = {number: _stated(one.gpu_name, speeds) for number, one in known.items()}
    rated = [number for number, one in known.items() if one.benchmark > 0]
    sure = [number for number in rated if not stated[number].is_guess]
    ratios = [
        stated[number].tokens_per_second / known[number].benchmark for number in sure or rated
    ]
    found = dict(stated)
    for number in rated:
        if stated[number].is_guess:
            found[number] = Speed(
                tokens_per_second=known[number].benchmark * statistics.median(ratios),
                source=f"{GUESSED} from the market's benchmark",
            )
    return found


def _stated(gpu: str, speeds: Mapping[str, float]) -> Speed:
    listed = TABLE.get(gpu)
    if listed is not None and listed.tokens_per_second == speeds[gpu]:
        return listed
    return Speed(tokens_per_second=speeds[gpu], source=SET)
