"""The channel by which parts of the network report: auxiliary losses and diagnostics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from model.evaluation.bits_per_byte import evaluate
from model.mup import Scales
from model.network.context import Context
from model.network.feed_forward import FEED_FORWARDS, SwiGLU
from model.network.parameters import declare
from model.network.transformer import Transformer
from model.roles import vector
from model.spec import ModelConfig
from model.training.settings import TrainingConfig
from model.training.training import Training

CONFIG = ModelConfig(
    vocab_size=61, context=16, d_model=24, n_layers=3, n_heads=2, head_dim=10, d_ff=36
)
SETTINGS = TrainingConfig(tokens=10_000, batch_size=4, compile="off", precision="fp32")


class Telling(SwiGLU):
    """Reports a loss on its own vector, which the cross-entropy does not reach, and its input."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.offset_F = nn.Parameter(torch.empty(config.d_ff))
        declare(self, offset_F=vector(in_block=True, start=2.0))

    def forward(self, hidden_BTD: Tensor, context: Context) -> Tensor:
        context.add_loss("offset_loss", 0.5 * self.offset_F.square().mean())
        context.report("hidden_size", hidden_BTD.square().mean())
        context.report("progress", context.progress)
        if "weights" in context.extras:
            context.report("mean_weight", context.extras["weights"].mean())
        return super().forward(hidden_BTD, context)


@dataclass(frozen=True, kw_only=True)
class Random:
    inputs_BT: NDArray[np.int64]
    targets_BT: NDArray[np.int64]
    mask_BT: NDArray[np.bool_] | None = None
    extras: Mapping[str, NDArray[Any]] = field(default_factory=dict)


class Batches:
    text_bytes = 100

    def batch(self, step: int) -> Random:
        tokens = np.random.default_rng(step).integers(61, size=(4, 17))
        weights = np.array([1, 1, 3, 3], dtype=np.float32)
        return Random(
            inputs_BT=tokens[:, :-1], targets_BT=tokens[:, 1:], extras={"weights": weights}
        )

    def __iter__(self):
        yield self.batch(0)


@pytest.fixture
def telling(monkeypatch: pytest.MonkeyPatch) -> ModelConfig:
    monkeypatch.setitem(FEED_FORWARDS, "swiglu", Telling)
    return CONFIG


def start(config: ModelConfig = CONFIG, **settings: Any) -> Training:
    return Training(config, replace(SETTINGS, **settings), Batches(), baseline=config)


def test_an_auxiliary_loss_is_trained_and_the_reported_loss_stays_the_cross_entropy(
    telling: ModelConfig,
) -> None:
    training = start(telling)
    first = training.step()
    # Three layers, half of 2² each.
    assert first.metrics["offset_loss"] == pytest.approx(6.0)
    assert first.loss == pytest.approx(np.log(61), rel=0.4)
    assert training.step().metrics["offset_loss"] < 6.0
    assert training.model.blocks[0].feed_forward.offset_F.max() < 2.0


def test_diagnostics_are_the_mean_over_layers_and_by_micro_batches(telling: ModelConfig) -> None:
    whole = start(telling).step().metrics
    assert set(whole) == {
        "learning_rate", "gradient_norm", "offset_loss", "hidden_size", "progress", "mean_weight",
    }  # fmt: skip
    assert whole["hidden_size"] == pytest.approx(1.0, rel=1e-3)  # what a norm makes of it
    assert whole["mean_weight"] == 2.0
    parts = start(telling, micro_batch_size=2).step().metrics
    assert parts == pytest.approx(whole, rel=1e-4)


def test_evaluation_ignores_what_is_reported(telling: ModelConfig) -> None:
    torch.manual_seed(0)
    model = Transformer(telling, scales=Scales.own(telling))
    batch = Batches().batch(0)
    inputs_BT, targets_BT = torch.from_numpy(batch.inputs_BT), torch.from_numpy(batch.targets_BT)
    output = model.loss(inputs_BT, targets_BT)
    assert output.total.item() == pytest.approx(output.cross_entropy.item() + 6.0)
    score = evaluate(model, Batches())
    assert score.nats / score.tokens == pytest.approx(output.cross_entropy.item(), rel=1e-5)


def test_a_network_without_reports_has_only_its_cross_entropy() -> None:
    batch = Batches().batch(0)
    inputs_BT, targets_BT = torch.from_numpy(batch.inputs_BT), torch.from_numpy(batch.targets_BT)
    output = Transformer(CONFIG, scales=Scales.own(CONFIG)).loss(inputs_BT, targets_BT)
    assert output.total is output.cross_entropy
    assert not output.auxiliary_losses and not output.diagnostics
    assert set(start().step().metrics) == {"learning_rate", "gradient_norm"}


def test_a_pass_with_reports_is_captured_as_one_graph(telling: ModelConfig) -> None:
    torch.manual_seed(0)
    model = Transformer(telling, scales=Scales.own(telling))
    batch = Batches().batch(0)
    arrays = (
        torch.from_numpy(batch.inputs_BT),
        torch.from_numpy(batch.targets_BT),
        torch.ones(4, 16, dtype=torch.bool),
        {"weights": torch.from_numpy(batch.extras["weights"])},
    )
    graphs = 0

    def as_it_is(graph: torch.fx.GraphModule, _: list[Tensor]) -> torch.fx.GraphModule:
        nonlocal graphs
        graphs += 1
        return graph

    # The graph is captured as for the real compiler, and run as it is.
    captured = torch.compile(model.loss, dynamic=False, fullgraph=True, backend=as_it_is)
    for share in (0.0, 0.5, 1.0):
        model.set_progress(share)
        torch.testing.assert_close(captured(*arrays)._asdict(), model.loss(*arrays)._asdict())
    assert graphs == 1, "the progress of training is no constant of the graph"


def test_a_report_that_is_no_scalar_is_refused() -> None:
    context = Transformer(CONFIG, scales=Scales.own(CONFIG)).context(16)
    with pytest.raises(ValueError, match=r"loads was reported with the shape \(8,\)"):
        context.report("loads", torch.ones(8))
    with pytest.raises(ValueError, match=r"balance was reported with the shape \(1,\)"):
        context.add_loss("balance", torch.ones(1))


@pytest.mark.parametrize("name", ["gradient_norm", "train_loss"])
def test_a_name_that_is_taken_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Twice(SwiGLU):
        def forward(self, hidden_BTD: Tensor, context: Context) -> Tensor:
            context.report(name, hidden_BTD.mean())
            return super().forward(hidden_BTD, context)

    monkeypatch.setitem(FEED_FORWARDS, "swiglu", Twice)
    with pytest.raises(ValueError, match=f"the network reports '{name}'"):
        start().step()
