"""A training whose model several processes share; otherwise like `Training`.

A step is that of one process with the same batch, up to the order of its sums; a loss that depends
on which sequences are together, such as the balance of experts, is that of one process whose
micro-batches are as small. The state has the same form for any number of processes, so that a run
may go on with more or fewer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch.distributed.device_mesh import DeviceMesh

from model.network.transformer import Transformer
from model.precisions import FP8
from model.spec import ModelConfig
from model.training.compilation import CompilationError
from model.training.settings import TrainingConfig
from model.training.shards.member import Member, SentPart, parts_of, uneven
from model.training.shards.owned import Owned
from model.training.shards.states import described, received
from model.training.shards.team import PATIENCE, Place, Team, devices_of
from model.training.training import BatchSource, StepResult


class ShardedTraining:
    """A model that several processes train, this one among them.

    Args:
        processes: how many, at least 2; on GPUs each has one, from `device` on.
        patience: seconds to wait for the others in one exchange.

    The others are those of Training, whose methods it has. Only this process reads the batches and
    sees results; `close` ends the others. After an error in a step there is nothing left to train:
    start anew from a saved state.

    Raises ValueError for a batch that cannot be cut into as many parts, for a device of which there
    are not as many and for `fp8`; CompilationError if compile is 'on'; ProcessFailedError, here and
    in every method, if another process fails.
    """

    def __init__(
        self,
        config: ModelConfig,
        training: TrainingConfig,
        batches: BatchSource,
        *,
        baseline: ModelConfig,
        processes: int,
        device: str = "cpu",
        sequences: Callable[[int], int] | None = None,
        patience: float = PATIENCE,
    ) -> None:
        assert processes > 1
        if reason := uneven(training.batch_size, processes):
            raise ValueError(reason)
        if training.compile == "on":
            raise CompilationError(
                "compile is 'on', but a model of several processes is not compiled"
            )
        if training.precision == FP8:
            raise ValueError(
                f"precision is 'fp8' and {processes} processes are to train the model; FP8 is for "
                "one process: use 'bf16', or one process"
            )
        devices = devices_of(device, processes)
        build = partial(Member, config, training, baseline=baseline)
        self._processes = processes
        self._weights: Transformer | None = None
        self._team = Team(devices, partial(_worker, build), patience=patience)
        with self._team.watched():
            self._own = build(device=devices[0], mesh=self._team.mesh)
        self._own.read_from(batches, sequences)
        self.config, self.training = config, training
        self.device = devices[0]
        """Of this process."""

    @property
    def tokens(self) -> int:
        """Trained so far."""
        return self._own.tokens

    @property
    def steps(self) -> int:
        """Trained so far."""
        return self._own.steps

    @property
    def finished(self) -> bool:
        """Whether all tokens are trained."""
        return self._own.finished

    @property
    def environment(self) -> Mapping[str, str | int | bool]:
        """What the bits of a result depend on besides the run's settings."""
        return self._own.environment

    @property
    def compile_seconds(self) -> float:
        """Wall time that compilation took."""
        return self._own.compile_seconds

    @property
    def compile_failure(self) -> str:
        """Why training is eager although compiling would pay; empty if it is not."""
        return self._own.compile_failure

    @property
    def model(self) -> Transformer:
        """The model as it is now, whole and on this process's device: a copy, to evaluate.

        It is kept until the next step.
        """
        if self._weights is None:
            # Its own draws must not count among those of the run.
            with torch.random.fork_rng(devices=[]):
                whole = Transformer(self.config, scales=self._own.scales).to(self.device)
            with self._team.watched():
                self._team.tell("copy_weights")
                self._own.copy_weights(whole)
            self._weights = whole
        return self._weights

    def step(self, *, learning_rate: float | None = None) -> StepResult:
        """Trains on the next batch; see Training.step.

        Raises ValueError for a batch that cannot be cut into as many parts as there are processes.
        """
        batch = self._own.next_batch()
        try:
            parts = parts_of(batch, self._processes)
        except ValueError as error:
            raise ValueError(f"step {self.steps}: {error}") from None
        self._weights = None
        sent = [
            SentPart.of(part, processes=self._processes, scored_of_all=batch.scored)
            for part in parts
        ]
        with self._team.watched():
            self._team.tell("step_on", *((part, learning_rate) for part in sent[1:]))
            return self._own.step_on(sent[0].on(self.device), learning_rate=learning_rate)

    def state_dict(self) -> dict[str, Any]:
        """A copy of all that the next steps depend on; see Training.state_dict."""
        with self._team.watched():
            self._team.tell("whole_state")
            return Owned(self._own.whole_state(keep=True))

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues from where `state` was taken, with however many processes it was.

        Raises ValueError for the state of another model or of other training settings.
        """
        self._own.check_state(state)
        self._weights = None
        outline = described(state)
        with self._team.watched():
            self._team.tell("load_whole_state", *([(outline,)] * (self._processes - 1)))
            self._own.load_whole_state(state)

    def close(self) -> None:
        """Ends the other processes. The model can no longer be trained, saved or evaluated."""
        self._team.close()


def _worker(
    build: Callable[..., Member], mesh: DeviceMesh, place: Place
) -> Callable[[str, tuple[Any, ...]], None]:
    """A process that is not the first: a member, and what it does when it is told to."""
    member = build(device=place.device, mesh=mesh)

    def obey(command: str, values: tuple[Any, ...]) -> None:
        match command, values:
            case "step_on", (part, learning_rate):
                member.step_on(part.on(place.device), learning_rate=learning_rate)
            case "whole_state", ():
                member.whole_state(keep=False)
            case "load_whole_state", (outline,):
                member.load_whole_state(received(outline))
            case "copy_weights", ():
                member.copy_weights(None)
            case _:
                raise AssertionError(f"unknown command {command!r}")

    return obey
