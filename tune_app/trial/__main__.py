"""The command line of one trial: python -m tune_app.trial."""

from __future__ import annotations

import sys
from typing import Annotated

from cyclopts import App, Parameter

from tune_app.command_line import (
    asked_to_end,
    command_name,
    examples,
    run_command,
    version_text,
)
from tune_app.trial.places import DEFAULT_STORE

MODULE = "tune_app.trial"
_NAME = command_name(MODULE)

app = App(
    name=_NAME,
    help="""Train one cell from start to end, without Ray.

    A cell is JSON with any of these settings; the others keep their defaults,
    which `stellux settings` shows with what they mean.

    Model: target_parameters, budget, vocab_size, embedding_ratio, glu_expansion,
    embedding, attention, feed_forward, norm, context, kv_share, rotary_base,
    document_masking, dropout; sizes: d_model, n_layers, n_heads, n_kv_heads, head_dim, d_ff,
    embedding_rank; experts: n_experts, top_k, shared_experts, balance_weight,
    router_z_weight.

    Tokenizer: tokenizer, tokenizer_options.

    Training: tokens, batch_size, learning_rate, learning_rate_factor,
    embedding_rate, parametrization, schedule, warmup_fraction, weight_decay, betas,
    gradient_clip, precision, compile, deterministic, seed, optimizer,
    muon_learning_rate, muon_momentum, warmup_tokens, gradient_accumulation,
    gradient_checkpointing; steps or epochs in place of tokens.

    Text: corpus, mixture, mixture_end, mixture_anneal, mixture_surprise, curriculum.

    Evaluation: evaluations, evaluation_bytes, sample.

    A size, embedding_ratio or glu_expansion set to null is left free: the solver
    chooses it to meet the parameter budget.""",
    help_epilogue=examples(
        f"""{_NAME} '{{"target_parameters": 4000000, "tokens": 100000}}'""",
        f"""{_NAME} '{{"d_model": 256, "embedding_ratio": null}}'""",
        f"{_NAME} cell.json --checkpoints my_trial --threads 2",
    ),
    help_format="plaintext",
    version=version_text,
)


@app.default
def train(
    cell: str = "{}",
    *,
    checkpoints: Annotated[
        str,
        Parameter(
            help="Store to write checkpoints to and resume from: a folder, sftp://user@host/path "
            "or s3://bucket. Each cell has its own folder in it."
        ),
    ] = DEFAULT_STORE,
    checkpoint_every: float | None = None,
    keep_checkpoints: int | None = None,
    keep_best: int = 1,
    threads: int = 1,
    device: str = "auto",
    processes: Annotated[
        int,
        Parameter(
            help="Processes that share the model and each batch: as many GPUs, from the device on. "
            "Fewer or more may continue the cell."
        ),
    ] = 1,
    cuda_graph: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Train one cell.

    Parameters
    ----------
    cell
        Settings as JSON, or the path to a .json file.
    checkpoint_every
        Seconds between checkpoints; default: 2 to 15 minutes, by what a checkpoint costs.
    keep_checkpoints
        Newest checkpoints kept; default: 2 while the cell trains, then only the last.
    keep_best
        Checkpoints with the best scores on dev that are kept as well.
    threads
        CPU threads. More help only where nothing else runs, and give other last bits.
    device
        auto (a GPU if there is one), cpu, cuda, one of several GPUs as in cuda:1, or mps.
    cuda_graph
        Start each step as one CUDA graph: fewer launches, the same results. No GPU has run it yet.
    """
    from tune_app.trial.alone import train_alone  # noqa: PLC0415 - imports torch

    return train_alone(
        cell,
        checkpoints=checkpoints,
        checkpoint_every=checkpoint_every,
        keep_checkpoints=keep_checkpoints,
        keep_best=keep_best,
        threads=threads,
        device=device,
        processes=processes,
        cuda_graph=cuda_graph,
        asked_to_end=asked_to_end,
    )


def main() -> int:
    """Runs the command line of this process; returns its exit code."""
    return run_command(app, MODULE)


if __name__ == "__main__":
    sys.exit(main())
