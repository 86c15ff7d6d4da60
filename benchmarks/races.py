"""What a race costs and how often it errs, in studies that are made up.

One design is better than all others by a gap, in standard deviations (σ) of a single seed; scores
of one seed share a part of their noise. A race is run as a sweep runs it, until its verdict, and
what it trained is set against the full grid with as many seeds. Where nothing differs, every design
that ever leaves is a false verdict: they are counted after each seed, so at every moment at which
one could have stopped. With pauses, curves drift on their way to the end, and cells are paused at
half and at three quarters of their tokens by the drift of those that have finished.

python -m benchmarks.races run races.json
python -m benchmarks.races draw races.json docs/racing.png
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from cyclopts import App

from tune_app.statistics.racing import Pilot, SeedResiduals
from tune_app.statistics.rates import rate_interval
from tune_app.stopping.racing import End, RaceSettings, RaceState, early_stop, race

GAPS = (0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 7.0, 10.0)
RUNGS = {0.5: 2.0, 0.75: 1.0}
"""Share of the tokens → standard deviation of what a difference still moves, in σ."""

KINDS: Mapping[str, tuple[str, str, int, bool]] = {
    "known": ("σ known from 20 degrees of freedom", "#0072B2", 20, False),
    "unknown": ("σ only from the race itself", "#D55E00", 0, False),
    "pauses": ("σ known, with pauses at rungs", "#009E73", 20, True),
}
"""Name → title, colour, and of Study: pilot, pauses."""

app = App(name="python -m benchmarks.races", help=__doc__, version_flags=[])


@dataclass(frozen=True, kw_only=True)
class Study:
    """The settings of made-up races."""

    gap: float
    """Of the best design to each other one, in σ."""
    designs: int = 12
    seeds: int = 6
    shared: float = 0.28
    """Correlation of two scores of one seed."""
    pilot: int = 20
    """Degrees of freedom from which σ is known before; 0: only from the race itself."""
    pauses: bool = False
    """Whether cells may be paused at RUNGS."""
    smallest_difference: float = 0.75
    """In σ: 0.005 bpb where σ is 0.0065."""

    def run(self, chance: random.Random) -> tuple[RaceState, float, list[int]]:
        """The race at its end; its tokens as a share of the grid's; and after each seed how many
        designs had left."""
        settings = RaceSettings(smallest_difference=self.smallest_difference, most_seeds=self.seeds)
        pilot = None
        if self.pilot:
            squares = sum(chance.gauss(0, 1) ** 2 for _ in range(self.pilot))
            pilot = Pilot.of_scores(math.sqrt(squares / self.pilot), self.pilot)
        names = [f"{at:02}" for at in range(self.designs)]
        scores: dict[str, dict[int, float]] = {name: {} for name in names}
        out: set[str] = set()
        pairs: dict[float, list[tuple[float, float]]] = {rung: [] for rung in RUNGS}
        state, spent, gone = RaceState(left=tuple(names)), 0.0, list[int]()
        while state.end is None:
            seed = state.seeds
            common = math.sqrt(self.shared) * chance.gauss(0, 1)
            leader: str | None = state.left[0] if seed else None
            for name in state.left if seed else chance.sample(names, len(names)):
                own = math.sqrt(1 - self.shared) * chance.gauss(0, 1)
                score = (0.0 if name == names[0] else self.gap) + common + own
                paused = None
                if self.pauses and leader is not None and name != leader:
                    paused = self._pause(
                        score - scores[leader][seed], pairs, _pilot(scores, pilot), settings, chance
                    )
                spent += paused or 1.0
                if paused:
                    out.add(name)
                    continue
                scores[name][seed] = score
                if not seed:
                    leader = min(
                        (one for one in names if seed in scores[one]),
                        key=lambda one: scores[one][0],
                    )
            state = race(scores, range(seed + 1), pilot, settings, out=out)
            gone.append(self.designs - len(state.left))
        gone += [gone[-1]] * (self.seeds - len(gone))
        return state, spent / (self.designs * self.seeds), gone

    def _pause(
        self,
        end: float,
        pairs: Mapping[float, list[tuple[float, float]]],
        pilot: Pilot | None,
        settings: RaceSettings,
        chance: random.Random,
    ) -> float | None:
        """The rung at which a cell is paused; None if it reaches its end.

        end: its difference to the leader there.
        """
        there = {rung: end + chance.gauss(0, drift) for rung, drift in RUNGS.items()}
        looks = self.designs * self.seeds * len(RUNGS)
        for rung, difference in there.items():
            if early_stop(difference, pairs[rung], pilot, settings, looks=looks)[0]:
                return rung
        for rung, difference in there.items():
            pairs[rung].append((difference, end))
        return None


def _pilot(scores: Mapping[str, Mapping[int, float]], pilot: Pilot | None) -> Pilot | None:
    return SeedResiduals({name: list(own.values()) for name, own in scores.items()}).pilot(pilot)


@dataclass(frozen=True, kw_only=True)
class Tally:
    """What became of many studies."""

    study: Study
    studies: int
    named: int
    """Races that named the best design; where nothing differs, any."""
    wrong: int
    """Races that named another one, or in which the best one had left."""
    same: int
    """Races that ended since those left are within the smallest difference."""
    compute: float
    """Mean tokens, as a share of the grid's."""
    seeds: float
    """Mean seeds of the design that leads."""
    false_by_seed: tuple[int, ...]
    """Races in which the best one had left after so many seeds; where nothing differs, any one."""


