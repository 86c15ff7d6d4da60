"""Limits of what a sweep shows, with its own numbers. Pure text."""

from __future__ import annotations

import math
from collections.abc import Iterator

from tune_app import formats
from tune_app.journal.records import ENDED_EARLY, FailureClass, Status
from tune_app.plan.labels import axis_name, describe_value, is_number, ordered
from tune_app.plan.tokenizer import tokenizer_of
from tune_app.results import nuisance
from tune_app.results.sample_check import sample_check, undecided
from tune_app.results.summary import SweepResults
from tune_app.results.verdict import more_seeds, sigmas_text
from tune_app.stopping.all_rules import title_of

_AMPLE = 20
"""Tokens per parameter of compute-optimal training (Hoffmann et al. 2022, arXiv:2203.15556)."""


def caveats(results: SweepResults) -> list[str]:
    """Sentences for the report; only those that apply to this sweep."""
    return [
        *_unfinished(results),
        *_amended(results),
        *_extended(results),
        *_chosen_on_dev(results),
        *_chance(results),
        *_scale(results),
        *_edges(results),
        *_confounded(results),
        *_chosen_shape(results),
        *_stopping(results),
        *undecided(results),
        *([] if (check := sample_check(results)) is None else [check.sentence]),
        *_tokenizers(results),
        *_eager(results),
        *_nuisance(results),
        "Seconds depend on the machine and on what else ran on it; FLOPs and bits per byte do not.",
    ]


def _nuisance(results: SweepResults) -> Iterator[str]:
    if {"learning_rate", "learning_rate_factor"}.isdisjoint(results.nuisance):
        yield (
            "One learning rate is carried to all cells by width and depth (muP). A design with "
            "another best learning rate looks worse than it is (docs/transfer.md: by how much)."
        )
    if results.nuisance:
        names = " and ".join(map(axis_name, results.nuisance))
        yield (
            f"Designs are compared at their best of the {names} values that were tried; a better "
            "one may lie between them or beyond."
        )
    if flattered := nuisance.optimism(results):
        yield f"{flattered}."
    scheduler = str(results.sweep.scheduler.get("name"))
    by_rank = [
        cell
        for cell in results.with_status(*ENDED_EARLY)
        if cell.decision and cell.decision.rule == scheduler
    ]
    if results.nuisance and by_rank:
        title = title_of(scheduler)
        yield (
            f"{title.by} compares cells of different nuisance values at equal tokens. A higher "
            f"learning rate looks worse until the rate falls, so it may be {title.verb} although "
            "it would end better."
        )


def _unfinished(results: SweepResults) -> Iterator[str]:
    waiting = [cell for cell in results.cells if cell.cell.status.waits]
    if waiting:
        yield (
            f"The sweep has not ended: {len(waiting)} of {len(results.cells)} cells are still to "
            "train. The ranking may change."
        )
    left_out = results.with_status(Status.LEFT_OUT)
    if left_out:
        yield (
            f"{len(left_out)} of {len(results.cells)} cells are left out: they have not ended, and "
            "the newest command does not name them."
        )


def _extended(results: SweepResults) -> Iterator[str]:
    origin = results.sweep.origin
    if "extends" not in origin:
        return
    anew, left = origin["from_the_start"], origin["left"]
    yield (
        f"It goes on from the sweep {origin['extends']} of {origin['tokens']:,} tokens: "
        f"{formats.counted(len(origin['cells']), 'cell')} from before the cool-down there"
        + (f"; {', '.join(anew)} anew, as no such checkpoint was left" if anew else "")
        + (
            f". {', '.join(left)} did not finish there and are no part of it: what is ranked here "
            "was chosen there."
            if left
            else "."
        )
    )


