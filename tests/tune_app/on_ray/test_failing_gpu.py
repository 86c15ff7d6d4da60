"""A GPU that fails in mid-cell.

Out of memory, the cell goes on with half the micro-batch and the same result; if the GPU is lost,
the process ends, for Ray to start the cell in another.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from data.prepare import prepare
from model.network.transformer import Transformer
from tests.model.training.cuda_errors import ILLEGAL_ADDRESS, cuda_error
from tests.tune_app.on_ray.processes import config_of, started
from tests.tune_app.trial.running import run_to_end
from tests.tune_app.trial.test_trial import SMALL
from tune_app.faults.policy import respond
from tune_app.journal.records import Failure, FailureClass, Observation
from tune_app.on_ray import trainable
from tune_app.on_ray.messages import ERROR, KIND, OBSERVATION, REASON, RESUMED_FROM, TOKENS
from tune_app.on_ray.trainable import CellTrainable, RetryError
from tune_app.plan.cell import Cell
from tune_app.trial.trial import Trial

VALUES = {**SMALL, "precision": "fp32"}
BATCH = SMALL["batch_size"]
GOES_WELL = 6
"""Steps before the memory is too little for a whole batch."""


@pytest.fixture
def process(
    small_corpus: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[int | None], CellTrainable]:
    """What Ray would start in a process of its own, given the size of a micro-batch."""
    monkeypatch.setattr(trainable, "_EARLY_PAUSE", 0.0)
    cell = Cell.from_values(VALUES)
    corpus = prepare(str(small_corpus), cell.tokenizer, cache=cache)

    def start(micro_batch_size: int | None) -> CellTrainable:
        config = config_of(
            cell, corpus, checkpoints=tmp_path, micro_batch_size=micro_batch_size, interval=0.0
        )
        return started(config, monkeypatch)

    return start


def test_the_micro_batch_is_halved_and_the_result_stays(
    process: Callable[[int | None], CellTrainable],
    small_corpus: Path,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cell = Cell.from_values(VALUES)
    undisturbed = run_to_end(
        Trial(cell, corpora=lambda spec: prepare(str(small_corpus), spec, cache=cache))
    )
    plain, sizes = Transformer.loss, list[int]()

    def loss(self: Transformer, inputs_BT: torch.Tensor, *rest: Any) -> Any:
        sizes.append(len(inputs_BT))
        if len(sizes) > GOES_WELL and len(inputs_BT) > BATCH // 2:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return plain(self, inputs_BT, *rest)

    monkeypatch.setattr(Transformer, "loss", loss)
    first = process(None)
    found: dict[int, Observation] = {}

    def take(report: dict[str, Any]) -> dict[str, Any]:
        if OBSERVATION in report:
            seen = Observation.from_values(json.loads(report[OBSERVATION]))
            found[seen.tokens] = seen
        return report

    while ERROR not in (report := take(first.step())):
        pass
    assert report[KIND] == FailureClass.MEMORY.value
    with pytest.raises(RetryError):
        first.step()
    response = respond(
        Failure(
            cell=cell.key,
            kind=FailureClass(report[KIND]),
            reason=report[REASON],
            traceback=report[ERROR],
            ended=True,
            tokens=report[TOKENS],
        ),
        [],
        batch_size=BATCH,
    )
    assert not response.failure.ended
    assert response.micro_batch_size == BATCH // 2
    sizes_before = len(sizes)
    second = process(response.micro_batch_size)
    report = take(second.step())
    assert report[RESUMED_FROM] > 0, "from a checkpoint, not anew"
    while report[TOKENS] < SMALL["tokens"] or OBSERVATION not in report:
        report = take(second.step())
    assert set(sizes[sizes_before:]) == {BATCH // 2}
    assert [found[point.tokens].tokens for point in undisturbed] == sorted(found)
    for point in undisturbed:
        # Sums are added up in another order: nothing else differs.
        ours = found[point.tokens].metrics
        for name in ("bits_per_byte", "train_loss", "gradient_norm"):
            assert ours[name] == pytest.approx(point.metrics[name], rel=1e-4), name
    second.cleanup()


@pytest.mark.parametrize("wrapped", [False, True], ids=["as torch says it", "wrapped"])
def test_a_process_whose_gpu_is_lost_ends(
    wrapped: bool,
    process: Callable[[int | None], CellTrainable],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def loss(*arguments: object) -> None:
        lost = cuda_error(ILLEGAL_ADDRESS)
        if wrapped:
            raise RuntimeError("in the backward pass of a library") from lost
        raise lost

    def exit_at_once(code: int) -> None:
        raise SystemExit(code)

    monkeypatch.setattr(Transformer, "loss", loss)
    monkeypatch.setattr("os._exit", exit_at_once)
    with pytest.raises(SystemExit, match="1"):
        process(None).step()
