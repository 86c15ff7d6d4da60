"""Two hundred questions are learned, and a fine-tuning that is killed ends as one that is not."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.tune_app.untrained import untrained
from tune_app.evaluation.exporting import write_export
from tune_app.portable.format import WEIGHTS_FILE
from tune_app.portable.loading import load

ROOT = Path(__file__).parents[3]
PAIRS = 200
SAYS = {"cat": "meow", "dog": "woof", "cow": "moo", "hen": "cluck"}


def command(folder: Path, name: str, *more: str) -> list[str]:
    options = {"--data": folder / "pairs.jsonl", "--to": folder / name, "--device": "cpu"}
    options |= {"--checkpoints": folder / f"store-{name}", "--epochs": 16, "--batch-size": 8}
    options |= {"--learning-rate": 1.6e-2, "--evaluations": 4}
    given = [str(text) for option in options.items() for text in option]
    return [sys.executable, "-m", "tune_app.finetune", str(folder / "small"), *given, *more]


@pytest.mark.sweeps
def test_a_killed_run_ends_as_one_that_is_not(tmp_path: Path) -> None:
    write_export(untrained(context=192), tmp_path / "small", source={}, documents={})
    rows = [
        [
            {"role": "user", "content": f"What says {animal} {number}?"},
            {"role": "assistant", "content": says},
        ]
        for number in range(PAIRS // len(SAYS))
        for animal, says in SAYS.items()
    ]
    lines = [json.dumps({"messages": row}) + "\n" for row in rows]
    (tmp_path / "pairs.jsonl").write_text("".join(lines))
    whole = subprocess.run(
        command(tmp_path, "whole"), check=True, cwd=ROOT, capture_output=True, text=True
    )
    assert f"{PAIRS} conversations in" in whole.stdout
    values = json.loads((tmp_path / "whole/finetuning.json").read_text())
    assert values["reports"][-1]["answer_loss"] < 0.1
    model = load(tmp_path / "whole")
    assert "".join(model.reply("What says cow 17?")) == "moo"

    store = tmp_path / "store-cut"
    running = subprocess.Popen(
        command(tmp_path, "cut", "--checkpoint-every", "0.2"), cwd=ROOT, stdout=subprocess.DEVNULL
    )
    patience = time.monotonic() + 120
    while len(list(store.glob("*/*.json"))) < 2:
        assert running.poll() is None and time.monotonic() < patience
        time.sleep(0.02)
    running.kill()
    assert running.wait() == -signal.SIGKILL and not (tmp_path / "cut").exists()
    resumed = subprocess.run(
        command(tmp_path, "cut"), check=True, cwd=ROOT, capture_output=True, text=True
    )
    assert "resumed at step" in resumed.stdout
    cut = json.loads((tmp_path / "cut/finetuning.json").read_text())
    assert cut == values
    contents = [(tmp_path / name / WEIGHTS_FILE).read_bytes() for name in ("whole", "cut")]
    assert contents[0] == contents[1]
