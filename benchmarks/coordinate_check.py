"""What training does to activations at several widths and depths (a coordinate check).

The sizes of activations, and how far training moves them, should not depend on width or depth if a
learning rate is to carry over (Yang et al., 2022, "Tensor Programs V", appendix D). The parts that
are measured: the residual stream after the last block, what all blocks together add to it, and the
logits.

python -m benchmarks.coordinate_check docs/coordinate_check.png
python -m benchmarks.coordinate_check docs/coordinate_check_muon.png --optimizer muon
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Literal

import numpy as np
import torch
from cyclopts import App
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table
from torch import Tensor

from data.batches import TrainingBatches
from data.prepare import prepare
from data.prepared import PreparedCorpus
from data.tokenizers.spec import TokenizerSpec
from model.network.transformer import Transformer
from model.spec import ModelConfig
from model.training.settings import TrainingConfig
from model.training.training import Training

BASELINE = ModelConfig(
    vocab_size=4_096, context=128, d_model=80, n_layers=8, n_heads=2, head_dim=40, d_ff=216
)
WIDTHS = (56, 80, 160, 320)
DEPTHS = (3, 8, 16, 31)
COLOURS = {"complete_p": "#0072B2", "depth_mup": "#D55E00", "complete_p_zero": "#009E73"}

app = App(name="python -m benchmarks.coordinate_check", help=__doc__, version_flags=[])


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Root mean squares on one batch, after training: of activations, and of their changes."""

    stream: float
    branches: float
    logits: float
    stream_change: float
    branches_change: float
    logits_change: float


@app.default
def check(
    plot: Path,
    *,
    optimizer: Literal["adamw", "muon"] = "adamw",
    rules: str = ",".join(COLOURS),
    widths: str = ",".join(map(str, WIDTHS)),
    depths: str = ",".join(map(str, DEPTHS)),
    steps: int = 10,
    seeds: int = 3,
    threads: int = 1,
) -> None:
    """Measure, print the spreads and draw the plot.

    Parameters
    ----------
    plot
        PNG file to write.
    optimizer
        For the hidden matrices; each at its default rates.
    rules
        Parametrizations.
    widths
        Of the models with the baseline's depth.
    depths
        Of the models with the baseline's width.
    steps
        Training steps at the full learning rate.
    seeds
        Seeds to average over.
    threads
        CPU threads.
    """
    torch.set_num_threads(threads)
    compared = rules.split(",")
    if unknown := set(compared) - set(COLOURS):
        raise ValueError(f"unknown rule {unknown.pop()!r}; expected some of {', '.join(COLOURS)}")
    corpus = prepare("stdlib", TokenizerSpec(vocab_size=BASELINE.vocab_size))
    places = {
        axis: list(map(int, one.split(","))) for axis, one in (("width", widths), ("depth", depths))
    }
    shapes: dict[str, list[ModelConfig]] = {
        "width": [_of_width(width) for width in places["width"]],
        "depth": [replace(BASELINE, n_layers=depth) for depth in places["depth"]],
    }
    found = {
        (axis, rule): [
            _mean(
                [
                    _measured(
                        config,
                        corpus,
                        _settings(rule, optimizer, seed),
                        steps=steps,
                    )
                    for seed in range(seeds)
                ]
            )
            for config in configs
        ]
        for axis, configs in shapes.items()
        for rule in compared
    }
    _print(found)
    _draw(
        found,
        places,
        plot,
        f"{optimizer}, {steps} steps, {seeds} {'seeds' if seeds > 1 else 'seed'}",
    )


def _of_width(width: int) -> ModelConfig:
    scale = width / BASELINE.d_model
    head_dim = 2 * round(BASELINE.head_dim * scale / 2)
    return replace(BASELINE, d_model=width, head_dim=head_dim, d_ff=round(BASELINE.d_ff * scale))


