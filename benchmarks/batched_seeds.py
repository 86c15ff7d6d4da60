"""Several seeds of one shape trained as one model with a further dimension, against one by one.

The weights of S seeds are stacked (`torch.func.stack_module_state`), and one pass under `vmap` runs
all of them: S products of one shape become one. Batches, clipping and moments stay each seed's own.
Both ways take turns in this process; ratios are taken within a round. Figures are tokens of all
seeds a second: of processor time on a CPU, which other work on the machine disturbs least, and by
the clock on a GPU.

python -m benchmarks.batched_seeds
python -m benchmarks.batched_seeds --device cuda --target-parameters 10000000 --vocab-size 16000
python -m benchmarks.batched_seeds kernels

Shapes: S seeds, B sequences, T tokens, E features that the head reads, V vocabulary.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
from cyclopts import App
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from benchmarks.race import ratios, take_turns
from data.batches import RandomBatches
from model.network.batch import Batch, TensorBatch
from model.network.loss import linear_cross_entropy
from model.network.transformer import Transformer
from model.precisions import BF16, FP32
from model.sizing.budget import solve
from model.spec import ModelConfig, ModelSpec
from model.training.hardware import bf16_is_fast, deterministic_algorithms
from model.training.optimizers import optimizer_of, set_learning_rate
from model.training.settings import TrainingConfig
from model.training.training import AUTOCAST, Training

LEARNING_RATE = 8e-3
SEEDS = (2, 4)
CHECKED_STEPS = 3
"""Over which the losses of both ways are compared."""

app = App(name="python -m benchmarks.batched_seeds", help=__doc__, version_flags=[])


class BatchesOfSeed:
    """Other random tokens for each seed and step."""

    def __init__(self, config: ModelConfig, *, seed: int, batch_size: int) -> None:
        self._seed = seed
        self._random = RandomBatches(
            vocab_size=config.vocab_size, context=config.context, batch_size=batch_size
        )

    def batch(self, step: int) -> Batch:
        """The batch of a step, counted from 0."""
        return self._random.batch(1_000_003 * self._seed + step)


class _Features(nn.Module):
    """A model up to its head. Its loss is no part of it: vmap does not take a function that has a
    gradient of its own."""

    def __init__(self, model: Transformer) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs_BT: Tensor) -> tuple[Tensor, Tensor]:
        """Features [B, T, E] and the head's matrix [V, E]."""
        return self.model.output(self.model.hidden_states(inputs_BT))


class BatchedSeeds:
    """Trains models of one shape at once, from the weights that they have now.

    For models without dropout, and without parts that report or change with the progress. A seed
    that diverges leaves the others as they are, but is not stopped.

    Args:
        trainings: of the same settings but for the seed, with AdamW, in bf16 or fp32.
        sources: the batches of each.
    """

    def __init__(self, trainings: Sequence[Training], sources: Sequence[BatchesOfSeed]) -> None:
        first = trainings[0]
        self._settings, self._device = first.training, torch.device(first.device)
        self._precision = first.precision
        self._sources = sources
        self._steps = 0
        networks: list[nn.Module] = [_Features(training.model) for training in trainings]
        self._network = networks[0]
        self._weights, buffers = stack_module_state(networks)
        self._buffers = {name: buffer[0] for name, buffer in buffers.items()}
        names = {id(weight): name for name, weight in self._network.named_parameters()}
        self._optimizer = optimizer_of(first.model, first.training)
        for group in self._optimizer.param_groups:
            group["params"] = [self._weights[names[id(weight)]] for weight in group["params"]]

    def step(self) -> Tensor:
        """One step of every seed; their losses [S]."""
        batches = [
            TensorBatch.of(source.batch(self._steps), device=self._device)
            for source in self._sources
        ]
        set_learning_rate(self._optimizer, LEARNING_RATE)
        with deterministic_algorithms(self._settings.deterministic):
            losses_S = self._losses(batches)
            torch.autograd.backward(losses_S.sum())
            self._clip()
            self._optimizer.step()
            self._optimizer.zero_grad(set_to_none=True)
        self._steps += 1
        return losses_S.detach()

    def _losses(self, batches: Sequence[TensorBatch]) -> Tensor:
        with torch.autocast(
            self._device.type,
            AUTOCAST[self._precision],
            enabled=self._precision != FP32,
            cache_enabled=False,  # what it would keep is only valid within vmap
        ):
            features_SBTE, weight_SVE = vmap(self._features)(
                self._weights, torch.stack([batch.inputs_BT for batch in batches])
            )
            return torch.stack(
                [
                    linear_cross_entropy(features_BTE, weight_VE, batch.targets_BT)
                    for features_BTE, weight_VE, batch in zip(
                        features_SBTE, weight_SVE, batches, strict=True
                    )
                ]
            )

    def _features(self, weights: dict[str, Tensor], inputs_BT: Tensor) -> tuple[Tensor, Tensor]:
        made: tuple[Tensor, Tensor] = functional_call(
            self._network, (weights, self._buffers), (inputs_BT,)
        )
        return made

    def _clip(self) -> None:
        """Each seed's gradient by its own norm."""
        gradients = [weight.grad for weight in self._weights.values() if weight.grad is not None]
        norm_S = torch.stack(
            [torch.linalg.vector_norm(gradient.flatten(1), dim=1) for gradient in gradients]
        ).norm(dim=0)
        factor_S = (self._settings.gradient_clip / (norm_S + 1e-6)).clamp(max=1)
        for gradient in gradients:
            gradient.mul_(factor_S.view(-1, *[1] * (gradient.ndim - 1)))


