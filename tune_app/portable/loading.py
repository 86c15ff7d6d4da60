"""Loads an exported model:

from tune_app.portable.loading import load

print(load("exports/quick").generate("The film"))
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from tokenizers import Tokenizer
from torch import Tensor

from data.tokenizers.base import with_plain_special_tokens
from model.mup import Scales
from model.network.transformer import Transformer
from model.sizing.counts import count_parameters
from model.spec import ModelConfig
from tune_app.portable.format import (
    OPTIMIZER_FILE,
    TOKENIZER_FILE,
    WEIGHTS_FILE,
    ExportConfig,
    ExportError,
)
from tune_app.portable.text_model import TextModel

LARGEST_CONTEXT = 1 << 20
"""A context is in no weight's shape, so nothing else bounds what a damaged one allocates."""


@dataclass(frozen=True, kw_only=True)
class ExportedModel(TextModel):
    """A model that was loaded from an export."""

    export: ExportConfig = field(repr=False)
    """What its config.json says."""


def load(folder: str | Path, *, device: str = "cpu") -> ExportedModel:
    """The model in a folder that `stellux export` wrote. Its logits are the trained model's.

    No code in the folder is run, and the global random generators stay as they are.

    Raises ExportError, which is a ValueError, for a folder that is no export, is not complete, is
    damaged or was written by a newer version.
    """
    folder = Path(folder).expanduser()
    export = ExportConfig.read(folder)
    weights = _weights(export.content(folder, WEIGHTS_FILE), folder / WEIGHTS_FILE)
    model = built(export.model, export.scales, weights).to(device)
    model.set_progress(export.progress)
    tokenizer = _tokenizer(export, folder)
    return ExportedModel(
        model=model,
        tokenizer=tokenizer,
        tokenizer_kind=str(export.tokenizer["kind"]),
        end_of_text=export.end_of_text,
        export=export,
    )


def load_moments(folder: str | Path) -> dict[str, dict[str, Tensor]]:
    """The optimiser's state in an export, by the names of the parameters.

    Raises ExportError if the export was written without, or is damaged.
    """
    folder = Path(folder).expanduser()
    export = ExportConfig.read(folder)
    if OPTIMIZER_FILE not in export.files:
        raise ExportError(
            f"{folder} has no state of the optimiser; write the export with `stellux export "
            "--optimizer`, or start with the weights alone"
        )
    path = folder / OPTIMIZER_FILE
    found: dict[str, dict[str, Tensor]] = {}
    for name, tensor in _weights(export.content(folder, OPTIMIZER_FILE), path).items():
        kind, _, parameter = name.partition(":")
        found.setdefault(parameter, {})[kind] = tensor
    return found


def built(config: ModelConfig, scales: Scales, weights: dict[str, Tensor]) -> Transformer:
    """The model with these weights. Raises ExportError if they do not fit its configuration."""
    if config.context > LARGEST_CONTEXT:
        raise ExportError(
            f"the export has a context of {config.context:,} tokens; at most {LARGEST_CONTEXT:,} "
            "can be loaded"
        )
    # Before anything of the configuration's sizes is allocated.
    stored = sum(tensor.numel() for tensor in weights.values())
    if stored < (needed := count_parameters(config).total):
        raise ExportError(
            f"the export has {stored:,} weights, but its configuration {needed:,}: export it again"
        )
    with torch.random.fork_rng(devices=[]):
        model = Transformer(config, scales=scales)
    wanted, found = _shapes(model.state_dict()), _shapes(weights)
    names = sorted(wanted.keys() | found.keys())
    if wrong := [name for name in names if wanted.get(name) != found.get(name)]:
        raise ExportError(
            f"the weight {wrong[0]} is {found.get(wrong[0], 'not there')}; the configuration asks "
            f"for {wanted.get(wrong[0], 'none of this name')}: export it again"
        )
    model.load_state_dict(weights)
    return model.eval()


def _shapes(weights: dict[str, Tensor]) -> dict[str, str]:
    return {
        name: f"{tuple(one.shape)} of {str(one.dtype).removeprefix('torch.')}"
        for name, one in weights.items()
    }


def _weights(content: bytes, path: Path) -> dict[str, Tensor]:
    try:
        return safetensors.torch.load(content)
    except (SafetensorError, ValueError, KeyError) as error:
        raise ExportError(f"{path} holds no weights ({error}); export it again") from error


def _tokenizer(export: ExportConfig, folder: Path) -> Tokenizer:
    path, content = folder / TOKENIZER_FILE, export.content(folder, TOKENIZER_FILE)
    try:
        tokenizer = with_plain_special_tokens(Tokenizer.from_str(content.decode()))
    except Exception as error:  # the library raises nothing narrower
        raise ExportError(f"{path} is not a tokenizer.json ({error}); export it again") from error
    size = 1 + max(tokenizer.get_vocab(with_added_tokens=True).values(), default=-1)
    if size != export.model.vocab_size or not 0 <= export.end_of_text < size:
        raise ExportError(
            f"{path} has {size:,} tokens, but the model {export.model.vocab_size:,} and "
            f"{export.end_of_text} for end-of-text; it is another model's: export it again"
        )
    return tokenizer
