"""Facts wrap at words on a terminal, and stay whole elsewhere."""

from __future__ import annotations

import io

from rich.console import Console

from tune_app.terminal.facts import print_facts

FACTS = [
    ("scheduler", "asha, best 1/2 of the earlier arrivals at 37,500, 75,000 tokens"),
    ("kill rule", "stop at ≥ 0.5 ppl worse than the baseline for 30,000 tokens (4 evaluations)"),
    ("note", "a corpus may be called [/red]"),
]
HEAD = (
    "Sweep quick: 12 cells, 150k tokens each, on the corpus of a path with many words in it, there"
)


def printed(*, terminal: bool, width: int = 80) -> list[str]:
    output = io.StringIO()
    console = Console(file=output, force_terminal=terminal, width=width, color_system=None)
    print_facts(console, HEAD, FACTS)
    return [line.rstrip() for line in output.getvalue().splitlines()]


def test_a_terminal_breaks_lines_between_words_and_indents_them() -> None:
    lines = printed(terminal=True)
    assert max(map(len, lines)) <= 80
    assert " ".join(" ".join(lines).split()) == " ".join(
        [HEAD, *(f"{name} {text}" for name, text in FACTS)]
    )
    wrapped = [line for line in lines if line.endswith("evaluations)")]
    assert len(wrapped) == 1
    assert wrapped[0].startswith(" " * 13)


def test_a_file_gets_each_fact_on_one_line() -> None:
    assert printed(terminal=False) == [
        HEAD,
        *(f"  {name:<10} {text}" for name, text in FACTS),
    ]
