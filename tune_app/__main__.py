"""The console command: stellux sweep | status | trial | prepare | cloud.

A sub-command is imported only when it is called, so that help appears immediately.
"""

from __future__ import annotations

import sys
from importlib import import_module

from cyclopts import App

from tune_app.command_line import CONSOLE, own_arguments, run_command

COMMANDS = {
    "sweep": ("tune_app.sweep", "Run or plan a sweep, or rewrite its report."),
    "status": ("tune_app.sweep", "Show the progress of a sweep."),
    "trial": ("tune_app.trial", "Train one cell, without Ray."),
    "prepare": ("data.prepare", "Prepare a corpus: train its tokenizer, encode its text."),
    "cloud": ("tune_app.cloud", "Run, watch and stop a sweep on rented machines; fetch results."),
}
"""Module and help of each sub-command."""


def main() -> int:
    """Runs the command line of this process; returns its exit code."""
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name not in COMMANDS:
        return run_command(_overview(), CONSOLE, sys.argv[1:])
    module, _ = COMMANDS[name]
    # `prepare` is a file, the others are packages.
    file = module if name == "prepare" else f"{module}.__main__"
    arguments = ["status", *own_arguments()] if name == "status" else own_arguments()
    return run_command(import_module(file).app, module, arguments)


def _overview() -> App:
    """The help without a sub-command."""
    app = App(
        name=CONSOLE,
        help="Find how a small language model should spend its parameters.\n\n"
        f"Each command has its own help, for example {CONSOLE} sweep --help.",
        help_format="plaintext",
        version_flags=[],
    )
    for position, (name, (_, text)) in enumerate(COMMANDS.items()):
        app.command(App(name=name, help=text, sort_key=position))
    return app


if __name__ == "__main__":
    sys.exit(main())
