"""What is looked at: a trained model of this program, or the weights of a published PolyGLU."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from model.network.polyglu import PolyGLU, PublishedPolyGLU, temperature
from model.network.transformer import Transformer
from tune_app.trial.checkpoint_file import UNREADABLE
from tune_app.trial.trained import CheckpointError, TrainedModel

_PUBLISHED_ALPHA = re.compile(r"(?:^|\.)model_core\.(\d+)\.polyglu\.alpha$")
_PUBLISHED_EMBEDDING = re.compile(r"(?:^|\.)embeddings\.weight$")
_LAST_TEMPERATURE = 0.1
"""Of a published checkpoint that does not say its own."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What can be measured of a model from its weights alone, and the model to run on a text.

    Shapes: F neurons, K activations, V vocabulary, D width.
    """

    title: str
    tau: float
    """The temperature of its routing now."""
    alphas_FK: Mapping[int, Tensor]
    """PolyGLU's preferences by layer; empty for another feed-forward."""
    embeddings_VD: Mapping[str, Tensor]
    """What each token is embedded to, and what scores it, by name; one entry if they are one."""
    trained: TrainedModel | None = field(default=None, repr=False)
    """None for weights that this program cannot run."""

    @classmethod
    def of_trained(cls, trained: TrainedModel, *, title: str) -> Subject:
        """Of a model that a sweep or a trial has trained."""
        model = trained.model
        routed = {
            layer: block.feed_forward
            for layer, block in enumerate(model.blocks)
            if isinstance(block.feed_forward, (PolyGLU, PublishedPolyGLU))
        }
        return cls(
            title=title,
            tau=float(temperature(model.progress)),
            alphas_FK={layer: part.alpha_FK.detach() for layer, part in routed.items()},
            embeddings_VD=_embeddings(model),
            trained=trained,
        )


@torch.no_grad()
def _embeddings(model: Transformer) -> dict[str, Tensor]:
    """By what they do, so that it holds for every kind of embedding."""
    config, device = model.config, model.progress.device
    tokens_1V = torch.arange(config.vocab_size, device=device)[None]
    embedding_VD = model.embeddings.embed(tokens_1V, model.context(1))[0]
    identity_DD = torch.eye(config.d_model, device=device)
    features_DE, weight_VE = model.embeddings.output(identity_DD)
    head_VD = weight_VE @ features_DE.T
    if torch.allclose(head_VD, embedding_VD):
        return {"embedding": embedding_VD}
    return {"embedding": embedding_VD, "lm_head": head_VD}


def published_weights(path: Path) -> Subject | None:
    """The weights of a checkpoint with the paper's names (arXiv 2603.13347), read without running
    code in it; None if the file has no such names.

    Raises CheckpointError if the file cannot be read as one of PyTorch's.
    """
    try:
        state: Any = torch.load(path, weights_only=True, mmap=True, map_location="cpu")
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from error
    except UNREADABLE as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"{path} is cut off, or no checkpoint of PyTorch: {first}") from error
    weights = state.get("model_state_dict", state) if isinstance(state, Mapping) else {}
    if not isinstance(weights, Mapping):
        return None
    tensors = {name: one for name, one in weights.items() if isinstance(one, Tensor)}
    alphas = {
        int(found[1]): one.detach().float()
        for name, one in tensors.items()
        if (found := _PUBLISHED_ALPHA.search(str(name)))
    }
    if not alphas:
        return None
    tau = state.get("tau", _LAST_TEMPERATURE)
    if isinstance(tau, bool) or not isinstance(tau, (int, float)) or not tau > 0:
        raise CheckpointError(f"{path} has the temperature {tau!r}; it must be a positive number")
    for layer, alpha in alphas.items():
        if alpha.ndim != 2 or alpha.shape[1] != 4:
            raise CheckpointError(
                f"{path}: the preferences of layer {layer} have the shape {tuple(alpha.shape)}; "
                "expected a row of 4 for each neuron"
            )
    embeddings = [
        one
        for name, one in tensors.items()
        if _PUBLISHED_EMBEDDING.search(str(name)) and one.ndim == 2
    ]
    return Subject(
        title=path.name,
        tau=float(tau),
        alphas_FK=dict(sorted(alphas.items())),
        embeddings_VD=dict(zip(["embedding"], embeddings, strict=False)),
    )
