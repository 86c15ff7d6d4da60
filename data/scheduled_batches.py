"""Batches of one or several corpora under a curriculum: still a function of the step.

Shapes: B sequences of a batch, T tokens of a sequence, K corpora.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from data.batches import Batch, Places, ShuffledWindows, batch_at
from data.chunks import ChunkedTokens
from data.curriculum import Curriculum
from data.mixture import Mixture, Shares
from data.prepared import PackedSplit, TokenArray

GROUP = 64
"""Windows that a stage of short sequences cuts at a time. It trains on the first piece of each,
then on the second of each …, so that a batch is not all from one document."""


class ScheduledBatches:
    """Windows of several splits, each in its own shuffled order, cut as the curriculum says.

    A stage that trains on shorter sequences cuts the windows that come next into pieces, and the
    next stage begins with the window after them: text is seen again only after all of its corpus.

    Args:
        splits: one of each corpus.
        curriculum: the shape of each step; for its context windows are cut.
        mixture: the corpus of each sequence; None for a single corpus.
        seed: of the orders.
        end_of_text: adds the extra DOCUMENTS to each batch, for document masking.

    Raises CorpusError for a split shorter than the context.
    """

    def __init__(
        self,
        splits: Sequence[PackedSplit],
        *,
        curriculum: Curriculum,
        mixture: Mixture | None,
        seed: int,
        end_of_text: int | None = None,
    ) -> None:
        self.curriculum = curriculum
        self.context = curriculum.stages[-1].length
        self._windows = [
            ShuffledWindows(split, context=self.context, seed=seed, stream=stream)
            for stream, split in enumerate(splits)
        ]
        texts = [split.tokens for split in splits]
        self.text: TokenArray = texts[0] if len(texts) == 1 else ChunkedTokens(texts)
        """What `places` are of: the texts of all corpora, one behind the other."""
        self._first_K = np.cumsum([0, *map(len, texts[:-1])])
        """Where each corpus begins in it."""
        self.end_of_text = end_of_text
        self._use(mixture)

    @property
    def mixture(self) -> Mixture | None:
        """The corpora of the sequences, as far as is known now."""
        return self._mixture

    def sequences(self, step: int) -> int:
        """How many a step has."""
        return self.curriculum.stages[self.curriculum.number(step)].batch_size

    def shares_from(self, step: int, shares: Shares) -> None:
        """Draws with other shares from a step on; earlier steps stay as they are."""
        assert self._mixture is not None
        self._use(self._mixture.then(self.curriculum.sequences_before(step), shares))

    def batch(self, step: int) -> Batch:
        """The batch of a step, counted from 0; every target is scored."""
        return batch_at(self.text, self.places(step), end_of_text=self.end_of_text)

    def places(self, step: int) -> Places:
        """Where the batch of a step stands in the text."""
        number = self.curriculum.number(step)
        stage = self.curriculum.stages[number]
        corpora_B, ranks_B = self._drawn(self.curriculum.sequences_before(step), stage.batch_size)
        begun_K, windows_K = self._begun(number)
        starts_B = np.empty(stage.batch_size, dtype=np.int64)
        for corpus in np.unique(corpora_B).tolist():
            here_B = corpora_B == corpus
            pieces_B = ranks_B[here_B] - begun_K[corpus]
            groups_B, rest_B = np.divmod(pieces_B, GROUP * (self.context // stage.length))
            pieces_B, places_B = np.divmod(rest_B, GROUP)
            windows_B = windows_K[corpus] + groups_B * GROUP + places_B
            begins_B = self._windows[corpus].starts(windows_B) + pieces_B * stage.length
            starts_B[here_B] = self._first_K[corpus] + begins_B
        return Places(starts_B=starts_B, length=stage.length)

    def _use(self, mixture: Mixture | None) -> None:
        self._mixture = mixture
        self._begun = lru_cache(maxsize=None)(self._begun_by)

    def _drawn(self, first: int, number: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        if self._mixture is None:
            return np.zeros(number, dtype=np.int64), first + np.arange(number)
        return self._mixture.drawn(first, number)

    def _counts(self, sequence: int) -> NDArray[np.int64]:
        return np.array([sequence]) if self._mixture is None else self._mixture.counts(sequence)

    def _begun_by(self, number: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """[K], [K]: sequences and windows of each corpus that are used before a stage."""
        stages = self.curriculum.stages
        counts_K = self._counts(stages[number].first_sequence)
        if number == 0:
            return counts_K, np.zeros_like(counts_K)
        former_K, windows_K = self._begun(number - 1)
        pieces = self.context // stages[number - 1].length
        groups_K, rest_K = np.divmod(counts_K - former_K, GROUP * pieces)
        return counts_K, windows_K + groups_K * GROUP + np.minimum(rest_K, GROUP)
