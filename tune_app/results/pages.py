"""What all HTML pages share: their templates, their look, and the charts in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from tune_app.results.charts.chart import Chart


def page_environment(folder: Path) -> Environment:
    """Templates of a folder, beside those that all pages share. Text of a sweep stays text."""
    return Environment(
        loader=FileSystemLoader([folder, Path(__file__).parent]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def chart_content(chart: Chart) -> dict[str, Any]:
    """A chart for the macro `figure`."""
    return {
        "name": chart.name,
        "title": chart.title,
        "caption": chart.caption,
        "height": chart.height,
        "json": Markup(chart.as_json()),
    }
