"""Loads a cell's trained model, with its tokenizer, from a checkpoint.

For example, with a name from the column `checkpoint` of runs/quick/results.csv:

    from tune_app import load_model

    trained = load_model("checkpoints/3f2a…/153600-0c5e….pt", folder="runs/quick")
    tokens = trained.tokenizer.encode("def main", add_special_tokens=False).ids
    logits_BTV = trained.model(torch.tensor([[trained.end_of_text, *tokens]]))
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor

from model.mup import Scales
from model.network.transformer import Transformer
from model.sizing.counts import count_parameters
from model.spec import ModelConfig
from model.training.optimizers import optimizer_of
from model.training.settings import TrainingConfig
from model.training.warm_start import moments_of
from tune_app.devices import checked_device
from tune_app.journal.records import Observation
from tune_app.stores.base import NotStoredError, Store, StoreError
from tune_app.stores.open import open_store, store_and_name
from tune_app.stores.path import PathStore
from tune_app.trial.checkpoint_file import UNREADABLE, Digest, Manifest, mismatch, unpacked
from tune_app.trial.former_states import NewerStateError, in_todays_form
from tune_app.trial.tokenizer_files import (
    TokenizerError,
    TokenizerIdentity,
    find_tokenizer,
    parsed,
)

_LARGEST_CONTEXT = 1 << 20
"""A context is in no weight's shape, so nothing else bounds what a damaged one allocates."""


class CheckpointError(ValueError):
    """A checkpoint from which no model can be loaded; the message says why."""


