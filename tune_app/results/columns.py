"""What each column of the tables means, and its unit: the data dictionary beside the results.

Settings take their meaning from the docstrings of their fields, metrics from their declarations in
`tune_app/journal/metrics.py`; everything else is described here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tune_app.journal.metrics import Metric, is_declared, metric
from tune_app.journal.records import PHASES
from tune_app.plan.meanings import UNITS, meanings
from tune_app.results.evaluated import explained


@dataclass(frozen=True, kw_only=True)
class Column:
    """The description of a column."""

    meaning: str
    """Empty if nothing is known about it, as for a column of another version."""
    unit: str = ""
    """Empty if it has none."""


_BITS = "bits/byte"
_FULL_GAP = Column(
    meaning="full_bits_per_byte minus that of the baseline's cell of the same seed and nuisance "
    "values; negative is better. Empty unless both have finished",
    unit=_BITS,
)
_SAMPLE_GAP = Column(
    meaning="bits per byte of the sample above the baseline's of the same seed and nuisance values "
    "at equal baseline tokens; negative is better. The baseline's curve is interpolated linearly "
    "and never extrapolated: empty where it does not reach",
    unit=_BITS,
)

_RESULTS: Mapping[str, Column] = {
    "position": Column(meaning="place in the sweep's list of cells; the baseline is 0"),
    "cell": Column(
        meaning="key of the cell, a hash of what determines its result: joins results, curves, "
        "decisions and failures (a label such as 2.66 may be read as a number), and names its "
        "checkpoints in the store"
    ),
    "label": Column(meaning="short name of the cell, unique in the sweep"),
    "design": Column(
        meaning="name of the cells that differ only in their seed and their nuisance values"
    ),
    "is_baseline": Column(
        meaning="whether the cell is the baseline, on the first of the sweep's seeds and at its "
        "own nuisance values; of a design: whether that is among its cells"
    ),
    "status": Column(
        meaning="infeasible, pending, running, interrupted (it resumes when the sweep is "
        "continued), finished (trained to the end), stopped (early, by a rule or for a diverged "
        "loss), paused (early, by a scheduler that let others go on), failed (by an error) or left "
        "out (not ended, nor named by the newest command)"
    ),
    "rank": Column(
        meaning="place of the design by its mean full_bits_per_byte, 1 is best; only finished "
        "cells whose score counts have one. Noise may have decided it: see told_apart"
    ),
    "told_apart": Column(
        meaning="whether the design is behind the leader by more than the seeds' noise: by more "
        "than 2 σ·√((1/n₁ + 1/n₂)/2) for means over n₁ and n₂ seeds. Empty for the leader, for "
        "what has no rank, and if the noise is unknown"
    ),
    "is_chosen": Column(
        meaning="whether the cell has the nuisance values that its design is compared at"
    ),
    "counts": Column(
        meaning="whether the score is part of its design's: the cell is_chosen and finished, on a "
        "seed that did not choose the value, as far as there are any"
    ),
    "solved_d_attention": Column(meaning="solved n_heads × head_dim"),
    "solved_n_kv_heads": Column(meaning="heads of keys and values, as solved"),
    "solved_embedding_rank": Column(
        meaning="solved rank of a factorized embedding; empty for one without a rank"
    ),
    "solved_expansion": Column(meaning="solved d_ff / d_model"),
    "parameters_total": Column(meaning="all trainable parameters", unit="parameters"),
    "parameters_active": Column(
        meaning="parameters used for one token: fewer than all if a router chooses among experts",
        unit="parameters",
    ),
    "embedding_share": Column(
        meaning="parameters of the embedding and the lm_head over all parameters, as solved"
    ),
    "tokens_trained": Column(
        meaning="tokens of the cell's own tokenizer, up to its last evaluation", unit="tokens"
    ),
    "baseline_tokens_trained": Column(
        meaning="the same amount of text in tokens of the baseline's tokenizer",
        unit="baseline tokens",
    ),
    "full_bits_per_byte": Column(
        meaning="bits per byte of the full dev split at the end of training; cells are ranked by "
        "it",
        unit=_BITS,
    ),
    "full_perplexity": Column(
        meaning="perplexity of the full dev split at the end of training",
        unit="per token of the cell's own tokenizer",
    ),
    "gap_bits_per_byte": _FULL_GAP,
    "test_bits_per_byte": Column(
        meaning="bits per byte of the test split, which ranks nothing; only for cells of a design "
        "that led at the end of the sweep, and for the baseline",
        unit=_BITS,
    ),
    "test_perplexity": Column(
        meaning="perplexity of the test split; for the same cells",
        unit="per token of the cell's own tokenizer",
    ),
    "sample_bits_per_byte": Column(
        meaning="bits per byte of the sample of dev documents at the last evaluation", unit=_BITS
    ),
    "sample_perplexity": Column(
        meaning="perplexity of the sample at the last evaluation",
        unit="per token of the cell's own tokenizer",
    ),
    "sample_baseline_token_perplexity": Column(
        meaning="exp(sample_bits_per_byte · ln 2 · the baseline's bytes per token): perplexity of "
        "the sample in the baseline's token units, comparable across tokenizers",
        unit="per token of the baseline's tokenizer",
    ),
    "sample_gap_bits_per_byte": _SAMPLE_GAP,
    "train_loss": Column(
        meaning="mean training loss between the last two evaluations", unit="nats/token"
    ),
    "rule": Column(
        meaning="what ended the cell: completed, diverged, or the name of a stopping rule"
    ),
    "reason": Column(meaning="why the cell ended, or why it is infeasible, with the numbers"),
    "tokens_per_second": Column(
        meaning="tokens_trained / seconds_train", unit="tokens of the own tokenizer/s"
    ),
    "seconds_total": Column(meaning="wall time of all phases together", unit="s"),
    "training_flops": Column(
        meaning="FLOPs of the trained tokens, forward and backward, counted from the sizes",
        unit="FLOPs",
    ),
    "dollars": Column(
        meaning="for the cell's time on machines with a price: cells that share one split it; "
        "idleness, set-up, storage and bandwidth are not in it. Empty if it was on none",
        unit="$",
    ),
    "repeated_dollars": Column(
        meaning="of dollars: for training that was lost with a machine or a process, and repeated",
        unit="$",
    ),
    "amendment": Column(
        meaning="number of the command that added the cell to a sweep that existed, as in the "
        "report's settings; 0 if it was planned from the start"
    ),
    "attempts": Column(meaning="how often a worker started the cell"),
    "resumes": Column(meaning="attempts that resumed from a checkpoint"),
    "failures": Column(meaning="attempts that ended in an error; see failures.jsonl"),
    "failed_by": Column(meaning="kind of the failure that ended the cell"),
    "checkpoint": Column(
        meaning="path, relative to this folder, or URL of the cell's newest checkpoint, which "
        "tune_app.load_model reads; empty if none is kept"
    ),
}

_PROPOSALS: Mapping[str, Column] = {
    "number": Column(meaning="of the proposal, over all rounds of the search"),
    "round": Column(meaning="in which it was proposed"),
    "refused": Column(
        meaning="why it is not trained: no such model, or one that the sweep has; empty otherwise"
    ),
}

_DESIGNS: Mapping[str, Column] = {
    "behind_leader_bits_per_byte": Column(
        meaning="full_bits_per_byte minus the leader's; empty for the leader", unit=_BITS
    ),
    "behind_leader_sigmas": Column(
        meaning="the same in units of the seeds' noise, σ·√((1/n₁ + 1/n₂)/2); empty if that is "
        "unknown"
    ),
    "noise_sigma": Column(
        meaning="σ: standard deviation of a single seed's score over seeds, the same for all "
        "designs; empty if it is unknown",
        unit=_BITS,
    ),
    "noise_degrees_of_freedom": Column(meaning="from how many differences between seeds σ is"),
    "noise_source": Column(meaning="which runs σ is from, or why it is unknown"),
    "full_bits_per_byte": Column(
        meaning="mean over the seeds that count, at the chosen nuisance values; designs are ranked "
        "by it",
        unit=_BITS,
    ),
    "standard_deviation": Column(
        meaning="of full_bits_per_byte over the seeds that count; empty if fewer than two",
        unit=_BITS,
    ),
    "gap_bits_per_byte": Column(
        meaning="mean difference to the baseline's design over the seeds that count for both, each "
        "at its chosen nuisance values; negative is better",
        unit=_BITS,
    ),
    "seeds_scored": Column(meaning="number of seeds that count"),
    "chosen_on_seed": Column(meaning="the seed on which the nuisance values were chosen"),
    "scored_on_seeds": Column(meaning="the seeds that count, separated by spaces"),
    "held_out": Column(
        meaning="whether the seeds that count had no part in the choice; if not, the score is "
        "optimistic"
    ),
    "values_compared": Column(
        meaning="nuisance values that finished on chosen_on_seed; the others were stopped, failed "
        "or are still to train"
    ),
    "values_tried": Column(meaning="nuisance values of the design in all"),
    "choice_reason": Column(meaning="why these nuisance values were chosen, with the numbers"),
    "best_bits_per_byte": Column(
        meaning="lowest mean over the finished seeds of any nuisance value; chosen by nothing but "
        "its score, so flattered by chance",
        unit=_BITS,
    ),
    "worst_bits_per_byte": Column(
        meaning="highest mean over the finished seeds of any nuisance value", unit=_BITS
    ),
    "cells_finished": Column(meaning="cells of the design that trained to the end"),
    "cells_stopped": Column(meaning="cells that were stopped or paused early"),
    "cells_failed": Column(meaning="cells that an error ended"),
    "cells_to_train": Column(meaning="cells that are still to train, or in training"),
    "charged_baseline_tokens": Column(
        meaning="tokens trained by all cells of the design: every nuisance value and seed, stopped "
        "and failed ones included",
        unit="baseline tokens",
    ),
    "charged_training_flops": Column(meaning="their FLOPs, forward and backward", unit="FLOPs"),
    "charged_seconds": Column(meaning="their wall time, all phases", unit="s"),
    "charged_dollars": Column(meaning="their dollars, see results.csv", unit="$"),
}

_EQUAL_BUDGETS: Mapping[str, Column] = {
    "equal": Column(meaning="what is made equal between the ranked designs"),
    "budget": Column(
        meaning="the largest amount of it that every seed of every ranked design has reached",
        unit="baseline tokens, FLOPs or s",
    ),
    "rank": Column(meaning="place at this budget; the ranking of the sweep is in designs.csv"),
    "sample_bits_per_byte": Column(
        meaning="score on the sample of dev documents at this budget, interpolated linearly on the "
        "recorded curve, mean over the seeds that count. Before its end a cell has not had its low "
        "learning rates, so this is not the score of a run planned for the budget",
        unit=_BITS,
    ),
    "share_of_tokens": Column(
        meaning="share of its training tokens that the design has trained at this budget"
    ),
}

_CURVES: Mapping[str, Column] = {
    "label": _RESULTS["label"],
    "status": _RESULTS["status"],
    "cell": _RESULTS["cell"],
    "tokens": Column(meaning="tokens of the cell's own tokenizer trained so far", unit="tokens"),
    "baseline_tokens": Column(
        meaning="the same amount of text in tokens of the baseline's tokenizer; curves are "
        "compared at equal values",
        unit="baseline tokens",
    ),
    "gap_bits_per_byte": _SAMPLE_GAP,
}

_PHASES: Mapping[str, str] = {
    "start": "starting the trial: building the model, reading a checkpoint",
    "data": "getting and opening the packed tokens",
    "compile": "compiling the model",
    "train": "training steps",
    "evaluate": "evaluations on dev",
}


def of_results(name: str) -> Column:
    """The description of a column of results.csv."""
    settings = meanings()
    if name in _RESULTS:
        return _RESULTS[name]
    if name in settings:
        return Column(meaning=settings[name], unit=UNITS.get(name, ""))
    return _of_family(name) or _of_phase(name)


def _of_family(name: str) -> Column | None:
    """The description of a column whose name begins with what it is of."""
    if (evaluated := explained(name)) is not None:
        return Column(meaning=evaluated.meaning, unit=evaluated.unit)
    family, _, member = name.partition("_")
    if family == "solved":
        return Column(meaning=f"{member} of the solved model", unit=UNITS.get(member, ""))
    if family == "parameters":
        part = member.replace("_", " ")
        return Column(meaning=f"parameters of this part, all layers: {part}", unit="parameters")
    if family == "last" and is_declared(member):
        return _of_metric(metric(member), "at the last evaluation: ")
    return None


def of_proposals(name: str) -> Column:
    """The description of a column of proposals.csv."""
    return _PROPOSALS.get(name) or of_designs(name)


def of_curves(name: str) -> Column:
    """The description of a column of curves.parquet."""
    if name in _CURVES:
        return _CURVES[name]
    if is_declared(name):
        return _of_metric(metric(name))
    return _of_phase(name)


def of_designs(name: str) -> Column:
    """The description of a column of designs.csv."""
    if name in _DESIGNS:
        return _DESIGNS[name]
    setting = name.removeprefix("chosen_")
    if setting != name and setting in meanings():
        return Column(
            meaning=f"nuisance value that the design is compared at: {meanings()[setting]}",
            unit=UNITS.get(setting, ""),
        )
    return of_results(name)


def of_equal_budgets(name: str) -> Column:
    """The description of a column of equal_budgets.csv."""
    return _EQUAL_BUDGETS.get(name) or of_designs(name)


def dictionary(
    results: Iterable[str],
    designs: Iterable[str],
    curves: Iterable[str],
    equal_budgets: Iterable[str],
    proposals: Iterable[str] = (),
) -> Sequence[Mapping[str, str]]:
    """A row for each column of the tables, in their order."""
    described = [("results", name, of_results(name)) for name in results]
    described += [("designs", name, of_designs(name)) for name in designs]
    described += [("curves", name, of_curves(name)) for name in curves]
    described += [("equal_budgets", name, of_equal_budgets(name)) for name in equal_budgets]
    described += [("proposals", name, of_proposals(name)) for name in proposals]
    return [
        {"table": table, "column": name, "unit": column.unit, "meaning": column.meaning}
        for table, name, column in described
    ]


def _of_metric(declared: Metric, front: str = "") -> Column:
    return Column(meaning=f"{front}{declared.title}", unit=declared.unit)


def _of_phase(name: str) -> Column:
    phase = name.removeprefix("seconds_")
    if phase not in PHASES:
        return Column(meaning="")
    return Column(
        meaning=f"wall time of {_PHASES.get(phase, phase)}; without what a lost host did after its "
        "last checkpoint",
        unit="s",
    )
