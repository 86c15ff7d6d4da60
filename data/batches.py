"""Batches: shuffled windows of a split for training, documents or stretches for scoring.

Shapes: B sequences of a batch, T tokens of a sequence (the context).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from data.errors import CorpusError
from data.prepared import PackedSplit, TokenArray

DOCUMENTS = "documents_BT"
"""The extra that says which document of its sequence each position is of: see `documents_in`."""

Tokens: TypeAlias = NDArray[np.int64]
Mask: TypeAlias = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """Sequences of token ids with their targets.

    Raises ValueError for shapes that do not agree.
    """

    inputs_BT: Tokens
    targets_BT: Tokens
    """One token ahead of the inputs."""
    mask_BT: Mask | None = None
    """Which targets are scored; None for all."""
    extras: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    """Further inputs of a variant of the model, by name: [B, …] each."""

    def __post_init__(self) -> None:
        shape = self.inputs_BT.shape
        for name, array in (("targets_BT", self.targets_BT), ("mask_BT", self.mask_BT)):
            if array is not None and array.shape != shape:
                raise ValueError(f"{name} has the shape {array.shape}; inputs_BT has {shape}")
        for name, array in self.extras.items():
            if array.shape[:1] != shape[:1]:
                raise ValueError(
                    f"the extra {name!r} has the shape {array.shape}; its first dimension must be "
                    f"the batch's {shape[0]} sequences"
                )


@dataclass(frozen=True, kw_only=True, eq=False)
class Places:
    """Where the sequences of a batch stand in a text: all that a batch is made of."""

    starts_B: NDArray[np.int64]
    """The first token of each."""
    length: int
    """Tokens of each, without the one behind it, which is the last target."""


def documents_in(inputs_BT: Tokens, end_of_text: int) -> NDArray[np.int32]:
    """The number [B, T] of each position's document within its sequence.

    A document begins with its end-of-text; the number of one that began before is 0.
    """
    return np.cumsum(inputs_BT == end_of_text, axis=1, dtype=np.int32)


class TrainingBatches:
    """Windows of a split, in an order that depends only on the seed and the number of windows.

    The split is cut into windows of `context` tokens (the rest at its end is dropped). Each
    epoch visits every window once, in its own permutation; a batch may straddle epochs. A batch is
    a function of the step alone, so the step is the whole position of a training run.

    With `end_of_text`, for document masking, each batch has the extra DOCUMENTS.

    Raises CorpusError for a split shorter than a window, ValueError for sizes below 1.
    """

    def __init__(
        self,
        split: PackedSplit,
        *,
        context: int,
        batch_size: int,
        seed: int,
        end_of_text: int | None = None,
    ) -> None:
        _check_sizes(context=context, batch_size=batch_size)
        self.context = context
        self.batch_size = batch_size
        self.seed = seed
        self._shuffled = ShuffledWindows(split, context=context, seed=seed)
        self.windows = self._shuffled.windows
        """Windows per epoch."""
        self.text = split.tokens
        """What `places` are of."""
        self.end_of_text = end_of_text

    def places(self, step: int) -> Places:
        """Where the batch of a step, counted from 0, stands in the text."""
        positions_B = step * self.batch_size + np.arange(self.batch_size)
        return Places(starts_B=self._shuffled.starts(positions_B), length=self.context)

    def batch(self, step: int) -> Batch:
        """The batch of a step; every target is scored."""
        return batch_at(self.text, self.places(step), end_of_text=self.end_of_text)


class ShuffledOrder:
    """The numbers from 0 on, each once an epoch, every epoch in a permutation of its own.

    Args:
        size: of an epoch.
        seeds: of the permutations, with the epoch's number behind them.

    Raises ValueError for a seed below 0.
    """

    def __init__(self, size: int, *seeds: int) -> None:
        for seed in seeds:
            if seed < 0:
                raise ValueError(f"seed is {seed}; it must be 0 or more")
        self.size = size
        self._seeds = seeds
        self._permutation = lru_cache(maxsize=2)(self._permutation_of_epoch)

    def at(self, positions_B: NDArray[np.int64]) -> NDArray[np.int64]:
        """The numbers [B] at these places, counted over all epochs."""
        epochs_B, ranks_B = np.divmod(positions_B, self.size)
        numbers_B = np.empty_like(positions_B)
        for epoch in np.unique(epochs_B).tolist():
            here_B = epochs_B == epoch
            numbers_B[here_B] = self._permutation(epoch)[ranks_B[here_B]]
        return numbers_B

    def _permutation_of_epoch(self, epoch: int) -> NDArray[np.int64]:
        generator = np.random.Generator(np.random.PCG64([*self._seeds, epoch]))
        return generator.permutation(self.size)


class ShuffledWindows:
    """The windows of a split in the order of training, in one permutation after the other.

    stream: of the permutations, so that several splits do not share them.

    Raises CorpusError for a split shorter than a window, ValueError for an impossible size.
    """

    def __init__(self, split: PackedSplit, *, context: int, seed: int, stream: int = 0) -> None:
        _check_sizes(context=context)
        _check_context(split, context)
        self.context = context
        self.windows = (len(split.tokens) - 1) // context
        """Windows per epoch."""
        self._order = ShuffledOrder(self.windows, seed, *([stream] if stream else []))

    def starts(self, positions_B: NDArray[np.int64]) -> NDArray[np.int64]:
        """The first tokens [B] of the windows at these places of the order."""
        return self._order.at(positions_B) * self.context


def batch_at(text: TokenArray, places: Places, *, end_of_text: int | None) -> Batch:
    """The batch at these places of a text; all its targets are scored."""
    span = np.arange(places.length + 1)
    tokens: Tokens = text[places.starts_B[:, None] + span].astype(np.int64)
    return _batch_of(tokens, end_of_text)


def _batch_of(tokens: Tokens, end_of_text: int | None) -> Batch:
    """From [B, T + 1] tokens."""
    inputs_BT = tokens[:, :-1]
    return Batch(
        inputs_BT=inputs_BT,
        targets_BT=tokens[:, 1:],
        extras=_extras(inputs_BT, end_of_text),
    )


@dataclass(frozen=True, kw_only=True)
class RandomBatches:
    """Random tokens, to measure with: speed and memory of a step do not depend on their values."""

    vocab_size: int
    context: int
    batch_size: int
    end_of_text: int | None = None
    """As for TrainingBatches."""

    def batch(self, step: int) -> Batch:
        """The batch of a step."""
        generator = np.random.default_rng(step)
        tokens = generator.integers(self.vocab_size, size=(self.batch_size, self.context + 1))
        return _batch_of(tokens, self.end_of_text)


class EvaluationDocuments:
    """Documents of a split, each token of their text scored exactly once.

    Iterating yields batches. The documents lie back to back, each preceded by end-of-text, and are
    cut into windows that do not overlap. The last batch is padded to the shape of the others;
    `mask_BT` is False in the padding and where the target is end-of-text.

    With `document_masking`, batches have the extra DOCUMENTS: a model that masks documents then
    scores a token with the context of its own document alone, as far as its window has it.

    With `first`, only so many documents from the start of the split are scored, and the last batch
    has only as many sequences as it needs. (All of a split keeps its shapes: another shape may
    change the last bits of a score.)

    Raises CorpusError for a split shorter than the context, ValueError for sizes below 1.
    """

    def __init__(
        self,
        split: PackedSplit,
        *,
        context: int,
        batch_size: int,
        end_of_text: int,
        first: int | None = None,
        document_masking: bool = False,
    ) -> None:
        _check_sizes(context=context, batch_size=batch_size)
        if first is None:
            _check_context(split, context)
        else:
            _check_sizes(first=first)
        self.context = context
        self.batch_size = batch_size
        self.end_of_text = end_of_text
        self._document_masking = document_masking
        self._trimmed = first is not None
        self.documents = len(split.document_bytes[:first])
        """Documents scored."""
        offsets_D = np.asarray(split.document_offsets[: self.documents + 1])
        self.bytes_D = np.asarray(split.document_bytes[:first])
        """[documents], UTF-8 bytes of each."""
        self.tokens_D = np.diff(offsets_D) - 1
        """[documents], scored tokens of each; batches have them in this order."""
        self.text_bytes = int(self.bytes_D.sum())
        """UTF-8 bytes of the text scored."""
        self._tokens = split.tokens[: offsets_D[-1]]
        self.tokens = len(self._tokens) - self.documents
        """Tokens scored."""

    def __len__(self) -> int:
        """Number of batches."""
        return math.ceil((len(self._tokens) - 1) / (self.batch_size * self.context))

    def __iter__(self) -> Iterator[Batch]:
        for start in range(0, len(self._tokens) - 1, self.batch_size * self.context):
            left = math.ceil((len(self._tokens) - 1 - start) / self.context)
            sequences = min(self.batch_size, left) if self._trimmed else self.batch_size
            shape, size = (sequences, self.context), sequences * self.context
            # One token more than the inputs: the last target.
            tokens = np.full(size + 1, self.end_of_text, dtype=np.int64)
            here = self._tokens[start : start + size + 1]
            tokens[: len(here)] = here
            inputs_BT, targets_BT = tokens[:-1].reshape(shape), tokens[1:].reshape(shape)
            yield Batch(
                inputs_BT=inputs_BT,
                targets_BT=targets_BT,
                mask_BT=targets_BT != self.end_of_text,
                extras=_extras(inputs_BT, self.end_of_text if self._document_masking else None),
            )


def _extras(inputs_BT: Tokens, end_of_text: int | None) -> dict[str, NDArray[Any]]:
    return {} if end_of_text is None else {DOCUMENTS: documents_in(inputs_BT, end_of_text)}


def _check_sizes(**sizes: int) -> None:
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name} is {size}; it must be at least 1")


def _check_context(split: PackedSplit, context: int) -> None:
    longest = len(split.tokens) - 1
    if context > longest:
        raise CorpusError(
            f"a context of {context:,} tokens is longer than the split {split.name!r}, which has "
            f"{longest:,}; shorten the context or use a larger corpus"
        )
