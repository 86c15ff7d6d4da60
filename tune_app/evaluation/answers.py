"""Scores a model on examples with answers: the one with the most log-probability is its choice."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from data.tasks.base import Example, Task
from model.evaluation.choices import Continuation, fitted, log_probabilities
from tune_app.portable.text_model import TextModel

RULE = (
    "an answer's log-probability behind the prompt, divided by its UTF-8 bytes, so that a long "
    "answer is not at a disadvantage; a prompt that is too long loses tokens behind its first from "
    "the front, and an example whose longest answer alone does not fit is not scored"
)


@dataclass(frozen=True, kw_only=True)
class ScoredExample:
    """What a model made of an example."""

    example: int
    """Its place in the task."""
    log_probabilities: tuple[float, ...]
    """Nats, of each answer."""
    chosen: int
    """The answer with the most log-probability per byte; of equal ones the first."""
    chosen_unnormalised: int
    """The answer with the most log-probability."""
    right: bool
    right_unnormalised: bool
    shortened: bool
    """Whether its prompt lost tokens."""


def score_task(model: TextModel, task: Task) -> list[ScoredExample]:
    """Every example that fits, in order."""
    scored, wanted = [], []
    places: list[tuple[int, bool]] = []
    for place, example in enumerate(task.examples):
        before = model.encoded(example.prompt)
        answers = [
            model.tokenizer.encode(one, add_special_tokens=False).ids for one in example.answers
        ]
        longest = max(map(len, answers))
        room = fitted(before, longest_answer=longest, context=model.config.context)
        if room is None:
            continue
        places.append((place, len(room) < len(before)))
        wanted += [Continuation(before=room, answer=answer) for answer in answers]
    found = log_probabilities(model.model, wanted)
    if any(math.isnan(value) for value in found):
        raise ValueError(
            f"the model's log-probabilities on {task.name} are NaN: its training diverged; "
            "evaluate another cell"
        )
    start = 0
    for place, shortened in places:
        example = task.examples[place]
        mine = found[start : start + len(example.answers)]
        start += len(example.answers)
        scored.append(_chosen(place, example, mine, shortened))
    return scored


def _chosen(place: int, example: Example, found: Sequence[float], shortened: bool) -> ScoredExample:
    per_byte = [
        value / len(answer.strip().encode())
        for value, answer in zip(found, example.answers, strict=True)
    ]
    chosen, plain = per_byte.index(max(per_byte)), found.index(max(found))
    return ScoredExample(
        example=place,
        log_probabilities=tuple(found),
        chosen=chosen,
        chosen_unnormalised=plain,
        right=chosen == example.label,
        right_unnormalised=plain == example.label,
        shortened=shortened,
    )


def task_metrics(task: Task, scored: Sequence[ScoredExample]) -> dict[str, float]:
    """By the names of `fields.EVALUATION_FIELDS`. Raises ValueError if no example fitted."""
    if not scored:
        raise ValueError(
            f"no example of {task.name} fits into the context of the model; use one with a longer"
        )
    accuracy, error = accuracy_of([one.right for one in scored])
    return {
        "accuracy": accuracy,
        "accuracy_error": error,
        "accuracy_unnormalised": accuracy_of([one.right_unnormalised for one in scored])[0],
        "majority": task.majority,
        "chance": task.chance,
        "examples": len(scored),
        "shortened": sum(one.shortened for one in scored),
        "skipped": len(task.examples) - len(scored),
    }


def accuracy_of(right: Sequence[bool]) -> tuple[float, float]:
    """The share that is right, and its standard error √(p·(1 - p)/(n - 1)); NaN of too few."""
    number = len(right)
    if number == 0:
        return math.nan, math.nan
    share = sum(right) / number
    error = math.sqrt(share * (1 - share) / (number - 1)) if number > 1 else math.nan
    return share, error