def _chosen_on_dev(results: SweepResults) -> Iterator[str]:
    leader = results.leader
    if leader is None:
        return
    flattered = (
        "The leader was chosen by its score on the dev split, "
        f"among {len(results.ranking)} that finished, so that score flatters it."
    )
    if (score := leader.test_mean) is not None:
        gap = None if leader.is_baseline else results.test_gap(leader)
        against = "" if gap is None else f", {formats.gap(gap)} against the baseline there"
        yield (
            f"{flattered} On the test split, which decided nothing, it has "
            f"{formats.bits_per_byte(score)} bits per byte{against}."
        )
    elif results.sweep.test_bytes == 0:
        yield f"{flattered} The corpus has no test split to check it on."
    elif any(cell.cell.status.waits for cell in results.cells):
        yield f"{flattered} A test split, if there is one, is scored once the sweep has ended."
    else:
        yield (
            f"{flattered} It was not scored on a test split: the same command does so, if the "
            "corpus has one and the leader's last checkpoint can be read."
        )
    earlier = [
        design.label
        for design in results.designs
        if design.test_scores and design is not leader and not design.is_baseline
    ]
    if earlier:
        yield (
            f"{', '.join(earlier)} led earlier and so was scored on the test split as well; "
            "choosing by these scores would be a contest on that split."
        )


def _amended(results: SweepResults) -> Iterator[str]:
    rules = [
        one
        for one in results.amendments
        if {change.name for change in one.changes} & {"scheduler", "kill_rule"}
    ]
    if not rules:
        return
    earlier = [
        cell
        for cell in results.with_status(*ENDED_EARLY)
        if cell.decision is not None and cell.decision.amendment < rules[-1].number
    ]
    if earlier:
        yield (
            f"The stopping rules were changed while the sweep ran: {len(earlier)} of its cells "
            "were stopped or paused by earlier rules than the present ones."
        )


def _chance(results: SweepResults) -> Iterator[str]:
    seeds = len(results.sweep.seeds)
    few = "Only one seed" if seeds == 1 else f"Only {seeds} seeds"
    yield f"{few}: another may change the ranking. {_how_much(results)}"
    if seeds > 1:
        partial = [design for design in results.ranking if len(design.finished) < design.wanted]
        if partial:
            names = ", ".join(design.label for design in partial)
            yield (
                f"Not every seed of {names} was trained to the end, so the means are not over the "
                "same seeds. Where seeds were stopped the mean of the others flatters, because "
                "stopping spares the lucky ones, and the noise between seeds looks smaller than it "
                "is."
            )


def _how_much(results: SweepResults) -> str:
    """By how much the seed alone moves a score, and what that leaves of the first two."""
    contest, ranking = results.contest, results.ranking
    noise = contest.noise
    if noise is None:
        return (
            f"By how much is unknown: {contest.why_unknown}. {more_seeds(results)} measures it; "
            "until then nothing says that the leader is better than the second."
        )
    low, high = noise.interval
    measured = (
        f"The seed alone moves a score by σ = {noise.sigma:.4f} bits per byte (95 %: {low:.4f} to "
        f"{high:.4f}), from {noise.source}"
    )
    measured += f" ({noise.detail})" if noise.detail else ""
    if len(ranking) < 2:
        return f"{measured}."
    margin = contest.margins[ranking[1].label]
    return (
        f"{measured}. First and second differ by {margin.by:.4f}, {sigmas_text(margin)}; below "
        f"{noise.limit * margin.unit:.4f} they are not told apart."
    )


def _scale(results: SweepResults) -> Iterator[str]:
    target = results.target_parameters
    if target is None:
        return
    ratio = results.sweep.tokens / target
    size = formats.count(target)
    if ratio < _AMPLE:
        yield (
            f"Few tokens: {formats.count(results.sweep.tokens)} for {size} parameters are "
            f"{ratio:.2g} tokens per parameter; compute-optimal training takes about {_AMPLE} "
            "(Hoffmann et al. 2022). More training may favour another design."
        )
    yield f"{size} parameters only: the result may not hold at another size."


def _edges(results: SweepResults) -> Iterator[str]:
    leader = results.leader
    for axis in results.axes:
        values = ordered([design.values.get(axis) for design in results.designs])
        if leader is None or len(values) < 2 or not all(map(is_number, values)):
            continue
        value = leader.values.get(axis)
        if value in (values[0], values[-1]):
            yield (
                f"The leader is at the edge of the grid, at {axis_name(axis)} "
                f"{describe_value(axis, value)}: better values may be beyond it."
            )


