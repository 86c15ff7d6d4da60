"""Every cell of the quick spaces is built with its solved sizes and trains, without Ray."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from model.network.documents import DOCUMENTS
from model.sizing.counts import count_parameters
from model.training.training import Training
from tune_app.plan.cell import Cell
from tune_app.plan.plan import make_plan
from tune_app.plan.rows import PlannedCell
from tune_app.plan.space_file import known_spaces, load_space
from tune_app.plan.wishes import Wishes

STEPS = 2


class RandomText:
    """Batches of random tokens, each sequence two documents."""

    def __init__(self, *, vocab_size: int, context: int, batch_size: int) -> None:
        tokens = np.random.default_rng(0).integers(vocab_size, size=(batch_size, context + 1))
        self.inputs_BT, self.targets_BT = tokens[:, :-1], tokens[:, 1:]
        self.mask_BT = None
        documents_BT = np.arange(context) // (context // 2) * np.ones((batch_size, 1), np.int32)
        self.extras: dict[str, NDArray[np.int64]] = {DOCUMENTS: documents_BT}

    def batch(self, step: int) -> RandomText:
        return self


AS_QUICK = {"embedding_glu": "quick", "embedding": "quick_heads", "glu": "quick_glu_family"}
"""Spaces whose question another quick one asks."""


def test_every_space_has_a_quick_one() -> None:
    spaces = [name for name in known_spaces() if not name.startswith("quick")]
    lacking = [name for name in spaces if AS_QUICK.get(name, f"quick_{name}") not in known_spaces()]
    assert not lacking


@pytest.mark.sweeps
@pytest.mark.parametrize("name", [name for name in known_spaces() if name.startswith("quick_")])
def test_every_cell_of_a_quick_space_trains(name: str) -> None:
    cells = make_plan(load_space(name), Wishes()).feasible
    for planned in {repr(cell.config): cell for cell in cells}.values():
        train(planned)


def train(planned: PlannedCell) -> None:
    cell, solved = Cell.from_values(planned.values), planned.solved
    assert solved is not None and planned.parameters is not None
    config = solved.model
    training = Training(
        config,
        replace(cell.training_config(), compile="off"),
        RandomText(
            vocab_size=config.vocab_size,
            context=config.context,
            batch_size=cell.settings.batch_size,
        ),
        baseline=solved.baseline,
    )
    built = sum(parameter.numel() for parameter in training.model.parameters())
    assert built == planned.parameters["total"] == count_parameters(config).total
    losses = [training.step().loss for _ in range(STEPS)]
    assert losses[0] == pytest.approx(math.log(config.vocab_size), rel=0.1)
    assert all(map(math.isfinite, losses))
