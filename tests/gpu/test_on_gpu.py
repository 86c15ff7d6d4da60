"""What only a GPU can show. `make gpu-check` runs these; elsewhere they are skipped."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from model.evaluation.bits_per_byte import evaluate, nats_by_token
from model.evaluation.scored_batches import HeldDocuments
from model.network.batch import TensorBatch
from model.network.blocked_groups import blocked_outer, blocked_product
from model.network.documents import DOCUMENTS
from model.network.grouped import grouped_product
from model.network.loss import linear_cross_entropy
from model.precisions import TF32
from model.training.batched_muon import BatchedMuon
from model.training.hardware import KINDS, evaluation_precision_on
from model.training.held_text import HeldText
from model.training.settings import TrainingConfig
from model.training.step_graph import CudaRecorder
from model.training.steps import StepResult
from model.training.training import Training
from tests.gpu.traced_steps import SIZES, Case, Source, Tokens, cases
from tests.model.training import test_fp8
from tests.model.training.test_held_text import placed_batches
from tests.model.training.test_training import CONFIG, SETTINGS, CountingBatches
from tests.model.variants import with_variants
from tune_app.trial.data import EVALUATION_BATCH

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
]

GPU = "cuda"
FP32 = replace(SETTINGS, precision="fp32")


def on(device: str, settings: TrainingConfig = SETTINGS) -> Training:
    return Training(CONFIG, settings, CountingBatches(), baseline=CONFIG, device=device)


def losses(training: Training, steps: int) -> list[StepResult]:
    return [training.step() for _ in range(steps)]


def on_the_cpu(state: Mapping[str, Any]) -> dict[str, Any]:
    """A state as a checkpoint of it is read on another machine."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    read: dict[str, Any] = torch.load(file, weights_only=True, map_location="cpu")
    return read


@contextmanager
def waiting_is_an_error() -> Iterator[None]:
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@contextmanager
def waits() -> Iterator[list[warnings.WarningMessage]]:
    """Collects what waits for the GPU."""
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            yield found
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("name", cases())
def test_a_step_never_waits_for_the_gpu(name: str) -> None:
    case: Case = cases()[name]
    config = replace(with_variants(SIZES["small"], case.variants), **case.config)
    settings: dict[str, Any] = {"batch_size": 16, "compile": "off", **case.training}
    training = Training(
        config,
        TrainingConfig(tokens=10**6, **settings),
        Source(length=config.context, masked=case.masked),
        baseline=config,
        device=GPU,
    )
    training.step()
    torch.cuda.synchronize()
    with waiting_is_an_error():
        result = training.step()
    assert result.loss > 0


def test_batches_of_a_held_text_are_those_of_the_host() -> None:
    source = placed_batches(vocab_size=40_000, context=CONFIG.context, end_of_text=7)
    held = HeldText(source, device=GPU)
    for step in (0, 3):
        ours, theirs = held.batch(step), TensorBatch.of(source.batch(step), device=GPU)
        assert torch.equal(ours.inputs_BT, theirs.inputs_BT)
        assert torch.equal(ours.targets_BT, theirs.targets_BT)
        assert torch.equal(ours.extras[DOCUMENTS], theirs.extras[DOCUMENTS])

    def run(*, text_held: bool) -> list[StepResult]:
        source = placed_batches(vocab_size=CONFIG.vocab_size, context=CONFIG.context)
        batches = HeldText(source, device=GPU) if text_held else source
        return losses(Training(CONFIG, SETTINGS, batches, baseline=CONFIG, device=GPU), 4)

    assert run(text_held=True) == run(text_held=False)


def test_a_held_sample_scores_the_same_bits_and_is_waited_for_once() -> None:
    training = on(GPU)
    losses(training, 2)
    text = Source(length=CONFIG.context, masked=True)
    held = HeldDocuments(text, device=GPU)
    assert np.array_equal(nats_by_token(training.model, held), nats_by_token(training.model, text))
    torch.cuda.synchronize()
    for score in (evaluate, nats_by_token):
        with waits() as found:
            score(training.model, held)
        assert len(found) == 1, [str(one.message) for one in found]


