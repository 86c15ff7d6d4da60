"""Kernels that a training step and an evaluation ask of a GPU, counted without one.

A step is of 16 sequences, eager, the second one; an evaluation is of two batches. A kernel of many
tensors (_foreach_…, _fused_adamw_) counts once. Compiled code has fewer: what is between two
products becomes one.

python -m benchmarks.device_ops
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from cyclopts import App

from tests.gpu import traced_steps
from tests.gpu.fake_cuda import with_fake_cuda

CASES = (
    "default",
    "Muon",
    "feed_forward polyglu",
    "feed_forward moe",
    "moe on an RTX 4090",
    "gradient checkpointing",
)
STAGES = ("forward and backward", "optimizer", "evaluation")

app = App(name="python -m benchmarks.device_ops", help=__doc__, version_flags=[])


@app.default
def count(*, cases: Sequence[str] = CASES) -> None:
    """Count the kernels of a model of 10M parameters with 11 layers.

    Parameters
    ----------
    cases
        Names of what is traced, from tests/gpu/traced_steps.py; `all` for everything there but
        PolyGLU, whose tens of thousands of kernels take minutes to trace.
    """
    if list(cases) == ["all"]:
        cases = [name for name in traced_steps.cases() if "polyglu" not in name]
    found = json.loads(with_fake_cuda("tests.gpu.traced_steps", "large", *cases))
    print(f"| case | {' | '.join(STAGES)} | all of a step |\n|---|{'---|' * 4}")
    for name, case in found.items():
        kernels = [case["kernels"][stage] for stage in STAGES]
        numbers = " | ".join(f"{number:,}" for number in (*kernels, sum(kernels[:2])))
        print(f"| {name} | {numbers} | {case['refused']}")


if __name__ == "__main__":
    app()
