"""Schedulers over recorded curves: what they spend, and what they give up."""

from __future__ import annotations

import csv
import itertools
import math
from pathlib import Path

import numpy as np
import pytest

from tests.tune_app.journals import make_journal
from tune_app.command_line import run_command
from tune_app.journal.records import Status
from tune_app.replay.__main__ import MODULE, app
from tune_app.replay.figure import draw
from tune_app.replay.orders import tally
from tune_app.replay.recorded import Recorded, of_journal, of_table
from tune_app.replay.schedulers import CONTESTANTS, contestant

CELLS, EVALUATIONS = 12, 8
OURS = ("halving", "asha")


def code_of(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        run_command(app, MODULE, words)
    return int(ended.value.code or 0)


def write_curves(path: Path, *, crossing: bool = False, swing: float = 0.0) -> Path:
    """Twelve curves of equal length; `crossing`: the best one looks worst at a quarter; `swing`:
    every other one is ahead at every other evaluation."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["cell", "tokens", "bits_per_byte", "seconds"])
        for cell, step in itertools.product(range(CELLS), range(1, EVALUATIONS + 1)):
            score = 2.0 + 0.01 * cell + 1.0 / step
            if crossing and cell == 0 and step <= 2:
                score += 1.0
            score += swing * ((cell + step) % 2)
            writer.writerow([f"cell {cell}", 1_000 * step, score, 10.0 * step * (1 + cell % 3)])
    return path


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    return of_table(write_curves(tmp_path_factory.mktemp("curves") / "curves.csv"))


def test_the_mean_regret_of_random_is_its_expectation(recorded: Recorded) -> None:
    finals = sorted(recorded.regrets.values())
    for cells in (1, 4):
        found = tally(contestant(f"random:cells={cells}"), recorded, orders=1_000, workers=2)
        # The best of them is number k in C(12 - k, cells - 1) of C(12, cells) cases.
        chances = [math.comb(CELLS - k, cells - 1) for k in range(1, CELLS + 1)]
        expected = np.dot(chances, finals) / math.comb(CELLS, cells)
        assert abs(found.regret - expected) < 3 * found.regret_error
        assert found.compute == pytest.approx(cells / CELLS)


def test_asha_and_halving_train_what_their_rungs_say(recorded: Recorded) -> None:
    for name in OURS:
        found = tally(contestant(name), recorded, orders=20, workers=3)
        # 12 to a quarter, 6 to a half, 3 to the end; the baseline is the best one.
        assert found.compute == pytest.approx((12 * 2 + 6 * 2 + 3 * 4) / (12 * 8))
        assert (found.regret, found.lost, found.false_kills) == (0.0, 0.0, 0.0)
    waiting, going = (
        tally(contestant(name), recorded, orders=20, workers=3).hours
        for name in ("halving", "asha")
    )
    assert going < waiting
    everything = tally(contestant("none"), recorded, orders=2, workers=3)
    assert (everything.compute, everything.false_kills) == (1.0, None)


def test_what_is_given_up_wrongly_is_counted(tmp_path: Path) -> None:
    path = write_curves(tmp_path / "curves.csv", crossing=True)
    rows = path.read_text().splitlines()
    # With another first cell the best one is not the baseline, which would be spared.
    path.write_text("\n".join([rows[0], *rows[-EVALUATIONS:], *rows[1:-EVALUATIONS]]))
    found = tally(contestant("asha"), of_table(path), orders=5, workers=1)
    assert found.regret == pytest.approx(0.01)
    assert found.lost == 1.0
    assert found.false_kills == pytest.approx(1 / 8)
    oracle = tally(contestant("oracle"), of_table(path), orders=5, workers=1)
    assert (oracle.regret, oracle.compute) == (0.0, pytest.approx(1 / CELLS))


@pytest.mark.parametrize("name", CONTESTANTS)
def test_every_scheduler_ends_with_a_leader(recorded: Recorded, name: str) -> None:
    found = tally(contestant(name), recorded, orders=2, workers=2)
    assert 0.0 <= found.regret < 0.12 and 0.0 < found.compute <= 1.0
    shares, bands = found.anytime()
    assert bands.shape == (3, len(shares)) and np.isfinite(bands).any()
    again = tally(contestant(name), recorded, orders=2, workers=2)
    assert again.runs == found.runs, "a bundle repeats it in another process"


def test_the_last_leader_of_a_sweep_is_the_one_that_it_ends_with(tmp_path: Path) -> None:
    """While training cells are ranked by the dev sample, at their end by the full split."""
    path = write_curves(tmp_path / "curves.csv")
    header, *rows = path.read_text().splitlines()
    full = [f"{row},{3.0 - int(row.split(',')[0].split()[1]) / 100}" for row in rows]
    path.write_text("\n".join([f"{header},full_bits_per_byte", *full]))
    recorded = of_table(path)
    for name in ("none", "halving"):
        found = tally(contestant(name), recorded, orders=5, workers=2)
        assert all(run.trace[-1][1] == run.regret for run in found.runs)
    assert tally(contestant("none"), recorded, orders=5, workers=2).regret == 0.0


def test_a_figure_has_a_panel_a_scheduler(recorded: Recorded, tmp_path: Path) -> None:
    from matplotlib.figure import Figure

    tallies = [
        tally(contestant(name), recorded, orders=3, workers=2) for name in [*CONTESTANTS][:5]
    ]
    drawn: list[Figure] = []
    save = Figure.savefig

    def keep(figure: Figure, *args: object, **settings: object) -> None:
        drawn.append(figure)
        save(figure, *args, **settings)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", keep)
        draw(tallies, tmp_path / "regret.png", title="made curves")
    assert (tmp_path / "regret.png").stat().st_size > 1_000
    assert [axes.axison for axes in drawn[0].axes] == [True] * 5 + [False] * 3


def test_pasha_opens_a_rung_only_where_the_ranking_changes(tmp_path: Path) -> None:
    calm = of_table(write_curves(tmp_path / "calm.csv"))
    wild = of_table(write_curves(tmp_path / "wild.csv", swing=0.1))
    spent = [
        tally(contestant(f"{name}:grace_fraction=0.125"), one, orders=3, workers=1).compute
        for name, one in (("pasha", calm), ("pasha", wild), ("asha", calm))
    ]
    # Twelve to an eighth, six to a quarter, and the best one to its end.
    assert spent[0] == pytest.approx((12 + 6 + 6) / 96)
    assert spent[0] < spent[1] <= spent[2]


def test_a_sweep_is_replayed_from_its_journal_and_checked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_journal(tmp_path / "runs" / "mine" / "journal.sqlite3").close()
    picture = tmp_path / "regret.png"
    words = ["mine", "--results", str(tmp_path / "runs"), "--orders", "3", "--scheduler", "asha"]
    assert code_of(*words, "--to", str(picture)) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "4 cells, 2 workers. 7 more were not trained to their end" in told
    assert picture.read_bytes().startswith(b"\x89PNG")
    # Its decisions were made up.
    assert code_of("mine", "--results", str(tmp_path / "runs"), "--check") == 1
    assert "recorded decisions differ" in capsys.readouterr().out


def test_finished_cells_alone_are_replayed(tmp_path: Path) -> None:
    with make_journal(tmp_path / "journal.sqlite3") as journal:
        found = of_journal(journal)
        finished = [cell.key for cell in journal.cells() if cell.status is Status.FINISHED]
    assert [curve.cell.key for curve in found.curves] == finished
    assert min(found.regrets.values()) == 0.0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--scheduler", "ahsa"], "unknown scheduler 'ahsa'; did you mean asha?"),
        (["--scheduler", "asha:eta"], "the setting 'eta' has no value"),
        (["--scheduler", "asha:eta=3"], "unknown setting 'eta' of ASHA"),
        (["--scheduler", "random:cells=99"], "it must be between 1 and 12"),
        (["--orders", "0"], "both must be at least 1"),
    ],
)
def test_mistakes_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    path = write_curves(tmp_path / "curves.csv")
    assert run_command(app, MODULE, [str(path), *words]) == 2
    assert message in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cell,tokens\na,1\n", "no column bits_per_byte"),
        ("cell,tokens,bits_per_byte\na,1,x\n", "bits_per_byte of cell a is 'x', not a number"),
        ("cell,tokens,bits_per_byte\na,1,2.0\n", "1 of 1 cells were trained to the end"),
        ("cell,tokens,bits_per_byte\na,1,2.0\nb,,2.0\n", "tokens of cell b is missing"),
        ("", "is not a table of curves"),
    ],
)
def test_a_table_without_curves_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "curves.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        of_table(path)
