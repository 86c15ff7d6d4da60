"""The console command: stellux sweep, plan, status, trial, prepare, export, generate and others.

A sub-command is imported only when it is called, so that help appears immediately.
"""

from __future__ import annotations

import sys
from importlib import import_module

from cyclopts import App

from tune_app.command_line import CONSOLE, examples, own_arguments, run_command, version_text

COMMANDS = {
    "sweep": ("tune_app.sweep", "Run a sweep, or continue it."),
    "plan": ("tune_app.sweep", "Check everything and show what a sweep would run."),
    "shapes": ("tune_app.sweep", "Show the admissible shapes of each cell."),
    "status": ("tune_app.sweep", "Show the progress of a sweep."),
    "report": ("tune_app.sweep", "Rewrite the results of a sweep from its journal."),
    "list": ("tune_app.sweep", "List the sweeps in a folder."),
    "settings": ("tune_app.sweep", "Show every setting of a cell and of the rules."),
    "study": ("tune_app.study", "Run sweeps in phases up to a verdict, or continue them."),
    "presets": ("tune_app.presets", "Show models of known shape, or smaller ones like them."),
    "trial": ("tune_app.trial", "Train one cell, without Ray."),
    "overfit": ("tune_app.overfit", "Check that a cell learns a few thousand tokens by heart."),
    "rates": ("tune_app.rates", "Find a learning rate in a few hundred steps."),
    "prepare": ("data.prepare", "Prepare a corpus: train its tokenizer, encode its text."),
    "evaluate": ("tune_app.evaluate", "Say what a trained cell is worth, on text and on tasks."),
    "export": ("tune_app.export", "Write a trained cell as a folder that loads without its sweep."),
    "finetune": ("tune_app.finetune", "Go on training an export on conversations."),
    "generate": ("tune_app.generate", "Continue a text with a trained cell or an export."),
    "bundle": ("tune_app.bundle", "Pack a sweep into one archive for others to repeat."),
    "compare": ("tune_app.compare", "Set sweeps side by side."),
    "dashboard": ("tune_app.dashboard", "Show a sweep in a browser, with the tools there are."),
    "verify": ("tune_app.verify", "Check a bundle: its numbers, its hashes, a cell's first steps."),
    "interpret": ("tune_app.interpret", "Look inside a trained model: routing, embeddings."),
    "replay": ("tune_app.replay", "Replay schedulers over recorded learning curves."),
    "cloud": ("tune_app.cloud", "Run, watch and stop a sweep on rented machines; fetch results."),
}
"""Module and help of each sub-command."""
FILES = (
    "presets",
    "prepare",
    "evaluate",
    "export",
    "finetune",
    "generate",
    "overfit",
    "bundle",
    "verify",
    "compare",
    "dashboard",
)
"""Those whose module is a file; the others are packages."""
OF_A_SWEEP = ("plan", "shapes", "status", "report", "list", "settings")
"""Sub-commands of `stellux sweep` that may be called without that word."""


def main() -> int:
    """Runs the command line of this process; returns its exit code."""
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name not in COMMANDS:
        return run_command(_overview(), CONSOLE, sys.argv[1:])
    module, _ = COMMANDS[name]
    file = module if name in FILES else f"{module}.__main__"
    arguments = [name, *own_arguments()] if name in OF_A_SWEEP else own_arguments()
    return run_command(import_module(file).app, module, arguments)


def _overview() -> App:
    """The help without a sub-command."""
    app = App(
        name=CONSOLE,
        help="Find how a small language model should spend its parameters.\n\n"
        f"Each command has its own help, for example {CONSOLE} sweep --help.",
        help_epilogue=examples(
            f"{CONSOLE} sweep",
            f"{CONSOLE} plan embedding_glu --corpus wikitext-103",
            f"{CONSOLE} status embedding_glu",
        ),
        help_format="plaintext",
        version=version_text,
    )
    for position, (name, (_, text)) in enumerate(COMMANDS.items()):
        app.command(App(name=name, help=text, sort_key=position))
    return app


if __name__ == "__main__":
    sys.exit(main())
