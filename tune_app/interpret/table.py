"""What was found in a model, on a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from tune_app import formats
from tune_app.interpret.experts import ExpertLoad
from tune_app.interpret.findings import Findings
from tune_app.interpret.routing import GREATEST_ENTROPY, NAMES, Mixture
from tune_app.interpret.spectra import Spectrum
from tune_app.terminal.columns import Column, FittingTable


def findings_table(findings: Findings) -> RenderableType:
    """A table for each thing that was measured, with a line on how to read it."""
    return Group(*_parts(findings))


def _parts(findings: Findings) -> Iterator[RenderableType]:
    yield Text(findings.title, "bold")
    if findings.preferences:
        yield Text()
        yield Text(
            "Activations that neurons prefer most, by layer; entropy in nats (all alike: "
            f"{GREATEST_ENTROPY:.2f}), at a temperature of {findings.tau:.2f}"
        )
        yield _routing(findings.preferences, findings.on_text)
        if findings.on_text:
            yield Text(f"text: {formats.counted(findings.tokens, 'token')}", "dim")
        else:
            yield Text(
                "by preference alone; what the gate adds shows on a text: --text FILE", "dim"
            )
    elif findings.experts:
        yield Text()
        yield Text("Load of the experts, over an equal share, and entropy of the router in nats")
        yield _experts(findings.experts)
        yield Text(f"text: {formats.counted(findings.tokens, 'token')}", "dim")
    elif findings.has_experts:
        yield Text("which experts tokens choose shows on a text: --text FILE", "dim")
    else:
        yield Text("no PolyGLU and no experts in this model, so no routing", "dim")
    if findings.spectra:
        yield Text()
        yield Text("Singular values of the embeddings")
        yield _spectra(findings.spectra)


def _routing(preferences: Mapping[int, Mixture], on_text: Mapping[int, Mixture]) -> FittingTable:
    layers = list(preferences)
    columns = [
        Column.numbers("layer", [str(layer) for layer in layers], rank=0),
        *(
            Column.numbers(
                f"{name}\nα", _percent([preferences[at].favourites[place] for at in layers]), rank=1
            )
            for place, name in enumerate(NAMES)
        ),
        Column.numbers("entropy\nα", [f"{preferences[at].entropy:.3f}" for at in layers], rank=0),
    ]
    if on_text:
        columns += [
            *(
                Column.numbers(
                    f"{name}\ntext", _percent([on_text[at].favourites[k] for at in layers]), rank=2
                )
                for k, name in enumerate(NAMES)
            ),
            Column.numbers(
                "entropy\ntext", [f"{on_text[at].entropy:.3f}" for at in layers], rank=0
            ),
        ]
    return FittingTable(columns=columns, name_left_out=True)


def _experts(experts: Mapping[int, ExpertLoad]) -> FittingTable:
    found = list(experts.values())
    return FittingTable(
        columns=[
            Column.numbers("layer", [str(layer) for layer in experts], rank=0),
            Column.numbers("experts", [str(len(one.loads)) for one in found], rank=1),
            Column.numbers("busiest", [f"{max(one.loads):.2f}" for one in found], rank=0),
            Column.numbers("idlest", [f"{min(one.loads):.2f}" for one in found], rank=0),
            Column.numbers("never used", [str(one.loads.count(0.0)) for one in found], rank=1),
            Column.numbers("entropy", [f"{one.entropy:.3f}" for one in found], rank=0),
        ]
    )


def _spectra(spectra: Mapping[str, Spectrum]) -> FittingTable:
    found = list(spectra.values())
    return FittingTable(
        columns=[
            Column.names("matrix", list(spectra)),
            Column.numbers("directions", [str(len(one.values)) for one in found], rank=0),
            Column.numbers(
                "effective rank", [f"{one.effective_rank:.1f}" for one in found], rank=0
            ),
            Column.numbers("for 90 %", [str(one.ninety_percent) for one in found], rank=1),
            Column.numbers(
                "greatest / median",
                [
                    f"{one.values[0] / max(one.values[len(one.values) // 2], 1e-300):.1f}"
                    for one in found
                ],
                rank=2,
            ),
        ]
    )


def _percent(shares: Sequence[float]) -> list[str]:
    return [f"{100 * share:.0f} %" for share in shares]
