"""What a race costs and how often it errs, in studies that are made up.

One design is better than all others by a gap, in standard deviations (σ) of a single seed; scores
of one seed share a part of their noise. Each race is run to its verdict, and what it trained is set
against the full grid with as many seeds. Where nothing differs, every design that ever leaves is a
false verdict: they are counted after each seed, so at every moment at which one could have stopped.
No cell is paused within a block.

Thousands of races at once, as arrays over races and designs; a test holds them against
`tune_app.stopping.racing.race`, race by race.

python -m benchmarks.races run races.json
python -m benchmarks.races draw races.json docs/racing.png
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from cyclopts import App

from tune_app.statistics.racing import EFFECT
from tune_app.statistics.rates import rate_interval

GAPS = (0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 7.0, 10.0)
KINDS: Mapping[str, tuple[str, str, int]] = {
    "known": ("σ known from 20 degrees of freedom", "#0072B2", 20),
    "unknown": ("σ only from the race itself", "#D55E00", 0),
}
"""Name → title, colour, and `Study.pilot`."""
_PRIOR = EFFECT**-2

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

app = App(name="python -m benchmarks.races", help=__doc__, version_flags=[])


@dataclass(frozen=True, kw_only=True)
class Study:
    """The settings of made-up races."""

    gap: float
    """Of the best design, the first, to each other one, in σ."""
    designs: int = 12
    seeds: int = 6
    shared: float = 0.28
    """Correlation of two scores of one seed."""
    pilot: int = 20
    """Degrees of freedom from which σ is known before; 0: only from the race itself."""
    alpha: float = 0.05
    smallest_difference: float = 0.75
    """In σ: about 0.005 bpb where σ is 0.0065."""


@dataclass(frozen=True, kw_only=True)
class Races:
    """How many races went, R of them."""

    scores_RKN: Floats
    """Of every design on every seed, also those that were not trained."""
    pilot_R: Floats
    """σ as it was known before, of a single score."""
    left_RNK: Flags
    """Which designs were left after each seed; as they ended for the seeds after."""
    seeds_R: npt.NDArray[np.int64]
    """Until the race ended."""
    same_R: Flags
    """Whether it ended since those left are within the smallest difference."""

    @property
    def trained(self) -> npt.NDArray[np.int64]:
        """Cells that were trained, of each race."""
        before = np.concatenate([np.ones_like(self.left_RNK[:, :1]), self.left_RNK[:, :-1]], axis=1)
        counts = before.sum(axis=2)
        held = np.arange(counts.shape[1])[None] < self.seeds_R[:, None]
        return np.asarray((counts * held).sum(axis=1))


def races(study: Study, number: int, *, seed: int = 0) -> Races:
    """So many races; the same ones for the same seed."""
    chance = np.random.default_rng([seed, round(1_000 * study.gap), study.pilot])
    shape = (number, study.designs, study.seeds)
    own = chance.normal(size=shape) * math.sqrt(1 - study.shared)
    common = chance.normal(size=(number, 1, study.seeds)) * math.sqrt(study.shared)
    means = np.full((1, study.designs, 1), study.gap)
    means[:, 0] = 0.0
    scores = means + own + common
    pilot = np.zeros(number)
    if study.pilot:
        pilot = np.sqrt(chance.chisquare(study.pilot, size=number) / study.pilot)
    left = np.ones((number, study.designs), dtype=bool)
    had = np.zeros((number, study.designs), dtype=int)
    active = np.ones(number, dtype=bool)
    same = np.zeros(number, dtype=bool)
    seeds = np.zeros(number, dtype=int)
    history = []
    pairs = study.designs * (study.designs - 1) // 2
    bound = math.log(pairs / study.alpha)
    for n in range(1, study.seeds + 1):
        seeds[active] = n
        had[left & active[:, None]] = n
        evidence = _Evidence.of(scores, had, n, 2 * study.pilot * pilot**2, study.pilot)
        both = left[:, :, None] & left[:, None, :] & ~np.eye(study.designs, dtype=bool)
        worse = (evidence.log_e() >= bound) & (evidence.sums > 0) & both
        left &= ~(worse.any(axis=2) & active[:, None])
        both = left[:, :, None] & left[:, None, :]
        wide = np.abs(evidence.sums / n) + evidence.radius(bound)
        widest = np.where(both & ~np.eye(study.designs, dtype=bool), wide, 0.0).max(axis=(1, 2))
        alone = left.sum(axis=1) == 1
        within = ~alone & (widest <= study.smallest_difference)
        same |= within & active
        active &= ~(alone | within)
        history.append(left.copy())
    return Races(
        scores_RKN=scores,
        pilot_R=pilot,
        left_RNK=np.stack(history, axis=1),
        seeds_R=seeds,
        same_R=same,
    )


@dataclass(frozen=True, kw_only=True)
class _Evidence:
    """Of every pair after n seeds, as `log_e_value` and `radius` have it; arrays (R, K, K)."""

    n: int
    sums: Floats
    squares: Floats
    known: Floats
    """Squared residuals: of the pilot and of the other designs."""
    freedom: Floats

    @classmethod
    def of(
        cls,
        scores: Floats,
        had: npt.NDArray[np.int64],
        n: int,
        pilot: Floats,
        degrees_of_freedom: int,
    ) -> _Evidence:
        differences = scores[:, :, None, :n] - scores[:, None, :, :n]
        known, freedom = np.zeros((2, *differences.shape[:3]))
        for m in range(2, n + 1):
            inside = had >= m
            rows = scores[:, :, :m] - scores[:, :, :m].mean(axis=2, keepdims=True)
            rows *= inside[:, :, None]
            squares = (rows**2).sum(axis=2)
            pair = inside[:, :, None].astype(float) + inside[:, None, :]
            others = inside.sum(axis=1)[:, None, None] - pair
            rest = rows.sum(axis=1)[:, None, None] - rows[:, :, None] - rows[:, None]
            total = squares.sum(axis=1)[:, None, None] - squares[:, :, None] - squares[:, None]
            more = (others - 1) * (m - 1)
            better = more > freedom
            residual = total - (rest**2).sum(axis=3) / np.maximum(others, 1)
            known = np.where(better, 2 * np.maximum(residual, 0.0), known)
            freedom = np.where(better, more, freedom)
        return cls(
            n=n,
            sums=differences.sum(axis=3),
            squares=(differences**2).sum(axis=3),
            known=known + pilot[:, None, None],
            freedom=freedom + degrees_of_freedom,
        )

    def log_e(self) -> Floats:
        observed = self.known + self.squares
        ratio = np.divide(self.sums**2, observed, out=np.zeros_like(self.sums), where=observed > 0)
        power = (self.n + self.freedom) / 2
        prior = 0.5 * math.log(_PRIOR / (self.n + _PRIOR))
        return np.asarray(prior - power * np.log1p(-ratio / (self.n + _PRIOR)))

    def radius(self, log_threshold: float) -> Floats:
        n = self.n
        spread = self.known + np.maximum(self.squares - self.sums**2 / n, 0.0)
        needed = log_threshold - 0.5 * math.log(_PRIOR / (n + _PRIOR))
        explained = -np.expm1(-2 * needed / (n + self.freedom))
        room = n**2 - explained * (n + _PRIOR) * n
        with np.errstate(divide="ignore", invalid="ignore"):
            wide = np.sqrt(explained * (n + _PRIOR) * spread / room)
        return np.where(room > 0, wide, np.inf)


@dataclass(frozen=True, kw_only=True)
class Tally:
    """What became of many races."""

    study: Study
    races: int
    named: int
    """That named the best design; where nothing differs, any."""
    wrong: int
    """In which the best one had left; where nothing differs, any."""
    same: int
    """That ended since those left are within the smallest difference."""
    compute: float
    """Mean tokens, as a share of the grid's."""
    seeds: float
    """Mean seeds until the end."""
    wrong_by_seed: tuple[int, ...]
    """As `wrong`, after so many seeds."""


