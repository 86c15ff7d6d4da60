"""A sweep, and what may happen to it: defects, lost processes, torn files, a full disk."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.patience import PATIENCE_S
from tests.tune_app.real_sweeps import SLOW_STORE, Sweeps, facts, rows, wait_until
from tune_app.journal.records import FailureClass, Status

pytestmark = pytest.mark.sweeps

ALL_TO_THE_END = ("--scheduler", "none", "--kill-rule", "off")

DEFECT = """
plain = transformer.Transformer.loss

def loss(self, inputs_BT, *rest):
    if abs(self.config.expansion - 3.0) < 0.05:
        raise ZeroDivisionError("a defect of one cell")
    if abs(self.config.expansion - 2.5) < 0.05 and len(inputs_BT) > 2:
        raise MemoryError("four sequences are too many")
    return plain(self, inputs_BT, *rest)

transformer.Transformer.loss = loss
"""


@pytest.fixture(scope="module")
def sweeps(tmp_path_factory: pytest.TempPathFactory, small_corpus: Path, cache: Path) -> Sweeps:
    return Sweeps(tmp_path_factory.mktemp("sweeps"), small_corpus, cache)


@pytest.fixture(scope="module")
def undisturbed(sweeps: Sweeps) -> None:
    code, output = sweeps.run("undisturbed", *ALL_TO_THE_END)
    assert code == 0, output


def test_a_defect_ends_its_cell_and_no_memory_halves_the_batch(
    sweeps: Sweeps, undisturbed: None
) -> None:
    options = (*ALL_TO_THE_END, "--checkpoint-every", "1")
    code, output = sweeps.run("defect", *options, inject=DEFECT)
    assert code == 1, output
    assert "a defect of one cell" in output
    with sweeps.journal("defect") as journal:
        status = {cell.label: cell.status for cell in journal.cells()}
        assert list(status.values()).count(Status.FAILED) == 1
        assert list(status.values()).count(Status.FINISHED) == 4
        kinds = sorted(item.kind for item in journal.failures())
        assert kinds == [FailureClass.CODE, FailureClass.MEMORY], "each is recorded once"
        (code_failure,) = [item for item in journal.failures() if item.kind is FailureClass.CODE]
        assert code_failure.ended
        assert "ZeroDivisionError: a defect of one cell" in code_failure.traceback
        assert "in loss" in code_failure.traceback
        (memory,) = [item for item in journal.failures() if item.kind is FailureClass.MEMORY]
        assert not memory.ended
        assert "micro-batches of 2, the same 4 a step" in memory.remedy
        attempts = {cell.key: cell.attempts for cell in journal.cells()}
    report = (sweeps.path("defect") / "report.html").read_text()
    assert "ZeroDivisionError: a defect of one cell" in report
    assert "micro-batches of 2" in report

    code, output = sweeps.run("defect", *options)
    assert code == 0, output
    with sweeps.journal("defect") as journal, sweeps.journal("undisturbed") as reference:
        again = {cell.key: cell.attempts for cell in journal.cells()}
        assert [key for key in again if again[key] != attempts[key]] == [code_failure.cell]
        mended, expected = facts(journal), facts(reference)
        halved = memory.cell
        curves = [
            {
                (item["cell"], item["tokens"]): item["metrics"]["bits_per_byte"]
                for item in side["observations"]
            }
            for side in (mended, expected)
        ]
        assert curves[0].keys() == curves[1].keys()
        for point, score in curves[0].items():
            if point[0] == halved:
                assert score == pytest.approx(curves[1][point], rel=1e-2)
            else:
                assert score == curves[1][point]


def test_a_killed_process_and_a_torn_checkpoint_cost_a_little_time(
    sweeps: Sweeps, undisturbed: None
) -> None:
    process = sweeps.start("killed", *ALL_TO_THE_END, "--checkpoint-every", "0")
    folder = sweeps.path("killed")
    count = "SELECT count(*) >= 13 FROM observations"
    wait_until(lambda: rows(folder, count) == [(1,)], process)
    cell, worker, manifests = suspended_in_mid_training(folder, process)
    torn = manifests[-1].with_suffix(".pt")
    torn.write_bytes(torn.read_bytes()[:-1])
    worker.kill()
    output, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, output
    assert "Traceback" not in output, "a lost process is no reason for alarm"
    assert "(raylet)" not in output
    with sweeps.journal("killed") as journal, sweeps.journal("undisturbed") as reference:
        assert facts(journal)["observations"] == facts(reference)["observations"]
        kinds = [(item.kind, item.ended) for item in journal.failures()]
        assert kinds == [(FailureClass.HOST, False), (FailureClass.STORAGE, False)]
        lost, damage = journal.failures()
        assert lost.cell == damage.cell == cell
        assert lost.tokens > 0
        assert torn.name.partition(".")[0] in damage.reason
        first, second = journal.attempts(cell)
        assert first.resumed_from == 0
        assert second.resumed_from is not None
        assert 0 < second.resumed_from <= int(torn.name.partition("-")[0])
    assert not list(folder.rglob("*.tmp"))
    assert not (folder / ".tune").exists()


def test_the_next_cell_trains_while_a_slow_store_takes_the_last_one(
    sweeps: Sweeps, undisturbed: None
) -> None:
    code, output = sweeps.run("slow", *ALL_TO_THE_END, inject=SLOW_STORE)
    assert code == 0, output
    folder = sweeps.path("slow")
    ended = "SELECT min(at) FROM decisions WHERE decisions.cell = attempts.cell"
    early = rows(folder, f"SELECT ({ended}) - ended_at FROM attempts ORDER BY arrival")
    assert len(early) == 5, "no cell was started twice"
    assert all(seconds > 0.5 for (seconds,) in early[:-1]), "it gave its process away"
    assert early[-1][0] <= 0.5, "nobody waited for that of the last one"
    with sweeps.journal("slow") as journal, sweeps.journal("undisturbed") as reference:
        assert facts(journal) == facts(reference)


def test_a_process_killed_before_the_last_model_is_stored_costs_time_alone(
    sweeps: Sweeps, undisturbed: None
) -> None:
    process = sweeps.start("unstored", *ALL_TO_THE_END, inject=SLOW_STORE)
    folder = sweeps.path("unstored")
    given = (
        "SELECT cells.key FROM cells JOIN attempts ON attempts.cell = cells.key"
        " WHERE status = 'running' GROUP BY cells.key HAVING count(*) = count(ended_at)"
    )
    wait_until(lambda: bool(rows(folder, given)), process)
    (child,) = [
        child
        for child in psutil.Process(process.pid).children(recursive=True)
        if "Trainable" in " ".join(child.cmdline())
    ]
    child.kill()
    ((cell,),) = rows(folder, given)
    output, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, output
    with sweeps.journal("unstored") as journal, sweeps.journal("undisturbed") as reference:
        assert facts(journal) == facts(reference)
        assert len(journal.attempts(cell)) == 2
        assert {item.kind for item in journal.failures()} == {FailureClass.HOST}


def suspended_in_mid_training(
    folder: Path, process: subprocess.Popen[str]
) -> tuple[str, psutil.Process, list[Path]]:
    """A cell in training that has checkpoints, its process, stopped, and their manifests."""
    while True:
        assert process.poll() is None
        for child in psutil.Process(process.pid).children(recursive=True):
            if "Trainable" not in " ".join(child.cmdline()):
                continue
            child.suspend()
            time.sleep(0.5)  # for what was inside the kernel, or on its way to the driver
            for (cell,) in rows(folder, "SELECT key FROM cells WHERE status = 'running'"):
                manifests = sorted(
                    (folder / "checkpoints" / cell).glob("*.json"),
                    key=lambda path: int(path.name.partition("-")[0]),
                )
                # More than two means that it is stopped while it clears old ones away.
                if len(manifests) >= 2 and int(manifests[-1].name.partition("-")[0]) < 18_000:
                    return cell, child, manifests
            child.resume()
            time.sleep(0.2)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=120m", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"no disk of its own can be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_pauses_the_sweep_and_room_lets_it_go_on(
    sweeps: Sweeps, undisturbed: None, small_disk: Path
) -> None:
    runs = sweeps.folder / "runs"
    (runs / "full").symlink_to(small_disk, target_is_directory=True)
    process = sweeps.start("full", *ALL_TO_THE_END)
    wait_until(
        lambda: rows(small_disk, "SELECT count(*) >= 3 FROM observations") == [(1,)], process
    )
    filling = small_disk / "filling"
    with filling.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4_096))
        except OSError:
            pass
    assert process.stdout is not None
    seen = ""
    for line in process.stdout:
        seen += line
        if "the sweep is paused" in line:
            break
    else:
        pytest.fail(f"nothing was said of a pause: {seen}")
    filling.unlink()
    output, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, output
    assert "the sweep continues" in output
    with sweeps.journal("full") as journal, sweeps.journal("undisturbed") as reference:
        assert facts(journal)["observations"] == facts(reference)["observations"]