def test_an_evaluation_in_tf32_is_near_that_in_fp32_and_changes_nothing_else() -> None:
    if evaluation_precision_on(GPU, "bf16").name != TF32:
        pytest.skip("needs TF32")
    training = on(GPU)
    losses(training, 20)
    assert training.environment["evaluation"] == TF32
    text = RandomText(at_once=64)
    before = evaluate(training.model, text)
    rounded = evaluate(training.model, text, precision=TF32)
    assert rounded.bits_per_byte == pytest.approx(before.bits_per_byte, abs=1e-4)
    assert rounded != before, "this GPU's products were in fp32"
    assert evaluate(training.model, text) == before


def test_a_gpu_scores_few_and_many_sequences_at_once_alike() -> None:
    """The products of larger batches may be other kernels: the last bits of a score differ."""
    training = on(GPU, FP32)
    losses(training, 4)

    def score(at_once: int) -> float:
        return evaluate(training.model, RandomText(at_once=at_once)).bits_per_byte

    assert score(EVALUATION_BATCH) == pytest.approx(score(8 * EVALUATION_BATCH), abs=1e-6)


@dataclass(frozen=True, kw_only=True)
class RandomText:
    """The same random sequences, so many at once."""

    at_once: int
    sequences: int = 256
    text_bytes: int = 256 * CONFIG.context

    def __iter__(self) -> Iterator[Tokens]:
        shape = (self.sequences, CONFIG.context + 1)
        tokens = np.random.default_rng(0).integers(CONFIG.vocab_size, size=shape)
        for first in range(0, self.sequences, self.at_once):
            part = tokens[first : first + self.at_once]
            inputs_BT, targets_BT = part[:, :-1].copy(), part[:, 1:].copy()
            yield Tokens(
                inputs_BT=inputs_BT, targets_BT=targets_BT, mask_BT=targets_BT != 3, extras={}
            )


def stopped_and_resumed(started: Callable[[], Training], *, steps: int = 3) -> list[StepResult]:
    """Twice so many steps: a second training goes on from the first one's state."""
    first = started()
    before = losses(first, steps)
    second = started()
    second.load_state_dict(on_the_cpu(first.state_dict()))
    return before + losses(second, steps)


@dataclass(frozen=True, kw_only=True)
class VariedSource(Source):
    """Other tokens in each step, of three documents a sequence."""

    def batch(self, step: int) -> Tokens:
        whole = super().batch(step)
        drawn = np.random.default_rng(step).integers(61, size=(*whole.inputs_BT.shape, 2))
        documents_BT = np.arange(self.length) // (step % 3 + self.length // 3)
        return replace(
            whole,
            inputs_BT=drawn[..., 0].copy(),
            targets_BT=drawn[..., 1].copy(),
            extras={DOCUMENTS: np.broadcast_to(documents_BT, drawn.shape[:2]).copy()},
        )


@pytest.mark.parametrize("name", cases())
def test_a_cuda_graph_trains_the_same_bits_stopped_and_resumed(name: str) -> None:
    case: Case = cases()[name]
    if case.training.get("precision") == "fp8" and (lack := KINDS["cuda"].lacks_fp8(GPU)):
        pytest.skip(f"needs FP8: {lack}")
    config = replace(with_variants(SIZES["small"], case.variants), **case.config)
    settings: dict[str, Any] = {"batch_size": 16, "compile": "off", **case.training}

    def started(*, graph: bool) -> Training:
        return Training(
            config,
            TrainingConfig(tokens=10 * 16 * config.context, **settings),
            VariedSource(length=config.context, masked=case.masked),
            baseline=config,
            device=GPU,
            recorder=CudaRecorder(GPU) if graph else None,
        )

    undisturbed = losses(started(graph=False), 10)
    assert losses(started(graph=True), 10) == undisturbed
    assert stopped_and_resumed(partial(started, graph=True), steps=5) == undisturbed


