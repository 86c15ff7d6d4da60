"""The command line of presets: python -m tune_app.presets."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

from cyclopts import App, Parameter
from rich.console import Console

from tune_app.command_line import command_name, examples, run_command, version_text

MODULE = "tune_app.presets"
_NAME = command_name(MODULE)

app = App(
    name=_NAME,
    help="""Show models of known shape, or smaller ones like them.

    Without a name: all presets. With one: its parameters by part. With a budget too:
    a model of the same proportions with that many parameters, what changed, and the
    settings of a cell that train it.""",
    help_epilogue=examples(
        _NAME,
        f"{_NAME} polychromatic-600m",
        f"{_NAME} yxanul --target-parameters 10M --vocab-size 8k",
    ),
    help_format="plaintext",
    version=version_text,
)


def _whole(kind: Any, tokens: Any) -> int:
    from data.counts import from_command_line  # noqa: PLC0415 - it may be hidden

    return from_command_line(kind, tokens)


Count = Annotated[int | None, Parameter(converter=_whole, metavar="COUNT")]


@app.default
def presets(
    name: Annotated[str | None, Parameter(help="A preset; default: all of them.")] = None,
    *,
    target_parameters: Count = None,
    vocab_size: Count = None,
) -> int:
    """Show models of known shape, or smaller ones like them.

    Parameters
    ----------
    target_parameters
        Budget of a model with the preset's proportions, e.g. 10M; default: the preset itself.
    vocab_size
        Its vocabulary; default: 16k, as of a sweep.
    """
    from model.presets import PRESETS, preset, scaled, settings_of  # noqa: PLC0415 - numpy
    from model.sizing.table import parameter_table  # noqa: PLC0415
    from model.spec import ModelSpec  # noqa: PLC0415
    from tune_app.terminal.presets import changes_table, presets_table  # noqa: PLC0415

    console = Console()
    if name is None:
        if target_parameters is not None or vocab_size is not None:
            raise ValueError(f"name the preset to scale: one of {', '.join(PRESETS)}")
        console.print(presets_table(PRESETS))
        return 0
    chosen = preset(name)
    config = chosen.config
    if target_parameters is None and vocab_size is not None:
        raise ValueError("a vocabulary needs a budget beside it: --target-parameters 10M")
    if target_parameters is not None:
        config = scaled(
            config,
            target_parameters=target_parameters,
            vocab_size=vocab_size or ModelSpec().vocab_size,
            context=ModelSpec().context,
        )
    console.print(f"{name}: {chosen.about}", markup=False, highlight=False)
    console.print()
    console.print(parameter_table(config).as_text(), markup=False, highlight=False, soft_wrap=True)
    if target_parameters is not None:
        console.print()
        console.print(changes_table(chosen.config, config))
        console.print()
        settings = json.dumps(settings_of(config))
        console.print(f"stellux trial '{settings}'", markup=False, highlight=False, soft_wrap=True)
    return 0


def main() -> int:
    """Runs the command line of this process; returns its exit code."""
    return run_command(app, MODULE)


if __name__ == "__main__":
    sys.exit(main())