def tally(study: Study, number: int, *, batch: int = 250) -> Tally:
    """Runs so many races, in batches that fit a small memory."""
    named = wrong = same = 0
    trained = seeds = 0.0
    by_seed = np.zeros(study.seeds, dtype=int)
    for at, begin in enumerate(range(0, number, batch)):
        found = races(study, min(batch, number - begin), seed=at)
        left = found.left_RNK
        gone = ~left[:, :, 0] if study.gap else ~left.all(axis=2)
        alone = left[:, -1].sum(axis=1) == 1
        named += int((alone & left[:, -1, 0] if study.gap else alone).sum())
        wrong += int(gone[:, -1].sum())
        same += int(found.same_R.sum())
        trained += float(found.trained.sum())
        seeds += float(found.seeds_R.sum())
        by_seed += gone.sum(axis=0)
    return Tally(
        study=study,
        races=number,
        named=named,
        wrong=wrong,
        same=same,
        compute=trained / (number * study.designs * study.seeds),
        seeds=seeds / number,
        wrong_by_seed=tuple(map(int, by_seed)),
    )


@app.command
def run(
    to: Path,
    *,
    number: int = 2_000,
    equal: int = 2_000,
    gaps: Sequence[float] = GAPS,
    kinds: Sequence[str] = tuple(KINDS),
) -> None:
    """Simulate, and write the tallies as JSON lines; those that are there are kept.

    Parameters
    ----------
    to
        File of the tallies.
    number
        Races of each gap.
    equal
        Races in which nothing differs.
    gaps
        In σ.
    kinds
        known or unknown: whether σ is, before the race.
    """
    lines = to.read_text("utf-8").splitlines() if to.exists() else []
    known = [json.loads(line)["study"] for line in lines]
    for pilot in (KINDS[kind][2] for kind in kinds):
        for gap in gaps:
            study = Study(gap=gap, pilot=pilot)
            if asdict(study) in known:
                continue
            found = tally(study, number if gap else equal)
            with to.open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(found)) + "\n")
            print(text(found), flush=True)


