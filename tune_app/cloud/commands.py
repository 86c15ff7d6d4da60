"""The commands of a cluster: on its head, or with --cluster from the machine of `ray up`.

python -m tune_app.cloud start [ARGUMENTS]   of python -m tune_app.sweep: run a sweep on the cluster
python -m tune_app.cloud follow              show its log from now on
python -m tune_app.cloud stop                stop it; start continues it
python -m tune_app.cloud status              the sweep, its cells, rented machines, cost, failures
python -m tune_app.cloud reap                end every rented machine, and see that it is gone
python -m tune_app.cloud reap --orphans      end only those that nothing owns, beside a cluster
python -m tune_app.cloud open                allow launches again after a reap
python -m tune_app.cloud fetch               copy journals, results and checkpoints from the head
python -m tune_app.cloud rehearse            compare Vast.ai with what is assumed of it, by renting
python -m tune_app.cloud total               what all clusters of the account may spend together
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter
from rich.console import Console

from tune_app.cloud.daemon.client import DaemonClient
from tune_app.cloud.daemon.protocol import DaemonError
from tune_app.cloud.errors import CloudError
from tune_app.cloud.status_lines import status_lines, worker_table
from tune_app.command_line import command_name, examples, version_text

if TYPE_CHECKING:
    from tune_app.cloud.head.shell import HeadShell

MODULE = "tune_app.cloud"
_NAME = command_name(MODULE)

app = App(
    name=_NAME,
    help="""Run a sweep on rented machines: start, watch and stop it, fetch its results.

    On the cluster's head no option is needed; from your own machine name the
    cluster's YAML, whose head is then asked by SSH.""",
    help_epilogue=examples(
        f"{_NAME} start --cluster cluster.yaml embedding_glu",
        f"{_NAME} status --cluster cluster.yaml",
        f"{_NAME} fetch --cluster cluster.yaml --to results",
    ),
    help_format="plaintext",
    version=version_text,
)


@app.command(sort_key=1)
def start(
    *arguments: Annotated[str, Parameter(allow_leading_hyphen=True)], cluster: Path | None = None
) -> int:
    """Start a sweep on the cluster, or continue it, and show its log until it ends.

    Parameters
    ----------
    arguments
        Those of the sweep, all but --address.
    cluster
        The cluster's YAML; default: this machine is the head.
    """
    return _sweep(cluster, "start", arguments)


@app.command(sort_key=2)
def follow(*, cluster: Path | None = None) -> int:
    """Show the sweep's log until it ends. Ctrl-C leaves the sweep alone.

    Parameters
    ----------
    cluster
        The cluster's YAML; default: this machine is the head.
    """
    return _sweep(cluster, "follow")


@app.command(sort_key=3)
def stop(*, cluster: Path | None = None) -> int:
    """Stop the sweep. It saves first, and continues when it is started again.

    Parameters
    ----------
    cluster
        The cluster's YAML; default: this machine is the head.
    """
    return _sweep(cluster, "stop")


@app.command(sort_key=4)
def status(*, cluster: Path | None = None, socket: Path | None = None) -> int:
    """Show the sweep and its cells, the rented machines, their cost, and what went wrong.

    Parameters
    ----------
    cluster
        The cluster's YAML; default: this machine is the head.
    socket
        Of the daemon; default: STELLUX_CLOUD_SOCKET, else /run/stellux/cloud.sock.
    """
    console = Console()

    def say(line: str) -> None:
        console.print(line, markup=False, highlight=False, soft_wrap=True)

    from tune_app.cloud import reaping  # noqa: PLC0415

    if cluster is not None and reaping.is_name(cluster):
        console.print(reaping.status_by_label(cluster, say))
        return 0
    try:
        _sweep(cluster, "status")
    except OSError as error:
        # The rented machines cost money: they are shown all the same.
        say(f"the sweep's state is unknown: {error}")
    console.print()
    try:
        found = _daemon(cluster, socket).status()
    except OSError as error:
        if cluster is None:
            raise
        say(f"{error}. What the market lists:")
        console.print(reaping.status_by_label(cluster, say))
        return 0
    for line in status_lines(found):
        console.print(line, markup=False, highlight=False)
    if found.nodes:
        console.print(worker_table(found))
    return 0


