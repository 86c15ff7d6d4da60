"""Embedding and lm_head."""

from __future__ import annotations

from collections.abc import Mapping

from model.parts.part import Amount, Part, Row, Sizes


class Embedding(Part):
    """Embedding and lm_head: a vocabulary × width matrix each, or one shared by both.

    Args:
        tied: whether the head is the embedding, transposed (Press and Wolf, 2017).
    """

    free = "d_model"

    def __init__(self, *, tied: bool) -> None:
        self._tied = tied

    def lm_head(self, sizes: Sizes) -> Amount:
        """Parameters of the head's own matrix; 0 when tied."""
        return 0 * sizes.d_model if self._tied else sizes.vocab_size * sizes.d_model

    def parameters(self, sizes: Sizes) -> Amount:
        return sizes.vocab_size * sizes.d_model + self.lm_head(sizes)

    def forward_flops(self, sizes: Sizes) -> Amount:
        """The head's product; the look-up in the embedding costs none."""
        return 2 * sizes.vocab_size * sizes.d_model

    def activation_bytes(self, sizes: Sizes, bytes_per_activation: int) -> Amount:
        """None. Logits are left out: how many exist at once depends on the loss."""
        return 0

    def matrix(self, sizes: Sizes) -> str:
        """The sizes of the embedding, for the parameter table."""
        return f"{sizes.vocab_size} × {sizes.d_model}"

    def rows(self, sizes: Sizes) -> tuple[Row, ...]:
        matrix = self.matrix(sizes)
        lm_head = self.lm_head(sizes)
        return (
            Row(part="embedding", shape=matrix, parameters=self.parameters(sizes) - lm_head),
            Row(
                part="lm_head",
                shape="the embedding" if self._tied else matrix,
                parameters=lm_head,
            ),
        )


class FactorizedEmbedding(Embedding):
    """Two matrices in place of one: vocabulary × rank and rank × width.

    Lan et al., 2020, "ALBERT", section 3.1. The share of the parameters fixes the rank, so
    that the width may vary separately.

    Args:
        tied: whether embedding and head are one pair of matrices, or have one each.
    """

    free = "embedding_rank"

    def _pair(self, sizes: Sizes) -> Amount:
        return sizes.embedding_rank * (sizes.vocab_size + sizes.d_model)

    def lm_head(self, sizes: Sizes) -> Amount:
        """Parameters of the head's own pair; 0 when tied."""
        return 0 * sizes.d_model if self._tied else self._pair(sizes)

    def parameters(self, sizes: Sizes) -> Amount:
        return self._pair(sizes) + self.lm_head(sizes)

    def forward_flops(self, sizes: Sizes) -> Amount:
        """Rank to width after the look-up, which costs none; width to rank to logits."""
        return 2 * sizes.embedding_rank * (sizes.vocab_size + 2 * sizes.d_model)

    def activation_bytes(self, sizes: Sizes, bytes_per_activation: int) -> Amount:
        """The inputs of the two products between rank and width."""
        return (sizes.embedding_rank + sizes.d_model) * bytes_per_activation

    def matrix(self, sizes: Sizes) -> str:
        rank = sizes.embedding_rank
        return f"{sizes.vocab_size} × {rank} + {rank} × {sizes.d_model}"


EMBEDDINGS: Mapping[str, Embedding] = {
    "tied": Embedding(tied=True),
    "untied": Embedding(tied=False),
    "factorized": FactorizedEmbedding(tied=True),
    "factorized_untied": FactorizedEmbedding(tied=False),
}


def has_rank(embedding: str) -> bool:
    """Whether an embedding of this name has a rank."""
    return EMBEDDINGS[embedding].free == "embedding_rank"
