"""Continues a text of tokens, with a cache of what the network made of it so far.

Shapes: B sequences (here 1), T tokens, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from model.generation.sampling import Sampling, draw
from model.network.cache import Cache, needs_whole_text
from model.network.transformer import Transformer


def window_start(length: int, context: int) -> int:
    """Where the window that the next token is drawn from begins, in a text of `length` tokens.

    A text that outgrows the context goes on with the second half of it: the beginning is left
    out by half a context at a time, so that the cache has to be made anew only then.
    """
    if length <= context:
        return 0
    step = max(1, context // 2)
    return math.ceil((length - context) / step) * step


class Reader:
    """Gives the logits of a text's next token, while the text grows.

    Args:
        model: in evaluation mode.
        cached: whether the cache is used. Without it each token costs a pass over the window; the
            logits are equal but for rounding. A model that cannot be cached
            (`model.network.cache.needs_whole_text`) never uses it.
    """

    def __init__(self, model: Transformer, *, cached: bool = True) -> None:
        self._model = model
        self._cached = cached and needs_whole_text(model) is None
        self._start = 0
        self._cache = Cache(capacity=model.config.context)

    @torch.inference_mode()
    def next_logits(self, tokens: Sequence[int]) -> Tensor:
        """Logits [V] of the token after `tokens`, which begin with those of the call before."""
        start = window_start(len(tokens), self._model.config.context)
        if start != self._start or not self._cached:
            self._start = start
            self._cache = Cache(capacity=self._model.config.context)
        device = next(self._model.parameters()).device
        new_BT = torch.tensor([tokens[start + self._cache.length :]], device=device)
        with torch.autocast(device.type, enabled=False):
            cache = self._cache if self._cached else None
            logits_V: Tensor = self._model.next_logits(new_BT, cache)[0]
        return logits_V


def continued(
    model: Transformer,
    tokens: Sequence[int],
    *,
    sampling: Sampling,
    most: int,
    end: int | None = None,
    cached: bool = True,
) -> Iterator[int]:
    """The tokens that continue a text, one at a time.

    Args:
        model: in evaluation mode.
        tokens: the text so far, at least one token.
        sampling: how each is drawn.
        most: tokens at most.
        end: the token that ends a text; it is not yielded.
        cached: see `Reader`.

    Raises ValueError for an empty text.
    """
    if not tokens:
        raise ValueError("a text needs a token to begin with, such as the one before a document")
    text = list(tokens)
    reader, generator = Reader(model, cached=cached), sampling.generator()
    for _ in range(most):
        token = draw(reader.next_logits(text), sampling, generator)
        if token == end:
            return
        text.append(token)
        yield token
