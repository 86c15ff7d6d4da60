"""Stands in for tune_app.sweep.

python -m tests.tune_app.cloud.sweep_service.pretend_sweep FOLDER [MORE]

FOLDER/plan has a line for each run: an exit code, `wait` until FOLDER/finish is there, `deaf`,
which does not end by SIGINT either, `die` by SIGKILL, or `lost`, which fails as its Ray is started
anew.

With `status` in the place of FOLDER it shows what it was asked.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path


def main() -> int:
    if sys.argv[1] == "status":
        sys.stdout.write(f"cells of {' '.join(sys.argv[2:])}\n")
        return 0
    folder = Path(sys.argv[1])
    done = (folder / "runs").read_text("utf-8").splitlines() if (folder / "runs").exists() else []
    with (folder / "runs").open("a") as file:
        file.write(f"{os.getpid()} {' '.join(sys.argv[1:])}\n")
    step = (folder / "plan").read_text("utf-8").split()[len(done)]
    sys.stdout.write(f"run {len(done) + 1}: {step}\n")
    sys.stdout.flush()
    if step.isdecimal():
        return int(step)
    if step == "lost":
        (folder / "fresh").write_text(f"{time.monotonic_ns()}", "utf-8")
        (folder / "fresh").replace(folder / "started")
        return 1
    if step == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if step == "deaf":
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        while not (folder / "finish").exists():
            time.sleep(0.02)
    except KeyboardInterrupt:
        (folder / "saved").touch()
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
