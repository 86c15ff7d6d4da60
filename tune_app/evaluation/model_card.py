"""MODEL_CARD.md and summary.md, from a cell's metrics alone: metrics.json has every number."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from tune_app.evaluation.fields import HARNESS

UNKNOWN = "unknown"
_MIB = 1 << 20


def model_card(metrics: Mapping[str, Any], *, name: str, folder: str, prompt: str) -> str:
    """The card of a cell.

    Args:
        metrics: the content of metrics.json.
        name: the title.
        folder: where the example loads it from.
        prompt: of the example.
    """
    return _rendered("model_card.md.jinja", metrics, name=name, folder=folder, prompt=prompt)


def summary(metrics: Mapping[str, Any]) -> str:
    """summary.md: what a cell scored everywhere, from its metrics."""
    harness = [
        one
        for one in metrics["evaluations"]
        if any(name.startswith(HARNESS) for name in one["metrics"])
    ]
    return _rendered("summary.md.jinja", metrics, harness=harness)


def _rendered(template: str, metrics: Mapping[str, Any], **names: Any) -> str:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,  # Markdown: `safe` does what is needed
        finalize=safe,
    )
    environment.filters |= FILTERS
    return environment.get_template(template).render(**metrics, **names)


def safe(value: Any) -> Any:
    """A value that breaks no table and no line, or what is said in its place."""
    if value is None:
        return UNKNOWN
    return re.sub(r"[\r\n|`]+", " ", value) if isinstance(value, str) else value


def _known(form: Callable[[Any], str]) -> Callable[[Any], str]:
    def told(value: Any) -> str:
        return UNKNOWN if value is None else form(value)

    return told


def perplexity(value: float) -> str:
    """To two decimals; large ones to a whole number."""
    return f"{value:.2f}" if value < 1_000 else f"{value:,.0f}"


def latency(value: float) -> str:
    """Seconds, to a hundredth of a millisecond."""
    return f"{value:.5f} s"


def _four(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.4f}"


def told(evaluation: Mapping[str, Any]) -> str:
    """The result of one evaluation, in a table's cell."""
    found = evaluation["metrics"]
    if found.get("accuracy") is not None:
        return (
            f"accuracy {found['accuracy']:.3f} ± {found['accuracy_error']:.3f} "
            f"(majority {found['majority']:.3f}, chance {found['chance']:.3f}; "
            f"{found['examples']:,} examples)"
        )
    if found.get("bits_per_byte") is not None:
        error = found.get("bits_per_byte_error")
        interval = "" if error is None else f" ± {error:.4f}"
        return f"{found['bits_per_byte']:.4f}{interval} bits per byte"
    if harness := [name for name in found if name.startswith(HARNESS)]:
        return ", ".join(f"{name.removeprefix(HARNESS)} {_four(found[name])}" for name in harness)
    if found.get("tokens_per_second") is not None:
        memory = found.get("peak_memory_bytes")
        used = "" if memory is None else f", {memory / _MIB:,.1f} MiB at most"
        return f"{found['tokens_per_second']:,.0f} tokens/s{used}"
    if found.get("decode_seconds") is not None:
        return f"next token in {latency(found['decode_seconds'])} (median)"
    return UNKNOWN


FILTERS: Mapping[str, Callable[[Any], str]] = {
    "count": _known(lambda value: f"{value:,}"),
    "percent": _known(lambda value: f"{100 * value:.1f} %"),
    "ratio": _known(lambda value: f"{value:.3g}"),
    "share": _known(lambda value: f"{value:.3f}"),
    "bpb": _known(lambda value: f"{value:.4f}"),
    "signed": _known(lambda value: f"{value:+.4f}".replace("-", "\N{MINUS SIGN}")),
    "ppl": _known(lambda value: perplexity(value) if math.isfinite(value) else "infinite"),
    "seconds": _known(lambda value: f"{value:,.1f} s"),
    "latency": _known(latency),
    "scientific": _known(lambda value: f"{value:.3g}"),
    "rate": _known(lambda value: f"{value:,.0f} tokens/s"),
    "mib": _known(lambda value: f"{value / _MIB:,.1f} MiB"),
    "told": told,
}
