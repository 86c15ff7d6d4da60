"""The examples in README.md, for tests that run them."""

from __future__ import annotations

from pathlib import Path


def python_of_the_readme(heading: str) -> str:
    """The first Python block below a heading, such as `## Your own space`."""
    text = (Path(__file__).parents[1] / "README.md").read_text("utf-8")
    _, found, section = text.partition(f"\n{heading}\n")
    assert found, f"README.md has no heading {heading!r}"
    return section.partition("\n## ")[0].partition("```python\n")[2].partition("```")[0]