def test_a_cuda_graph_of_compiled_code_trains_the_same_bits() -> None:
    def started(*, graph: bool) -> Training:
        return Training(
            CONFIG,
            replace(SETTINGS, compile="on"),
            CountingBatches(),
            baseline=CONFIG,
            device=GPU,
            recorder=CudaRecorder(GPU) if graph else None,
        )

    undisturbed = losses(started(graph=False), 8)
    assert losses(started(graph=True), 8) == undisturbed


def test_a_started_graph_never_waits_and_evaluation_goes_between() -> None:
    training = Training(
        CONFIG,
        SETTINGS,
        CountingBatches(),
        baseline=CONFIG,
        device=GPU,
        recorder=CudaRecorder(GPU),
    )
    text = Source(length=CONFIG.context, masked=True)
    plain = on(GPU)
    for _ in range(4):
        assert losses(training, 1) == losses(plain, 1)
        assert evaluate(training.model, text) == evaluate(plain.model, text)
    torch.cuda.synchronize()
    with waiting_is_an_error():
        result = training.step()
    assert result == plain.step()


def test_what_waits_for_the_gpu_cannot_be_recorded_and_the_gpu_is_not_lost() -> None:
    number = torch.ones((), device=GPU)
    with pytest.raises(RuntimeError, match="could not be recorded as a CUDA graph") as caught:
        CudaRecorder(GPU).record(lambda: number.add_(number.item()))
    assert type(caught.value) is RuntimeError
    assert number.item() == 1.0


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_stopped_and_resumed_it_is_the_same_run_bit_for_bit(optimizer: str) -> None:
    settings = replace(SETTINGS, optimizer=optimizer, parametrization="auto")
    undisturbed = losses(on(GPU, settings), 6)
    assert stopped_and_resumed(partial(on, GPU, settings)) == undisturbed


def test_fp8_trains_as_bf16_does_and_resumes_bit_for_bit() -> None:
    if lack := KINDS["cuda"].lacks_fp8(GPU):
        pytest.skip(f"needs FP8: {lack}")

    def started(precision: str) -> Training:
        settings = replace(test_fp8.SETTINGS, precision=precision)
        config, text = test_fp8.CONFIG, test_fp8.SourceText()
        return Training(config, settings, text, baseline=config, device=GPU)

    undisturbed = losses(started("fp8"), test_fp8.STEPS)
    assert stopped_and_resumed(partial(started, "fp8")) == undisturbed[:6]
    exact = losses(started("bf16"), test_fp8.STEPS)
    ours, theirs = (sum(one.loss for one in run[-10:]) for run in (undisturbed, exact))
    assert ours == pytest.approx(theirs, rel=0.01)


def test_fp16_trains_as_fp32_does_and_resumes_bit_for_bit() -> None:
    settings = replace(FP32, precision="fp16", learning_rate=2e-3)
    undisturbed = losses(on(GPU, settings), 6)
    assert stopped_and_resumed(partial(on, GPU, settings)) == undisturbed
    exact = losses(on(GPU, replace(settings, precision="fp32")), 6)
    for ours, theirs in zip(undisturbed, exact, strict=True):
        assert ours.loss == pytest.approx(theirs.loss, rel=5e-3)


@pytest.mark.parametrize(("start", "then"), [(GPU, "cpu"), ("cpu", GPU)])
def test_a_checkpoint_goes_on_on_another_device(start: str, then: str) -> None:
    first = on(start, FP32)
    losses(first, 3)
    second = on(then, FP32)
    second.load_state_dict(on_the_cpu(first.state_dict()))
    for ours, theirs in zip(losses(second, 3), losses(first, 3), strict=True):
        assert ours.loss == pytest.approx(theirs.loss, rel=1e-4)


def test_the_generator_of_the_gpu_is_in_the_checkpoint() -> None:
    training = on(GPU)
    state = training.state_dict()
    drawn = torch.rand(3, device=GPU)
    training.load_state_dict(state)
    assert torch.equal(torch.rand(3, device=GPU), drawn)


