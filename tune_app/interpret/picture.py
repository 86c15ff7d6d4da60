"""What was found in a model, as one picture with a panel for each question."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tune_app.interpret.findings import Findings
from tune_app.interpret.routing import GREATEST_ENTROPY, NAMES
from tune_app.results.plots.legends import literal
from tune_app.results.plots.style import DASHES, GREY, MARKERS, PALETTE, dress, new_figure
from tune_app.results.whole_files import replacing

Panel = Callable[[Axes, Findings], None]


def write_picture(findings: Findings, path: Path) -> None:
    """Writes the picture as a PNG. Raises OSError if it cannot be written."""
    buffer = io.BytesIO()
    picture(findings).savefig(buffer, format="png")
    with replacing(path) as temporary:
        temporary.write_bytes(buffer.getvalue())


def picture(findings: Findings) -> Figure:
    """Panels below each other; only those with something in them."""
    panels: list[Panel] = []
    if findings.preferences:
        panels += [_preferences]
        if findings.on_text:
            panels += [_on_text]
        panels += [_entropy]
    if findings.experts:
        panels += [_experts]
    if findings.spectra:
        panels += [_spectra]
    figure = new_figure(height=0.5 + 2.7 * max(1, len(panels)))
    axes = figure.subplots(max(1, len(panels)), 1, squeeze=False)[:, 0]
    figure.suptitle(literal(findings.title), fontsize=10, color=GREY)
    for panel, one in zip(panels, axes, strict=False):
        panel(one, findings)
    return figure


def _preferences(axes: Axes, findings: Findings) -> None:
    shares = {layer: one.favourites for layer, one in findings.preferences.items()}
    _bars(axes, shares, title="Activation that neurons prefer (α)")


def _on_text(axes: Axes, findings: Findings) -> None:
    shares = {layer: one.favourites for layer, one in findings.on_text.items()}
    _bars(axes, shares, title="Activation with the greatest weight on a text")


def _bars(axes: Axes, shares: dict[int, tuple[float, ...]], *, title: str) -> None:
    """A bar for each layer, divided among the activations; names stand in the widest part."""
    dress(axes, x="layer", y="share of neurons, %", title=title)
    layers = list(shares)
    below = [0.0] * len(layers)
    for place, name in enumerate(NAMES):
        heights = [100 * shares[layer][place] for layer in layers]
        axes.bar(
            layers, heights, bottom=below, width=0.82, color=PALETTE[place], label=name, linewidth=0
        )
        below = [bottom + height for bottom, height in zip(below, heights, strict=True)]
    axes.set_ylim(0, 100)
    axes.set_xlim(min(layers) - 0.6, max(layers) + 0.6)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(
        loc="lower left", bbox_to_anchor=(1.0, 0.0), fontsize=9.5, frameon=False, reverse=True
    )


def _experts(axes: Axes, findings: Findings) -> None:
    """A square for each expert of each layer."""
    dress(axes, x="expert", y="layer", title="Load of the experts, over an equal share")
    loads = [one.loads for one in findings.experts.values()]
    layers = list(findings.experts)
    image = axes.imshow(
        loads, aspect="auto", cmap="cividis", vmin=0, vmax=max(2.0, *map(max, loads)),
        extent=(-0.5, len(loads[0]) - 0.5, layers[-1] + 0.5, layers[0] - 0.5),
    )  # fmt: skip
    axes.grid(False)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.figure.colorbar(image, ax=axes)


def _entropy(axes: Axes, findings: Findings) -> None:
    dress(axes, x="layer", y="entropy, nats", title="Entropy of the routing")
    lines = [("by preference", findings.preferences), ("on a text", findings.on_text)]
    for place, (name, mixtures) in enumerate(lines):
        if mixtures:
            axes.plot(
                list(mixtures),
                [one.entropy for one in mixtures.values()],
                color=PALETTE[place],
                marker=MARKERS[place],
                linestyle=DASHES[place],
                label=name,
            )
    axes.axhline(GREATEST_ENTROPY, color=GREY, linewidth=1.0, linestyle=DASHES[1], zorder=0)
    axes.annotate(
        "all alike",
        (1.0, GREATEST_ENTROPY),
        xycoords=("axes fraction", "data"),
        xytext=(-2, 2),
        textcoords="offset points",
        ha="right",
        va="bottom",
        fontsize=9.5,
        color=GREY,
    )
    axes.set_ylim(0, 1.15 * GREATEST_ENTROPY)
    axes.set_xlim(min(findings.preferences) - 0.6, max(findings.preferences) + 0.6)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(loc="lower left", bbox_to_anchor=(1.0, 0.0), fontsize=9.5, frameon=False)


def _spectra(axes: Axes, findings: Findings) -> None:
    dress(
        axes, x="direction, the strongest first", y="relative to the first",
        title="Singular values of the embeddings",
    )  # fmt: skip
    for place, (name, one) in enumerate(findings.spectra.items()):
        axes.plot(
            range(1, len(one.values) + 1),
            [value / one.values[0] for value in one.values],
            color=PALETTE[place],
            linestyle=DASHES[place],
            label=literal(f"{name}, effective rank {one.effective_rank:.0f} of {len(one.values)}"),
        )
    axes.set_yscale("log")
    axes.legend(loc="upper right", fontsize=9.5, frameon=False)
