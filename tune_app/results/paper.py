"""Tables fit for a paper: each as CSV and as LaTeX (booktabs), with the numbers as shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tune_app.journal.records import ENDED_EARLY
from tune_app.results import sections
from tune_app.results.summary import SweepResults
from tune_app.results.tables import write_csv
from tune_app.results.whole_files import replacing

FOLDER = "tables"

_LATEX: Mapping[str, str] = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    # What pdfLaTeX does not know as text.
    "×": r"$\times$",
    "−": r"$-$",
    "±": r"$\pm$",
    "≈": r"$\approx$",
    "≥": r"$\geq$",
    "≤": r"$\leq$",
    "σ": r"$\sigma$",
    "₁": r"$_1$",
    "₂": r"$_2$",
    "→": r"$\rightarrow$",
    "…": r"\dots{}",
}


@dataclass(frozen=True, kw_only=True)
class PaperTable:
    """A table as text."""

    name: str
    """Of its files."""
    caption: str
    columns: tuple[str, ...]
    """The first is text, the others are aligned to the right."""
    rows: tuple[tuple[str, ...], ...]


def paper_tables(results: SweepResults) -> list[PaperTable]:
    """The ranking, and the stopped cells; those without rows are left out."""
    found = (_ranking(results), _stopped(results))
    return [table for table in found if table.rows]


def write_paper_tables(tables: Sequence[PaperTable], folder: Path) -> list[Path]:
    """Writes `NAME.csv` and `NAME.tex` for each; returns their paths."""
    paths = []
    for table in tables:
        rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
        as_csv, as_tex = (folder / f"{table.name}.{end}" for end in ("csv", "tex"))
        write_csv(rows, as_csv)
        with replacing(as_tex) as temporary:
            temporary.write_text(latex(table), encoding="utf-8")
        paths += [as_csv, as_tex]
    return paths


def latex(table: PaperTable) -> str:
    r"""The table for `\usepackage{booktabs}`, to be read with `\input`."""
    lines = [
        r"% \usepackage{booktabs}",
        r"\begin{table}",
        r"  \centering",
        rf"  \caption{{{latex_text(table.caption)}}}",
        rf"  \label{{tab:{table.name.replace('_', '-')}}}",
        rf"  \begin{{tabular}}{{l{'r' * (len(table.columns) - 1)}}}",
        r"    \toprule",
        f"    {_line(table.columns)}",
        r"    \midrule",
        *(f"    {_line(row)}" for row in table.rows),
        r"    \bottomrule",
        r"  \end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def latex_text(text: str) -> str:
    """Text that LaTeX sets as it is, on one line."""
    return "".join(_LATEX.get(letter, letter) for letter in " ".join(text.split()))


def _line(fields: Sequence[str]) -> str:
    return " & ".join(map(latex_text, fields)) + r" \\"


def _ranking(results: SweepResults) -> PaperTable:
    seeds, noise = len(results.sweep.seeds) > 1, sections.noise_of(results)
    columns = {
        "cell": "label",
        "bits per byte": "score",
        **({"±": "deviation", "seeds": "seeds"} if seeds else {}),
        "perplexity": "perplexity",
        "gap": "gap",
        **({"behind": "behind"} if noise else {}),
        "parameters": "parameters",
        "share": "share",
        "d_model × layers": "shape",
        "d_ff": "inner",
        "FLOPs": "flops",
    }
    shown = [
        sections.ranked_row(results, place, design)
        for place, design in enumerate(results.ranking, 1)
    ]
    caption = f"{sections.subtitle_of(results)}: bits per byte on the full dev split"
    if noise:
        caption += f"; ≈: not told apart from the first, {noise['text']}"
    return PaperTable(
        name="ranking",
        caption=f"{caption}.",
        columns=tuple(columns),
        rows=tuple(tuple(str(row[name]) for name in columns.values()) for row in shown),
    )


def _stopped(results: SweepResults) -> PaperTable:
    columns = {
        "cell": "label",
        "by": "rule",
        "tokens": "tokens",
        "bits per byte": "score",
        "gap": "gap",
    }
    shown = [sections.stopped_row(results, cell) for cell in results.with_status(*ENDED_EARLY)]
    return PaperTable(
        name="stopped",
        caption="Cells stopped before the end: scores on the sample of dev documents when stopped, "
        "gaps to the baseline at equal tokens. Not ranked.",
        columns=tuple(columns),
        rows=tuple(tuple(str(row[name]) for name in columns.values()) for row in shown),
    )
