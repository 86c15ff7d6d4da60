"""What the nuisance axes of a sweep did to its designs and to their ranking, in sentences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tune_app import formats
from tune_app.plan.labels import axis_name, describe_value, ordered
from tune_app.results.designs import Design
from tune_app.results.summary import SweepResults
from tune_app.results.verdict import difference_text
from tune_app.statistics.nuisance import Reversal, is_at_end, reversals

_MOST_NAMES = 4
_MOST_SENTENCES = 12


def values_text(design: Design) -> str:
    """The nuisance values that it is compared at, without their names: `2`, or `2, 0.1`."""
    if design.chosen is None:
        return ""
    return ", ".join(describe_value(axis, value) for axis, value in design.chosen.values.items())


def how_chosen(design: Design) -> str:
    """How the nuisance value of a design was chosen and where it was scored; empty without one."""
    choice, chosen = design.choice, design.chosen
    if choice is None or chosen is None or not chosen.values:
        return ""
    if choice.chosen_on is None:
        return f"at {chosen.name}, the only one it was trained at"
    if choice.held_out:
        scored = ", ".join(map(str, choice.scored_on))
        seeds = "seed" if len(choice.scored_on) == 1 else "seeds"
        how = f"chosen on seed {choice.chosen_on} and scored on {seeds} {scored}"
    else:
        how = f"chosen and scored on the same seed, {choice.chosen_on}, which is optimistic"
    return f"at {chosen.name}, {how}; {compared(design)} values compared"


def compared(design: Design) -> str:
    """How many of its nuisance values a design was chosen from: `2 of 3`."""
    number = 0 if design.choice is None else design.choice.compared
    return f"{number} of {len(design.trials)}"


def optimism(results: SweepResults) -> str:
    """A sentence on designs that were scored where they were chosen; empty if there are none."""
    if not results.nuisance:
        return ""
    names = " and ".join(map(axis_name, results.nuisance))
    if len(results.sweep.seeds) == 1:
        seed = results.sweep.seeds[0]
        return (
            f"The {names} of each design is chosen and scored on the same seed, so every score is "
            f"optimistic: --seeds {seed},{seed + 1} scores it on another"
        )
    flattered = [
        design.label
        for design in results.ranking
        if design.choice is not None and not design.choice.held_out
    ]
    if not flattered:
        return ""
    return (
        f"{_listed(flattered)} finished on no seed but the one that chose its {names}: the score "
        "is optimistic, so it is ranked behind those that were scored on another seed"
    )


def at_the_end(results: SweepResults) -> list[str]:
    """A sentence for each end of a nuisance axis that is the best value of some design."""
    sentences = []
    for axis in results.nuisance:
        tried = ordered([cell.cell.values.get(axis) for cell in results.cells])
        for value in tried:
            if not is_at_end(value, tried):
                continue
            names = [
                design.label
                for design in results.ranking
                if design.chosen is not None and design.chosen.values[axis] == value
            ]
            if names:
                sentences.append(
                    f"the best {axis} of {_listed(names)} lies at the end of the range "
                    f"({describe_value(axis, value)}): widen it"
                )
    return sentences


def turned(results: SweepResults) -> list[tuple[Design, Design, str]]:
    """Each pair of designs whose order reverses within the nuisance, and the sentence about it.

    The pairs are in the order of the ranking; designs are compared at equal nuisance values, on the
    seeds that count for both.
    """
    ranked = results.ranking
    if not results.nuisance:
        return []
    names = _trial_names(results)
    found: dict[tuple[int, int], list[Reversal]] = {}
    for one in reversals([_scores(design, names) for design in ranked]):
        found.setdefault((one.ahead, one.behind), []).append(one)
    return [
        (ranked[ahead], ranked[behind], _sentence(results, ranked, ones, names))
        for (ahead, behind), ones in found.items()
    ]


def closing_sentences(results: SweepResults) -> list[str]:
    """What a person should know of the nuisance when a sweep ends, the leader's reversals first."""
    leader = results.leader
    if leader is None or not results.nuisance:
        return []
    pairs = turned(results)
    own = [sentence for ahead, _, sentence in pairs if ahead is leader]
    shown = own[:_MOST_NAMES]
    if rest := len(pairs) - len(shown):
        shown.append(
            f"the order of {formats.counted(rest, 'other pair' if shown else 'pair')} reverses "
            f"within the {_axes(results)} too: see the report"
            if shown
            else f"the leader leads at every {_axes(results)}; the order of "
            f"{formats.counted(rest, 'pair')} behind it reverses: see the report"
        )
    flattered = optimism(results)
    return [*([flattered] if flattered else []), *shown, *at_the_end(results)]


