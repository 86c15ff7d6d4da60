"""How long the sequences are at each point of training: stages, as a function of the step.

A curriculum trains on short sequences first, which cost less attention (Li et al., 2022, "The
Stability-Efficiency Dilemma"). After its last stage sequences have the full context.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class WantedStage:
    """A stage as a user wants it. Raises ValueError for impossible values."""

    amount: float
    """How much of training: at most 1 is a share of it, more are tokens."""
    length: int
    """Tokens of a sequence."""
    batch_size: int | None = None
    """Sequences of a step; None for as many tokens a step as after the curriculum."""

    def __post_init__(self) -> None:
        if not 0 < self.amount < math.inf:
            raise ValueError(
                f"a stage of the curriculum has {self.amount:g} tokens; give a number of tokens or "
                "a share of training, such as 25%"
            )
        for name, size in (("length", self.length), ("batch size", self.batch_size)):
            if size is not None and size < 1:
                raise ValueError(
                    f"the {name} of a stage of the curriculum is {size}; it must be at least 1"
                )

    def tokens(self, training: float) -> float:
        """The stage's tokens, of `training` tokens in all."""
        return self.amount if self.amount > 1 else self.amount * training


def check_stages(stages: Sequence[WantedStage], *, tokens: int) -> None:
    """Raises ValueError for stages that are longer than training."""
    wanted = sum(stage.tokens(tokens) for stage in stages)
    if wanted > tokens * (1 + 1e-9):
        raise ValueError(
            f"the stages of the curriculum have {wanted:,.0f} tokens, but training has {tokens:,}; "
            "shorten them, or train longer"
        )


def check_lengths(stages: Sequence[WantedStage], *, context: int) -> None:
    """Raises ValueError for a length into which the context cannot be cut."""
    for stage in stages:
        if stage.length > context or context % stage.length:
            divisors = [size for size in range(1, context + 1) if context % size == 0]
            raise ValueError(
                f"a stage of the curriculum has sequences of {stage.length} tokens, into which the "
                f"context of {context} cannot be cut; use a divisor of it: "
                f"{', '.join(map(str, divisors[-6:]))}"
            )


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Steps of one shape."""

    first_step: int
    first_sequence: int
    """Sequences trained before it."""
    first_token: int
    """Tokens trained before it."""
    length: int
    """Tokens of a sequence."""
    batch_size: int
    """Sequences of a step."""


class Curriculum:
    """The shape of every step.

    Args:
        wanted: the stages before the full context; none for the same shape throughout.
        context: tokens of a sequence after them; each stage's length divides it.
        batch_size: sequences of a step after them.
        tokens: of the whole training, in tokens of the batches.
        scale: tokens of the batches per token in which the stages count.

    Raises ValueError for lengths that do not divide the context.
    """

    def __init__(
        self,
        wanted: Sequence[WantedStage],
        *,
        context: int,
        batch_size: int,
        tokens: int,
        scale: float = 1.0,
    ) -> None:
        check_lengths(wanted, context=context)
        stages: list[Stage] = []
        step = sequence = token = 0
        for stage in wanted:
            sequences = stage.batch_size or batch_size * (context // stage.length)
            stages.append(
                Stage(
                    first_step=step,
                    first_sequence=sequence,
                    first_token=token,
                    length=stage.length,
                    batch_size=sequences,
                )
            )
            amount = stage.amount * scale if stage.amount > 1 else stage.amount * tokens
            steps = math.ceil(round(amount / (sequences * stage.length), 6))
            step += steps
            sequence += steps * sequences
            token += steps * sequences * stage.length
        stages.append(
            Stage(
                first_step=step,
                first_sequence=sequence,
                first_token=token,
                length=context,
                batch_size=batch_size,
            )
        )
        self.stages = tuple(stages)

    def number(self, step: int) -> int:
        """The place of a step's stage among the stages."""
        return sum(stage.first_step <= step for stage in self.stages) - 1

    def sequences_before(self, step: int) -> int:
        """Sequences of all steps before this one."""
        stage = self.stages[self.number(step)]
        return stage.first_sequence + (step - stage.first_step) * stage.batch_size

    def sequences_at(self, tokens: float) -> int:
        """The first sequence that begins when so many tokens are trained."""
        stage = [one for one in self.stages if one.first_token <= tokens][-1]
        return stage.first_sequence + math.ceil((tokens - stage.first_token) / stage.length)

    def tokens_at(self, sequence: int) -> int:
        """Tokens of all sequences before this one."""
        stage = [one for one in self.stages if one.first_sequence <= sequence][-1]
        return stage.first_token + (sequence - stage.first_sequence) * stage.length