@app.command(sort_key=5)
def reap(
    cluster: Path | None = None,
    *,
    orphans: Annotated[
        bool,
        Parameter(
            negative="",
            help="End only machines that no head has, that have stopped, or that are past their "
            "time: safe at any time. It needs the account's key on this machine.",
        ),
    ] = False,
    socket: Path | None = None,
    apart: float = 60.0,
    within: float = 900.0,
) -> int:
    """End every rented machine, and check that it is gone: twice, a while apart.

    Nothing is rented afterwards, until `open`. Where the head does not answer, its machines are
    found by their labels, with the key that this machine has.

    Parameters
    ----------
    cluster
        The cluster's YAML, or only its name; default: this machine is the head.
    socket
        Of the daemon; default: STELLUX_CLOUD_SOCKET, else /run/stellux/cloud.sock.
    apart
        Seconds between the two checks.
    within
        Seconds after which to report what is left.
    """
    console = Console()

    def say(line: str) -> None:
        console.print(line, markup=False, highlight=False, soft_wrap=True)

    from tune_app.cloud import reaping  # noqa: PLC0415

    if orphans:
        if cluster is None:
            raise ValueError("--orphans needs the account's key: name the cluster, from elsewhere")
        return reaping.reap_orphans(cluster, lambda: _daemon(cluster, socket), say)
    if cluster is not None and reaping.is_name(cluster):
        return reaping.reap_by_label(cluster, say, apart_s=apart, within_s=within)
    try:
        client = _daemon(cluster, socket)
        shown_at = client.status().shown_at
    except OSError as error:
        if cluster is None:
            raise
        say(f"{error}. Its machines are ended from here, by their labels")
        return reaping.reap_by_label(cluster, say, apart_s=apart, within_s=within)
    until = time.monotonic() + within
    seen_empty = 0
    while seen_empty < 2:
        try:
            problem = _left(client)
        except (CloudError, DaemonError) as error:
            problem = f"what is left is unknown: {error}"
        seen_empty = 0 if problem else seen_empty + 1
        if problem and time.monotonic() > until:
            console.print(
                f"{problem}. The daemon keeps trying; look again with status"
                f"{f', or at {shown_at}' if shown_at else ''}",
                markup=False,
            )
            return reaping.LEFT
        if seen_empty < 2:
            time.sleep(apart)
    console.print("no machine is rented any more; allow launches again with: open", markup=False)
    return 0


@app.command(name="open", sort_key=6)
def open_(*, cluster: Path | None = None, socket: Path | None = None) -> int:
    """Allow launches again after a reap. On the head, only root may.

    Parameters
    ----------
    cluster
        The cluster's YAML; default: this machine is the head.
    socket
        Of the daemon; default: STELLUX_CLOUD_SOCKET, else /run/stellux/cloud.sock.
    """
    _daemon(cluster, socket, user="root").open()
    return 0


@app.command(name="fetch", sort_key=7)
def fetch_(*, cluster: Path, to: Path | None = None) -> int:
    """Copy journals, results and checkpoints from the head. Run again, it continues.

    Parameters
    ----------
    cluster
        The cluster's YAML, whose head is meant.
    to
        Target folder; default: stellux-NAME-results, by the cluster's name.
    """
    from tune_app.cloud.head.remote import shell_of  # noqa: PLC0415
    from tune_app.cloud.head_machine.choose import found, head_of, read_cluster  # noqa: PLC0415
    from tune_app.cloud.head_machine.fetch_results import fetch, results_folder, sources  # noqa: PLC0415

    settings, user = read_cluster(cluster)
    shell = shell_of(found(head_of(settings)), user)
    console = Console()
    fetched = fetch(
        shell,
        sources(settings.overlay.store_root),
        to or results_folder(settings.cluster),
        say=lambda line: console.print(line, markup=False, highlight=False, soft_wrap=True),
    )
    console.print(fetched.told(), markup=False, highlight=False, soft_wrap=True)
    return 0


