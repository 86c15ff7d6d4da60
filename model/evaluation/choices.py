"""Log-probabilities of the answers to a question, of which a model chooses one.

Shapes: B sequences, T tokens, N scored tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch.nn import functional

from model.evaluation.bits_per_byte import nats_by_token, scoring
from model.network.batch import Batch, TensorBatch
from model.network.cache import needs_whole_text
from model.network.documents import DOCUMENTS
from model.network.transformer import Transformer

_BATCH = 16
"""Sequences scored at once."""


@dataclass(frozen=True, kw_only=True)
class Continuation:
    """A text and what follows it, both in tokens; the text has at least one."""

    before: Sequence[int]
    answer: Sequence[int]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Padded:
    """Continuations as a batch, padded behind, in which only the answers are scored."""

    inputs_BT: np.ndarray[tuple[int, int], np.dtype[np.int64]]
    targets_BT: np.ndarray[tuple[int, int], np.dtype[np.int64]]
    mask_BT: np.ndarray[tuple[int, int], np.dtype[np.bool_]]

    @property
    def extras(self) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.int64]]]:
        """A text and its answer are one document."""
        return {DOCUMENTS: np.zeros(self.inputs_BT.shape, dtype=np.int64)}


def fitted(before: Sequence[int], *, longest_answer: int, context: int) -> Sequence[int] | None:
    """The text, shortened so that each answer fits behind it; None if the longest alone does not.

    The first token, which begins a document, stays; tokens behind it are left out from the front,
    because what stands last in a prompt asks for the answer.
    """
    room = context + 1 - longest_answer
    if room < 1:
        return None
    return before if len(before) <= room else [before[0], *before[len(before) - room + 1 :]]


def log_probabilities(model: Transformer, continuations: Sequence[Continuation]) -> list[float]:
    """log p(answer | text) in nats of each continuation, summed over the answer's tokens.

    Raises ValueError for one that does not fit into the context, and for an empty answer.
    """
    _check(model, continuations)
    found: list[float] = []
    # A model that reads the whole text would read the padding too.
    size = _BATCH if needs_whole_text(model) is None else 1
    for start in range(0, len(continuations), size):
        here = continuations[start : start + size]
        nats_N = nats_by_token(model, [_padded(here)])
        ends = np.cumsum([len(one.answer) for one in here])
        found += [-float(part.sum()) for part in np.split(nats_N, ends[:-1])]
    return found


def log_probabilities_and_greedy(
    model: Transformer, continuations: Sequence[Continuation]
) -> list[tuple[float, bool]]:
    """log p(answer | text) in nats as `log_probabilities` gives it, and whether each token of the
    answer is the most probable one."""
    found: list[tuple[float, bool]] = []
    size = _BATCH if needs_whole_text(model) is None else 1
    for start in range(0, len(continuations), size):
        here = continuations[start : start + size]
        _check(model, here)
        with scoring(model):
            batch = TensorBatch.of(_padded(here), device=next(model.parameters()).device)
            assert batch.mask_BT is not None
            scored = batch.mask_BT.flatten()
            features_BTE, weight_VE = model.output(
                model.hidden_states(batch.inputs_BT, dict(batch.extras))
            )
            logits_NV = features_BTE.flatten(0, 1)[scored] @ weight_VE.T
            targets_N = batch.targets_BT.flatten()[scored]
            # Only these are kept: logits of many answers are large.
            nats_N = functional.cross_entropy(logits_NV, targets_N, reduction="none")
            first_N = (logits_NV.argmax(-1) == targets_N).cpu().numpy()
        ends = np.cumsum([len(one.answer) for one in here])[:-1]
        nats = np.split(nats_N.cpu().double().numpy(), ends)
        firsts = np.split(first_N, ends)
        found += [
            (-float(mine.sum()), bool(all_first.all()))
            for mine, all_first in zip(nats, firsts, strict=True)
        ]
    return found


def _check(model: Transformer, continuations: Sequence[Continuation]) -> None:
    for one in continuations:
        if not one.answer or len(one.before) + len(one.answer) > model.config.context + 1:
            raise ValueError(
                f"{len(one.before)} tokens and an answer of {len(one.answer)} do not fit into the "
                f"context of {model.config.context}"
            )


def _padded(continuations: Sequence[Continuation]) -> Batch:
    # What follows an answer changes nothing before it, so any token may stand there.
    length = max(len(one.before) + len(one.answer) for one in continuations)
    tokens = np.zeros((len(continuations), length), dtype=np.int64)
    scored = np.zeros((len(continuations), length), dtype=np.bool_)
    for row, one in enumerate(continuations):
        end = len(one.before) + len(one.answer)
        tokens[row, :end] = [*one.before, *one.answer]
        scored[row, len(one.before) : end] = True
    return _Padded(inputs_BT=tokens[:, :-1], targets_BT=tokens[:, 1:], mask_BT=scored[:, 1:])
