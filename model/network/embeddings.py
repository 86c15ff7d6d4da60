"""Tokens to vectors at the bottom of the model, vectors to logits at its top.

A variant is a class with the methods of `Embeddings`, a line in EMBEDDINGS, and its entry in
model/parts/. `output` returns features and a matrix, whose product is the logits: so the loss
can work in chunks, and a factorised embedding needs no special case there.

Shapes: B sequences, T tokens, D width, R rank, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.network.context import Context
from model.network.parameters import declare
from model.roles import Role, embedding_matrix, head_matrix, hidden_matrix
from model.spec import ModelConfig

EMBEDDING_STD = 0.07
"""Initial std of embedding and head, at every width. The transformer divides embedded tokens by it,
so that the residual stream starts at the scale of what the branches add."""


class Embeddings(Protocol):
    """What the transformer needs of an embedding with its lm_head."""

    def embed(self, tokens_BT: Tensor, context: Context) -> Tensor:
        """Hidden states [B, T, D] of token ids [B, T]."""

    def output(self, hidden_BTD: Tensor) -> tuple[Tensor, Tensor]:
        """Features [B, T, E] and a matrix [V, E]; logits are features · matrixᵀ."""


class TiedEmbeddings(nn.Module):
    """One matrix embeds tokens and, transposed, scores them (Press and Wolf, 2017): V·D."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.embedding = nn.Parameter(torch.empty(config.vocab_size, config.d_model))
        declare(self, embedding=embedding_matrix(std=EMBEDDING_STD))

    def embed(self, tokens_BT: Tensor, context: Context) -> Tensor:
        """Hidden states [B, T, D] of token ids [B, T]."""
        return functional.embedding(tokens_BT, self.embedding)

    def output(self, hidden_BTD: Tensor) -> tuple[Tensor, Tensor]:
        """Features and matrix of the logits."""
        return hidden_BTD, self.embedding


class UntiedEmbeddings(nn.Module):
    """One matrix embeds tokens, a second one scores them: 2·V·D."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.embedding = nn.Parameter(torch.empty(config.vocab_size, config.d_model))
        self.head = nn.Parameter(torch.empty(config.vocab_size, config.d_model))
        declare(
            self,
            embedding=embedding_matrix(std=EMBEDDING_STD),
            head=head_matrix(std=EMBEDDING_STD),
        )

    def embed(self, tokens_BT: Tensor, context: Context) -> Tensor:
        """Hidden states [B, T, D] of token ids [B, T]."""
        return functional.embedding(tokens_BT, self.embedding)

    def output(self, hidden_BTD: Tensor) -> tuple[Tensor, Tensor]:
        """Features and matrix of the logits."""
        return hidden_BTD, self.head


def rank_matrix(rank: int) -> Role:
    """The role of a matrix between rank and width, whichever of them it reads.

    It starts with variance 1 / rank, so that a pair's product has entries of EMBEDDING_STD, as the
    one matrix that it stands for. Its rate falls as 1 / rank, as that of a hidden matrix whose
    fan-in is the rank, which takes the width's place in the reference. At the head the multiplier
    of the logits, 1 / width, does what a rate that falls with the width would do: an update changes
    a logit by width · (1 / rank) · rank · (1 / width), and so the same at every width and rank.
    """
    return hidden_matrix(reads="d_model", fan_in=rank, in_block=False)


class FactorizedEmbeddings(nn.Module):
    """Two matrices embed tokens and, transposed, score them: V·R + R·D.

    Lan et al., 2020, "ALBERT", section 3.1. The head is the transposed product of the embedding's
    two, as the head of TiedEmbeddings is its transposed embedding.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        assert config.embedding_rank is not None
        rank = config.embedding_rank
        self.embedding = nn.Parameter(torch.empty(config.vocab_size, rank))
        self.embedding_projection = nn.Parameter(torch.empty(config.d_model, rank))
        declare(
            self,
            embedding=embedding_matrix(std=EMBEDDING_STD),
            embedding_projection=rank_matrix(rank),
        )

    def embed(self, tokens_BT: Tensor, context: Context) -> Tensor:
        """Hidden states [B, T, D] of token ids [B, T]."""
        return _embed(tokens_BT, self.embedding, self.embedding_projection)

    def output(self, hidden_BTD: Tensor) -> tuple[Tensor, Tensor]:
        """Features [B, T, R] and matrix of the logits."""
        return hidden_BTD @ self.embedding_projection, self.embedding


class FactorizedUntiedEmbeddings(nn.Module):
    """Two matrices embed tokens, two others score them: 2·(V·R + R·D)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        assert config.embedding_rank is not None
        rank, size, width = config.embedding_rank, config.vocab_size, config.d_model
        self.embedding = nn.Parameter(torch.empty(size, rank))
        self.embedding_projection = nn.Parameter(torch.empty(width, rank))
        self.head = nn.Parameter(torch.empty(size, rank))
        self.head_projection = nn.Parameter(torch.empty(width, rank))
        declare(
            self,
            embedding=embedding_matrix(std=EMBEDDING_STD),
            embedding_projection=rank_matrix(rank),
            head=head_matrix(std=EMBEDDING_STD),
            head_projection=rank_matrix(rank),
        )

    def embed(self, tokens_BT: Tensor, context: Context) -> Tensor:
        """Hidden states [B, T, D] of token ids [B, T]."""
        return _embed(tokens_BT, self.embedding, self.embedding_projection)

    def output(self, hidden_BTD: Tensor) -> tuple[Tensor, Tensor]:
        """Features [B, T, R] and matrix of the logits."""
        return hidden_BTD @ self.head_projection, self.head


def _embed(tokens_BT: Tensor, embedding_VR: Tensor, projection_DR: Tensor) -> Tensor:
    """In fp32 under autocast too, because the residual stream begins here."""
    hidden_BTD = functional.linear(functional.embedding(tokens_BT, embedding_VR), projection_DR)
    return hidden_BTD.to(embedding_VR.dtype)


EMBEDDINGS: dict[str, Callable[[ModelConfig], Embeddings]] = {
    "tied": TiedEmbeddings,
    "untied": UntiedEmbeddings,
    "factorized": FactorizedEmbeddings,
    "factorized_untied": FactorizedUntiedEmbeddings,
}
