"""All that needs a GPU: the tests, and the speed of the 10M baseline against plain loops.

Prints a report to keep. Ends with status 2 where there is no GPU, with 1 if a test or a measurement
fails.

python -m benchmarks.gpu_check --report gpu.md
"""

from __future__ import annotations

import subprocess
import sys
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from cyclopts import App

from benchmarks import batched_seeds
from benchmarks.gpu_check.evaluations import evaluations
from benchmarks.gpu_check.products import products
from benchmarks.gpu_check.sharing import sharing
from benchmarks.gpu_check.speed import LARGE, SMALL, cells, loops
from benchmarks.gpu_check.timing import GPU
from benchmarks.gpu_check.trials import trials
from model.spec import ModelConfig
from tune_app.api.planned import plan_sweep

SPACE = "embedding_glu"
SEED_ROUNDS = 9

app = App(name="python -m benchmarks.gpu_check", help=__doc__, version_flags=[])


@app.default
def check(*, report: Path | None = None, steps: int = 48) -> None:
    """Run the tests that need a GPU and measure training.

    Parameters
    ----------
    report
        A file to write the report to as well, section by section.
    steps
        Training steps that are timed.
    """
    if not torch.cuda.is_available():
        print(
            "There is no GPU that torch can use here, so nothing was checked. "
            f"{_why_none()}\nWhat is checked without one: make test ARGS=tests/gpu"
        )
        sys.exit(2)
    written = Report(report)
    written.add([f"# GPU check of {torch.cuda.get_device_name(GPU)}", "", *_machine()])
    status, tests = _tests()
    written.add(["", "## Tests", "", "```", *tests, "```"])
    passed = [status == 0]
    passed += [written.section(title, lines) for title, lines in _sections(steps).items()]
    sys.exit(0 if all(passed) else 1)


def _sections(steps: int) -> Mapping[str, Iterator[str]]:
    planned = plan_sweep(SPACE)
    baseline = planned.plan.baseline
    assert baseline.solved is not None
    config = baseline.solved.model
    return {
        "Speed": loops(config, steps=steps),
        f"The cells of {SPACE}": cells(planned, steps=steps),
        "Several cells on one GPU": sharing(baseline),
        "Seconds of a cell": trials(),
        "Evaluation": evaluations(config),
        "Products at other sizes": products(config, sequences=(SMALL, LARGE)),
        "Several seeds as one model": _seeds_as_one(config, steps),
    }


class Report:
    """Lines that are printed, and written to a file, as soon as they are known."""

    def __init__(self, file: Path | None) -> None:
        self._file = file
        if file is not None:
            file.write_text("", "utf-8")

    def add(self, lines: list[str]) -> None:
        """Further lines."""
        text = "\n".join(lines) + "\n"
        print(text, end="", flush=True)
        if self._file is not None:
            with self._file.open("a", encoding="utf-8") as file:
                file.write(text)

    def section(self, title: str, lines: Iterator[str]) -> bool:
        """What a section yields; what fails in it ends it alone. Whether nothing did."""
        self.add(["", f"## {title}", ""])
        try:
            for line in lines:
                self.add([line])
        except Exception:
            # On a rented card what comes after is measured all the same.
            self.add(["", "```", *traceback.format_exc().splitlines(), "```"])
            return False
        finally:
            # Sections start processes of their own, which need the memory.
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
        return True


def _why_none() -> str:
    if torch.version.cuda is None:
        return f"torch {torch.__version__} was built without CUDA."
    return f"torch {torch.__version__} was built for CUDA {torch.version.cuda}."


def _machine() -> list[str]:
    properties = torch.cuda.get_device_properties(GPU)
    driver = _output(["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"])
    return [
        f"- {properties.multi_processor_count} multiprocessors, compute capability "
        f"{properties.major}.{properties.minor}, {properties.total_memory / 2**30:.1f} GiB, "
        f"{torch.cuda.device_count()} in this machine",
        f"- driver {driver or 'unknown'}, CUDA {torch.version.cuda}, torch {torch.__version__}",
        f"- Python {sys.version.split()[0]}",
    ]


def _output(command: list[str]) -> str:
    try:
        ended = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return ended.stdout.strip().splitlines()[0]


def _tests() -> tuple[int, list[str]]:
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-q", "-rfEs", "tests/gpu"]
    ended = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    return ended.returncode, ended.stdout.strip().splitlines()


def _seeds_as_one(config: ModelConfig, steps: int) -> Iterator[str]:
    yield f"Steps of {SMALL} × {config.context} tokens, eager; {SEED_ROUNDS} rounds in turns."
    yield ""
    yield from batched_seeds.table(
        config, batch_size=SMALL, rounds=SEED_ROUNDS, steps=steps, device=GPU
    )


if __name__ == "__main__":
    app()
