"""Thousands of races at once end as the race of a sweep does, one by one."""

from __future__ import annotations

import pytest

from benchmarks.races import Study, Tally, races, tally, text
from tune_app.statistics.racing import Pilot
from tune_app.stopping.racing import End, RaceSettings, RaceState, race


@pytest.mark.parametrize("pilot", [0, 20])
def test_they_are_those_that_a_sweep_runs(pilot: int) -> None:
    for gap in (0.0, 4.0):
        study = Study(gap=gap, pilot=pilot, designs=5, seeds=4)
        found = races(study, 8)
        for row in range(8):
            names = [str(at) for at in range(study.designs)]
            scores: dict[str, dict[int, float]] = {name: {} for name in names}
            state, cells = RaceState(left=tuple(names)), 0
            known = None
            if pilot:
                known = Pilot.of_scores(float(found.pilot_R[row]), pilot)
            settings = RaceSettings(smallest_difference=study.smallest_difference, most_seeds=4)
            while state.end is None:
                seed = state.seeds
                for name in state.left:
                    scores[name][seed] = float(found.scores_RKN[row, int(name), seed])
                    cells += 1
                state = race(scores, range(seed + 1), known, settings)
                left = {name for name in names if found.left_RNK[row, seed, int(name)]}
                assert set(state.left) == left
            assert (state.seeds, cells) == (found.seeds_R[row], found.trained[row])
            assert (state.end is End.SAME) == found.same_R[row]


def test_a_clear_best_is_named_for_a_part_of_the_grid() -> None:
    found: Tally = tally(Study(gap=6.0), 50)
    assert found.named == 50 and found.wrong == 0 and found.compute < 0.4
    assert text(found).startswith("| 6 | 50 | 100.0% | ")
    nothing = tally(Study(gap=0.0), 50)
    assert nothing.compute > 0.9 and list(nothing.wrong_by_seed) == sorted(nothing.wrong_by_seed)
