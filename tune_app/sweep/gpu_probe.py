"""Tries how many cells train best on this machine's GPU: see `tune_app.cluster.packing`.

The cell is trained for real, but on random tokens and never compiled, in processes of their own, as
in the sweep: this process never uses the GPU, and a process that runs out of memory ends alone.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from tune_app.cluster.packing import Limits, Packing, Together, next_to_measure, packing
from tune_app.command_line import ROOT
from tune_app.faults.reasons import reason_in
from tune_app.plan.rows import PlannedCell
from tune_app.sweep.memory import cell_bytes
from tune_app.sweep.probed_cell import MEMORY, OUT_OF_MEMORY, PEAK, SECONDS, TOKENS

TIMED_SECONDS = 4.0
PATIENCE = 300.0
"""Seconds for all processes of one measurement."""

logger = logging.getLogger(__name__)

Measure = Callable[[int], tuple[Together, int]]
"""What a number of cells did together, and the bytes of the GPU's memory; ProbeError."""


class ProbeError(Exception):
    """A process of the probe failed. The message is why, in a line."""


def best_packing(measure: Measure, *, processes: int) -> Packing:
    """Measures 1, 2, 4, … cells for as long as more may be better, and decides.

    processes: that the CPUs allow for each GPU. A probe that fails means one cell a GPU.
    """
    measured: list[Together] = []
    limits = Limits(gpu_bytes=0, processes=processes)
    while (number := next_to_measure(limits, measured)) is not None:
        try:
            together, memory = measure(number)
        except ProbeError as error:
            logger.warning("%d cells could not be tried on one GPU: %s", number, error)
            if not measured:
                return Packing(cells=1, reason=f"the probe of a cell failed: {error}")
            break
        limits = Limits(gpu_bytes=memory, processes=processes)
        measured.append(together)
    return packing(limits, measured)


def largest(cells: Sequence[PlannedCell]) -> PlannedCell | None:
    """The feasible cell that needs most memory, by its sizes; None if there is none."""
    feasible = [cell for cell in cells if cell.solved is not None]
    return max(feasible, key=cell_bytes, default=None)


def measured_on(
    device: str,
    cell: PlannedCell,
    *,
    threads: int,
    cuda_graph: bool,
    seconds: float = TIMED_SECONDS,
) -> Measure:
    """Measures copies of a cell on a device of this machine.

    cuda_graph: whether their steps are CUDA graphs, which are faster and keep their memory.
    """
    assert cell.solved is not None
    question = {
        "values": dict(cell.values),
        "solved": cell.solved.values(),
        "device": device,
        "threads": threads,
        "seconds": seconds,
        "cuda_graph": cuda_graph,
    }

    def measure(number: int) -> tuple[Together, int]:
        with _processes(number) as processes:
            _ask(processes, json.dumps(question))
            ready = [_answer(process) for process in processes]
            memory = max(int(one.get(MEMORY, 0)) for one in ready)
            done: list[Mapping[str, Any]] = []
            if OUT_OF_MEMORY not in ready:
                _ask(processes, "train")
                done = [_answer(process) for process in processes]
        if not done or OUT_OF_MEMORY in done:
            return Together(cells=number, out_of_memory=True), memory
        return Together(
            cells=number,
            tokens_per_second=sum(one[TOKENS] / one[SECONDS] for one in done),
            peak_bytes=max(int(one[PEAK]) for one in ready),
        ), memory

    return measure


@contextmanager
def _processes(number: int) -> Iterator[list[subprocess.Popen[str]]]:
    """Processes of the probe, which are gone at the end of the block."""
    with ExitStack() as stack:
        processes = []
        for _ in range(number):
            process = subprocess.Popen(
                [sys.executable, "-m", "tune_app.sweep.probed_cell"],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            processes.append(process)
        # Reading from one that hangs would hang, too.
        alarm = threading.Timer(PATIENCE, _kill, (processes,))
        alarm.start()
        stack.callback(alarm.cancel)
        yield processes


def _kill(processes: Sequence[subprocess.Popen[str]]) -> None:
    for process in processes:
        process.kill()


def _ask(processes: Sequence[subprocess.Popen[str]], line: str) -> None:
    for process in processes:
        assert process.stdin is not None
        try:
            print(line, file=process.stdin, flush=True)
        except BrokenPipeError:
            continue  # it has ended: what it said last is read as its answer


def _answer(process: subprocess.Popen[str]) -> Mapping[str, Any]:
    """The next line of a process. Raises ProbeError if it ended without one."""
    assert process.stdout is not None and process.stderr is not None
    line = process.stdout.readline()
    if not line:
        said = process.stderr.read().rstrip().splitlines()
        raise ProbeError(reason_in(said) if said else "its process ended without a word")
    found: Mapping[str, Any] = json.loads(line)
    return found