def nuisance_section(results: SweepResults) -> dict[str, Any] | None:
    """The report's section: every design at every nuisance value, and what to know about it; None
    in a sweep without nuisance axes."""
    if not results.nuisance:
        return None
    names = _trial_names(results)
    ranked = results.ranking
    others = [design for design in results.designs if design not in ranked]
    pairs = [sentence for _, _, sentence in turned(results)]
    flattered = optimism(results)
    sentences = [
        *([flattered] if flattered else []),
        *pairs[:_MOST_SENTENCES],
        *(
            [f"{formats.counted(len(pairs) - _MOST_SENTENCES, 'more pair')} reverses so"]
            if len(pairs) > _MOST_SENTENCES
            else []
        ),
        *at_the_end(results),
    ]
    return {
        "name": _axes(results),
        "heads": names,
        "rows": [
            {
                "label": design.label,
                "scores": [_score_at(design, name) for name in names],
                "compared": compared(design),
                "reason": "" if design.choice is None else design.choice.reason,
            }
            for design in (*ranked, *others)
        ],
        "sentences": [f"{text[:1].upper()}{text[1:]}." for text in sentences],
        "steady": bool(ranked) and not pairs,
    }


def _score_at(design: Design, name: str) -> dict[str, Any]:
    """What the design scored at a nuisance value: the mean over its finished seeds."""
    trial = next((one for one in design.trials if one.name == name), None)
    return {
        "score": formats.UNKNOWN if trial is None else formats.bits_per_byte(trial.mean),
        "is_chosen": trial is not None and trial is design.chosen,
    }


def _trial_names(results: SweepResults) -> list[str]:
    """The nuisance values of all designs in words, each once, in their order."""
    return list(dict.fromkeys(trial.name for design in results.designs for trial in design.trials))


def _axes(results: SweepResults) -> str:
    return " and ".join(map(axis_name, results.nuisance))


def _scores(design: Design, names: Sequence[str]) -> list[dict[int, float]]:
    """The scores that count at each nuisance value, on the seeds that count for the design."""
    counts = () if design.choice is None else design.choice.scored_on
    by_name = {trial.name: trial.scores for trial in design.trials}
    return [
        {seed: score for seed, score in by_name.get(name, {}).items() if seed in counts}
        for name in names
    ]


def _sentence(
    results: SweepResults,
    ranked: Sequence[Design],
    found: Sequence[Reversal],
    names: Sequence[str],
) -> str:
    """found: the reversals of one pair."""
    ahead, behind = ranked[found[0].ahead], ranked[found[0].behind]
    where = " and ".join(
        f"at {names[one.value]} (by {one.by:.4f} bits per byte"
        f"{difference_text(results, one.by, seeds=one.seeds)})"
        for one in found
    )
    return (
        f"the ranking reverses within the nuisance: {behind.label} is behind {ahead.label}, each "
        f"at its chosen value, but ahead of it {where}"
    )


def _listed(labels: Sequence[str]) -> str:
    """The first few names, and how many more."""
    shown = ", ".join(labels[:_MOST_NAMES])
    more = len(labels) - _MOST_NAMES
    return f"{shown} and {more} more" if more > 0 else shown