def tally(study: Study, studies: int, *, seed: int = 0) -> Tally:
    """Runs so many studies; the same ones for the same seed."""
    chance = random.Random(f"races {seed} {study}")
    named = wrong = same = 0
    compute = seeds = 0.0
    false = [0] * study.seeds
    for _ in range(studies):
        state, spent, gone = study.run(chance)
        compute, seeds = compute + spent, seeds + state.seeds
        same += state.end is End.SAME
        best = "00"
        if study.gap:
            lost = best not in state.left
            named += state.winner == best
            wrong += lost
            for at in range(study.seeds):
                false[at] += lost and at >= study.seeds - 1
        else:
            named += state.winner is not None
            wrong += bool(gone[-1])
            for at, count in enumerate(gone):
                false[at] += bool(count)
    return Tally(
        study=study,
        studies=studies,
        named=named,
        wrong=wrong,
        same=same,
        compute=compute / studies,
        seeds=seeds / studies,
        false_by_seed=tuple(false),
    )


@app.command
def run(
    to: Path,
    *,
    studies: int = 500,
    equal: int = 2_000,
    gaps: Sequence[float] = GAPS,
    kinds: Sequence[str] = tuple(KINDS),
) -> None:
    """Simulate, and write the tallies as JSON lines; those that are there are kept.

    Parameters
    ----------
    to
        File of the tallies.
    studies
        Of each gap.
    equal
        Where nothing differs.
    gaps
        In σ.
    kinds
        known, unknown (σ before the race) and pauses.
    """
    wanted = [
        Study(gap=gap, pilot=pilot, pauses=pauses)
        for _, _, pilot, pauses in (KINDS[kind] for kind in kinds)
        for gap in gaps
    ]
    lines = to.read_text("utf-8").splitlines() if to.exists() else []
    known = [json.loads(line)["study"] for line in lines]
    for study in wanted:
        if asdict(study) in known:
            continue
        found = tally(study, studies if study.gap else equal)
        with to.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(found)) + "\n")
        print(text(found), flush=True)


def text(one: Tally) -> str:
    """A line of the table in docs/racing.md."""
    low, high = rate_interval(one.wrong, one.studies)
    return (
        f"| {one.study.gap:g} | {one.studies:,} | {one.named / one.studies:.1%} | "
        f"{one.wrong} ({low:.1%} to {high:.1%}) | {one.seeds:.1f} | {one.compute:.0%} |"
    )


@app.command
def draw(numbers: Path, to: Path) -> None:
    """Print the tables of the tallies, and draw the compute to the verdict against the gap.

    Parameters
    ----------
    numbers
        File of the tallies.
    to
        PNG file.
    """
    from matplotlib.figure import Figure  # noqa: PLC0415

    found = [_read(line) for line in numbers.read_text("utf-8").splitlines()]
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, colour, pilot, pauses in KINDS.values():
        own = [one for one in found if (one.study.pilot, one.study.pauses) == (pilot, pauses)]
        if not own:
            continue
        own.sort(key=lambda one: one.study.gap)
        gaps = [one.study.gap for one in own]
        left.plot(gaps, [100 * one.compute for one in own], "o-", color=colour, label=name)
        shown = [one for one in own if one.study.gap]
        right.plot(
            [one.study.gap for one in shown],
            [100 * one.named / one.studies for one in shown],
            "o-",
            color=colour,
        )
        print(f"\n{name}\n")
        print("\n".join(map(text, own)))
        for one in own:
            if not one.study.gap:
                print("wrong by seed", [f"{n / one.studies:.2%}" for n in one.false_by_seed])
    left.set(xlabel="gap of the best design (σ of a seed)", ylabel="tokens, % of the grid's")
    left.set_ylim(0, 105)
    right.set(xlabel="gap of the best design (σ of a seed)", ylabel="races that name it, %")
    right.set_ylim(0, 105)
    left.legend(frameon=False, fontsize=8)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(to, dpi=150)


def _read(line: str) -> Tally:
    values = json.loads(line)
    return Tally(
        **{
            **values,
            "study": Study(**values["study"]),
            "false_by_seed": tuple(values["false_by_seed"]),
        }
    )


if __name__ == "__main__":
    app()
