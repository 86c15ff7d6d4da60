"""Conversations packed into sequences, each behind end-of-text and, by its number, on its own.

Shapes: B sequences of a batch, T tokens of a sequence (the context), R sequences in all.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from data.batches import DOCUMENTS, Batch, ShuffledOrder, documents_in
from data.chatml import Conversation, ends, segments
from data.errors import CorpusError

_SCORED_AT_ONCE = 16
"""Sequences."""


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """A conversation in tokens, end-of-text first."""

    tokens: tuple[int, ...]
    scored: tuple[bool, ...]
    """Whether each token is a target."""
    ends: bool
    """Whether the end-of-text behind it is a target."""
    scored_bytes: int
    """UTF-8 bytes of the text that is scored."""
    cut: bool
    """Whether it lost tokens at its end."""


def encoded(
    conversation: Conversation, tokenizer: Tokenizer, *, end_of_text: int, context: int
) -> Encoded:
    """A conversation in tokens; one that is longer than the context and a target is cut off."""
    tokens, scored, size = [end_of_text], [False], 0
    longest, cut = context + 1, False
    for segment in segments(conversation):
        ids = tokenizer.encode(segment.text, add_special_tokens=False).ids
        kept = ids[: longest - len(tokens)]
        cut |= len(kept) < len(ids)
        tokens += kept
        scored += [segment.scored] * len(kept)
        if segment.scored:
            text = segment.text
            if len(kept) < len(ids):
                text = tokenizer.decode(kept, skip_special_tokens=False)
            size += len(text.encode())
    return Encoded(
        tokens=tuple(tokens),
        scored=tuple(scored),
        ends=ends(conversation) and not cut,
        scored_bytes=size,
        cut=cut,
    )


class PackedConversations:
    """Conversations in sequences of `context` tokens, as batches that depend on the step alone.

    Each sequence holds whole conversations, as many as fit (best fit, the longest first), and ends
    in padding. Batches have the extra DOCUMENTS, so that a model that masks documents reads none of
    one conversation in another, and a mask that leaves only the assistant's tokens to be learned.
    Each epoch visits every sequence once, in its own permutation; a batch may straddle epochs.

    Args:
        conversations: at least one.
        tokenizer: of the model.
        end_of_text: the token before each.
        context: of the model.
        batch_size: sequences of a batch.
        seed: of the order.

    Raises CorpusError if nothing of the assistant's fits into the context.
    """

    def __init__(
        self,
        conversations: Sequence[Conversation],
        tokenizer: Tokenizer,
        *,
        end_of_text: int,
        context: int,
        batch_size: int,
        seed: int = 0,
    ) -> None:
        every = [
            encoded(one, tokenizer, end_of_text=end_of_text, context=context)
            for one in conversations
        ]
        kept = [one for one in every if any(one.scored)]
        if not kept:
            raise CorpusError(
                f"no answer begins within the context of {context} tokens; shorten the prompts, or "
                "use a model with a longer context"
            )
        self.context, self.batch_size, self.seed = context, batch_size, seed
        self.end_of_text = end_of_text
        self.conversations = len(kept)
        """That are learned from."""
        self.skipped = len(every) - len(kept)
        """Whose first answer begins beyond the context."""
        self.cut = sum(one.cut for one in kept)
        """That lost tokens at their end."""
        self.text_bytes = sum(one.scored_bytes for one in kept)
        """UTF-8 bytes of the scored text, once each."""
        self._tokens_RT, self._scored_RT = _packed(kept, context, end_of_text)
        self.rows = len(self._tokens_RT)
        """Sequences in all."""
        self.scored = int(self._scored_RT[:, 1:].sum())
        """Targets, once each."""
        self._order = ShuffledOrder(self.rows, seed)

    def batch(self, step: int) -> Batch:
        """The batch of a step, counted from 0."""
        positions_B = step * self.batch_size + np.arange(self.batch_size)
        return self._batch(self._order.at(positions_B))

    def __iter__(self) -> Iterator[Batch]:
        """Every sequence once, in order, to be scored."""
        for start in range(0, self.rows, _SCORED_AT_ONCE):
            yield self._batch(np.arange(start, min(self.rows, start + _SCORED_AT_ONCE)))

    def _batch(self, rows_B: NDArray[np.int64]) -> Batch:
        tokens = self._tokens_RT[rows_B].astype(np.int64)
        inputs_BT = tokens[:, :-1]
        return Batch(
            inputs_BT=inputs_BT,
            targets_BT=tokens[:, 1:],
            mask_BT=self._scored_RT[rows_B, 1:],
            extras={DOCUMENTS: documents_in(inputs_BT, self.end_of_text)},
        )


def _packed(
    conversations: Sequence[Encoded], context: int, end_of_text: int
) -> tuple[NDArray[np.uint32], NDArray[np.bool_]]:
    """Tokens and targets [R, T + 1] of the sequences, padded with end-of-text."""
    sequences = best_fit([len(one.tokens) for one in conversations], context + 1)
    tokens = np.full((len(sequences), context + 1), end_of_text, dtype=np.uint32)
    scored = np.zeros(tokens.shape, dtype=np.bool_)
    for row, members in enumerate(sequences):
        start = 0
        for one in (conversations[member] for member in members):
            end = start + len(one.tokens)
            tokens[row, start:end] = one.tokens
            scored[row, start:end] |= one.scored
            if one.ends and end <= context:
                scored[row, end] = True  # the end-of-text of the next, or of the padding
            start = end
    return tokens, scored


def best_fit(lengths: Sequence[int], room: int) -> list[list[int]]:
    """The places of the lengths in bins of `room`: each, the longest first, into the fullest bin
    that has room for it (best-fit decreasing). No length is more than `room`."""
    bins: list[list[int]] = []
    free: list[tuple[int, int]] = []  # room that is left and bin, sorted
    for place in sorted(range(len(lengths)), key=lambda place: (-lengths[place], place)):
        length = lengths[place]
        found = bisect_left(free, (length, -1))
        if found == len(free):
            bins.append([])
            left, number = room, len(bins) - 1
        else:
            left, number = free.pop(found)
        bins[number].append(place)
        insort(free, (left - length, number))
    return bins