@dataclass(frozen=True, kw_only=True)
class TrainedModel:
    """A cell's model as it was trained."""

    model: Transformer
    """In evaluation mode and fp32. `model(tokens_BT)` gives the logits [B, T, V]."""
    tokens: int
    """Trained, of its own tokenizer."""
    cell: Mapping[str, Any]
    """The cell's values: model, training, corpus, seed. Empty for older checkpoints."""
    observation: Observation | None
    """The last evaluation before the checkpoint."""
    identity: TokenizerIdentity | None
    """Of its tokenizer; None for older checkpoints."""
    _tokenizer: Tokenizer | None = field(repr=False)
    _searched: str = field(repr=False)

    @property
    def config(self) -> ModelConfig:
        """The sizes of the model."""
        return self.model.config

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer that the model was trained with.

        Raises TokenizerError if it was not found beside the checkpoint.
        """
        if self._tokenizer is None:
            raise TokenizerError(
                f"the tokenizer of this checkpoint was not found ({self._searched}); "
                "pass the path of its tokenizer.json: load(…, tokenizer=…)"
            )
        return self._tokenizer

    @property
    def end_of_text(self) -> int:
        """The token before each document. Raises TokenizerError for older checkpoints."""
        if self.identity is None:
            raise TokenizerError("this checkpoint is older than the record of its tokenizer")
        return self.identity.end_of_text

    def logits(self, text: str) -> Tensor:
        """Logits [T + 1, V]: after the start of a document, and after each of the text's T tokens.

        Raises ValueError if the text is longer than the context, TokenizerError if the tokenizer
        was not found.
        """
        tokens = self.tokenizer.encode(text, add_special_tokens=False).ids
        if len(tokens) >= self.config.context:
            raise ValueError(
                f"the text has {len(tokens)} tokens; at most {self.config.context - 1} fit into "
                f"the context of {self.config.context}, after the start of the document"
            )
        device = next(self.model.parameters()).device
        tokens_BT = torch.tensor([[self.end_of_text, *tokens]], device=device)
        with torch.inference_mode():
            logits_BTV: Tensor = self.model(tokens_BT)
        return logits_BTV[0]


def load(
    checkpoint: str | Path,
    *,
    folder: str | Path = ".",
    tokenizer: str | Path | None = None,
    baseline: ModelConfig | None = None,
    device: str = "cpu",
) -> TrainedModel:
    """The trained model in a checkpoint, with its tokenizer. Its logits are the trained model's.

    No code in the file is run, and the global random generators stay as they are.

    Args:
        checkpoint: path or URL of a `.pt` file, as the column `checkpoint` of results.csv has it.
        folder: where a relative path starts; for that column, the folder of the sweep.
        tokenizer: path of its tokenizer.json; None looks for it in the folders above the
            checkpoint, or in its store.
        baseline: sizes of the cell's baseline, for checkpoints of before they were recorded; a
            journal has them (`CellRecord.solved`). Others ignore it.
        device: `cpu`, `cuda`, `cuda:1`, `mps`, or `auto` for a GPU if there is one.

    Raises CheckpointError if there is no such file, if it is damaged, cut off, written by a newer
    version or something else than a checkpoint; TokenizerError for another tokenizer than it was
    trained with; StoreError if a remote store does not answer; ValueError if the machine has no
    such device.
    """
    device = checked_device(device)
    where = str(checkpoint)
    store, name = _place(where if "://" in where else str(Path(folder, Path(where).expanduser())))
    try:
        state = _state(store, name, baseline)
        identity = None
        if state.get("tokenizer") is not None:
            identity = TokenizerIdentity.from_values(state["tokenizer"])
        stores = list(_searched(store, name))
        model = _model(state["training"]).to(device)
        found = _tokenizer(identity, tokenizer, stores)
        if found is not None and (size := _size(found)) != model.config.vocab_size:
            raise TokenizerError(
                f"the tokenizer has {size:,} tokens, but the model {model.config.vocab_size:,}; "
                "pass the one that it was trained with"
            )
        loaded = TrainedModel(
            model=model,
            tokens=state["training"]["tokens"],
            cell=state.get("cell", {}),
            observation=_observation(state),
            identity=identity,
            _tokenizer=found,
            _searched=f"searched {', '.join(one.url for one in stores)}"
            if identity is not None
            else "the checkpoint is older than the record of it",
        )
    except (CheckpointError, TokenizerError, StoreError):
        raise
    except NewerStateError as error:
        raise CheckpointError(f"{checkpoint}: {error}") from error
    except UNREADABLE as error:
        raise CheckpointError(
            f"{checkpoint} is no checkpoint of a cell: {_first(error)}"
        ) from error
    finally:
        store.close()
    return loaded


def load_moments(
    checkpoint: str | Path, *, folder: str | Path = ".", baseline: ModelConfig | None = None
) -> dict[str, dict[str, Tensor]]:
    """The optimiser's state in a checkpoint, by the names of the parameters.

    Args and errors as of `load`.
    """
    where = str(checkpoint)
    store, name = _place(where if "://" in where else str(Path(folder, Path(where).expanduser())))
    try:
        training = _state(store, name, baseline)["training"]
        model = _model(training)
        optimizer = optimizer_of(model, TrainingConfig(**training["training"]))
        optimizer.load_state_dict(training["optimizer"])
        return moments_of(model, optimizer)
    except (CheckpointError, StoreError):
        raise
    except UNREADABLE as error:
        raise CheckpointError(
            f"{checkpoint} holds no state of an optimiser: {_first(error)}"
        ) from error
    finally:
        store.close()


def _place(checkpoint: str) -> tuple[Store, str]:
    """The store of a checkpoint, and the checkpoint's name in it."""
    if not checkpoint.endswith(".pt"):
        raise CheckpointError(
            f"{checkpoint} is not the name of a checkpoint's file; it ends in .pt, as the column "
            "checkpoint of results.csv has it"
        )
    url, name = store_and_name(checkpoint)
    store = open_store(url)
    if isinstance(store, PathStore) and not (Path(store.url) / name).is_file():
        raise CheckpointError(f"there is no checkpoint {store.url}/{name}")
    return store, name


