"""metrics.json and MODEL_CARD.md of a fine-tuned model: the card from the metrics alone."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from model.sizing.counts import count_parameters
from model.spec import ModelConfig
from tune_app.evaluation.fields import FIELDS, FINETUNING, SCHEMA_NAME, VERSION
from tune_app.evaluation.model_card import FILTERS, safe

_FP32_BYTES = 4


def finetuned_metrics(values: Mapping[str, Any], config: ModelConfig) -> dict[str, Any]:
    """The content of metrics.json; `tune_app.evaluation.fields.schema()` describes it.

    How the model was trained before is in the metrics of the export that it is from.

    Args:
        values: the content of finetuning.json.
        config: of the model.
    """
    groups: dict[str, dict[str, Any]] = {group: dict.fromkeys(FIELDS[group]) for group in FIELDS}
    counts, sizes = count_parameters(config), config.values()
    groups["model"] |= {name: sizes.get(name) for name in FIELDS["model"]} | {
        "parameters": counts.total,
        "embedding_share": counts.embedding_share,
        "expansion": config.expansion,
    }
    groups["memory"]["weights_bytes"] = _FP32_BYTES * counts.total
    origin = values["from"]
    groups["provenance"] |= {name: origin.get(name) for name in ("sweep", "cell", "label")} | {
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
    data, dev, settings, last = (
        *(values["data"], values["dev"], values["settings"]),
        values["reports"][-1],
    )
    return {
        "schema": SCHEMA_NAME,
        "version": VERSION,
        **groups,
        "evaluations": [],
        FINETUNING: {
            "export": origin["export"],
            "data": data["file"],
            "data_sha256": data["sha256"],
            **{
                name: data[name]
                for name in ("conversations", "sequences", "scored_tokens", "cut", "skipped")
            },
            "dev": None if dev is None else dev["file"],
            "dev_conversations": None if dev is None else dev["conversations"],
            "steps": values["steps"],
            "tokens": values["tokens"],
            **{
                name: settings[name]
                for name in ("epochs", "batch_size", "learning_rate", "schedule", "optimizer")
            },
            "optimizer_state": "with its state from before"
            if values["kept_optimizer"]
            else "begun anew",
            "seed": settings["seed"],
            "answer_loss": last["answer_loss"],
            "bits_per_byte": last["bits_per_byte"],
        },
    }


def finetuned_card(metrics: Mapping[str, Any], *, folder: str) -> str:
    """The card.

    Args:
        metrics: the content of metrics.json, which has every number of the card.
        folder: where the example loads it from.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,  # Markdown: `safe` does what is needed
        finalize=safe,
    )
    environment.filters |= FILTERS
    template = environment.get_template("finetuned_card.md.jinja")
    return template.render(model=metrics["model"], tuning=metrics[FINETUNING], folder=folder)
