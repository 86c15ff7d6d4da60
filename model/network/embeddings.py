"""Tokens to vectors at the bottom of the model, vectors to logits at its top.

A variant is a class with the methods of `Embeddings`, a line in EMBEDDINGS, and its entry in
model/parts.py. `output` returns features and a matrix, whose product is the logits: so the loss
can work in chunks, and a factorised embedding needs no special case there.

Shapes: B sequences, T tokens, D width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.network.context import Context
from model.network.parameters import declare
from model.roles import embedding_matrix, head_matrix
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


EMBEDDINGS: dict[str, Callable[[ModelConfig], Embeddings]] = {
    "tied": TiedEmbeddings,
    "untied": UntiedEmbeddings,
}
