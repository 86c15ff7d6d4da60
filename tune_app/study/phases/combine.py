"""The combination of each axis' best value, where the ranking does not hold it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from tune_app.formats import counted
from tune_app.plan.cell import Cell
from tune_app.plan.solved import SolvedModels
from tune_app.study.effects import GridEffects, effect_values, grid_effects
from tune_app.study.found import Found, design_key, noise_values
from tune_app.study.frame import Frame
from tune_app.study.phases.base import Entry, Phase, Promotion, PromotionError, needs


@dataclass(frozen=True, kw_only=True)
class CombinePhase(Phase):
    """Main effects with their intervals, and the design that they point at."""

    KIND: ClassVar[str] = "combine"
    ABOUT: ClassVar[str] = "the best value of each axis together"

    def check(self, study: Frame, before: Sequence[Phase]) -> None:
        needs(self, before, "rank")
        ranked = [phase for phase in before if phase.KIND == "rank"][-1]
        if ranked.tokens_in(study) != self.tokens_in(study):
            raise ValueError(
                f"the phase {self.name!r} trains on {self.tokens_in(study):,} tokens and "
                f"{ranked.name!r} on {ranked.tokens_in(study):,}; the combination is compared with "
                "that ranking, so give both the same tokens"
            )

    def most_runs(self, study: Frame) -> int:
        # The baseline is adopted unless this phase has more seeds than the ranking.
        return 2 * self.seeds

    def promote(self, study: Frame, found: Found, *, seeds: Sequence[int]) -> Promotion:
        phase = found.of("rank")[-1]
        grid = grid_effects(found, phase)
        if not grid.designs:
            raise PromotionError(
                f"no design of the grid in {phase.name!r} has finished, so no axis has a best value"
            )
        values, skipped = _first_feasible(grid)
        trained = design_key(values) in grid.designs
        reason = f"the best of each axis in the mean over the others: {grid.text()}"
        if not grid.effects:
            reason = "only one value of each axis has finished"
        if grid.stopped:
            reason += (
                f"; {counted(grid.stopped, 'design')} did not finish, so that the means lack them"
            )
        if skipped:
            reason += f"; {counted(skipped, 'better combination')} had no solution at the budget"
        reason += (
            "; the ranking holds their combination" if trained else "; their combination is trained"
        )
        baseline = study.baseline_cell(tokens=self.tokens_in(study), rate=found.rate).values()
        own = {**values, "tokens": self.tokens_in(study)}
        return Promotion(
            entries=tuple(Entry(values=one, seeds=tuple(seeds)) for one in (baseline, own)),
            reason=reason,
            evidence={
                "effects": effect_values(grid.effects),
                "designs": len(grid.designs),
                "not_finished": grid.stopped,
                "noise": noise_values(found.noise(self.tokens_in(study))),
            },
        )


def _first_feasible(grid: GridEffects) -> tuple[Mapping[str, Any], int]:
    """The values of the most promising combination with a solution, and how many had none."""
    anyone = next(iter(grid.designs.values()))
    for skipped, settings in enumerate(grid.combinations()):
        values = {**anyone, **settings}
        try:
            SolvedModels.of(Cell.from_values(values))
        except ValueError:
            continue
        return values, skipped
    return anyone, 0
