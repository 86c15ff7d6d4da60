"""What a checkpoint costs a trial of 10M parameters: the wait for the copy, the CPU of the upload.

A model of 10M parameters with Adam's moments is saved repeatedly, as a trial does it
(tune_app.trial.checkpoint_upload): training waits only for the copy in memory, the rest happens in
the background. Between saves a few steps are trained, so that the caches are as training leaves
them. CPU seconds are those of the whole process from the copy to the stored checkpoint, without
training at the same time. Shares are of the interval that a trial would choose for this cost.

python -m benchmarks.checkpoint_overhead --store sftp://user@host/checkpoints
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from statistics import median

import torch
from cyclopts import App

from data.batches import RandomBatches
from model.sizing.budget import solve
from model.spec import ModelSpec
from model.training.settings import TrainingConfig
from model.training.training import Training
from tune_app.stores.open import open_store
from tune_app.trial.checkpoint_interval import CheckpointTiming
from tune_app.trial.checkpoint_upload import Uploads
from tune_app.trial.checkpoints import Checkpoints

app = App(
    name="python -m benchmarks.checkpoint_overhead",
    help=__doc__,
    help_format="plaintext",
    version_flags=[],
)


@app.default
def measure(
    *, store: str | None = None, saves: int = 10, steps: int = 3, target_parameters: int = 10**7
) -> None:
    """Save repeatedly, and print what that took.

    Parameters
    ----------
    store
        URL; default a temporary folder.
    saves
        Number of saves.
    steps
        Training steps between saves.
    target_parameters
        Parameters of the model.
    """
    spec = ModelSpec(target_parameters=target_parameters, vocab_size=16_000, context=128)
    config = solve(spec)
    training = Training(
        config,
        TrainingConfig(tokens=10**9, batch_size=8, compile="off"),
        RandomBatches(vocab_size=config.vocab_size, context=config.context, batch_size=8),
        baseline=config,
    )
    with tempfile.TemporaryDirectory(prefix="checkpoint_overhead_") as folder:
        target = open_store(store or str(Path(folder)))
        uploads = Uploads(Checkpoints(target, cell="overhead"))
        waits, seconds, cpu = [], [], []
        for save in range(saves + 1):
            for _ in range(steps):
                training.step()
            started, started_cpu = time.perf_counter(), time.process_time()
            if not uploads.begin(training.state_dict, tokens=save, last=True):
                raise RuntimeError("the previous upload has not finished")
            waited = time.perf_counter() - started
            if not uploads.wait(600):
                raise TimeoutError(f"{target.url} did not take a checkpoint in 600 s")
            # The first also pays for allocating memory.
            if save > 0:
                waits.append(waited)
                seconds.append(time.perf_counter() - started)
                cpu.append(time.process_time() - started_cpu)
        uploads.close()
        target.close()
    state_bytes = sum(
        parameter.numel() * parameter.element_size() for parameter in training.model.parameters()
    )
    interval = CheckpointTiming().seconds(median(waits))
    print(
        f"{state_bytes * 3 / 1e6:.0f} MB of weights and moments, {saves} saves to "
        f"{store or 'a folder'}, {torch.get_num_threads()} threads\n"
        f"{'':34}{'median':>10}{'worst':>10}{'of ' + format(interval, '.0f') + ' s':>10}"
    )
    for name, values in (
        ("training waits, seconds", waits),
        ("until it is stored, seconds", seconds),
        ("CPU seconds, copy included", cpu),
    ):
        print(
            f"{name:34}{median(values):>10.3f}{max(values):>10.3f}"
            f"{median(values) / interval:>10.2%}"
        )


if __name__ == "__main__":
    app()
