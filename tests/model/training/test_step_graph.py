"""Steps that are recorded once and started as a whole: on the CPU, by the rules of a CUDA graph."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from model.network.documents import DOCUMENTS
from model.spec import ModelConfig
from model.training import loss_scale
from model.training.batched_muon import BatchedMuon
from model.training.hardware import Cpu
from model.training.held_text import HeldText
from model.training.loss_scale import LossScale
from model.training.muon import parts_of
from model.training.opening import open_training
from model.training.optimizers import rates_from, set_learning_rate
from model.training.settings import TrainingConfig
from model.training.step_graph import WARM_UP, require_graphs
from model.training.training import BatchSource, StepResult, Training
from tests.model.training.tape import Tape
from tests.model.training.test_batched_muon import give_gradients, matrices, muon
from tests.model.training.test_held_text import scheduled
from tests.model.training.test_training import (
    BATCH,
    CONFIG,
    SETTINGS,
    Counted,
    CountingBatches,
    MaskedBatches,
    stored,
)
from tests.model.variants import with_variants

STEPS = 8
EAGER = replace(SETTINGS, precision="fp32")


@dataclass(frozen=True)
class DocumentBatches:
    """Counting batches of two documents a sequence, which change in length."""

    def batch(self, step: int) -> Counted:
        whole = CountingBatches().batch(step)
        first = np.random.default_rng(step).integers(1, CONFIG.context, size=(BATCH, 1))
        documents_BT = (np.arange(CONFIG.context) >= first).astype(np.int32)
        return replace(whole, extras={DOCUMENTS: documents_BT})


def lasting(training: Training) -> Iterator[Tensor]:
    """All that a recorded step may read and change."""
    yield from training.model.parameters()
    yield from training.model.buffers()
    for part in parts_of(training._optimizer):
        for state in part.state.values():
            yield from (one for one in state.values() if isinstance(one, Tensor))
    if training._loss_scale is not None:
        yield from training._loss_scale.state_dict().values()
    assert training._graph is not None
    yield from training._graph.inputs


def taped(
    settings: TrainingConfig = EAGER,
    config: ModelConfig = CONFIG,
    batches: BatchSource | None = None,
    **options: Any,
) -> tuple[Training, Tape]:
    made: list[Training] = []
    tape = Tape(lambda: lasting(made[0]))
    made.append(
        Training(
            config,
            settings,
            batches or CountingBatches(),
            baseline=config,
            recorder=tape,
            **options,
        )
    )
    return made[0], tape


def plain(
    settings: TrainingConfig = EAGER,
    config: ModelConfig = CONFIG,
    batches: BatchSource | None = None,
    **options: Any,
) -> Training:
    """The same, one operation after another."""
    training = Training(config, settings, batches or CountingBatches(), baseline=config, **options)
    training._rates_in_fp32 = True
    return training


def train(training: Training, steps: int = STEPS) -> list[StepResult]:
    return [training.step() for _ in range(steps)]


def numbers(training: Training) -> list[bytes]:
    return [one.detach().numpy().tobytes() for one in training.model.parameters()]


CASES: dict[str, dict[str, Any]] = {
    "default": {},
    "bf16": {"settings": replace(EAGER, precision="auto")},
    "dropout": {"config": replace(CONFIG, dropout=0.2)},
    "micro-batches": {"settings": replace(EAGER, gradient_accumulation=4)},
    "gradient checkpointing": {"settings": replace(EAGER, gradient_checkpointing=True)},
    "documents": {
        "config": replace(CONFIG, document_masking=True),
        "batches": DocumentBatches(),
    },
    "grouped queries": {"config": replace(CONFIG, n_kv_heads=1)},
    "moe": {"config": with_variants(CONFIG, {"feed_forward": "moe"})},
    "polyglu": {"config": with_variants(CONFIG, {"feed_forward": "polyglu"})},
}


@pytest.mark.parametrize("name", CASES)
def test_a_recorded_step_trains_the_same_bits(name: str) -> None:
    training, tape = taped(**CASES[name])
    expected = plain(**CASES[name])
    assert train(training) == train(expected)
    assert numbers(training) == numbers(expected)
    assert (tape.recordings, tape.starts) == (1, STEPS - WARM_UP)


def test_rates_and_batches_differ_from_step_to_step() -> None:
    """So that equal results mean that none is frozen in the recording."""
    results = train(plain(), steps=STEPS)
    assert len({result.metrics["learning_rate"] for result in results}) == STEPS
    assert len({result.loss for result in results}) == STEPS


def test_a_text_on_the_device_and_stages_of_other_shapes() -> None:
    def batches() -> HeldText:
        return HeldText(scheduled(), device="cpu")

    sizes = {"vocab_size": 2**16, "d_model": 8, "n_layers": 1, "d_ff": 8}
    config = replace(CONFIG, document_masking=True, **sizes)
    source = scheduled()
    settings = replace(EAGER, batch_size=4, tokens=3_200)
    options = {"config": config, "sequences": source.sequences}
    training, tape = taped(settings, batches=batches(), **options)
    steps = source.curriculum.stages[-1].first_step + 4
    expected = train(plain(settings, batches=batches(), **options), steps=steps)
    assert train(training, steps=steps) == expected
    assert tape.recordings == len(source.curriculum.stages)


def test_fp16_moves_its_scale_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Cpu, "multiplies_fp16", lambda self, device: True)
    monkeypatch.setattr(loss_scale, "FIRST_SCALE", 2.0**24)
    monkeypatch.setattr(loss_scale, "STEPS_TO_GROW", 3)
    settings = replace(EAGER, precision="fp16")
    (training, tape), expected = taped(settings), plain(settings)
    results = train(training, steps=12)
    assert results == train(expected, steps=12)
    scales = [result.metrics["loss_scale"] for result in results[WARM_UP:]]
    assert len(set(scales)) > 2 and tape.starts == 12 - WARM_UP


def test_a_step_that_is_not_finite_changes_nothing() -> None:
    training, _ = taped()
    train(training, steps=4)
    with torch.no_grad():
        training.model.final_norm.weight[0] = float("nan")
    before = training.model.embeddings.embedding.clone()
    assert not torch.tensor(training.step().loss).isfinite()
    assert torch.equal(before, training.model.embeddings.embedding)


@pytest.mark.parametrize("stop", [1, WARM_UP, 5])
def test_stopped_and_resumed_it_is_the_same_run(stop: int) -> None:
    expected = train(plain())
    first, _ = taped()
    before = train(first, steps=stop)
    state = stored(first.state_dict())
    second, _ = taped()
    second.load_state_dict(deepcopy(state))
    assert before + train(second, steps=STEPS - stop) == expected
    # A training that has recorded already goes back: its state is in other memory then.
    train(first, steps=3)
    first.load_state_dict(state)
    assert train(first, steps=STEPS - stop) == expected[stop:]


def test_the_state_is_that_of_a_training_without() -> None:
    training, expected = taped()[0], plain()
    train(training), train(expected)
    ours, theirs = stored(training.state_dict()), stored(expected.state_dict())
    assert ours.keys() == theirs.keys()
    assert ours["environment"] == theirs["environment"]
    assert ours["optimizer"]["param_groups"] == theirs["optimizer"]["param_groups"]
    expected.load_state_dict(ours)


def test_batches_of_which_a_part_is_scored_are_never_recorded() -> None:
    mask_BT = np.ones((BATCH, CONFIG.context), dtype=np.bool_)
    mask_BT[:, ::3] = False
    batches = MaskedBatches(mask_BT)
    training, tape = taped(batches=batches)
    assert train(training) == train(plain(batches=batches))
    assert tape.recordings == 0


def test_the_tape_notices_what_would_be_gone() -> None:
    other = torch.ones(3)
    weight = torch.zeros(3)
    with pytest.raises(AssertionError, match="reads memory that does not last"):
        Tape(lambda: [weight]).record(lambda: weight.add_(other))
    with pytest.raises(AssertionError, match="a number is read"):
        Tape(lambda: [weight]).record(lambda: weight.sum().item())


def test_muon_in_batches_takes_its_rate_from_the_device() -> None:
    def stepped(*, on_device: bool) -> list[Tensor]:
        parameters = matrices()
        optimizer = muon(BatchedMuon, parameters)
        for group in optimizer.param_groups:
            group["rate"] = 0.7
        for seed in range(3):
            give_gradients(parameters, seed=seed)
            optimizer.found_inf = torch.tensor(float(seed == 1))
            set_learning_rate(optimizer, 0.03 / (seed + 1), in_fp32=True)
            if on_device:
                rates_G = torch.tensor([group["lr"] for group in optimizer.param_groups])
                with rates_from(optimizer, rates_G):
                    optimizer.step()
            else:
                optimizer.step()
        return [one.detach() for one in parameters]

    for ours, theirs in zip(stepped(on_device=True), stepped(on_device=False), strict=True):
        assert torch.equal(ours, theirs)


def test_groups_have_their_own_rates_again_afterwards() -> None:
    weight = nn.Parameter(torch.ones(2))
    adamw = torch.optim.AdamW([weight], lr=0.5, fused=True)
    rates_G = torch.tensor([0.25])
    with pytest.raises(ValueError, match="stop"), rates_from(adamw, rates_G):  # type: ignore[arg-type]
        (group,) = adamw.param_groups
        assert group["lr"] == 0.25 and group["capturable"]
        raise ValueError("stop")
    assert (group["lr"], group["capturable"]) == (0.5, False)


def test_the_scale_stays_in_its_memory() -> None:
    scale = LossScale("cpu")
    before = {name: one.data_ptr() for name, one in scale.state_dict().items()}
    used = scale.follow(torch.ones(()))["loss_scale"]
    scale.load_state_dict({"scale": torch.tensor(8.0), "steps": torch.tensor(3)})
    assert {name: one.data_ptr() for name, one in scale.state_dict().items()} == before
    assert used == loss_scale.FIRST_SCALE, "what was measured does not change with it"


def test_it_is_refused_where_there_is_no_cuda() -> None:
    require_graphs("cuda:1")
    arguments: Any = (CONFIG, EAGER, CountingBatches())
    with pytest.raises(ValueError, match="--cuda-graph is for CUDA, and the device is cpu; leave"):
        open_training(*arguments, baseline=CONFIG, cuda_graph=True)
    with pytest.raises(ValueError, match=r"2 processes .* --cuda-graph is for one: leave it out"):
        require_graphs("cuda", processes=2)
