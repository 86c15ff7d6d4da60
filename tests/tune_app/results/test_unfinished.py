"""A leader is not taken for more than the best of the cells that were trained to the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from tests.tune_app.observations import observation
from tune_app.journal.records import (
    DIVERGED,
    Action,
    CellRecord,
    Decision,
    Observation,
    Status,
    SweepRecord,
)
from tune_app.plan.noise_records import NoiseRecord
from tune_app.results import contest as contests
from tune_app.results.designs import CellResult, designs_of
from tune_app.results.sections import stopped_row
from tune_app.results.summary import SweepResults
from tune_app.results.unfinished import unfinished, unfinished_text
from tune_app.results.verdict import verdict
from tune_app.stopping.curves import Curves
from tune_app.terminal.leader import verdict_line

TOKENS = 100
SETTINGS = {"corpus": "stdlib", "target_parameters": 950_000, "tokens": TOKENS}
Made = Mapping[str, tuple[Status, Sequence[float]]]
"""Name → how it ended, and its scores at 25, 50, 75 and 100 tokens as far as it was trained."""


@pytest.fixture(autouse=True)
def recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """σ = .003 is recorded for the sweeps of `made`."""
    record = NoiseRecord(
        settings=SETTINGS, sigma=0.003, degrees_of_freedom=16, runs=20, source="somewhere"
    )
    monkeypatch.setattr(contests, "recorded_noise", lambda: (record,))


def made(cells: Made, *, seeds: Sequence[int] = (0,), rule: str = "asha") -> SweepResults:
    results: list[CellResult] = []
    for name, (status, scores) in cells.items():
        for seed in seeds:
            key = f"{name} {seed}"
            curve = tuple(_point(key, at, score) for at, score in enumerate(scores))
            ended = Decision(cell=key, tokens=0, action=Action.PAUSE, rule=rule, reason="")
            record = CellRecord(
                key=key,
                label=f"{name} × seed {seed}" if len(seeds) > 1 else name,
                position=len(results),
                values={**SETTINGS, "glu_expansion": name, "seed": seed},
                config={},
                status=status,
            )
            results.append(
                CellResult(cell=record, curve=curve, decision=ended, failures=(), attempts=())
            )
    sweep = SweepRecord(
        name="made",
        space="made",
        corpus="stdlib",
        corpus_sha256="",
        baseline=results[0].cell.key,
        tokens=TOKENS,
        seeds=tuple(seeds),
        scheduler={"name": "asha"},
        kill_rule={"unit": "off"},
        bytes_per_token={},
        created_at=0.0,
        command="",
        axes=("glu_expansion",),
    )
    return SweepResults(
        sweep=sweep,
        curves=Curves([one.cell for one in results], baseline=sweep.baseline),
        cells=tuple(results),
        designs=designs_of(sweep, results),
        decisions=(),
        failures=(),
        amendments=(),
    )


def _point(key: str, at: int, score: float) -> Observation:
    full = score if at == 3 else None
    return observation(key, 25 * (at + 1), bits_per_byte=score, full_bits_per_byte=full)


FINISHED: Made = {
    "a": (Status.FINISHED, [2.5, 2.3, 2.2, 2.10]),
    "b": (Status.FINISHED, [2.51, 2.32, 2.21, 2.12]),
    "c": (Status.FINISHED, [2.52, 2.31, 2.22, 2.13]),
    "d": (Status.FINISHED, [2.51, 2.32, 2.22, 2.11]),
}
"""At 25 tokens differences to `a` move by 0.01, 0.01 and 0 to the end: drift 0.0082."""


def test_paused_cells_that_may_be_as_good_are_named() -> None:
    results = made(
        {
            **FINISHED,
            "near": (Status.PAUSED, [2.51]),
            "far": (Status.PAUSED, [2.59]),
            "ahead": (Status.PAUSED, [2.49, 2.31]),
        }
    )
    found = unfinished(results)
    assert found is not None and (found.paused, found.stopped, found.pairs) == (3, 0, 3)
    assert [one.label for one in found.close] == ["ahead", "near"]
    near = found.close[1]
    # 2 · √(drift² + σ²), both measured on differences to the leader.
    assert near.behind == pytest.approx(0.01) and near.tokens == 25
    assert near.allowed == pytest.approx(2 * ((0.01**2 * 2 / 3) + 0.003**2) ** 0.5)
    assert unfinished_text(results) == (
        "3 paused cells were not trained to the end; ahead (+0.0100 bpb at 50 tokens) and near "
        "(+0.0100 bpb at 25 tokens) may be as good or better, within what drift and noise allow for"
    )
    assert verdict(results).startswith("a leads by 0.0100 bpb (3.3 σ), and is told apart from all")
    assert verdict(results).endswith(f"). {unfinished_text(results)}")
    assert [text.style for text in verdict_line(results)] == ["yellow"]


def test_cells_beyond_drift_and_noise_are_counted_and_the_nearest_is_named() -> None:
    results = made(
        {
            **FINISHED,
            "far": (Status.PAUSED, [2.59]),
            "out": (Status.STOPPED, [2.7]),
        }
    )
    assert unfinished_text(results) == (
        "1 paused and 1 stopped cells were not trained to the end, and each was further behind at "
        "its last rung than drift and noise allow for, the nearest far (+0.0900 bpb at 25 tokens)"
    )
    assert [text.style for text in verdict_line(results)] == [""]


def test_without_measured_drift_nothing_is_ruled_out() -> None:
    few = {name: FINISHED[name] for name in "ab"}
    results = made({**few, "far": (Status.PAUSED, [2.9])})
    assert unfinished_text(results) == (
        "1 paused cell was not trained to the end and may be as good or better: how far curves "
        "still move is not known, as only 1 of the cells besides the leader's finished"
    )
    alone = made({"a": FINISHED["a"], "far": (Status.PAUSED, [2.9])})
    assert "as none of the cells besides" in verdict(alone)


def test_without_noise_only_drift_is_allowed_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contests, "recorded_noise", tuple)
    results = made({**FINISHED, "near": (Status.PAUSED, [2.51])})
    assert unfinished_text(results).endswith("within what drift allows for")


def test_seeds_are_compared_in_pairs_and_count_once_a_design() -> None:
    results = made({**FINISHED, "near": (Status.PAUSED, [2.51])}, seeds=(0, 1))
    found = unfinished(results)
    assert found is not None and (found.paused, found.pairs) == (2, 6)
    assert [one.label for one in found.candidates] == ["near"]


def test_a_design_that_finished_on_a_seed_is_ranked_and_only_counted() -> None:
    results = made(FINISHED, seeds=(0, 1))
    last = results.cells[-1]
    paused = replace(last, cell=replace(last.cell, status=Status.PAUSED), curve=last.curve[:1])
    cells = (*results.cells[:-1], paused)
    results = replace(results, cells=cells, designs=designs_of(results.sweep, cells))
    assert unfinished_text(results) == "1 paused cell was not trained to the end"


def test_whole_sweeps_and_sweeps_without_a_leader_have_nothing_to_add() -> None:
    assert unfinished(made(FINISHED)) is None
    assert verdict(made({"a": (Status.PAUSED, [2.5])})) == ""
    diverged = made({**FINISHED, "bad": (Status.STOPPED, [2.5])}, rule=DIVERGED)
    assert unfinished(diverged) is None


def test_a_cell_that_a_race_never_started_is_called_so() -> None:
    sweep = made({"wide": (Status.FINISHED, [1, 1, 1, 1]), "late": (Status.PAUSED, [])})
    late = next(cell for cell in sweep.cells if cell.cell.label == "late")
    assert stopped_row(sweep, late)["tokens"] == "not started"
