"""The command line that shows a sweep in a browser: python -m tune_app.dashboard."""

from __future__ import annotations

import sys
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from rich.console import Console

from tune_app.command_line import (
    command_name,
    ended_by_signals,
    examples,
    run_command,
    version_text,
)

MODULE = "tune_app.dashboard"
_NAME = command_name(MODULE)

app = App(
    name=_NAME,
    help="""Show a sweep in a browser, while it runs or afterwards.

    Starts the report, made anew as the sweep goes on, and the dashboards of Optuna
    and TensorBoard if they are installed; prints their addresses, which only this
    machine can open, and that of Ray's dashboard where one runs; ends them all with
    Ctrl-C. With a cluster's YAML it shows what its head has, through SSH.""",
    help_epilogue=examples(
        f"{_NAME} quick", f"{_NAME} quick --port 8000", f"{_NAME} cluster.yaml --sweep quick"
    ),
    help_format="plaintext",
    version=version_text,
)
_YAML = (".yaml", ".yml")


@app.default
def dashboard(
    name: Annotated[
        str,
        Parameter(help="Name of the sweep or of the study, the path of its folder, or a YAML."),
    ] = "quick",
    *,
    sweep: str | None = None,
    port: int = 0,
    results: Annotated[Path, Parameter(help="Folder that holds all sweeps.")] = Path("runs"),
) -> int:
    """Show a sweep until Ctrl-C.

    Parameters
    ----------
    sweep
        With a cluster's YAML: the sweep of its head to show; default: Ray's dashboard alone.
    port
        Of the report; 0 for a free one.
    """
    console = Console(soft_wrap=True, highlight=False, markup=False)
    if Path(name).suffix in _YAML:
        if port:
            raise ValueError("--port is for a sweep on this machine; leave it out with a cluster")
        return _of_a_cluster(Path(name).expanduser(), sweep, console)
    if sweep is not None:
        raise ValueError(f"--sweep is for a cluster's YAML; name the sweep itself: {_NAME} {sweep}")
    return _here(name, results.expanduser(), port, console)


def _here(name: str, results: Path, port: int, console: Console) -> int:
    """The dashboards of a sweep on this machine."""
    from tune_app.dashboards.server import LOOPBACK, serve  # noqa: PLC0415 - matplotlib
    from tune_app.dashboards.shown import shown_folder  # noqa: PLC0415
    from tune_app.dashboards.tools import (  # noqa: PLC0415
        RAY,
        TOOLS,
        ray_dashboard,
        start,
        why_not,
    )

    folder = shown_folder(name, results)
    with ended_by_signals(), ExitStack() as stack:
        try:
            server = serve(folder, port=port)
        except OSError as error:
            raise ValueError(
                f"port {port} cannot be used ({error.strerror}); choose another with --port"
            ) from error
        stack.callback(server.server_close)
        threading.Thread(target=server.serve_forever, name="report", daemon=True).start()
        stack.callback(server.shutdown)
        _show(console, "the report", f"http://{LOOPBACK}:{server.server_address[1]}/")
        try:
            started = []
            for tool in TOOLS:
                if reason := why_not(tool, folder):
                    _show(console, tool.title, reason)
                    continue
                started.append(start(tool, folder))
                stack.callback(started[-1].end)
            for one in started:
                told = one.address if one.answers() else "ended at once, or does not answer"
                _show(console, one.tool.title, told)
            _show(console, RAY, ray_dashboard() or "none runs here; the head of a cluster has one")
            _until_interrupted(console)
        except KeyboardInterrupt:
            console.print("\nended")
    return 0


def _of_a_cluster(yaml: Path, sweep: str | None, console: Console) -> int:
    """The dashboards of a cluster's head."""
    from tune_app.cloud.head_machine.choose import read_shell  # noqa: PLC0415 - slow
    from tune_app.cloud.head_machine.dashboards import (  # noqa: PLC0415
        head_dashboards,
        sweep_dashboards,
    )

    shell = read_shell(yaml)
    start = [] if sweep is None else sweep_dashboards(shell, sweep)
    with ended_by_signals(), ExitStack() as stack:
        try:
            for one in stack.enter_context(head_dashboards(shell, start)):
                _show(console, one.title, one.address or one.why_not)
            if sweep is None:
                _show(console, "the sweep's", f"{_NAME} {yaml} --sweep NAME shows them too")
            _until_interrupted(console)
        except KeyboardInterrupt:
            console.print("\nended")
    return 0


def _show(console: Console, title: str, told: str) -> None:
    console.print(f"{title:<20}{told}")


def _until_interrupted(console: Console) -> None:
    console.print("Ctrl-C ends them")
    threading.Event().wait()


def main() -> int:
    """Runs the command line of this process; returns its exit code."""
    return run_command(app, MODULE)


if __name__ == "__main__":
    sys.exit(main())
