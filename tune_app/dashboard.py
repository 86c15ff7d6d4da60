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
    machine can open; ends them all with Ctrl-C.""",
    help_epilogue=examples(f"{_NAME} quick", f"{_NAME} quick --port 8000"),
    help_format="plaintext",
    version=version_text,
)


@app.default
def dashboard(
    name: Annotated[str, Parameter(help="Name of the sweep, or the path of its folder.")] = "quick",
    *,
    port: int = 0,
    results: Annotated[Path, Parameter(help="Folder that holds all sweeps.")] = Path("runs"),
) -> int:
    """Show a sweep until Ctrl-C.

    Parameters
    ----------
    port
        Of the report; 0 for a free one.
    """
    from tune_app.dashboards.live_report import LOOPBACK, serve  # noqa: PLC0415 - matplotlib
    from tune_app.dashboards.tools import TOOLS, start, why_not  # noqa: PLC0415
    from tune_app.sweep.folder import JOURNAL  # noqa: PLC0415
    from tune_app.sweep.listing import open_named  # noqa: PLC0415

    given = Path(name).expanduser()
    folder = given if (given / JOURNAL).is_file() else results.expanduser() / name
    open_named(folder.name, folder.parent).close()
    console = Console(soft_wrap=True, highlight=False, markup=False)
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
        console.print(f"{'the report':<20}http://{LOOPBACK}:{server.server_address[1]}/")
        try:
            started = []
            for tool in TOOLS:
                if reason := why_not(tool, folder):
                    console.print(f"{tool.title:<20}{reason}")
                    continue
                started.append(start(tool, folder))
                stack.callback(started[-1].end)
            for one in started:
                told = one.address if one.answers() else "ended at once, or does not answer"
                console.print(f"{one.tool.title:<20}{told}")
            console.print("Ctrl-C ends them")
            threading.Event().wait()
        except KeyboardInterrupt:
            console.print("\nended")
    return 0


def main() -> int:
    """Runs the command line of this process; returns its exit code."""
    return run_command(app, MODULE)


if __name__ == "__main__":
    sys.exit(main())
