"""Where a chaos run works: a small corpus, a space of small models, sweeps and their journals."""

from __future__ import annotations

import json
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.cluster import LocalCluster
from tests.chaos.driver import Driver
from tune_app.journal.journal import Journal
from tune_app.sweep.folder import JOURNAL

EXPANSIONS = (2.0, 2.5, 2.66, 2.8, 3.0)
"""Each gives another model of 60k parameters; the seeds multiply them."""

_SPACE = """
AXES = {{"glu_expansion": {expansions}}}
FIXED = {{
    "target_parameters": 60_000, "vocab_size": 512, "n_heads": 2, "context": 32,
    "tokens": {tokens}, "batch_size": 4, "evaluations": {evaluations}, "evaluation_bytes": 4_096,
    "learning_rate": 1e-2, "corpus": {corpus!r},
}}
SCHEDULER = {{"reduction_factor": 2, "grace_fraction": 0.25}}
KILL_RULE = {{"span_fraction": 0.3}}
"""

_MODULES = {
    "train": ("argparse", "ast", "calendar", "datetime", "doctest", "inspect", "tarfile"),
    "valid": ("csv", "textwrap", "heapq"),
    "test": ("bisect", "queue"),
}


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much a sweep trains. Cells are as many as expansions × seeds."""

    tokens: int
    """A cell."""
    seeds: int
    expansions: tuple[float, ...] = EXPANSIONS
    evaluations: int = 20

    @property
    def cells(self) -> int:
        return len(self.expansions) * self.seeds


class Workspace:
    """A folder with all that the sweeps of a chaos run need.

    Args:
        folder: new or empty.
        size: of each sweep.
    """

    def __init__(self, folder: Path, size: Size) -> None:
        self.folder = folder
        self.size = size
        self.results = folder / "runs"
        self._space = folder / "chaos.py"
        corpus = folder / "corpus"
        corpus.mkdir(parents=True)
        write_corpus(corpus)
        self._space.write_text(space_text(size, str(corpus)), "utf-8")

    @property
    def environment(self) -> dict[str, str]:
        """What every process of the run needs to know."""
        return {"STELLUX_CACHE": str(self.folder / "cache"), "COLUMNS": "120"}

    def driver(
        self, name: str, cluster: LocalCluster, *options: str, cells_at_once: int, interval: float
    ) -> Driver:
        """The command line of a sweep on a cluster; it is not started."""
        seeds = [word for seed in range(self.size.seeds) for word in ("--seeds", str(seed))]
        arguments = [
            *(str(self._space), "--name", name, "--results", str(self.results), *seeds),
            *("--address", cluster.address, "--cells-at-once", str(cells_at_once)),
            *("--checkpoint-every", f"{interval:g}", *options),
        ]
        return Driver(arguments, environment=cluster.environment, log=self.folder / f"{name}.log")

    def path(self, name: str) -> Path:
        """The journal of a sweep."""
        return self.results / name / JOURNAL

    def journal(self, name: str) -> Journal:
        return Journal.open(self.path(name), read_only=True)


def space_text(size: Size, corpus: str) -> str:
    """The search space's file."""
    return _SPACE.format(
        expansions=list(size.expansions),
        tokens=size.tokens,
        evaluations=size.evaluations,
        corpus=corpus,
    )


def write_corpus(folder: Path) -> None:
    """A little real text: a few modules of the standard library."""
    library = Path(sysconfig.get_path("stdlib"))
    for split, modules in _MODULES.items():
        texts = [(library / f"{name}.py").read_text("utf-8") for name in modules]
        lines: Sequence[str] = [json.dumps({"text": text}) for text in texts]
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
