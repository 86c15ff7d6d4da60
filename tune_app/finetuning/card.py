"""MODEL_CARD.md of a fine-tuned model, from finetuning.json alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from tune_app.evaluation.model_card import FILTERS, safe


def finetuned_card(values: Mapping[str, Any], *, folder: str) -> str:
    """The card.

    Args:
        values: the content of finetuning.json.
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
    return environment.get_template("finetuned_card.md.jinja").render(
        **{"origin" if name == "from" else name: value for name, value in values.items()},
        last=values["reports"][-1],
        folder=folder,
    )
