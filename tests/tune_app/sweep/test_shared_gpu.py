"""Cells that share a GPU: their results are those of cells that do not, and none ends another.

The GPU is made up: Ray shares out one, and the cells train on the CPU.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.tune_app.observations import repeated
from tests.tune_app.real_sweeps import SPACE, Sweeps
from tune_app.journal.journal import Journal
from tune_app.journal.records import FailureClass, Status

pytestmark = pytest.mark.sweeps

ALL_TO_THE_END = ("--scheduler", "none", "--kill-rule", "off")

OUT_OF_MEMORY = """
import os
import time
from pathlib import Path

import torch

SEEN = Path(%r)
plain = transformer.Transformer.loss

def wait_for_three():
    (SEEN / str(os.getpid())).touch()
    deadline = time.monotonic() + 100
    while len(list(SEEN.iterdir())) < 3:
        assert time.monotonic() < deadline, "three cells did not train at once"
        time.sleep(0.05)

def loss(self, inputs_BT, *rest):
    wait_for_three()
    if abs(self.config.expansion - 2.5) < 0.05 and len(inputs_BT) > 2:
        raise torch.OutOfMemoryError("CUDA out of memory: more than its share")
    return plain(self, inputs_BT, *rest)

transformer.Transformer.loss = loss
"""
"""No cell takes a step before three are there; then one of them has too little memory for it."""


def curves(journal: Journal) -> dict[tuple[str, int], Any]:
    return {(one.cell, one.tokens): repeated(dict(one.metrics)) for one in journal.observations()}


def test_three_on_a_gpu_train_as_one_alone_and_two_survive_the_third(
    tmp_path: Path, small_corpus: Path, cache: Path
) -> None:
    sweeps = Sweeps(tmp_path, small_corpus, cache)
    space = tmp_path / "fp32.py"
    text = (SPACE % str(small_corpus)).replace(
        "[2.0, 2.5, 2.66, 2.8, 3.0, 4.0]", "[2.5, 2.66, 3.0]"
    )
    less = 'FIXED |= {"precision": "fp32", "tokens": 2_560, "evaluations": 4}'
    space.write_text(f"{text}{less}\n")
    code, output = sweeps.run("alone", *ALL_TO_THE_END, space=space)
    assert code == 0, output
    seen = tmp_path / "seen"
    seen.mkdir()
    code, output = sweeps.run(
        "shared",
        *ALL_TO_THE_END,
        *("--cells-per-gpu", "3", "--cells-at-once", "3"),
        space=space,
        inject=OUT_OF_MEMORY % str(seen),
        module="tests.tune_app.sweep.fake_gpu_sweep",
    )
    assert code == 0, output
    assert "3 cells each: as asked; shared by time slicing" in output
    with sweeps.journal("shared") as journal, sweeps.journal("alone") as reference:
        (run,) = journal.runs()
        assert run.cells_per_gpu == 3
        assert run.gpu_sharing.startswith("as asked; shared by time slicing")
        assert [run.cells_per_gpu for run in reference.runs()] == [None]
        assert {cell.status for cell in journal.cells()} == {Status.FINISHED}
        (short,) = journal.failures()
        assert (short.kind, short.ended) == (FailureClass.MEMORY, False)
        found, expected = curves(journal), curves(reference)
        assert found.keys() == expected.keys()
        same = [point for point in expected if point[0] != short.cell]
        assert len(same) == 2 * len(expected) // 3
        assert {point: found[point] for point in same} == {point: expected[point] for point in same}
        attempts = sorted((one.cell, one.number) for one in journal.attempts())
        assert attempts == sorted([*((cell.key, 1) for cell in journal.cells()), (short.cell, 2)])
