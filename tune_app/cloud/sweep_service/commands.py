"""The commands of the sweep's service, on the head."""

from __future__ import annotations

import sys
from typing import Annotated

from cyclopts import App, Parameter

from tune_app.cloud.sweep_service.hub_token import LONGEST, checked_token, store_token
from tune_app.cloud.sweep_service.service import (
    follow_sweep,
    run_service,
    show_status,
    start_sweep,
    stop_sweep,
    usual_files,
    usual_supervisor,
)

MODULE = "tune_app.cloud.sweep_service"

app = App(
    name=f"python -m {MODULE}",
    help="""Run a sweep on this head, as a service.

    From your own machine: python -m tune_app.cloud start --cluster cluster.yaml SPACE""",
    help_format="plaintext",
    version_flags=[],
)


@app.command
def start(*arguments: Annotated[str, Parameter(allow_leading_hyphen=True)]) -> int:
    """Start a sweep, or continue it, and show its log until it ends.

    Parameters
    ----------
    arguments
        Of python -m tune_app.sweep, all but --address.
    """
    return start_sweep(usual_files(), arguments)


@app.command
def follow() -> int:
    """Show the sweep's log until it ends. Ctrl-C leaves the sweep alone."""
    return follow_sweep(usual_files(), sys.stdout)


@app.command
def status() -> int:
    """Say whether a sweep runs, its last lines and its cells. Exit code 3 where none runs."""
    return show_status(usual_files(), sys.stdout)


@app.command
def stop() -> int:
    """Stop the sweep. It saves first, and continues when it is started again."""
    return stop_sweep(usual_files(), sys.stdout)


@app.command
def token() -> int:
    """Keep the hub's access token, which comes over standard input, for the next sweep."""
    store_token(checked_token(sys.stdin.read(2 * LONGEST)), usual_files().token)
    return 0


@app.command
def run() -> int:
    """What the service itself runs."""
    files = usual_files()
    return run_service(files, lambda: usual_supervisor(files))
