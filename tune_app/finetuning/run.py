"""A fine-tuning from start to end: reads, trains, shows its progress, writes the export."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from data.conversations.packing import PackedConversations
from data.conversations.reading import ConversationFile, read_conversations
from tune_app import formats
from tune_app.evaluation.exporting import CARD_FILE, Exportable, refuse_existing, write_export
from tune_app.evaluation.recording import METRICS_FILE
from tune_app.finetuning.card import finetuned_card, finetuned_metrics
from tune_app.finetuning.settings import FineTuneSettings
from tune_app.finetuning.tuning import FineTuning, Report, run_key
from tune_app.portable.format import ExportError
from tune_app.portable.loading import ExportedModel, load, load_moments
from tune_app.stores.open import open_store
from tune_app.trial.checkpoint_interval import CheckpointTiming
from tune_app.trial.checkpoints import Checkpoints

FINETUNING_FILE = "finetuning.json"
DEFAULT_STORE = "runs/finetuned"
_SLICE_SECONDS = 0.5
"""Longest training between two looks at whether it is asked to end."""


@dataclass(frozen=True, kw_only=True)
class FineTuneOptions:
    """What the command line asks for."""

    data: Path
    dev: Path | None = None
    """Conversations to score; None scores those that are learned."""
    to: Path | None = None
    """The new folder; None for one beside the export."""
    settings: FineTuneSettings = field(default_factory=FineTuneSettings)
    keep_optimizer: bool = False
    """Whether to go on with the optimiser's state, and to write it again."""
    checkpoints: str = DEFAULT_STORE
    checkpoint_every: float | None = None
    device: str = "cpu"


def finetune(
    name: Path,
    options: FineTuneOptions,
    *,
    console: Console,
    asked_to_end: Callable[[], AbstractContextManager[Callable[[], bool]]],
) -> int:
    """Fine-tunes an export; returns the exit code, 1 if it diverged.

    Raises ValueError for an export or data that cannot be used, KeyboardInterrupt, once it is
    saved, if asked to end.
    """
    name = name.expanduser()
    target = (options.to or name.with_name(f"{name.name}-tuned")).expanduser()
    refuse_existing(target)
    export = load(name)
    moments = load_moments(name) if options.keep_optimizer else None
    data = read_conversations(options.data)
    dev = None if options.dev is None else read_conversations(options.dev)
    packed = _packed(data, export, options.settings)
    scored = None if dev is None else _packed(dev, export, options.settings)
    for file, one in ((data, packed), (dev, scored)):
        if file is not None and one is not None:
            _say(console, _told(file, one))
    key = run_key(
        export,
        options.settings,
        data=data.sha256,
        dev=None if dev is None else dev.sha256,
        warm=moments is not None,
    )
    store = open_store(options.checkpoints)
    try:
        store.check()
        tuning = FineTuning(
            export,
            options.settings,
            packed,
            scored=scored,
            moments=moments,
            checkpoints=Checkpoints(store, cell=key),
            timing=CheckpointTiming(interval=options.checkpoint_every),
            device=options.device,
        )
        with asked_to_end() as asked:
            if not _train(tuning, console, asked):
                return 1
    finally:
        store.close()
    _write(tuning, export, options, target, name=name, data=(data, packed), dev=(dev, scored))
    _say(console, f"exported to {target}; `stellux generate {target} --chat …` talks with it")
    return 0


def _packed(
    file: ConversationFile, export: ExportedModel, settings: FineTuneSettings
) -> PackedConversations:
    return PackedConversations(
        file.conversations,
        export.tokenizer,
        end_of_text=export.end_of_text,
        context=export.config.context,
        batch_size=settings.batch_size,
        seed=settings.seed,
    )


def _told(file: ConversationFile, packed: PackedConversations) -> str:
    told = (
        f"{file.path}: {formats.counted(packed.conversations, 'conversation')} in "
        f"{formats.counted(packed.rows, 'sequence')} of {packed.context} tokens, "
        f"{packed.scored:,} of them the assistant's"
    )
    if lost := formats.listed(((packed.cut, "cut off at the end"), (packed.skipped, "left out"))):
        told += f"; longer than the context: {lost}"
    return told


def _train(tuning: FineTuning, console: Console, asked_to_end: Callable[[], bool]) -> bool:
    """Trains to the end; False if it diverged."""
    if tuning.resumed_from:
        _say(console, f"resumed at step {tuning.resumed_from:,}")
    _say(console, f"{'step':>8}{'train loss':>12}{'answer loss':>13}{'bits/byte':>11}")
    for earlier in tuning.reports:
        _say(console, _line(earlier))
    while not tuning.finished:
        if (report := tuning.advance(at_most=_SLICE_SECONDS)) is not None:
            _say(console, _line(report))
            if tuning.diverged:
                _say(console, "diverged: the loss is not finite; try a lower --learning-rate")
                return False
        if asked_to_end() and not tuning.finished:
            _say(console, "saving …")
            tuning.save()
            raise KeyboardInterrupt
    return True


def _line(report: Report) -> str:
    return (
        f"{report.step:>8,}{report.train_loss:>12.4f}{report.answer_loss:>13.4f}"
        f"{report.bits_per_byte:>11.4f}"
    )


def _write(
    tuning: FineTuning,
    export: ExportedModel,
    options: FineTuneOptions,
    target: Path,
    *,
    name: Path,
    data: tuple[ConversationFile, PackedConversations],
    dev: tuple[ConversationFile | None, PackedConversations | None],
) -> None:
    model = tuning.training.model.cpu().eval()
    values: dict[str, Any] = {
        "from": {"export": name.name, **export.export.source},
        "data": _values(*data),
        "dev": None if dev[0] is None or dev[1] is None else _values(dev[0], dev[1]),
        "settings": options.settings.values(),
        "kept_optimizer": options.keep_optimizer,
        "steps": tuning.steps,
        "tokens": tuning.training.tokens,
        "progress": export.model.progress.item(),
        "reports": [asdict(one) for one in tuning.reports],
    }
    metrics = finetuned_metrics(values, model.config)
    write_export(
        Exportable(
            model=model,
            tokenizer=export.tokenizer,
            tokenizer_values=export.export.tokenizer,
            end_of_text=export.end_of_text,
            parametrization=export.export.parametrization,
            moments=tuning.moments() if options.keep_optimizer else None,
        ),
        target,
        source={**export.export.source, "finetuned_from": name.name, "data": data[0].path.name},
        documents={
            FINETUNING_FILE: _as_json(values),
            METRICS_FILE: _as_json(metrics),
            CARD_FILE: finetuned_card(metrics, folder=target.name),
        },
    )


def _values(file: ConversationFile, packed: PackedConversations) -> dict[str, Any]:
    return {
        "file": file.path.name,
        "sha256": file.sha256,
        "conversations": packed.conversations,
        "sequences": packed.rows,
        "scored_tokens": packed.scored,
        "cut": packed.cut,
        "skipped": packed.skipped,
    }


def _as_json(values: Mapping[str, Any]) -> str:
    try:
        return json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    except ValueError as error:
        raise ExportError("a score is not finite, so nothing was exported") from error


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)
