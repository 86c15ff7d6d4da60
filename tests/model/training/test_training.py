from __future__ import annotations

import errno
import io
import logging
import math
import os
import random
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn import functional

from model.sizing.budget import solve
from model.spec import ModelConfig, ModelSpec
from model.training.compilation import (
    CompilationError,
    cause_of,
    remedy_for,
    should_compile,
)
from model.training.compiler import Compiler
from model.training.random_state import random_state, set_random_state
from model.training.settings import TrainingConfig
from model.training.training import BatchSource, StepResult, Training
from tests.model.training.cuda_errors import ILLEGAL_ADDRESS, cuda_error
from tests.model.variants import EVERY, with_variants

CONFIG = ModelConfig(
    vocab_size=61, context=16, d_model=24, n_layers=2, n_heads=2, head_dim=10, d_ff=36
)
BASELINE = replace(CONFIG, d_model=32, n_layers=3)
BATCH = 8
STEPS = 12
SETTINGS = TrainingConfig(
    tokens=STEPS * BATCH * CONFIG.context, batch_size=BATCH, compile="off", learning_rate=0.02
)


MUON = replace(SETTINGS, optimizer="muon")


@dataclass(frozen=True, kw_only=True)
class Counted:
    inputs_BT: NDArray[np.int64]
    targets_BT: NDArray[np.int64]
    mask_BT: NDArray[np.bool_] | None = None
    extras: Mapping[str, NDArray[Any]] = field(default_factory=dict)


class CountingBatches:
    """Sequences that count upwards from a random token: something to learn."""

    def batch(self, step: int) -> Counted:
        first = np.random.default_rng(step).integers(CONFIG.vocab_size, size=(BATCH, 1))
        tokens = (first + np.arange(CONFIG.context + 1)) % CONFIG.vocab_size
        return Counted(inputs_BT=tokens[:, :-1], targets_BT=tokens[:, 1:])


@dataclass(frozen=True)
class MaskedBatches:
    """Counting batches of which only what `mask` says is scored."""

    mask_BT: NDArray[np.bool_]

    def batch(self, step: int) -> Counted:
        whole = CountingBatches().batch(step)
        # What is not scored need be no token at all.
        targets_BT = np.where(self.mask_BT, whole.targets_BT, -100)
        return replace(whole, targets_BT=targets_BT, mask_BT=self.mask_BT)


def start(
    settings: TrainingConfig = SETTINGS,
    config: ModelConfig = CONFIG,
    batches: BatchSource | None = None,
) -> Training:
    return Training(config, settings, batches or CountingBatches(), baseline=BASELINE)


def train(training: Training, *, steps: int = STEPS) -> list[StepResult]:
    return [training.step() for _ in range(steps)]