def _settings(rule: str, optimizer: str, seed: int) -> TrainingConfig:
    return TrainingConfig(
        tokens=10**9,  # so that the schedule does not move
        batch_size=8,
        warmup_fraction=0.0,
        parametrization=rule,
        optimizer=optimizer,
        precision="fp32",
        compile="off",
        seed=seed,
    )


def _measured(
    config: ModelConfig, corpus: PreparedCorpus, settings: TrainingConfig, *, steps: int
) -> Sizes:
    """Trains at the default rate without warm-up and compares before and after."""
    batches = TrainingBatches(
        corpus.split("train"),
        context=config.context,
        batch_size=settings.batch_size,
        seed=settings.seed,
    )
    training = Training(config, settings, batches, baseline=BASELINE)
    tokens_BT = torch.as_tensor(np.asarray(batches.batch(10_000).inputs_BT), dtype=torch.long)
    before = tuple(_activations(training.model, tokens_BT))
    for _ in range(steps):
        training.step()
    after = tuple(_activations(training.model, tokens_BT))
    sizes = [_rms(one) for one in after]
    changes = [_rms(one - other) for one, other in zip(after, before, strict=True)]
    return Sizes(
        **dict(zip(("stream", "branches", "logits"), sizes, strict=True)),
        **dict(zip(("stream_change", "branches_change", "logits_change"), changes, strict=True)),
    )


@torch.no_grad()
def _activations(model: Transformer, tokens_BT: Tensor) -> Iterator[Tensor]:
    """The stream after the last block, what the blocks added to it, and the logits."""
    context = model.context(tokens_BT.shape[1])
    embedded_BTD = model.embed(tokens_BT, context)
    hidden_BTD = embedded_BTD
    for block in model.blocks:
        hidden_BTD = block(hidden_BTD, context)
    features_BTE, weight_VE = model.output(model.final_norm(hidden_BTD))
    yield from (hidden_BTD, hidden_BTD - embedded_BTD, features_BTE @ weight_VE.T)


def _rms(values: Tensor) -> float:
    return values.square().mean().sqrt().item()


def _mean(sizes: Sequence[Sizes]) -> Sizes:
    each = [asdict(one) for one in sizes]
    return Sizes(**{name: fmean(one[name] for one in each) for name in each[0]})


def _print(found: Mapping[tuple[str, str], Sequence[Sizes]]) -> None:
    names = list(asdict(next(iter(found.values()))[0]))
    shown = Table(title="greatest / least over the shapes")
    for column in ("over", "parametrization", *names):
        shown.add_column(column)
    for (axis, rule), sizes in found.items():
        series = [[getattr(one, name) for one in sizes] for name in names]
        shown.add_row(axis, rule, *(f"{max(one) / min(one):.2f}" for one in series))
    Console(width=140).print(shown)


def _draw(
    found: Mapping[tuple[str, str], Sequence[Sizes]],
    shapes: Mapping[str, Sequence[int]],
    plot: Path,
    title: str,
) -> None:
    figure = Figure(figsize=(9, 5.2), layout="constrained")
    axes = figure.subplots(2, 3)
    for row, (axis, places) in zip(axes, shapes.items(), strict=True):
        for ax, part in zip(row, ("stream", "branches", "logits"), strict=True):
            for rule in dict.fromkeys(rule for _, rule in found):
                for name, dash, told in ((part, "-", "size"), (f"{part}_change", "--", "change")):
                    ax.plot(
                        places,
                        [getattr(one, name) for one in found[axis, rule]],
                        dash,
                        marker="o",
                        markersize=4,
                        color=COLOURS.get(rule),
                        label=f"{rule}, {told}",
                    )
            ax.set(xscale="log", xlabel=axis, title=part)
            ax.set_xticks(places, [str(place) for place in places])
            ax.minorticks_off()
            ax.set_ylim(bottom=0, top=1.15 * ax.get_ylim()[1])
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    figure.suptitle(f"Root mean squares after training, and of the change since the start; {title}")
    figure.savefig(plot, dpi=150)


if __name__ == "__main__":
    app()
