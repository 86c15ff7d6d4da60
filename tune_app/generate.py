"""The command line that continues a text: python -m tune_app.generate."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from data.counts import from_command_line
from tune_app.command_line import (
    command_name,
    examples,
    lasting_console,
    run_command,
    version_text,
)

MODULE = "tune_app.generate"
_NAME = command_name(MODULE)

app = App(
    name=_NAME,
    help="""Continue a text with a trained model.

    The model is a sweep's leader or one of its cells, an export, or a checkpoint's
    file. Only the continuation is written. End-of-text ends it. A text that
    outgrows the model's context goes on with its second half.""",
    help_epilogue=examples(
        f"{_NAME} quick --prompt 'def main'",
        f"{_NAME} quick --cell '45% × 4' --temperature 0",
        f"{_NAME} exports/wide --prompt 'The film' --seed 3 --stream",
        f"{_NAME} exports/wide-tuned --chat 'How are you?'",
    ),
    help_format="plaintext",
    version=version_text,
)


@app.default
def generate(
    name: Annotated[
        str, Parameter(help="Name of a sweep, folder of an export, or path of a checkpoint.")
    ],
    *,
    prompt: str = "",
    chat: str | None = None,
    cell: str | None = None,
    temperature: float = 0.8,
    top_p: float = 0.95,
    seed: int = 0,
    stream: Annotated[bool, Parameter(negative="")] = False,
    max_tokens: Annotated[int, Parameter(converter=from_command_line, metavar="COUNT")] = 200,
    threads: int = 1,
    device: str = "cpu",
    results: Annotated[Path, Parameter(help="Folder that holds all sweeps.")] = Path("runs"),
) -> int:
    """Continue a text.

    Parameters
    ----------
    prompt
        The text; default: the start of a document.
    chat
        A message instead, for a model that `stellux finetune` made; default: none.
    cell
        Label or key of a cell; default: the leader, on the seed on which it scored best.
    temperature
        0 always takes the most probable token.
    top_p
        Only the most probable tokens that have this probability together are drawn.
    seed
        The same seed gives the same text.
    stream
        Write the text as it comes.
    max_tokens
        Tokens at most.
    threads
        CPU threads.
    device
        auto (a GPU if there is one), cpu, cuda or mps.
    """
    from model.generation.sampling import Sampling  # noqa: PLC0415 - imports torch
    from tune_app.devices import checked_device, use_threads  # noqa: PLC0415
    from tune_app.evaluation.choice import open_text_model  # noqa: PLC0415

    sampling = Sampling(temperature=temperature, top_p=top_p, seed=seed)
    if chat is not None and prompt:
        raise ValueError("--prompt is a text and --chat a message; give one of them")
    use_threads(threads)
    model = open_text_model(name, cell=cell, results=results, device=checked_device(device))
    if chat is None:
        pieces = model.stream(prompt, max_tokens=max_tokens, sampling=sampling)
    else:
        pieces = model.reply(chat, max_tokens=max_tokens, sampling=sampling)
    output = lasting_console().file
    if not stream:
        pieces = iter(["".join(pieces)])
    for piece in pieces:
        output.write(piece)
        output.flush()
    output.write("\n")
    return 0


def main() -> int:
    """Runs the command line of this process; returns its exit code."""
    return run_command(app, MODULE)


if __name__ == "__main__":
    sys.exit(main())
