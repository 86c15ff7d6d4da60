"""Writes a portable export of a trained cell: whole and checked, or not at all."""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from tokenizers import Tokenizer
from torch import Tensor

from model.network.transformer import Transformer
from model.spec import ModelConfig
from tune_app.evaluation.llama import llama_config, llama_weights, tokenizer_config
from tune_app.plan.identity import completed
from tune_app.portable.format import (
    CONFIG_FILE,
    OPTIMIZER_FILE,
    TOKENIZER_FILE,
    WEIGHTS_FILE,
    ExportConfig,
    ExportError,
    FileRecord,
)
from tune_app.portable.loading import load
from tune_app.trial.trained import TrainedModel

CARD_FILE = "MODEL_CARD.md"

_TOLERANCE = 1e-5
"""Largest difference between the logits of the export and those of the model."""
_LLAMA_TOLERANCE = 1e-4
"""The same for transformers, whose products are in another order."""
_PROBE_TOKENS = 64
TRANSFORMERS = "transformers"
"""Name of the folder for that library."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Exportable:
    """A model with what an export says of it."""

    model: Transformer
    """On the CPU, in evaluation mode."""
    tokenizer: Tokenizer
    tokenizer_values: Mapping[str, Any]
    """Kind, size and options of the tokenizer."""
    end_of_text: int
    """The token before each document."""
    parametrization: str
    """The rule that the multipliers are from."""
    moments: Mapping[str, Mapping[str, Tensor]] | None = None
    """Of the optimiser, by parameter; None to leave them out."""

    @property
    def config(self) -> ModelConfig:
        """The sizes of the model."""
        return self.model.config

    @classmethod
    def of(
        cls, trained: TrainedModel, *, moments: Mapping[str, Mapping[str, Tensor]] | None = None
    ) -> Exportable:
        """A cell's model. Raises TokenizerError if its tokenizer is not known."""
        tokenizer, identity = trained.tokenizer, trained.identity
        assert identity is not None, "a tokenizer that was found has an identity"
        return cls(
            model=trained.model,
            tokenizer=tokenizer,
            tokenizer_values={
                "kind": identity.kind,
                "vocab_size": identity.vocab_size,
                "options": dict(identity.options),
            },
            end_of_text=trained.end_of_text,
            parametrization=str(completed(trained.cell)["parametrization"]),
            moments=moments,
        )


def write_export(
    trained: TrainedModel | Exportable,
    target: Path,
    *,
    source: Mapping[str, Any],
    documents: Mapping[str, str],
    transformers: bool = False,
) -> None:
    """Writes a model into a new folder, which appears once it was loaded again and compared.

    Args:
        trained: the model, on the CPU.
        target: the folder.
        source: where the model is from, for config.json; plain values.
        documents: further files by name.
        transformers: whether a folder of this name in it has the model for that library.

    Raises ExportError if the folder is there already or the reloaded model differs, TokenizerError
    if the tokenizer is not known, ValueError if transformers has no such model, OSError if it
    cannot be written.
    """
    target = target.expanduser()
    refuse_existing(target)
    exported = trained if isinstance(trained, Exportable) else Exportable.of(trained)
    tokenizer = exported.tokenizer.to_str(pretty=True).encode()
    contents = {
        WEIGHTS_FILE: _tensors(exported.model.state_dict()),
        TOKENIZER_FILE: tokenizer,
    }
    if exported.moments is not None:
        contents[OPTIMIZER_FILE] = _tensors(
            {
                f"{kind}:{parameter}": tensor
                for parameter, state in exported.moments.items()
                for kind, tensor in state.items()
            }
        )
    config = ExportConfig(
        model=exported.config,
        scales=exported.model.scales,
        parametrization=exported.parametrization,
        end_of_text=exported.end_of_text,
        tokenizer=exported.tokenizer_values,
        files={name: FileRecord.of(content) for name, content in contents.items()},
        source=source,
        progress=exported.model.progress.item(),
    )
    with _appearing(target) as folder:
        for name, content in contents.items():
            (folder / name).write_bytes(content)
        for name, text in documents.items():
            (folder / name).write_text(text, encoding="utf-8")
        if transformers:
            _write_llama(folder / TRANSFORMERS, exported, tokenizer)
        # The description is written last, so its presence means that everything is complete.
        (folder / CONFIG_FILE).write_text(config.as_json(), encoding="utf-8")
        _check(folder, exported)


def refuse_existing(target: Path) -> None:
    """Raises ExportError if there is such a folder."""
    if target.exists():
        raise ExportError(f"{target} exists already; remove it, or name another folder with --to")


def _tensors(tensors: Mapping[str, Tensor]) -> bytes:
    copies = {name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()}
    return safetensors.torch.save(copies, metadata={"format": "pt"})


@contextmanager
def _appearing(target: Path) -> Iterator[Path]:
    """A temporary folder that becomes `target` if the block ends without an error."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        temporary.rename(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write_llama(folder: Path, trained: Exportable, tokenizer: bytes) -> None:
    """The model as transformers loads it; compared if that library is installed."""
    weights = llama_weights(trained.model)
    end = trained.tokenizer.id_to_token(trained.end_of_text)
    assert end is not None, "the token before each document has a name"
    settings = {
        CONFIG_FILE: llama_config(trained.config, end_of_text=trained.end_of_text),
        "tokenizer_config.json": tokenizer_config(context=trained.config.context, end_of_text=end),
    }
    folder.mkdir()
    content = safetensors.torch.save(weights, metadata={"format": "pt"})
    (folder / WEIGHTS_FILE).write_bytes(content)
    (folder / TOKENIZER_FILE).write_bytes(tokenizer)
    for name, values in settings.items():
        (folder / name).write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    if importlib.util.find_spec("transformers") is None:
        logger.warning("transformers is not installed, so its folder was not loaded and compared")
        return
    from transformers import AutoModelForCausalLM  # noqa: PLC0415 - seconds, and optional

    theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokens_BT = _probe(trained)
    with torch.inference_mode():
        difference = (theirs(tokens_BT).logits - trained.model(tokens_BT)).abs().max().item()
    if not difference <= _LLAMA_TOLERANCE:
        raise ExportError(
            f"the logits in transformers differ from the model's by {difference:g}; at most "
            f"{_LLAMA_TOLERANCE:g} is allowed, so nothing was exported"
        )


def _probe(trained: Exportable) -> Tensor:
    """Tokens [1, T] whose logits are compared."""
    length = min(_PROBE_TOKENS, trained.config.context)
    return torch.arange(length)[None] * 7 % trained.config.vocab_size


def _check(folder: Path, trained: Exportable) -> None:
    """Raises ExportError unless the folder loads and has the model's logits and tokens."""
    exported = load(folder)
    tokens_BT = _probe(trained)
    with torch.inference_mode():
        difference = (exported.model(tokens_BT) - trained.model(tokens_BT)).abs().max().item()
    # Not `>`: it would let a NaN pass.
    if not difference <= _TOLERANCE:
        raise ExportError(
            f"the export's logits differ from the model's by {difference:g}; at most "
            f"{_TOLERANCE:g} is allowed, so nothing was exported"
        )
    probe = "An export has the same tokens: naïve, 東京.\n"
    ids = [
        one.encode(probe, add_special_tokens=False).ids
        for one in (exported.tokenizer, trained.tokenizer)
    ]
    if ids[0] != ids[1]:
        raise ExportError("the export's tokenizer gives other tokens; nothing was exported")