def test_it_trains_and_scores_as_a_cpu_does() -> None:
    gpu, cpu = on(GPU, FP32), on("cpu", FP32)
    for ours, theirs in zip(losses(gpu, 4), losses(cpu, 4), strict=True):
        assert ours.loss == pytest.approx(theirs.loss, rel=1e-4)
    text = Source(length=CONFIG.context, masked=True)
    scores = [evaluate(one.model, text).bits_per_byte for one in (gpu, cpu)]
    assert scores[0] == pytest.approx(scores[1], abs=1e-4)


def test_a_gradient_that_is_not_finite_is_not_applied() -> None:
    training = on(GPU)
    with torch.no_grad():
        training.model.final_norm.weight[0] = float("nan")
    before = training.model.embeddings.embedding.clone()
    assert not torch.tensor(training.step().loss).isfinite()
    assert torch.equal(before, training.model.embeddings.embedding)


@pytest.mark.parametrize("counts", [[40, 0, 24], [0, 0, 64], [13, 29, 22]])
@pytest.mark.parametrize("sizes", [(16, 8), (13, 5)])
def test_products_of_groups_are_those_of_a_cpu(counts: list[int], sizes: tuple[int, int]) -> None:
    torch.manual_seed(0)
    inputs, outputs = sizes
    rows_SN, upstream_SM = torch.randn(64, inputs), torch.randn(64, outputs)
    weight_EMN = torch.randn(3, outputs, inputs)

    def found(device: str) -> list[Tensor]:
        rows = rows_SN.bfloat16().to(device).requires_grad_()
        weight = weight_EMN.bfloat16().to(device).requires_grad_()
        product = grouped_product(rows, weight, torch.tensor(counts, device=device))
        gradients = torch.autograd.grad(product, (rows, weight), upstream_SM.bfloat16().to(device))
        return [one.float().cpu() for one in (product, *gradients)]

    for ours, theirs in zip(found(GPU), found("cpu"), strict=True):
        torch.testing.assert_close(ours, theirs, atol=5e-2, rtol=2e-2)
    rows, weight, counts_E = rows_SN.to(GPU), weight_EMN.to(GPU), torch.tensor(counts, device=GPU)
    expected = grouped_product(rows_SN, weight_EMN, torch.tensor(counts))
    product = blocked_product(rows, weight, counts_E)
    torch.testing.assert_close(product.cpu(), expected, atol=1e-3, rtol=1e-3)
    assert blocked_outer(upstream_SM.to(GPU), rows, counts_E).isfinite().all()


def test_the_loss_is_that_of_a_cpu() -> None:
    torch.manual_seed(0)
    features_BTE, weight_VE = torch.randn(2, 8, 12), torch.randn(50, 12)
    targets_BT = torch.randint(50, (2, 8))

    def found(device: str) -> list[Tensor]:
        features = features_BTE.to(device).requires_grad_()
        weight = weight_VE.to(device).requires_grad_()
        loss = linear_cross_entropy(features, weight, targets_BT.to(device))
        return [one.cpu() for one in (loss, *torch.autograd.grad(loss, (features, weight)))]

    torch.testing.assert_close(found(GPU), found("cpu"), atol=1e-4, rtol=1e-4)


def test_muon_in_batches_is_torch_s() -> None:
    def stepped(kind: type[torch.optim.Muon]) -> list[Tensor]:
        torch.manual_seed(0)
        shapes = [(24, 16), (24, 16), (16, 24)]
        matrices = [torch.nn.Parameter(torch.randn(shape).to(GPU)) for shape in shapes]
        muon = kind(matrices, lr=0.05, momentum=0.95, adjust_lr_fn="original")
        for matrix in matrices:
            matrix.grad = torch.randn(matrix.shape).to(GPU)
        muon.step()
        return [matrix.detach() for matrix in matrices]

    torch.testing.assert_close(stepped(BatchedMuon), stepped(torch.optim.Muon), atol=2e-3, rtol=0)
