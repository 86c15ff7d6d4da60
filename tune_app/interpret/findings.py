"""Everything that was found in a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from tune_app.interpret.experts import ExpertLoad, expert_loads
from tune_app.interpret.routing import Mixture, by_preference, on_text
from tune_app.interpret.spectra import Spectrum, spectrum
from tune_app.interpret.subject import Subject

SEQUENCES = 8
"""At most so many sequences of a text are read: a sample is enough for a mean."""


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What a model's weights say, and what it does on a text."""

    title: str
    tau: float
    preferences: Mapping[int, Mixture]
    """PolyGLU's routing by its preferences alone, by layer; empty without PolyGLU."""
    on_text: Mapping[int, Mixture]
    """Its routing on the text, by layer; empty without a text."""
    experts: Mapping[int, ExpertLoad]
    """Of a mixture of experts, on the text, by layer; empty without one or without a text."""
    has_experts: bool
    """Whether there are experts, of which nothing shows without a text."""
    tokens: int
    """Of the text."""
    spectra: Mapping[str, Spectrum]
    """Of the embeddings, by name."""


def look_inside(subject: Subject, text: str | None = None) -> Findings:
    """Measures everything there is to measure.

    Args:
        subject: the model.
        text: that its routing is measured on; None for none.

    Raises ValueError if a text cannot be used, or the model has diverged.
    """
    mixtures: Mapping[int, Mixture] = {}
    experts: Mapping[int, ExpertLoad] = {}
    tokens = 0
    if text is not None:
        tokens_BT = _tokens(subject, text)
        tokens = tokens_BT.numel()
        assert subject.trained is not None
        mixtures = on_text(subject.trained.model, tokens_BT)
        experts = expert_loads(subject.trained.model, tokens_BT)
    return Findings(
        title=subject.title,
        tau=subject.tau,
        preferences={
            layer: by_preference(alpha_FK, tau=subject.tau)
            for layer, alpha_FK in subject.alphas_FK.items()
        },
        on_text=mixtures,
        experts=experts,
        has_experts=subject.trained is not None and subject.trained.config.n_experts is not None,
        tokens=tokens,
        spectra={name: spectrum(matrix) for name, matrix in subject.embeddings_VD.items()},
    )


def _tokens(subject: Subject, text: str) -> Tensor:
    """The text [B, T] in sequences as long as the context, or one shorter one."""
    trained = subject.trained
    if trained is None:
        raise ValueError(
            "weights in the paper's form can only be looked at, not run; leave out the text"
        )
    ids = trained.tokenizer.encode(text, add_special_tokens=False).ids
    if not ids:
        raise ValueError("the text is empty; give one with words in it")
    ids = [trained.end_of_text, *ids]
    context = trained.config.context
    whole = min(len(ids) // context, SEQUENCES)
    device = next(trained.model.parameters()).device
    if not whole:
        return torch.tensor([ids], device=device)
    return torch.tensor(ids[: whole * context], device=device).view(whole, context)