def separate(
    config: ModelConfig, *, seeds: int, batch_size: int, device: str = "cpu"
) -> list[Training]:
    """A training of each seed, eager."""
    return [
        Training(
            config,
            TrainingConfig(
                tokens=10**12,
                batch_size=batch_size,
                seed=seed,
                compile="off",
                precision=BF16 if bf16_is_fast(device) else FP32,
            ),
            source,
            baseline=config,
            device=device,
        )
        for seed, source in enumerate(_sources(config, seeds, batch_size))
    ]


def batched(
    config: ModelConfig, *, seeds: int, batch_size: int, device: str = "cpu"
) -> BatchedSeeds:
    """The same as one model."""
    trainings = separate(config, seeds=seeds, batch_size=batch_size, device=device)
    return BatchedSeeds(trainings, _sources(config, seeds, batch_size))


def largest_difference(
    config: ModelConfig, *, seeds: int, batch_size: int, steps: int, device: str = "cpu"
) -> float:
    """Of the losses of both ways, relative, over all seeds and steps; NaN if a loss is."""
    together = batched(config, seeds=seeds, batch_size=batch_size, device=device)
    apart = separate(config, seeds=seeds, batch_size=batch_size, device=device)
    differences = []
    for _ in range(steps):
        losses_S = together.step().cpu()
        alone_S = torch.tensor([one.step(learning_rate=LEARNING_RATE).loss for one in apart])
        differences.append((losses_S / alone_S - 1).abs())
    return torch.stack(differences).max().item()


def table(
    config: ModelConfig,
    *,
    seeds: Sequence[int] = SEEDS,
    batch_size: int,
    rounds: int,
    steps: int,
    device: str = "cpu",
) -> Iterator[str]:
    """Both ways compared, as lines of Markdown; medians (ranges) of the rounds."""
    yield "| seeds | one by one, tokens/s | batched | ratio | losses differ by at most |"
    yield "|---|---|---|---|---|"
    for count in seeds:
        differ = largest_difference(
            config, seeds=count, batch_size=batch_size, steps=CHECKED_STEPS, device=device
        )
        apart = separate(config, seeds=count, batch_size=batch_size, device=device)
        together = batched(config, seeds=count, batch_size=batch_size, device=device)
        tokens = steps * count * batch_size * config.context
        ways: dict[str, Callable[[], None]] = {
            "one by one": partial(_steps_of_each, apart, steps),
            "batched": partial(_steps_of_all, together, steps),
        }
        laps = take_turns(
            {
                name: lambda turn=turn: tokens / _seconds(turn, device)  # noqa: B023
                for name, turn in ways.items()
            },
            rounds=rounds,
        )
        middle, least, greatest = ratios(laps, "batched", "one by one")
        yield (
            f"| {count} | {laps['one by one'].middle:,.0f} | {laps['batched'].middle:,.0f} | "
            f"{middle:.2f} ({least:.2f}–{greatest:.2f}) | {differ:.1e} |"
        )


