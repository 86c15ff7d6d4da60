"""A sweep on a machine whose one GPU is made up: Ray shares it out, and cells train on the CPU.

python -m tests.tune_app.sweep.fake_gpu_sweep SPACE …
"""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import partial
from typing import Any
from unittest.mock import patch

import ray

from tune_app.command_line import run_command
from tune_app.on_ray import tuner
from tune_app.sweep.__main__ import MODULE, app


def run_cells_on_the_cpu(run_cells: Any, *arguments: Any, means: Any, **options: Any) -> Any:
    """What the sweep calls, with the same share of a GPU for each cell."""
    assert means.device == "cuda"
    return run_cells(*arguments, means=replace(means, device="cpu"), **options)


if __name__ == "__main__":
    with (
        patch("torch.cuda.is_available", lambda: True),
        patch("torch.cuda.device_count", lambda: 1),
        patch("ray.init", partial(ray.init, num_gpus=1)),
        patch("tune_app.on_ray.tuner.run_cells", partial(run_cells_on_the_cpu, tuner.run_cells)),
        # It would use the GPU.
        patch("tune_app.sweep.run.score_leader", lambda *_, **__: None),
    ):
        sys.exit(run_command(app, MODULE))
