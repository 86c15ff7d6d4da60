"""A sweep over two corpora: their shares, and sequences that grow, outlive a killed driver."""

from __future__ import annotations

import sysconfig
from pathlib import Path

import pytest

from data.prepare import prepare
from tests.tune_app.observations import repeated
from tests.tune_app.real_sweeps import Sweeps, rows, wait_until
from tests.tune_app.trial.running import run_to_end
from tune_app.devices import use_threads
from tune_app.journal.records import Status
from tune_app.plan.cell import Cell
from tune_app.trial.trial import Trial

SPACE = """
AXES = {"mixture_surprise": [0.0, 4.0]}
FIXED = {
    "target_parameters": 60_000, "vocab_size": 512, "n_heads": 2, "context": 32,
    "tokens": 7_680, "batch_size": 4, "evaluations": 6, "evaluation_bytes": 2_048,
    "learning_rate": 1e-2,
}
"""


def undisturbed(cell: Cell, cache: Path) -> list[dict[str, float]]:
    """The metrics of every evaluation of a cell that is trained in this process, without Ray."""
    trial = Trial(
        cell,
        corpora=lambda tokenizer: prepare(cell.settings.corpus, tokenizer, cache=cache),
    )
    return [repeated(point.metrics) for point in run_to_end(trial)]


@pytest.mark.sweeps
def test_a_killed_sweep_of_two_corpora_draws_the_same_text_again(
    tmp_path: Path, cache: Path
) -> None:
    code = Path(sysconfig.get_path("stdlib")) / "argparse.py"
    (tmp_path / "code.txt").write_text(code.read_text("utf-8")[:60_000])
    (tmp_path / "numbers.txt").write_text(
        "".join(f"{n} squared is {n * n}\n" for n in range(1_500))
    )
    sweeps = Sweeps(tmp_path, tmp_path / "code.txt", cache)
    (tmp_path / "two.py").write_text(SPACE)
    options = (
        *("--mix", f"{tmp_path}/code.txt=60", "--mix", f"{tmp_path}/numbers.txt=40"),
        *("--curriculum", "25%:8,25%:16:8", "--scheduler", "none", "--kill-rule", "off"),
        *("--checkpoint-every", "0.01"),
    )
    space = tmp_path / "two.py"
    process = sweeps.start("killed", *options, space=space)
    seen = "SELECT count(*) >= 8 FROM observations"
    wait_until(lambda: rows(sweeps.path("killed"), seen) == [(1,)], process)
    process.kill()
    process.communicate()
    code_of_exit, output = sweeps.run("killed", *options, space=space)
    assert code_of_exit == 0, output
    use_threads(1)
    with sweeps.journal("killed") as journal:
        for record in journal.cells():
            found = [repeated(point.metrics) for point in journal.observations(record.key)]
            assert found == undisturbed(Cell.from_values(record.values), cache)
        assert [cell.status for cell in journal.cells()] == [Status.FINISHED] * 2
        fixed, surprised = (journal.observations(cell.key)[-1] for cell in journal.cells())
        assert fixed.metrics["mixture_share/code"] == 0.6
        assert surprised.metrics["mixture_share/code"] != 0.6
        assert "full_domain_bits_per_byte/numbers" in surprised.metrics
    table = (sweeps.path("killed") / "results.csv").read_text().splitlines()[0]
    assert "last_full_domain_bits_per_byte/numbers" in table