def _state(store: Store, name: str, baseline: ModelConfig | None) -> Mapping[str, Any]:
    """The state of a trial in today's form, checked against its manifest where there is one."""
    manifest = None
    with contextlib.suppress(NotStoredError):
        manifest = Manifest(**json.loads(store.read(f"{name.removesuffix('.pt')}.json")))
    try:
        with store.reading(name) as file:
            reason = None if manifest is None else mismatch(manifest, Digest.of(file))
            if reason is not None:
                raise CheckpointError(
                    f"{store.url}/{name} is damaged: {reason}; copy it again, or load an older one"
                )
            state = unpacked(file)
    except NotStoredError as error:
        raise CheckpointError(f"there is no checkpoint {name} in {store.url}") from error
    except CheckpointError:
        raise
    except UNREADABLE as error:
        raise CheckpointError(
            f"{store.url}/{name} is cut off, or no checkpoint of PyTorch: {_first(error)}"
        ) from error
    if isinstance(state, dict) and "baseline" not in state and baseline is not None:
        state["baseline"] = baseline.values()
    state = in_todays_form(state, cell=name.partition("/")[0])
    training = state.get("training") if isinstance(state, Mapping) else None
    if not isinstance(training, Mapping) or not {"config", "model"} <= training.keys():
        raise CheckpointError(
            f"{store.url}/{name} holds no model of a cell; only checkpoints of `stellux sweep` and "
            "`stellux trial` can be loaded"
        )
    checked: Mapping[str, Any] = state
    if "scales" not in training:
        raise CheckpointError(
            f"{store.url}/{name} records neither its multipliers nor its baseline, because an old "
            "version wrote it; pass the baseline's sizes, which the sweep's journal has: "
            "load(…, baseline=…)"
        )
    return checked


def _model(training: Mapping[str, Any]) -> Transformer:
    """The model with its weights. Raises CheckpointError if these do not fit its configuration."""
    config, weights = ModelConfig(**training["config"]), training["model"]
    # Before anything of the configuration's sizes is allocated.
    stored = sum(tensor.numel() for tensor in weights.values())
    if stored != (wanted := count_parameters(config).total):
        raise CheckpointError(
            f"the checkpoint has {stored:,} weights, but its configuration {wanted:,}"
        )
    if config.context > _LARGEST_CONTEXT:
        raise CheckpointError(f"the checkpoint has a context of {config.context:,} tokens")
    with torch.random.fork_rng(devices=[]):
        model = Transformer(config, scales=Scales.from_values(training["scales"]))
    expected = {name: tuple(one.shape) for name, one in model.state_dict().items()}
    found = {name: tuple(one.shape) for name, one in weights.items()}
    if wrong := sorted(name for name in expected | found if expected.get(name) != found.get(name)):
        raise CheckpointError(
            f"the weight {wrong[0]} of the checkpoint has the shape {found.get(wrong[0])}; its "
            f"configuration asks for {expected.get(wrong[0])}"
        )
    model.load_state_dict(weights)
    model.set_progress(training["tokens"] / training["training"]["tokens"])
    return model.eval()


def _observation(state: Mapping[str, Any]) -> Observation | None:
    values = state.get("observation")
    return None if values is None else Observation.from_values(values)


def _tokenizer(
    identity: TokenizerIdentity | None, path: str | Path | None, stores: list[Store]
) -> Tokenizer | None:
    if path is None:
        return None if identity is None else find_tokenizer(identity, stores)
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise TokenizerError(f"{path} cannot be read: {error.strerror}") from error
    if identity is None:
        return parsed(content, origin=str(path))
    return identity.parsed(content, origin=str(path))


def _size(tokenizer: Tokenizer) -> int:
    """Ids from 0 to the greatest, of which some may have no token."""
    return 1 + max(tokenizer.get_vocab(with_added_tokens=True).values(), default=-1)


def _searched(store: Store, name: str) -> Iterator[Store]:
    """Where a tokenizer may be: in the store, and, for a folder, in the folders around it."""
    yield store
    if isinstance(store, PathStore):
        folder = Path(store.url)
        yield PathStore(folder / name.rpartition("/")[0])
        yield PathStore(folder.parent)


def _first(error: BaseException) -> str:
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__
