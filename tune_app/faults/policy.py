"""What to do about a failure, decided purely from it and from earlier ones in the journal."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from tune_app.journal.records import Failure, FailureClass
from tune_app.stores.base import StoreError, StoreRefusedError, StoreUnreachableError

DEATHS = 3
"""Deaths at the same step, without a known cause, on at least two hosts, that count as a bug."""
LONELY_DEATHS = 10
"""The same on a single host, where the host itself may be at fault."""
EARLY_FAILURES = 3
"""Failures before a cell's first step that count as a bug if there is only one host."""
EARLY_IN_A_ROW = 10
"""The same, in a row, while more hosts may join, and if a disk or a store fails every start."""
SUSPECT_CELLS = 2
"""Cells that fail on a host before their first step until the host is suspected."""
_EARLY = "it failed before its first step there: "
_STORE_AWAY = StoreUnreachableError.__name__

_PASSING = frozenset(
    {
        errno.EIO,
        errno.ENOSPC,
        errno.EDQUOT,
        errno.ESTALE,
        errno.ETIMEDOUT,
        errno.ECONNRESET,
        errno.ECONNREFUSED,
        errno.EHOSTUNREACH,
        errno.ENETUNREACH,
    }
)


@dataclass(frozen=True, kw_only=True)
class Response:
    """What to do about a failure."""

    failure: Failure
    """As it goes into the journal, with class, remedy and `ended` decided."""
    micro_batch_size: int | None = None
    """Sequences per micro-batch from now on; None for no change."""


def classify(error: BaseException) -> FailureClass:
    """The class of an exception in a trial's process.

    Errors of a disk or a store that a retry may overcome are STORAGE. Those that a person must fix,
    such as a missing folder or a refused key, are CODE, like any other exception.
    """
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return FailureClass.MEMORY
    # On a CPU torch reports lack of memory as a RuntimeError of its allocator.
    if isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error):
        return FailureClass.MEMORY
    # The GPU or its driver. If it is the code, which asked for what no GPU can do, the cell fails
    # at the same step on another host.
    if isinstance(error, torch.AcceleratorError):
        return FailureClass.HOST
    if isinstance(error, StoreError):
        refused = isinstance(error, StoreRefusedError)
        return FailureClass.CODE if refused else FailureClass.STORAGE
    if isinstance(error, OSError) and error.errno in _PASSING:
        return FailureClass.STORAGE
    return FailureClass.CODE


def respond(
    failure: Failure,
    earlier: Sequence[Failure],
    *,
    batch_size: int,
    at_once: int | None = None,
    stride: int = 0,
    early: bool = False,
    hosts: int | None = None,
    hosts_now: int = 1,
) -> Response:
    """Decides about a failure.

    Args:
        failure: what happened, with the tokens of the last heartbeat.
        earlier: failures of the same cell, oldest first.
        batch_size: sequences per step.
        at_once: those of them that are in memory together; None for all.
        stride: tokens between two heartbeats; deaths no further apart are at the same step.
        early: whether the attempt failed before its first step.
        hosts: machines that train or may join; None if there is only the driver's.
        hosts_now: machines that train now.
    """
    since_ended = _since_ended(earlier)
    if failure.kind is FailureClass.CODE and early and hosts is not None:
        return _before_the_first_step(failure, since_ended, hosts, hosts_now)
    if failure.kind is FailureClass.STORAGE and early and hosts is not None:
        return _no_start(failure, since_ended, hosts_now)
    if failure.kind in (FailureClass.CODE, FailureClass.NUMBERS):
        return Response(failure=replace(failure, ended=True, remedy="the cell is stopped"))
    if failure.kind is FailureClass.MEMORY:
        return _out_of_memory(failure, earlier, batch_size, at_once or batch_size)
    if failure.kind is FailureClass.HOST and not failure.cause:
        deaths = [*_deaths_at(failure.tokens, since_ended, stride), failure]
        # In a node's name, `machine/id`, the id changes when Ray restarts on the machine.
        machines = {_machine(death.host) for death in deaths} - {""}
        where = ", ".join(sorted(machines)) or "an unknown host"
        if len(deaths) >= (DEATHS if len(machines) > 1 else LONELY_DEATHS):
            return Response(
                failure=replace(
                    failure,
                    kind=FailureClass.CODE,
                    ended=True,
                    reason=f"its process died {len(deaths)} times at {failure.tokens:,} tokens, "
                    f"on {where}, without a known cause: counted as a bug in its code "
                    f"({failure.reason})",
                    remedy="the cell is stopped",
                )
            )
    return Response(failure=replace(failure, ended=False, remedy="retried"))


def suspicion(failures: Sequence[Failure], host: str) -> str | None:
    """Why a host is suspect: several cells failed there before their first step. None if not.

    Args:
        failures: of all cells.
        host: `machine/id`; other ids of the machine count as well.
    """
    here = [
        failure
        for failure in failures
        if is_early(failure)
        # An unreachable store is not the host's fault.
        and not failure.cause.endswith(_STORE_AWAY)
        and _machine(failure.host) == _machine(host)
    ]
    cells = {failure.cell for failure in here}
    if not _machine(host) or len(cells) < SUSPECT_CELLS:
        return None
    return (
        f"on {host} {len(cells)} cells failed before their first step, the last with: "
        f"{here[-1].reason}; check its installed packages, keys and disk, or return the machine"
    )


