"""A model with its tokenizer: logits of texts, and texts continued.

Shapes: T tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from tokenizers import Tokenizer
from torch import Tensor

from data.chatml import END, Turn, prompt_of
from model.generation.decoding import continued
from model.generation.sampling import Sampling
from model.network.cache import needs_whole_text
from model.network.transformer import Transformer
from model.spec import ModelConfig
from tune_app.portable.streaming import before_mark, texts_of

_SAMPLING = Sampling()


@dataclass(frozen=True, kw_only=True)
class TextModel:
    """A trained model and its tokenizer."""

    model: Transformer
    """In evaluation mode and fp32. `model(tokens_BT)` gives the logits [B, T, V]."""
    tokenizer: Tokenizer = field(repr=False)
    tokenizer_kind: str
    """A key of `data.tokenizers.spec.KINDS`."""
    end_of_text: int
    """The token before each document."""

    @property
    def config(self) -> ModelConfig:
        """The sizes of the model."""
        return self.model.config

    @property
    def needs_whole_text(self) -> str | None:
        """Why each new token needs a pass over the whole text; None if it does not."""
        return needs_whole_text(self.model)

    def encoded(self, text: str) -> list[int]:
        """The tokens of a text as a document: end-of-text first.

        Raises ValueError for a text that is not Unicode.
        """
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise ValueError(
                f"the text has half a character at position {error.start}; give it as UTF-8"
            ) from error
        return [self.end_of_text, *self.tokenizer.encode(text, add_special_tokens=False).ids]

    def logits(self, text: str) -> Tensor:
        """Logits [T + 1, V]: after the start of a document, and after each of the text's T tokens.

        Raises ValueError if the text is longer than the context.
        """
        tokens = self.encoded(text)
        if len(tokens) > self.config.context:
            raise ValueError(
                f"the text has {len(tokens) - 1} tokens; at most {self.config.context - 1} fit "
                f"into the context of {self.config.context}, after the start of the document"
            )
        device = next(self.model.parameters()).device
        with torch.inference_mode():
            logits_BTV: Tensor = self.model(torch.tensor([tokens], device=device))
        return logits_BTV[0]

    def stream(
        self, prompt: str, *, max_tokens: int = 200, sampling: Sampling = _SAMPLING
    ) -> Iterator[str]:
        """The continuation of a text in pieces of whole characters, as soon as they are complete.

        End-of-text ends it. Once prompt and continuation outgrow the context, its beginning is
        left out (`model.generation.decoding.window_start`).

        Raises ValueError for fewer than one token, or if the model's logits are NaN.
        """
        if max_tokens < 1:
            raise ValueError(f"max_tokens is {max_tokens}; it must be at least 1")
        tokens = continued(
            self.model,
            self.encoded(prompt),
            sampling=sampling,
            most=max_tokens,
            end=self.end_of_text,
        )
        return texts_of(tokens, self.tokenizer)

    def reply(
        self, message: str, *, max_tokens: int = 200, sampling: Sampling = _SAMPLING
    ) -> Iterator[str]:
        """The answer of a fine-tuned model to a message, in pieces, without ChatML's marks.

        Raises ValueError as `stream`.
        """
        prompt = prompt_of([Turn(role="user", content=message)])
        return before_mark(self.stream(prompt, max_tokens=max_tokens, sampling=sampling), END)

    def generate(
        self,
        prompt: str,
        *,
        max_tokens: int = 200,
        temperature: float = _SAMPLING.temperature,
        top_p: float = _SAMPLING.top_p,
        seed: int = _SAMPLING.seed,
    ) -> str:
        """The continuation of a text; see `stream` and `Sampling`."""
        sampling = Sampling(temperature=temperature, top_p=top_p, seed=seed)
        return "".join(self.stream(prompt, max_tokens=max_tokens, sampling=sampling))
