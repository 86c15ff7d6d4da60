"""One model's training: a step at a time, resumable at any step.

Two runs with the same configuration, batches and environment give the same losses bit for bit, even
if one was stopped and resumed. Evaluation, checkpoints and early stopping are the caller's.

Shapes: B sequences of a step, T tokens.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import asdict, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from model.freed_memory import keep_freed_memory
from model.mup import Scales, transfer
from model.network.batch import Batch, TensorBatch, on_device
from model.network.context import LossOutput
from model.network.documents import DOCUMENTS
from model.network.random_keys import RANDOM_KEYS, sequence_keys
from model.network.transformer import Transformer, run_block
from model.precisions import BF16, FP8, FP16, FP32
from model.spec import ModelConfig, require_trainable
from model.training.compilation import (
    CompilationError,
    cause_of,
    missing_compiler,
    remedy_for,
    should_compile,
)
from model.training.compiler import Compiler
from model.training.fp8 import in_fp8
from model.training.gpu_errors import told_by
from model.training.hardware import (
    EVALUATION,
    deterministic_algorithms,
    differences,
    environment,
    precision_on,
)
from model.training.loss_scale import SCALE_METRICS, LossScale
from model.training.optimizers import optimizer_of, set_learning_rate, step_unless
from model.training.random_state import random_state, seed_generators, set_random_state
from model.training.settings import TrainingConfig
from model.training.step_graph import Measured, Recorder, StepGraph
from model.training.steps import StepResult
from model.training.warm_start import WarmStart, moments_of, set_moments

__all__ = ["BatchSource", "StepResult", "Training"]

logger = logging.getLogger(__name__)


STEP_METRICS = ("learning_rate", "gradient_norm")
"""Metrics that every step has."""

AUTOCAST = {BF16: torch.bfloat16, FP16: torch.float16, FP32: torch.float32, FP8: torch.bfloat16}
"""The type of products by precision; under `fp8` that of those that are not in FP8."""

LOSS_NAME = "train_loss"
"""What a step's loss is called among the metrics of a trial: no part may report under this name."""


class BatchSource(Protocol):
    """Batches as a function of the step, so that the step is the whole position in the data."""

    def batch(self, step: int) -> Batch | TensorBatch:
        """The batch of a step, counted from 0; as tensors on the training's device if it was made
        there."""