@app.default
def compare(
    *,
    seeds: tuple[int, ...] = SEEDS,
    rounds: int = 7,
    steps: int = 1,
    target_parameters: int = 950_000,
    vocab_size: int = 4_096,
    context: int = 256,
    batch_size: int = 4,
    device: str = "cpu",
) -> None:
    """Let both ways take turns and print the ratios.

    Parameters
    ----------
    seeds
        How many are trained together.
    rounds
        Turns of each way.
    steps
        Training steps of each seed in a turn.
    target_parameters
        Of a model.
    vocab_size
        Of a model.
    context
        Tokens of a sequence.
    batch_size
        Sequences of a seed's step.
    device
        cpu, with one thread, or cuda.
    """
    torch.set_num_threads(1)
    print(
        f"{target_parameters:,} parameters, vocabulary {vocab_size:,}, steps of {batch_size} × "
        f"{context} tokens, eager, {BF16 if bf16_is_fast(device) else FP32}, {device}, "
        f"{torch.backends.cpu.get_cpu_capability()}, torch {torch.__version__}; {rounds} rounds of "
        f"{steps} steps\n"
    )
    spec = ModelSpec(target_parameters=target_parameters, vocab_size=vocab_size, context=context)
    for line in table(
        solve(spec), seeds=seeds, batch_size=batch_size, rounds=rounds, steps=steps, device=device
    ):
        print(line, flush=True)


@app.command
def kernels(*, seeds: tuple[int, ...] = SEEDS, batch_size: int = 16) -> None:
    """Count the kernels that a step of the 10M baseline asks of a GPU, without one.

    Parameters
    ----------
    seeds
        How many are trained together.
    batch_size
        Sequences of a seed's step.
    """
    from tests.gpu.fake_cuda import with_fake_cuda  # noqa: PLC0415  only for this

    for count in seeds:
        found = with_fake_cuda("benchmarks.batched_seeds", "counted", str(count), str(batch_size))
        together, apart = map(int, found.split())
        print(f"{count} seeds: {together:,} kernels a step, {apart:,} one by one")


@app.command(show=False)
def counted(seeds: int, batch_size: int) -> None:
    """The kernels of a second step in both ways, in a process with a fake GPU."""
    from tests.gpu.device_ops import DeviceOps  # noqa: PLC0415  only for this
    from tests.gpu.fake_cuda import DEVICE, fake_cuda  # noqa: PLC0415

    config = solve(ModelSpec())
    with fake_cuda():
        together = batched(config, seeds=seeds, batch_size=batch_size, device=DEVICE)
        (alone,) = separate(config, seeds=1, batch_size=batch_size, device=DEVICE)
        ways: list[Callable[[], object]] = [together.step, partial(alone.step, learning_rate=0.1)]
        numbers = []
        for step in ways:
            step()
            ops = DeviceOps()
            with ops:
                step()
            numbers.append(sum(ops.kernels.values()))
    print(numbers[0], seeds * numbers[1])


def _steps_of_each(trainings: Sequence[Training], steps: int) -> None:
    for training in trainings:
        for _ in range(steps):
            training.step(learning_rate=LEARNING_RATE)


def _steps_of_all(together: BatchedSeeds, steps: int) -> None:
    for _ in range(steps):
        together.step()


def _seconds(turn: Callable[[], None], device: str) -> float:
    if torch.device(device).type != "cuda":
        started = time.process_time()
        turn()
        return time.process_time() - started
    torch.cuda.synchronize(device)
    started = time.perf_counter()
    turn()
    torch.cuda.synchronize(device)
    return time.perf_counter() - started


def _sources(config: ModelConfig, seeds: int, batch_size: int) -> list[BatchesOfSeed]:
    return [BatchesOfSeed(config, seed=seed, batch_size=batch_size) for seed in range(seeds)]


if __name__ == "__main__":
    app()