@app.command(sort_key=10)
def rehearse(
    *,
    rent: Annotated[bool, Parameter(negative="")] = False,
    cap: float = 1.0,
    minutes: float = 20.0,
    image: str = "",
    gpus: Annotated[tuple[str, ...], Parameter(negative="", show_default=False)] = (),
) -> int:
    """Compare Vast.ai with what is assumed of it, on one machine for minutes. It costs money.

    Without --rent nothing is rented: it looks at the key, the bill and the offers. With it, the
    cheapest machine is rented, watched and destroyed, also on Ctrl-C and on any error. It prints a
    report without secrets, which you can send in. The exit code is 1 if something differs.

    Parameters
    ----------
    rent
        Rent the machine.
    cap
        Dollars that it may cost at most.
    minutes
        It is destroyed after these at the latest.
    image
        Of the container; default: the one of the clusters.
    gpus
        Models to choose from; default: those of the clusters.
    """
    from tune_app.cloud import rehearsing  # noqa: PLC0415

    console = Console()
    return rehearsing.rehearse(
        lambda line: console.print(line, markup=False, highlight=False, soft_wrap=True),
        rent=rent,
        cap=cap,
        minutes=minutes,
        image=image,
        gpus=gpus,
    )


@app.command(sort_key=9)
def total(
    *,
    total_dollars: Annotated[
        float | None,
        Parameter(
            help="Set this total; default: none. Clusters that are up already count from their "
            "next `ray up` on."
        ),
    ] = None,
) -> int:
    """Show what all clusters of the account may spend together, and what each has of it.

    Kept on this machine, beside the account's key: `ray up` sets a cluster's whole cap aside, and
    refuses one that does not fit; `ray down` frees what was not spent.
    """
    from tune_app.cloud.secrets.account_total import read_total, set_total  # noqa: PLC0415

    home = Path.home()
    known = read_total(home) if total_dollars is None else set_total(home, total_dollars)
    console = Console()
    for line in known.lines():
        console.print(line, markup=False, highlight=False)
    return 0


def _sweep(cluster: Path | None, command: str, arguments: tuple[str, ...] = ()) -> int:
    """A command of the sweep's service, on this head or by SSH on the cluster's."""
    if cluster is None:
        from tune_app.cloud.sweep_service import service  # noqa: PLC0415

        files = service.usual_files()
        if command == "start":
            return service.start_sweep(files, arguments)
        do = {
            "follow": service.follow_sweep,
            "stop": service.stop_sweep,
            "status": service.show_status,
        }
        return do[command](files, sys.stdout)
    from tune_app.cloud.head.remote import sweep_command  # noqa: PLC0415
    from tune_app.cloud.head_machine.choose import read_shell  # noqa: PLC0415

    shell = read_shell(cluster)
    if command == "start":
        _send_token(shell)
    sys.stdout.flush()
    try:
        columns = shutil.get_terminal_size().columns
        return shell.stream(sweep_command(shell, command, *arguments, columns=columns))
    except KeyboardInterrupt:
        if command == "stop":
            raise
        sys.stdout.write(
            f"\nThe sweep continues; see it with: python -m {MODULE} follow --cluster {cluster}\n"
        )
        return 0


def _send_token(shell: HeadShell) -> None:
    """Sends the hub's token, if the user has one, over the session's standard input."""
    from tune_app.cloud.head.remote import sweep_command  # noqa: PLC0415
    from tune_app.cloud.head.shell import HeadCommandError  # noqa: PLC0415
    from tune_app.cloud.sweep_service.hub_token import (  # noqa: PLC0415
        TOKEN_VARIABLE,
        checked_token,
    )

    token = checked_token(os.environ.get(TOKEN_VARIABLE, ""))
    if not token:
        return
    try:
        shell.run(sweep_command(shell, "token"), stdin=token.encode("ascii"), timeout_s=60.0)
    except HeadCommandError as error:
        raise HeadCommandError(
            f"the head did not take {TOKEN_VARIABLE} ({error}); run ray up again if another "
            "version of the program brought it up, or unset the variable"
        ) from None


def _daemon(cluster: Path | None, socket: Path | None, user: str = "") -> DaemonClient:
    if cluster is None:
        return DaemonClient(socket)
    from tune_app.cloud.head.remote import remote_daemon  # noqa: PLC0415
    from tune_app.cloud.head_machine.choose import read_shell  # noqa: PLC0415

    shell = read_shell(cluster)
    return remote_daemon(shell, user=user) if user else remote_daemon(shell)


def _left(client: DaemonClient) -> str:
    """Destroys everything. Returns what still exists then, or may; empty for nothing."""
    left = client.destroy_all("reaped")
    if left:
        return f"instances {', '.join(map(str, left))} still exist"
    under_way = client.status().in_flight
    if under_way:
        return f"requests {', '.join(under_way)} are pending"
    return ""