def _confounded(results: SweepResults) -> Iterator[str]:
    tokenizers = {tokenizer_of(cell.cell.values) for cell in results.cells}
    sizes = [cell.cell.config for cell in results.cells if cell.cell.config is not None]
    one_width, one_depth = (len({size[n] for size in sizes}) == 1 for n in ("d_model", "n_layers"))
    if "embedding_ratio" in results.axes and len(tokenizers) == 1 and sizes and not one_width:
        wide = max(sizes, key=lambda size: (size["d_model"], -size["n_layers"]))
        deep = min(sizes, key=lambda size: (size["d_model"], -size["n_layers"]))
        makes_up = "the sizes within a layer make" if one_depth else "depth makes"
        yield (
            "Embedding share and shape are confounded: at a fixed vocabulary the share determines "
            "the width, and "
            f"{makes_up} up for it, here from d_model {deep['d_model']} with {deep['n_layers']} "
            f"layers to d_model {wide['d_model']} with {wide['n_layers']}."
        )
    if "glu_expansion" in results.axes:
        makes_up = "attention makes" if one_depth else "the number of layers and attention make"
        yield (
            f"The expansion changes the parameters per layer, and {makes_up} up for it: no two "
            "cells differ in the expansion alone."
        )


_SIZES = ("d_model", "n_layers", "head_dim", "d_ff")
_MOVED_BY_SHAPE = ("0.002 to 0.013", "0.044")
"""Bits per byte between the best and the worst admissible shape of a cell, see docs/shapes.md: with
attention about as wide as the model, and of all."""


def _chosen_shape(results: SweepResults) -> Iterator[str]:
    free = [
        cell for cell in results.cells if None in [cell.cell.values.get(size) for size in _SIZES]
    ]
    near, most = _MOVED_BY_SHAPE
    if free:
        yield (
            "The solver takes one of several admissible shapes for a cell. In three cells of quick "
            f"the others moved the score by {near} bits per byte from best to worst, by up to "
            f"{most} with attention far from the model's width (docs/shapes.md), so such a "
            "difference may be the solver's."
        )


def _stopping(results: SweepResults) -> Iterator[str]:
    stopped = results.with_status(*ENDED_EARLY)
    scheduler = str(results.sweep.scheduler.get("name"))
    by_rank = [cell for cell in stopped if cell.decision and cell.decision.rule == scheduler]
    if by_rank:
        title = title_of(scheduler)
        yield (
            f"{title.by} {title.verb} {len(by_rank)} of {len(results.cells)} cells on early ranks, "
            "which mislead: most across vocabulary sizes, and for large embedding shares, which "
            f"start far behind and catch up late. A {title.verb} cell is not proven worse."
        )
    rule, baseline = results.sweep.kill_rule, results.baseline
    last = baseline.cells[0].last if baseline is not None else None
    if (
        rule.get("unit") == "ppl"
        and last is not None
        and math.isfinite(last.baseline_token_perplexity)
    ):
        perplexity = last.baseline_token_perplexity
        nats = math.log1p(rule["margin"] / perplexity)
        yield (
            f"The kill rule's margin of {formats.plain(rule['margin'], 6)} perplexity is "
            f"{nats:.4f} nats per token at the baseline's {formats.perplexity(perplexity)}: the "
            "same margin is stricter at a higher perplexity and looser at a lower one."
        )


def _eager(results: SweepResults) -> Iterator[str]:
    eager = {one.cell for one in results.failures if one.kind is FailureClass.COMPILER}
    if eager:
        yield (
            f"torch.compile failed, so {len(eager)} of {len(results.cells)} cells trained eager, "
            "at least in part: slower, and with other last bits than a compiled cell."
        )


def _tokenizers(results: SweepResults) -> Iterator[str]:
    if len({tokenizer_of(cell.cell.values) for cell in results.cells}) > 1:
        yield (
            "The cells have different tokenizers: compare their bits per byte, not their "
            "perplexities. Token counts are baseline tokens, so equal counts mean equal text."
        )