def stored(state: dict[str, Any]) -> dict[str, Any]:
    """The state after a way through a file that executes nothing."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    loaded: dict[str, Any] = torch.load(file, weights_only=True)
    return loaded


def test_training_learns_and_ends() -> None:
    training = start(replace(SETTINGS, tokens=60 * BATCH * CONFIG.context))
    results = train(training, steps=60)
    assert training.finished
    assert results[0].loss == pytest.approx(math.log(61), rel=0.4)
    assert results[-1].loss < 0.5
    assert [result.tokens for result in results[:2]] == [128, 256]
    assert all(result.metrics["gradient_norm"] > 0 for result in results)


def test_the_last_step_may_pass_the_end() -> None:
    training = start(replace(SETTINGS, tokens=129))
    train(training, steps=1)
    assert not training.finished
    train(training, steps=1)
    assert training.finished
    assert training.tokens == 256


@pytest.mark.parametrize("precision", ["fp32", "auto"])
def test_one_seed_gives_the_same_losses_bit_for_bit(precision: str) -> None:
    settings = replace(SETTINGS, precision=precision)
    assert train(start(settings)) == train(start(settings))
    assert train(start(settings))[0] != train(start(replace(settings, seed=1)))[0]


@pytest.mark.parametrize(
    ("settings", "dropout"),
    [(SETTINGS, 0.0), (SETTINGS, 0.3), (MUON, 0.0)],
    ids=["adamw", "dropout", "muon"],
)
def test_stopped_at_any_step_and_resumed_it_is_the_same_run_bit_for_bit(
    settings: TrainingConfig, dropout: float
) -> None:
    config = replace(CONFIG, dropout=dropout)
    undisturbed = train(start(settings, config))
    assert (undisturbed == train(start())) == (settings == SETTINGS and dropout == 0)
    for stop in (0, 1, STEPS // 2, STEPS - 1):
        first = start(settings, config)
        before = train(first, steps=stop)
        state = stored(first.state_dict())
        train(first, steps=1)
        second = start(settings, config)
        second.load_state_dict(state)
        assert before + train(second, steps=STEPS - stop) == undisturbed


@pytest.mark.parametrize("variant", EVERY, ids=str)
def test_every_variant_repeats_and_resumes_bit_for_bit(variant: dict[str, str]) -> None:
    config = with_variants(CONFIG, variant)
    first, second = start(config=config), start(config=config)
    undisturbed = train(first, steps=2)
    assert train(second, steps=1) == undisturbed[:1]
    third = start(config=config)
    third.load_state_dict(stored(second.state_dict()))
    assert train(third, steps=1) == undisturbed[1:]


def test_a_state_holds_the_random_generators() -> None:
    training = start()
    state = stored(training.state_dict())
    drawn = random.random(), np.random.random(), torch.rand(1).item()
    training.load_state_dict(state)
    assert (random.random(), np.random.random(), torch.rand(1).item()) == drawn


@pytest.mark.slow
def test_compiled_it_is_as_repeatable_and_as_resumable() -> None:
    settings = replace(SETTINGS, compile="on")
    first = start(settings)
    undisturbed = train(first)
    assert first.compile_seconds > 0
    assert train(start(settings)) == undisturbed
    first = start(settings)
    before = train(first, steps=5)
    second = start(settings)
    second.load_state_dict(stored(first.state_dict()))
    assert before + train(second, steps=STEPS - 5) == undisturbed
    eager = train(start())
    for ours, theirs in zip(undisturbed, eager, strict=True):
        assert ours.loss == pytest.approx(theirs.loss, rel=0.05)


def test_micro_batches_add_up_to_the_batch() -> None:
    settings = replace(SETTINGS, precision="fp32")
    whole = train(start(settings))
    parts = train(start(replace(settings, micro_batch_size=2)))
    assert max(step.metrics["gradient_norm"] for step in whole) > settings.gradient_clip
    for ours, theirs in zip(whole, parts, strict=True):
        assert ours.loss == pytest.approx(theirs.loss, rel=1e-4)
        assert ours.metrics["gradient_norm"] == pytest.approx(
            theirs.metrics["gradient_norm"], rel=1e-2
        )


UNEVEN_BT = np.zeros((BATCH, CONFIG.context), bool)
"""Of the first half of the sequences a few targets, of the next two all, of the last two none."""
UNEVEN_BT[:4, 3:5] = True
UNEVEN_BT[4:6] = True


def test_a_mask_that_scores_all_changes_nothing() -> None:
    settings = replace(SETTINGS, precision="fp32")
    masked = train(start(settings, batches=MaskedBatches(np.ones_like(UNEVEN_BT))), steps=4)
    for ours, theirs in zip(masked, train(start(settings), steps=4), strict=True):
        assert ours.loss == pytest.approx(theirs.loss, rel=1e-5)
        assert ours.metrics == pytest.approx(theirs.metrics, rel=1e-4)


def test_the_loss_is_the_mean_over_the_scored_targets() -> None:
    training = start(replace(SETTINGS, precision="fp32"), batches=MaskedBatches(UNEVEN_BT))
    batch = CountingBatches().batch(0)
    features_BTE, weight_VE = training.model.output(
        training.model.hidden_states(torch.from_numpy(batch.inputs_BT))
    )
    logits_SV = (features_BTE @ weight_VE.T)[torch.from_numpy(UNEVEN_BT)]
    targets_S = torch.from_numpy(batch.targets_BT[UNEVEN_BT])
    expected = functional.cross_entropy(logits_SV, targets_S)
    gradients = torch.autograd.grad(expected, list(training.model.parameters()))
    norm = torch.stack([gradient.norm() for gradient in gradients]).norm().item()
    result = training.step()
    assert result.loss == pytest.approx(expected.item(), rel=1e-5)
    assert result.metrics["gradient_norm"] == pytest.approx(norm, rel=1e-4)
    assert result.tokens == UNEVEN_BT.size


@pytest.mark.parametrize("micro_batch_size", [1, 2, 4])
def test_micro_batches_count_by_their_scored_targets(micro_batch_size: int) -> None:
    settings = replace(SETTINGS, precision="fp32")
    batches = MaskedBatches(UNEVEN_BT)
    whole = train(start(settings, batches=batches), steps=4)
    micro = replace(settings, micro_batch_size=micro_batch_size)
    for ours, theirs in zip(train(start(micro, batches=batches), steps=4), whole, strict=True):
        assert ours.loss == pytest.approx(theirs.loss, rel=1e-4)
        assert ours.metrics == pytest.approx(theirs.metrics, rel=1e-2)


def test_a_batch_without_a_scored_target_is_refused() -> None:
    with pytest.raises(ValueError, match="step 0 has no scored target"):
        start(batches=MaskedBatches(np.zeros_like(UNEVEN_BT))).step()


def test_the_learning_rate_follows_the_schedule_in_tokens() -> None:
    rates = [
        r.metrics["learning_rate"] for r in train(start(replace(SETTINGS, warmup_fraction=0.25)))
    ]
    assert rates[0] == pytest.approx(0.02 * (0.5 / STEPS) / 0.25)
    assert max(rates) == rates[3] == pytest.approx(0.02, rel=0.01)
    assert rates[3:] == sorted(rates[3:], reverse=True)
    assert 0 < rates[-1] < 0.001


def test_a_gradient_that_is_not_finite_is_reported_and_not_applied() -> None:
    training = start()
    with torch.no_grad():
        training.model.final_norm.weight[0] = math.nan
    before = training.model.embeddings.embedding.clone()
    result = training.step()
    assert math.isnan(result.loss)
    assert result.tokens == training.tokens == 128
    assert torch.equal(before, training.model.embeddings.embedding)


def test_clipping_bounds_the_gradient_and_reports_what_it_was() -> None:
    assert train(start(replace(SETTINGS, gradient_clip=1e-3)))[0].metrics["gradient_norm"] > 1e-3


def test_document_masking_needs_batches_that_know_their_documents() -> None:
    masking = replace(CONFIG, document_masking=True)
    with pytest.raises(ValueError, match="step 0 does not say which document its positions are of"):
        start(config=masking).step()


def test_another_thread_count_at_resume_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    state = start().state_dict()
    state["environment"]["threads"] += 1
    threads = state["environment"]["threads"]
    with caplog.at_level(logging.WARNING):
        start().load_state_dict(state)
    assert f"threads: {threads} → {threads - 1}" in caplog.text
    caplog.clear()
    start().load_state_dict(start().state_dict())
    assert not caplog.records


def test_another_precision_of_evaluations_at_resume_is_warned_of(
    caplog: pytest.LogCaptureFixture,
) -> None:
    state = start().state_dict()
    assert state["environment"]["evaluation"] == "fp32"
    state["environment"]["evaluation"] = "tf32"
    with caplog.at_level(logging.WARNING):
        start().load_state_dict(state)
    assert "evaluation: tf32 → fp32" in caplog.text
    caplog.clear()
    del state["environment"]["evaluation"]  # as before it was recorded
    start().load_state_dict(state)
    assert not caplog.records


def test_only_the_generator_of_its_own_gpu_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    generators = {"cuda:1": torch.tensor([1]), "cuda:0": torch.tensor([0])}
    monkeypatch.setattr(torch.cuda, "get_rng_state", generators.__getitem__)
    monkeypatch.setattr(
        torch.cuda, "set_rng_state", lambda state, device: generators.update({device: state})
    )
    state = random_state("cuda:1")
    assert [one.item() for one in state["cuda"]] == [1]
    set_random_state(state, "cuda:0")
    assert generators["cuda:0"].item() == 1, "a machine with fewer GPUs"
    set_random_state(state, "cpu")
    assert "cuda" not in random_state("cpu")


@pytest.mark.parametrize(
    ("settings", "config", "message"),
    [
        (SETTINGS, replace(CONFIG, d_ff=37), "d_ff: 36 → 37"),
        (replace(SETTINGS, seed=3), CONFIG, "seed: 0 → 3"),
    ],
)
def test_the_state_of_another_run_is_refused(
    settings: TrainingConfig, config: ModelConfig, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        start(settings, config).load_state_dict(start().state_dict())


def test_the_callers_choice_of_algorithms_is_restored() -> None:
    training = start()
    for mode in (0, 1):
        torch.set_deterministic_debug_mode(mode)
        training.step()
        assert torch.get_deterministic_debug_mode() == mode
    torch.set_deterministic_debug_mode(0)


def test_batches_of_another_size_are_refused() -> None:
    training = start(replace(SETTINGS, batch_size=4))
    with pytest.raises(ValueError, match="8 sequences, but batch_size is 4"):
        training.step()


def test_bf16_is_refused_where_the_hardware_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("model.training.hardware.bf16_is_fast", lambda device: False)
    assert start().precision == "fp32"
    with pytest.raises(ValueError, match="precision is 'bf16'"):
        start(replace(SETTINGS, precision="bf16"))


def test_only_long_runs_are_compiled() -> None:
    baseline = solve(ModelSpec())
    for mode, tokens, compiled in (
        ("off", 5_000_000, False),
        ("on", 300_000, True),
        ("auto", 300_000, False),
        ("auto", 5_000_000, True),
    ):
        found = should_compile(mode, baseline, tokens=tokens, sequences=16, device="cpu")
        assert found is compiled


@pytest.mark.parametrize(
    ("tokens", "sequences", "compiled"),
    [
        (5_000_000, 16, False),  # seconds of training: compiling would take longer than all of it
        (20_000_000, 16, False),
        (100_000_000, 16, True),
        (100_000_000, 256, False),  # few launches, long ones
        (6_000_000, 1, True),
    ],
)
def test_a_gpu_compiles_only_where_the_launches_saved_outweigh_it(
    tokens: int, sequences: int, compiled: bool
) -> None:
    baseline = solve(ModelSpec())
    found = should_compile("auto", baseline, tokens=tokens, sequences=sequences, device="cuda:0")
    assert found is compiled


@pytest.fixture
def pays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs that `auto` compiles, however short."""
    monkeypatch.setattr("model.training.compilation.compile_pays", lambda config, **sizes: True)