def is_early(failure: Failure) -> bool:
    """Whether an attempt on a cluster failed before its first step, while its host was up."""
    return failure.cause.startswith(_EARLY)


def micro_batch_size(earlier: Sequence[Failure], *, batch_size: int) -> int | None:
    """Sequences per micro-batch after these failures of a cell; None for no change.

    batch_size: sequences that are in memory together before any failure.
    """
    if any(failure.kind is FailureClass.MEMORY for failure in earlier) and batch_size % 2 == 0:
        return batch_size // 2
    return None


def _before_the_first_step(
    failure: Failure, earlier: Sequence[Failure], hosts: int, hosts_now: int
) -> Response:
    """Blames the cell's code only if it fails alike on two hosts.

    A host that lacks a package or a key fails every cell. If there is only one host,
    EARLY_FAILURES decide; while more may join, EARLY_IN_A_ROW do.
    """
    kind = failure.reason.partition(":")[0]
    cause = _EARLY + kind
    same = [*(past for past in earlier if past.cause == cause), failure]
    in_a_row = len(_row(cause, earlier)) + 1
    # An unknown host may be one of the others.
    machines = {_machine(past.host) for past in same} - {""}
    if len(machines) > 1:
        where = f"on {', '.join(sorted(machines))}"
    elif hosts <= 1 and len(same) >= EARLY_FAILURES:
        where = f"{len(same)} times on the only machine"
    elif hosts_now <= 1 and in_a_row >= EARLY_IN_A_ROW:
        where = f"{in_a_row} times in a row on the only machine so far"
    else:
        another = "on another machine" if hosts > 1 else "there again"
        remedy = f"retried; counted as a bug in its code if {kind} happens {another}"
        return Response(
            failure=replace(
                failure, kind=FailureClass.HOST, ended=False, cause=cause, remedy=remedy
            )
        )
    remedy = f"the cell is stopped: {kind} before its first step {where}"
    return Response(failure=replace(failure, ended=True, remedy=remedy))


def _no_start(failure: Failure, earlier: Sequence[Failure], hosts_now: int) -> Response:
    """Ends a cell whose starts keep failing (full disk, damaged tokens): idle machines cost money.

    While there are other machines, failures on only one of them do not end the cell.
    """
    kind = failure.reason.partition(":")[0]
    cause = _EARLY + kind
    row = [*_row(cause, earlier), failure]
    machines = {_machine(past.host) for past in row} - {""}
    if len(row) < EARLY_IN_A_ROW or (len(machines) <= 1 and hosts_now > 1):
        return Response(failure=replace(failure, ended=False, cause=cause, remedy="retried"))
    where = ", ".join(sorted(machines)) or "an unknown machine"
    remedy = (
        f"the cell is stopped: {kind} before its first step {len(row)} times in a row, on {where}; "
        "check the store and the disk there"
    )
    return Response(failure=replace(failure, ended=True, remedy=remedy))


def _row(cause: str, earlier: Sequence[Failure]) -> list[Failure]:
    """The newest failures in a row that have this cause."""
    row: list[Failure] = []
    for failure in reversed(earlier):
        if failure.cause != cause:
            break
        row.insert(0, failure)
    return row


def _out_of_memory(
    failure: Failure, earlier: Sequence[Failure], batch_size: int, at_once: int
) -> Response:
    if micro_batch_size(earlier, batch_size=at_once) is not None:
        why = "the micro-batch is already halved; the cell is stopped"
        return Response(failure=replace(failure, ended=True, remedy=why))
    half = micro_batch_size([failure], batch_size=at_once)
    if half is None:
        kind = "batch" if at_once == batch_size else "micro-batch"
        why = f"a {kind} of {at_once} cannot be halved; the cell is stopped"
        return Response(failure=replace(failure, ended=True, remedy=why))
    return Response(
        failure=replace(
            failure,
            ended=False,
            remedy=f"retried with micro-batches of {half}, the same {batch_size} a step",
        ),
        micro_batch_size=half,
    )


def _machine(host: str) -> str:
    return host.rpartition("/")[0]


def _since_ended(earlier: Sequence[Failure]) -> list[Failure]:
    """Failures since one last ended the cell: the problem may have been fixed then."""
    ends = [number for number, failure in enumerate(earlier) if failure.ended]
    return list(earlier[ends[-1] + 1 :] if ends else earlier)


def _deaths_at(tokens: int, earlier: Sequence[Failure], stride: int) -> list[Failure]:
    """The newest deaths in a row without a known cause and at the same step."""
    deaths: list[Failure] = []
    for failure in reversed(earlier):
        if failure.kind is not FailureClass.HOST or failure.cause:
            continue
        if abs(failure.tokens - tokens) > stride:
            break
        deaths.insert(0, failure)
    return deaths