def text(one: Tally) -> str:
    """A line of the table in docs/racing.md."""
    return (
        f"| {one.study.gap:g} | {one.races:,} | {one.named / one.races:.1%} | "
        f"{one.same / one.races:.1%} | {_rate(one.wrong, one.races)} | {one.seeds:.1f} | "
        f"{one.compute:.0%} |"
    )


def _rate(happened: int, of: int) -> str:
    low, high = rate_interval(happened, of)
    return f"{happened} ({100 * low:.2f} to {100 * high:.2f} %)"


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
    from matplotlib.figure import Figure  # noqa: PLC0415 - takes a second

    found = [_read(line) for line in numbers.read_text("utf-8").splitlines()]
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    for title, colour, pilot in KINDS.values():
        own = sorted(
            (one for one in found if one.study.pilot == pilot), key=lambda one: one.study.gap
        )
        if not own:
            continue
        gaps = [one.study.gap for one in own]
        left.plot(gaps, [100 * one.compute for one in own], "o-", color=colour, label=title)
        shown = [(one.study.gap, 100 * one.named / one.races) for one in own if one.study.gap]
        right.plot(*zip(*shown, strict=True), "o-", color=colour)
        print(f"\n{title}\n")
        print("\n".join(map(text, own)))
        for one in own:
            if not one.study.gap:
                rates = " | ".join(_rate(wrong, one.races) for wrong in one.wrong_by_seed)
                print(f"by seed: | {rates} |")
    left.set(xlabel="gap of the best design (σ of a seed)", ylabel="tokens, % of the grid's")
    right.set(xlabel="gap of the best design (σ of a seed)", ylabel="races that name it, %")
    left.legend(frameon=False, fontsize=8)
    for axes in (left, right):
        axes.set_ylim(0, 105)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(to, dpi=150)


def _read(line: str) -> Tally:
    values = json.loads(line)
    study, by_seed = Study(**values.pop("study")), tuple(values.pop("wrong_by_seed"))
    return Tally(**values, study=study, wrong_by_seed=by_seed)


if __name__ == "__main__":
    app()
