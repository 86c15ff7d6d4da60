"""The decoder: tokens to hidden states to logits or a loss.

Pre-norm residual blocks of attention and feed-forward, rotary positions, no biases. `model.parts`
says how many parameters each part has.

Shapes: B sequences, T tokens, D width, E features that the head reads, V vocabulary, K the head
size in the rotary table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor, nn

from model.mup import Scales
from model.network.attention import ATTENTIONS
from model.network.cache import Cache
from model.network.context import Context, LossOutput
from model.network.documents import DOCUMENTS, Documents
from model.network.dropout import ATTENTION, EMBEDDED, FEED_FORWARD, dropped
from model.network.embeddings import EMBEDDING_STD, EMBEDDINGS
from model.network.feed_forward import FEED_FORWARDS
from model.network.loss import linear_cross_entropy
from model.network.norms import NORMS
from model.network.parameters import initialise
from model.network.recomputation import recomputed
from model.network.rotary import rotary_table
from model.spec import ModelConfig

Variant = TypeVar("Variant")


class Block(nn.Module):
    """Attention, then feed-forward; each adds its output to the residual stream."""

    def __init__(self, config: ModelConfig, scales: Scales) -> None:
        super().__init__()
        self.residual_scale = scales.residual
        self.dropout = config.dropout
        norm = _variant(NORMS, "norm", config.norm)
        self.attention_norm = norm(config.d_model, in_block=True)
        self.attention = _variant(ATTENTIONS, "attention", config.attention)(
            config, logit_scale=scales.attention_logits
        )
        self.feed_forward_norm = norm(config.d_model, in_block=True)
        self.feed_forward = _variant(FEED_FORWARDS, "feed_forward", config.feed_forward)(config)

    def forward(self, hidden_BTD: Tensor, context: Context) -> Tensor:
        """The residual stream after this block."""
        read_BTD = self.attention(self.attention_norm(hidden_BTD), context)
        read_BTD = dropped(read_BTD, self.dropout, context, use=ATTENTION)
        hidden_BTD = torch.add(hidden_BTD, read_BTD, alpha=self.residual_scale)
        made_BTD = self.feed_forward(self.feed_forward_norm(hidden_BTD), context)
        made_BTD = dropped(made_BTD, self.dropout, context, use=FEED_FORWARD)
        return torch.add(hidden_BTD, made_BTD, alpha=self.residual_scale)


def run_block(block: nn.Module, hidden_BTD: Tensor, context: Context) -> Tensor:
    """`block(hidden_BTD, context)`, as a function that can be compiled once for all layers."""
    after_BTD: Tensor = block(hidden_BTD, context)
    return after_BTD


class Transformer(nn.Module):
    """A language model of the sizes in `config`.

    Args:
        config: every size of the model.
        scales: its multipliers, which are as much part of the model as its sizes. Those of a
            trained model are in its checkpoint; `Scales.own(config)` are those of a model that is
            its own baseline.

    Raises ValueError for an unknown variant and for a parameter without a role. Weights are drawn
    from torch's global generator; under `torch.device("meta")` nothing is allocated.
    """

    cos_TK: Tensor
    sin_TK: Tensor
    progress: Tensor

    def __init__(self, config: ModelConfig, *, scales: Scales) -> None:
        super().__init__()
        self.config = config
        self.scales = scales
        self.gradient_checkpointing = False
        """Whether blocks keep only their input for the backward pass: see `recomputed`."""
        self.run_block = run_block
        """How `loss` runs a block: a compiled one, where training compiles block by block."""
        self.embeddings = _variant(EMBEDDINGS, "embedding", config.embedding)(config)
        self.blocks = nn.ModuleList(Block(config, self.scales) for _ in range(config.n_layers))
        self.final_norm = _variant(NORMS, "norm", config.norm)(config.d_model, in_block=False)
        cos_TK, sin_TK = rotary_table(config.context, config.head_dim, base=config.rotary_base)
        self.register_buffer("cos_TK", cos_TK, persistent=False)
        self.register_buffer("sin_TK", sin_TK, persistent=False)
        # A tensor: torch.compile would compile anew for each value of a number.
        self.register_buffer("progress", torch.zeros(()), persistent=False)
        initialise(
            self,
            branches=2 * config.n_layers if scales.standard else None,
            zero_start=scales.zero_start,
        )

    def set_progress(self, share: float) -> None:
        """Says how much of the training is done, for parts that change with it.

        It is no weight: a trained model gets it from the tokens in its checkpoint.
        """
        self.progress.fill_(min(1.0, share))

    def forward(
        self,
        tokens_BT: Tensor,
        extras: Mapping[str, Tensor] | None = None,
        cache: Cache | None = None,
    ) -> Tensor:
        """Logits [B, T, V] of the token after each position.

        All of them are in memory at once; `loss` and `model.evaluation` do without.

        Args:
            tokens_BT: token ids [B, T]; T is at most the context.
            extras: further inputs of a variant, by name: [B, …] each.
            cache: of the positions before these, which it is extended by.

        Raises ValueError if cache and tokens together are longer than the context.
        """
        features_BTE, weight_VE = self.output(self.hidden_states(tokens_BT, extras, cache))
        return features_BTE @ weight_VE.T

    def next_logits(self, tokens_BT: Tensor, cache: Cache | None = None) -> Tensor:
        """Logits [B, V] of the token after the last position, which alone goes through the head."""
        hidden_BTD = self.hidden_states(tokens_BT, cache=cache)
        features_BTE, weight_VE = self.output(hidden_BTD[:, -1:])
        return (features_BTE @ weight_VE.T)[:, 0]

    def hidden_states(
        self,
        tokens_BT: Tensor,
        extras: Mapping[str, Tensor] | None = None,
        cache: Cache | None = None,
    ) -> Tensor:
        """The residual stream [B, T, D] after the last block and its norm; see `output`."""
        length = tokens_BT.shape[1]
        hidden_BTD = self._hidden(tokens_BT, self.context(length, extras, cache))
        if cache is not None:
            cache.length += length
        return hidden_BTD

    def loss(
        self,
        inputs_BT: Tensor,
        targets_BT: Tensor,
        mask_BT: Tensor | None = None,
        extras: Mapping[str, Tensor] | None = None,
    ) -> LossOutput:
        """Cross-entropy of the targets where the mask is True, and what the parts reported."""
        context = self.context(inputs_BT.shape[1], extras)
        features_BTE, weight_VE = self.output(self._hidden(inputs_BT, context, self.run_block))
        return context.output(linear_cross_entropy(features_BTE, weight_VE, targets_BT, mask_BT))

    def context(
        self,
        length: int,
        extras: Mapping[str, Tensor] | None = None,
        cache: Cache | None = None,
    ) -> Context:
        """A new context, for a forward pass over `length` tokens, behind those in the cache.

        Under document masking the extra DOCUMENTS says which document each position is of; without
        it each sequence is one document.
        """
        start = 0 if cache is None else cache.length
        if cache is not None and start + length > self.config.context:
            raise ValueError(
                f"{start} tokens in the cache and {length} new ones are more than the context of "
                f"{self.config.context}; continue with a shorter text and a new cache"
            )
        here = slice(start, start + length)
        extras = extras or {}
        documents = None
        if self.config.document_masking and DOCUMENTS in extras:
            assert cache is None, "a text that is continued is one document"
            documents = Documents(extras[DOCUMENTS])
        return Context(
            cos_TK=self.cos_TK[here],
            sin_TK=self.sin_TK[here],
            extras=extras,
            progress=self.progress,
            cache=cache,
            documents=documents,
        )

    def embed(self, tokens_BT: Tensor, context: Context) -> Tensor:
        """The residual stream [B, T, D] before the first block; its initial variance is 1, but in
        the standard parametrization."""
        embedded_BTD = self.embeddings.embed(tokens_BT, context)
        return embedded_BTD if self.scales.standard else embedded_BTD / EMBEDDING_STD

    def _hidden(
        self,
        tokens_BT: Tensor,
        context: Context,
        run: Callable[[nn.Module, Tensor, Context], Tensor] = run_block,
    ) -> Tensor:
        hidden_BTD = dropped(
            self.embed(tokens_BT, context), self.config.dropout, context, use=EMBEDDED
        )
        for layer, block in enumerate(self.blocks):
            here = context.of_layer(layer)
            if self.gradient_checkpointing and torch.is_grad_enabled():
                hidden_BTD = recomputed(partial(run, block), hidden_BTD, here)
            else:
                hidden_BTD = run(block, hidden_BTD, here)
            context.add_all(*here.reports)
        normalized_BTD: Tensor = self.final_norm(hidden_BTD)
        return normalized_BTD

    def output(self, hidden_BTD: Tensor) -> tuple[Tensor, Tensor]:
        """Features [B, T, E] and a matrix [V, E] whose product is the logits."""
        features_BTE, weight_VE = self.embeddings.output(hidden_BTD)
        return features_BTE * self.scales.logits, weight_VE


def _variant(table: dict[str, Variant], kind: str, name: str) -> Variant:
    if name not in table:
        raise ValueError(f"unknown {kind} {name!r}; expected one of {', '.join(table)}")
    return table[name]