class Training:
    """A model, its optimiser and its position in the data.

    Args:
        config: the model's sizes.
        training: how it is trained.
        batches: gives each step a batch of [batch_size, at most context] token ids.
        sequences: how many of them a step has, where that differs from step to step.
        baseline: of the space; `depth_mup` carries the learning rate from it.
        device: `cpu`, `cuda`, …
        compiler: of this process, if it trains several models; None makes one for this model alone.
        emulate_fp8: under precision `fp8`, rounds to FP8 and multiplies in fp32, on any device: for
            tests, as it is slower than either.
        recorder: records a step, which is then started as a whole: see model.training.step_graph.
            None starts one kernel after another. The results are the same bits.
        start: a trained model to go on with; its multipliers stay, whatever the baseline. None
            starts from random weights.

    Seeds the global generators of random, numpy and torch. Raises ValueError for a precision
    that the device does not have in hardware, for a variant that is not for training and for a
    start that is another model's, CompilationError if compile is 'on' and there is no compiler.
    """

    KEEPS_CASTS = True
    """Whether autocast keeps what it made of weights to the end of the forward pass, for the next
    use of the same weight."""
    SHARED = False
    """Whether several processes share the model."""

    def __init__(
        self,
        config: ModelConfig,
        training: TrainingConfig,
        batches: BatchSource,
        *,
        baseline: ModelConfig,
        device: str = "cpu",
        compiler: Compiler | None = None,
        start: WarmStart | None = None,
        sequences: Callable[[int], int] | None = None,
        emulate_fp8: bool = False,
        recorder: Recorder | None = None,
    ) -> None:
        require_trainable(config)
        self.config = config
        self.scales = (
            transfer(config, baseline=baseline, parametrization=training.parametrization)
            if start is None
            else start.scales
        )
        self.training = training
        self.device = device
        self.tokens = 0
        """Trained so far."""
        self.steps = 0
        self.compile_seconds = 0.0
        """Wall time that compilation took, in the first step."""
        self.compile_failure = ""
        """Why training is eager although compiling would pay; empty if it is not."""
        emulated = emulate_fp8 and training.precision == FP8
        self.precision = FP8 if emulated else self._chosen_precision()
        self._loss_scale = LossScale(device) if self.precision == FP16 else None
        self._batches = batches
        self._sequences = sequences
        self._held_progress = None if start is None else start.progress
        if torch.device(device).type == "cpu":
            self._manage_freed_memory()
        seed_generators(training.seed)
        # Drawn on the CPU, so that training starts from the same weights on every device.
        self.model = self._network().to(device)
        self.model.gradient_checkpointing = training.gradient_checkpointing
        self._optimizer = optimizer_of(self.model, training)
        self._graph = (
            None
            if recorder is None
            else StepGraph(self._optimizer, device=device, recorder=recorder)
        )
        self._rates_in_fp32 = recorder is not None or torch.device(device).type == "cuda"
        """Recorded steps have them so; others must, to train the same bits."""
        if start is not None:
            self.model.load_state_dict(dict(start.weights))
            if start.moments is not None:
                set_moments(self.model, self._optimizer, start.moments)
            self._tell_progress()
        compiled = should_compile(
            training.compile,
            config,
            tokens=training.tokens,
            # Of what was wished for: what fits may change in mid-run, the decision may not.
            sequences=training.batch_size // training.gradient_accumulation,
            device=device,
        )
        self._compiler = compiler or Compiler()
        self._trained = self.model
        """What a step runs: the model, or one of the same weights whose products are in FP8."""
        if self.precision == FP8:
            self._trained = in_fp8(self.model, emulated=emulated)
        self._loss = self._trained.loss
        if compiled:
            self._loss = self._compiler.loss_of(self._trained, self._shape(), device=device)
        self._compiles = compiled
        self.environment = environment(device, precision=self.precision, compiled=compiled)
        if emulated:
            self.environment["fp8"] = "emulated"
        if compiled and (lack := missing_compiler(device)):
            self._run_eager(lack)

    @property
    def finished(self) -> bool:
        """Whether all tokens are trained."""
        return self.tokens >= self.training.tokens

    def step(self, *, learning_rate: float | None = None) -> StepResult:
        """Trains on the next batch, at the schedule's learning rate unless one is given.

        A NaN or infinite gradient leaves the weights unchanged, and in fp16 halves the loss' scale.
        Raises ValueError for a batch whose size is not batch_size or without a scored target, and
        for a part of the network that reports under a name already taken; CompilationError if
        compile is 'on' and fails.
        """
        batch = self._batch()
        if self._compiles:
            self._compile(batch)
        tokens = batch.tokens
        if learning_rate is None:
            learning_rate = self._learning_rate(tokens)
        set_learning_rate(self._optimizer, learning_rate, in_fp32=self._rates_in_fp32)
        if self._graph is None:
            measured = self._computed(batch)
        else:
            measured = self._graph.step(batch, self._computed)
        self.steps += 1
        self.tokens += tokens
        self._tell_progress()
        return StepResult(
            tokens=self.tokens,
            known={"learning_rate": learning_rate},
            names=measured.names,
            values=measured.values,
        )

    def state_dict(self) -> dict[str, Any]:
        """All that the next steps depend on; torch.load reads it with weights_only=True.

        `config` and `scales` define the model whose weights `model` holds.
        """
        scale = {} if self._loss_scale is None else {"loss_scale": self._loss_scale.state_dict()}
        return {
            "config": self.config.values(),
            "scales": self.scales.values(),
            "training": asdict(self.training),
            "environment": dict(self.environment),
            "model": self.model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "random": random_state(self.device),
            "tokens": self.tokens,
            "steps": self.steps,
            **scale,
        }

    def close(self) -> None:
        """Ends what trains beside this process: here nothing does."""

    def moments(self) -> dict[str, dict[str, Tensor]]:
        """The optimiser's state by the names of the parameters, for a warm start."""
        return moments_of(self.model, self._optimizer)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues from where `state` was taken.

        Raises ValueError for the state of another model or of other training settings. If the
        environment or the micro-batch differs, training continues, but not bit for bit as it would
        have; a warning names the differences.
        """
        self.check_state(state)
        self._load_state(state)

    def check_state(self, state: Mapping[str, Any]) -> None:
        """Raises ValueError for a state that is not of this run; warns as `load_state_dict`."""
        # States of before a warm-up in tokens was told apart from its share lack it.
        training = {"warmup_tokens": self.training.warmup_tokens, **state["training"]}
        micro_batch = {"micro_batch_size": training["micro_batch_size"]}
        then = {**asdict(self.training), **micro_batch}
        # States of before scales were recorded lack them.
        scales = Scales.from_values(state.get("scales", self.scales.values()))
        for saved, now in (
            (state["config"], self.config.values()),
            (_flat(scales.values()), _flat(self.scales.values())),
            (training, then),
        ):
            if changed := differences(saved, now):
                raise ValueError(
                    f"the saved state belongs to another run ({'; '.join(changed)}); "
                    "resume with the settings it was saved with, or start anew"
                )
        if changed := differences(
            # States of before it was recorded were all evaluated in fp32.
            {EVALUATION: FP32, **state["environment"], **micro_batch},
            {**self.environment, "micro_batch_size": self.training.micro_batch_size},
        ):
            logger.warning(
                "resumed in another environment, so not bit for bit: %s", "; ".join(changed)
            )

    def _load_state(self, state: Mapping[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        # A training that began in another precision has none.
        if self._loss_scale is not None and "loss_scale" in state:
            self._loss_scale.load_state_dict(state["loss_scale"])
        if self._graph is not None:
            self._graph.forget()
        set_random_state(state["random"], self.device)
        self.tokens = state["tokens"]
        self.steps = state["steps"]
        self._tell_progress()

    def _chosen_precision(self) -> str:
        choice = precision_on(self.device, self.training.precision, shared=self.SHARED)
        if choice.name == FP16:
            logger.info("training in fp16: %s", choice.reason)
        return choice.name

    def _manage_freed_memory(self) -> None:
        keep_freed_memory()

    def _network(self) -> Transformer:
        return Transformer(self.config, scales=self.scales)

    def _clip(self) -> Tensor:
        """Limits the gradient's norm; what it was before."""
        return torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.training.gradient_clip)

    def _tell_progress(self) -> None:
        held = self._held_progress
        self.model.set_progress(self.tokens / self.training.tokens if held is None else held)

    def _batch(self) -> TensorBatch:
        batch = self._batches.batch(self.steps)
        expected = self.training.batch_size
        if self._sequences is not None:
            expected = self._sequences(self.steps)
        if len(batch.inputs_BT) != expected:
            raise ValueError(
                f"a batch has {len(batch.inputs_BT)} sequences, but batch_size is {expected}; make "
                "them equal"
            )
        if self.config.document_masking and DOCUMENTS not in batch.extras:
            raise ValueError(
                f"document_masking is on, but the batch of step {self.steps} does not say which "
                f"document its positions are of; give it the extra {DOCUMENTS!r}"
            )
        moved = TensorBatch.of(batch, device=self.device)
        if not moved.scored:
            raise ValueError(
                f"the batch of step {self.steps} has no scored target; its mask must leave one"
            )
        keys_B = sequence_keys(
            seed=self.training.seed, step=self.steps, sequences=len(batch.inputs_BT)
        )
        keys_B = on_device(keys_B, self.device)
        return replace(moved, extras={**moved.extras, RANDOM_KEYS: keys_B})

    def _learning_rate(self, step_tokens: int) -> float:
        """The rate in the middle of the coming step, so that neither end is wasted on zero."""
        factor = self.training.rate_factor(self.tokens + step_tokens / 2)
        return self.training.learning_rate * self.training.learning_rate_factor * factor

    def _computed(self, batch: TensorBatch) -> Measured:
        """The part of a step that the device does, at the rates that the optimiser has."""
        with deterministic_algorithms(self.training.deterministic):
            loss, reported = self._accumulate(batch)
            if self._loss_scale is not None:
                self._loss_scale.unscale(self.model.parameters())
            norm = self._clip()
            not_finite = norm.isfinite().logical_not().float()
            step_unless(not_finite, self._optimizer)
            if self._loss_scale is not None:
                reported |= self._loss_scale.follow(not_finite)
            self._optimizer.zero_grad(set_to_none=True)
        return Measured(
            names=("gradient_norm", *reported),
            values=torch.stack((loss, norm, *reported.values())),
        )

    def _accumulate(self, batch: TensorBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Adds up the gradients of the micro-batches; the mean loss, and what was reported.

        Each micro-batch is weighted by its scored targets, so the loss is the mean over all. Of
        sequences shorter than the context it has more, up to as many tokens.
        """
        at_once = self.training.sequences_at_once
        if (length := batch.inputs_BT.shape[1]) < self.config.context:
            at_once = max(1, at_once * self.config.context // length)
        scale = self._loss_scale
        total = torch.zeros((), device=self.device)
        reported: dict[str, Tensor] = {}
        for micro in batch.split(at_once):
            share = micro.scored / batch.scored
            with torch.autocast(
                torch.device(self.device).type,
                AUTOCAST[self.precision],
                enabled=self.precision != FP32,
                cache_enabled=self.KEEPS_CASTS,
            ):
                output = self._loss(
                    micro.inputs_BT, micro.targets_BT, micro.mask_BT, dict(micro.extras)
                )
            part = output.total * share
            torch.autograd.backward(part if scale is None else scale.scaled(part))
            total += output.cross_entropy.detach() * share
            for name, value in _reported(output).items():
                reported[name] = reported.get(name, 0.0) + value.detach() * share
        return total, reported

    def _compile(self, batch: TensorBatch) -> None:
        """Runs forward and backward once, only to compile them.

        If that fails, training runs eager, unless compile is 'on'.
        """
        started = time.perf_counter()
        self._compiles = False
        try:
            with (
                nullcontext() if self._graph is None else self._graph.apart(),
                deterministic_algorithms(self.training.deterministic),
                self._compiler.compiling(self._shape(), device=self.device),
            ):
                self._accumulate(batch)
        except Exception as error:
            if (told := told_by(error, device=self.device)) is not None:
                # It says nothing of the compiler: another GPU, or smaller micro-batches, may be
                # what is missing.
                raise told from None
            cause = cause_of(error)
            # An error of the model itself is raised again by the eager step.
            self._run_eager(f"torch.compile failed: {cause}. {remedy_for(cause)}", error)
        finally:
            self._optimizer.zero_grad(set_to_none=True)
            self.compile_seconds = time.perf_counter() - started

    def _shape(self) -> dict[str, Any]:
        """All that the compiled code depends on but for the machine."""
        return {
            "config": self.config.values(),
            "scales": self.scales.values(),
            "sequences": self.training.sequences_at_once,
            "precision": self.precision,
            "deterministic": self.training.deterministic,
            "gradient_checkpointing": self.training.gradient_checkpointing,
        }

    def _run_eager(self, reason: str, error: Exception | None = None) -> None:
        """Goes on without torch.compile, with a warning; CompilationError if compile is 'on'."""
        if self.training.compile == "on":
            raise CompilationError(f"compile is 'on', but {reason}") from error
        logger.warning("training runs eager, because %s", reason)
        self.compile_failure = reason
        self.environment["compiled"] = False
        self._trained.run_block = run_block
        self._loss, self._compiles = self._trained.loss, False


def _reported(output: LossOutput) -> dict[str, Tensor]:
    """Auxiliary losses and diagnostics in one mapping, for a step's metrics."""
    names = (
        *STEP_METRICS,
        *SCALE_METRICS,
        LOSS_NAME,
        *output.auxiliary_losses,
        *output.diagnostics,
    )
    if taken := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(
            f"the network reports {taken[0]!r}, which is the name of another metric of the step; "
            "rename it"
        )
    return {**output.auxiliary_losses, **output.diagnostics}


def _flat(scales: Mapping[str, Any]) -> dict[str, Any]:
    """The values of scales, with a name for each of the reference's sizes."""
    sizes = scales["reference_sizes"]
    own = {name: value for name, value in scales.items() if name != "reference_sizes"}
    return own | {f"the reference's {name}": size for name, size in sizes.items()}
