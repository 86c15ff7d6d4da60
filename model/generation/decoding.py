"""Continues a text of tokens, with a cache of what the network made of it so far.

Shapes: B sequences (here 1), T tokens, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

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

    def next_logits(self, tokens: Sequence[int]) -> Tensor:
        """Logits [V] of the token after `tokens`, which begin with those of the call before."""
        return self.next_logits_of([tokens], len(tokens))[0]

    @torch.inference_mode()
    def next_logits_of(self, texts: Sequence[Sequence[int]], length: int) -> Tensor:
        """Logits [B, V] of the token after the first `length` tokens of each text.

        The texts are always the same, and the length grows from call to call.
        """
        start = window_start(length, self._model.config.context)
        if start != self._start or not self._cached:
            self._start = start
            self._cache = Cache(capacity=self._model.config.context)
        device = next(self._model.parameters()).device
        begin = start + self._cache.length
        new_BT = torch.tensor([text[begin:length] for text in texts], device=device)
        with torch.autocast(device.type, enabled=False):
            cache = self._cache if self._cached else None
            logits_BV: Tensor = self._model.next_logits(new_BT, cache)
        return logits_BV


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


def continued_together(
    model: Transformer,
    prompts: Sequence[Sequence[int]],
    *,
    sampling: Sampling,
    most: int,
    end: int,
    complete: Callable[[list[int]], bool],
) -> list[list[int]]:
    """The tokens that continue each of several texts, as `continued` gives them but for rounding.

    All are read at the same position, one token a pass. What is longer than the shortest prompt is
    read while that is continued, so prompts of similar lengths cost least.

    Args:
        model: in evaluation mode.
        prompts: at least one token each.
        sampling: how each token is drawn.
        most: tokens at most, of each.
        end: the token that ends a text; it is left out.
        complete: whether a continuation is long enough.
    """
    texts = [list(prompt) for prompt in prompts]
    found: list[list[int]] = [[] for _ in texts]
    open_rows = set(range(len(texts)))
    generators = [sampling.generator() for _ in texts]
    reader = Reader(model)
    length = min(map(len, texts))
    while open_rows:
        logits_BV = reader.next_logits_of(texts, length)
        for row, text in enumerate(texts):
            if len(text) > length:
                continue  # its prompt is still being read
            token = end
            if row in open_rows:
                token = draw(logits_BV[row], sampling, generators[row])
                if token != end:
                    found[row].append(token)
                if token == end or len(found[row]) == most or complete(found[row]):
                    open_rows.remove(row)
            text.append(token)
        length += 1
    return found
