"""Where the seconds of real cells go: two seeds of one shape, one after another in a sweep.

The first one pays for imports, for the start of the device and for compiled code; the second one
shows what each later cell of a shape takes.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch._inductor.utils import fresh_cache

from tune_app.api.running import run_sweep
from tune_app.journal.records import PHASES

TOKENS = 5_000_000
WAYS: Mapping[str, Mapping[str, Any]] = {
    "eager": {"compile": "off"},
    "eager, one graph": {"compile": "off", "cuda_graph": True},
    "compiled": {"compile": "on"},
    "compiled, a later sweep": {"compile": "on"},
}
"""A later sweep finds compiled code in the store, in a folder of Inductor that is empty."""


def trials(
    *, device: str = "cuda", ways: Mapping[str, Mapping[str, Any]] = WAYS, **settings: Any
) -> Iterator[str]:
    """The seconds of each cell by phase, and the share of them that is not training.

    Args:
        device: to train on.
        ways: of training, by name: settings of the cells, and `cuda_graph` of the sweep.
        settings: of all cells, in place of those of the 10M baseline.
    """
    yield "| | cell | " + " | ".join(f"{phase}, s" for phase in PHASES) + " | not training |"
    yield "|" + "---|" * (3 + len(PHASES))
    fixed = {"target_parameters": 10_000_000, "vocab_size": 16_000, "tokens": TOKENS, **settings}
    with tempfile.TemporaryDirectory(prefix="gpu-check-") as folder:
        for number, (name, way) in enumerate(ways.items()):
            own = {key: value for key, value in way.items() if key != "cuda_graph"}
            with fresh_cache():
                sweep = run_sweep(
                    {"AXES": {"glu_expansion": [2.66]}, "FIXED": {**fixed, **own}},
                    name=f"trials-{number}",
                    # A cell that another sweep trained would be taken over.
                    seeds=(2 * number, 2 * number + 1),
                    scheduler="none",
                    kill_rule="off",
                    results=Path(folder),
                    checkpoints=f"{folder}/store",
                    device=device,
                    cells_at_once=1,
                    cuda_graph=bool(way.get("cuda_graph")),
                    progress=False,
                )
            for place, row in enumerate(sweep.cells.to_dict("records")):
                seconds = [float(row[f"seconds_{phase}"] or 0.0) for phase in PHASES]
                training = seconds[PHASES.index("train")]
                yield (
                    f"| {name} | {('first', 'second')[place]} | "
                    + " | ".join(f"{one:.2f}" for one in seconds)
                    + f" | {1 - training / sum(seconds):.0%} |"
                )