def test_without_a_compiler_training_is_eager_and_says_so(
    pays: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    training = start(replace(SETTINGS, compile="auto"))
    assert "training runs eager, because there is no C++ compiler (no-such-compiler)" in caplog.text
    assert training.environment["compiled"] is False
    assert train(training, steps=2) == train(start(), steps=2)


def test_without_a_compiler_compiling_cannot_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(CompilationError, match=r"no C\+\+ compiler \(no-such-compiler\)"):
        start(replace(SETTINGS, compile="on"))


class WrappedError(RuntimeError):
    """As torch.compile wraps what its compiler says."""

    def __init__(self) -> None:
        self.inner_exception = RuntimeError(
            "C++ compile error\n\nCommand:\ng++ x.cpp -o x.so\n\nOutput:\n"
            "In file included from x.cpp:2:\n"
            "x.cpp:1:10: fatal error: Python.h: No such file or directory\n"
        )
        super().__init__(f"RuntimeError: {self.inner_exception}\n\nSet TORCHDYNAMO_VERBOSE=1 for …")


@pytest.fixture
def uncompilable(monkeypatch: pytest.MonkeyPatch) -> None:
    """A compiler that is found, and fails when it is used."""

    def fail(*arguments: object) -> None:
        raise WrappedError

    monkeypatch.setattr("model.training.compilation.compiler_found", lambda device: True)
    monkeypatch.setattr(Compiler, "loss_of", lambda *_, **__: fail)


CAUSE = "RuntimeError: C++ compile error: x.cpp:1:10: fatal error: Python.h: No such file or dir"


def test_where_compiling_fails_training_goes_on_eager_and_says_why(
    pays: None, uncompilable: None, caplog: pytest.LogCaptureFixture
) -> None:
    training = start(replace(SETTINGS, compile="auto"))
    assert train(training, steps=3) == train(start(), steps=3)
    (warning,) = [record.getMessage() for record in caplog.records]
    assert CAUSE in warning and "TORCHDYNAMO" not in warning
    assert CAUSE in training.compile_failure
    assert training.state_dict()["environment"]["compiled"] is False


def test_the_cause_is_what_the_compiler_said_and_the_remedy_fits_it() -> None:
    compiler = subprocess.CalledProcessError(1, ["g++", "x.cpp", "-o", "x.so"])
    error = WrappedError()
    error.inner_exception.__cause__ = compiler
    assert cause_of(error).startswith(CAUSE), "not the command line of the compiler"
    assert "Install a C++ compiler" in remedy_for(cause_of(error))
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert "Make room" in remedy_for(cause_of(full))
    barred = ImportError("x.so: failed to map segment from shared object")
    assert "mounted noexec" in remedy_for(cause_of(barred))


def test_where_compiling_was_asked_for_its_failure_is_the_error(uncompilable: None) -> None:
    training = start(replace(SETTINGS, compile="on"))
    with pytest.raises(CompilationError) as caught:
        training.step()
    assert CAUSE in str(caught.value)
    assert "\n" not in str(caught.value), "a list of failures shows one line of each"


def test_an_error_of_the_model_is_not_taken_for_one_of_the_compiler(
    pays: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(*arguments: object) -> None:
        raise IndexError("a token beyond the vocabulary")

    monkeypatch.setattr("model.network.transformer.Transformer.loss", wrong)
    monkeypatch.setattr(Compiler, "loss_of", lambda self, model, *_, **__: model.loss)
    monkeypatch.setattr("model.training.compilation.compiler_found", lambda device: True)
    with pytest.raises(IndexError, match="beyond the vocabulary"):
        start(replace(SETTINGS, compile="auto")).step()


@pytest.mark.parametrize("wrapped", [False, True], ids=["as it is", "wrapped"])
@pytest.mark.parametrize("mode", ["auto", "on"])
@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("CUDA out of memory"), cuda_error(ILLEGAL_ADDRESS)],
    ids=["out of memory", "lost"],
)
def test_a_gpu_that_fails_while_compiling_is_no_failure_of_the_compiler(
    error: Exception, mode: str, wrapped: bool, pays: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> None:
        if wrapped:
            raise WrappedError from error
        raise error

    monkeypatch.setattr(Compiler, "loss_of", lambda *_, **__: fail)
    monkeypatch.setattr("model.training.compilation.compiler_found", lambda device: True)
    training = start(replace(SETTINGS, compile=mode))
    with pytest.raises(type(error)):
        training.step()
    assert training.compile_failure == ""


@pytest.mark.slow
def test_a_real_compiler_that_fails_is_named() -> None:
    """In a process of its own: torch reads CXX when it is imported."""
    program = (
        "from tests.model.training.test_training import SETTINGS, replace, start\n"
        "start(replace(SETTINGS, compile='on')).step()"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "CXX": "/bin/false"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    last = ended.stderr.strip().splitlines()[-1]
    assert "CompilationError: compile is 'on'" in last and "No working C++ compiler" in last
