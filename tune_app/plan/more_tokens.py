"""Whether cells that were trained on so many tokens can be trained on more. Pure.

Only up to the step at which the longer training begins to differ. A learning rate that rises for a
fixed number of tokens and stays constant until a cool-down (`wsd` with `warmup_tokens`) is the same
in both up to the shorter one's cool-down, so a checkpoint from just before it continues as if the
cell had been trained on more tokens from the start. What is stretched over the whole training, a
cosine or a relative warm-up, differs from the first step on.
"""

from __future__ import annotations

from model.parts.feed_forwards import FEED_FORWARDS
from model.training.schedules import COOL_DOWNS
from model.training.settings import TrainingConfig
from tune_app.plan.cell import Cell


def full_rate_until(config: TrainingConfig, *, context: int) -> int | None:
    """Tokens of the cell's own tokenizer before the first step of the cool-down.

    config: of the training, in tokens of that tokenizer.
    context: tokens of a sequence.

    None if the schedule has no stretch at the full rate.
    """
    share = config.cool_down_share
    if share is None:
        return None
    step = config.batch_size * context
    # The rate of a step is that of its middle.
    steps = max(0, int(share * config.tokens / step) - 2)
    while steps * step < config.tokens and (steps + 0.5) * step / config.tokens <= share:
        steps += 1
    return steps * step


def same_until(one: TrainingConfig, other: TrainingConfig, *, context: int) -> int:
    """Tokens up to which both trainings have the same learning rate, bit for bit."""
    step = one.batch_size * context
    shorter = min(one.tokens, other.tokens)
    for begin in range(0, shorter, step):
        middle = begin + step / 2
        if one.rate_factor(middle) != other.rate_factor(middle):
            return begin
    return shorter


def why_length_matters(cell: Cell) -> str:
    """Why each step of a cell's training depends on how long it is, with the remedy; empty if none
    before its cool-down does, so that it can be extended."""
    settings, feed_forward = cell.settings, cell.model.feed_forward
    if reason := _why_rate_differs(cell):
        return reason
    if FEED_FORWARDS[feed_forward].follows_progress:
        return f"its feed-forward {feed_forward} changes with the share of the training done"
    if settings.mixture_end is not None or settings.mixture_surprise:
        return "the shares of its corpora change with the length of the training"
    if settings.curriculum:
        return "the steps of its curriculum have other numbers of tokens than the later ones"
    return ""


def _why_rate_differs(cell: Cell) -> str:
    settings = cell.settings
    if settings.schedule not in COOL_DOWNS:
        return (
            f"the {settings.schedule} schedule spans all tokens, so that over more of them the "
            "learning rate would be another from the first step on; train with --set schedule=wsd "
            "and warmup_tokens what is to be extended"
        )
    if settings.warmup_fraction and not settings.warmup_tokens:
        usual = max(1, round(settings.warmup_fraction * settings.tokens))
        return (
            f"its learning rate rises over {settings.warmup_fraction:.3g} of all tokens, so that "
            "over more of them it would be another from the first step on; train with --set "
            f"warmup_tokens={usual}, which does not depend on the length, what is to be extended"
        )
    if cell.training_config().cool_down_share is None:
        return (
            f"its warm-up of {settings.warmup_tokens:,} of {settings.tokens:,} tokens reaches into "
            "the cool-down, so that no step has the full learning rate; use a shorter warmup_tokens"
        )
    return ""


def can_be_extended(cell: Cell) -> bool:
    """Whether a checkpoint from before the cool-down continues on more tokens."""
    return not why_length_matters(cell)


def why_not_continued(cell: Cell, *, tokens: int) -> str:
    """Why a sweep's finished cells are not simply continued to `tokens`, for an error message.

    cell: the baseline, as it was trained.
    """
    if reason := why_length_matters(cell):
        return reason
    return (
        f"its learning rate has fallen at the end of {cell.settings.tokens:,} tokens; to go on "
        f"from before its cool-down, in a sweep beside this one, use --extend-tokens {tokens}"
    )
