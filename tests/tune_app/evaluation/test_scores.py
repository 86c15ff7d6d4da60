"""Scores equal what is computed by hand, one token at a time."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from data.tasks.base import Example, Task
from data.tasks.overlap import OverlapRule
from data.tasks.packed import pack_documents
from data.tokenizers.byte_level_bpe import ByteLevelBpe
from model.evaluation.choices import Continuation, fitted, log_probabilities
from tests.tune_app.untrained import untrained
from tune_app.evaluation.answers import accuracy_of, score_task, task_metrics
from tune_app.evaluation.choice import text_model
from tune_app.evaluation.language import ratio_error, score_text
from tune_app.evaluation.results import evaluate_suite
from tune_app.evaluation.suites import TextSuite
from tune_app.portable.text_model import TextModel


@pytest.fixture(scope="module")
def model() -> TextModel:
    return text_model(untrained(context=16))


def log_p(model: TextModel, tokens: list[int]) -> torch.Tensor:
    """log p of the token behind these, [V], of a pass of its own."""
    with torch.inference_mode():
        logits_V = model.model(torch.tensor([tokens]))[0, -1].double()
    return logits_V - logits_V.exp().sum().log()


@pytest.mark.parametrize("masked", [False, True])
def test_bits_per_byte_and_perplexity_are_those_of_a_plain_loop(masked: bool) -> None:
    model = text_model(untrained(context=16, document_masking=masked))
    documents = ["the film is a film", "naïve 東京", "again and again and again with friends"]
    packed = pack_documents(
        [text.encode() for text in documents],
        model.tokenizer,
        end_of_text=0,
        cutting=ByteLevelBpe.cutting,
    )
    found = score_text(model.model, packed, end_of_text=0).metrics()
    stream = [token for text in documents for token in model.encoded(text)]
    assert stream == packed.tokens.tolist()
    context, stride = 16, 4
    plain, sliding, places, sliding_places = [], [], [], []
    for place in range(1, len(stream)):
        if stream[place] == 0:
            continue
        # A document begins with its end-of-text.
        document = max(at for at in range(place) if stream[at] == 0) if masked else 0
        begin = max(document, (place - 1) // context * context)
        plain.append(-log_p(model, stream[begin:place])[stream[place]].item())
        places.append(place - begin)
        begin = max(document, math.ceil((place - context) / stride) * stride)
        sliding.append(-log_p(model, stream[begin:place])[stream[place]].item())
        sliding_places.append(place - begin)
    size = sum(len(text.encode()) for text in documents)
    assert found["bits_per_byte"] == pytest.approx(sum(plain) / math.log(2) / size, rel=1e-5)
    assert found["perplexity"] == pytest.approx(math.exp(np.mean(plain)), rel=1e-5)
    assert found["sliding_bits_per_byte"] == pytest.approx(
        sum(sliding) / math.log(2) / size, rel=1e-5
    )
    assert found["mean_context"] == pytest.approx(np.mean(places))
    assert found["sliding_mean_context"] == pytest.approx(np.mean(sliding_places))
    assert (found["tokens"], found["text_bytes"]) == (len(plain), size)
    assert (found["documents"], found["sliding_stride"]) == (3, 4)


def test_the_error_is_that_of_a_ratio() -> None:
    assert math.isnan(ratio_error(np.array([1.0]), np.array([2])))
    assert ratio_error(np.array([2.0, 4.0]), np.array([1, 2])) == 0
    # Two documents of equal length: half the distance of the two ratios.
    assert ratio_error(np.array([10.0, 30.0]), np.array([10, 10])) == pytest.approx(1.0)


def task(*prompts: str, answers: tuple[str, ...] = (" good film", " bad")) -> Task:
    examples = tuple(
        Example(name=f"line {n}", prompt=one, answers=answers, label=n % 2, texts=(one,))
        for n, one in enumerate(prompts)
    )
    return Task(name="made", split="all", source="made", examples=examples)


def test_a_tasks_score_is_computed_from_the_answers_log_probabilities(model: TextModel) -> None:
    made = task("the film", "a film is", "watch it")
    scored = score_task(model, made)
    for example, one in zip(made.examples, scored, strict=True):
        by_hand = []
        for answer in example.answers:
            tokens = model.encoded(example.prompt)
            total = 0.0
            for token in model.tokenizer.encode(answer).ids:
                total += log_p(model, tokens)[token].item()
                tokens.append(token)
            by_hand.append(total)
        assert one.log_probabilities == pytest.approx(by_hand, abs=1e-5)
        per_byte = [by_hand[0] / len("good film"), by_hand[1] / len("bad")]
        assert one.chosen == int(per_byte[1] > per_byte[0])
        assert one.right == (one.chosen == example.label)
        assert one.chosen_unnormalised == int(by_hand[1] > by_hand[0])
    metrics = task_metrics(made, scored)
    right = sum(one.right for one in scored)
    assert metrics["accuracy"] == right / 3
    assert metrics["accuracy_error"] == pytest.approx(math.sqrt(right / 3 * (1 - right / 3) / 2))
    assert (metrics["majority"], metrics["chance"]) == (2 / 3, 0.5)
    assert accuracy_of([True])[0] == 1 and math.isnan(accuracy_of([])[0])


def test_what_is_too_long_is_shortened_or_left_out_and_counted(model: TextModel) -> None:
    long = "watch it again and again with friends in the evening, the film"
    made = task("the film", long)
    metrics = task_metrics(made, score_task(model, made))
    assert (metrics["examples"], metrics["shortened"], metrics["skipped"]) == (2, 1, 0)
    made = task("the film", answers=(" bad", " xyzxyzxyzxyzxyzxyz"))
    assert score_task(model, made) == []
    with pytest.raises(ValueError, match="no example of made fits into the context"):
        task_metrics(made, [])


@pytest.mark.parametrize(
    ("before", "longest", "expected"),
    [
        ([0, 1, 2], 2, [0, 1, 2]),
        ([0, 1, 2, 3], 2, [0, 2, 3]),
        ([0, 1, 2, 3], 4, [0]),
        ([0], 5, None),
    ],
)
def test_the_end_of_a_prompt_is_kept(
    before: list[int], longest: int, expected: list[int] | None
) -> None:
    found = fitted(before, longest_answer=longest, context=4)
    assert (None if found is None else list(found)) == expected


def test_a_diverged_model_has_an_infinite_score_and_chooses_nothing() -> None:
    trained = untrained(context=16)
    next(iter(trained.model.parameters())).data.fill_(math.nan)
    model = text_model(trained)
    packed = pack_documents(
        [b"a", b"b c"], model.tokenizer, end_of_text=0, cutting=ByteLevelBpe.cutting
    )
    suite = TextSuite(name="a", split="all", source="a", packed=packed, tokenizer=model.tokenizer)
    found = evaluate_suite(model, suite, overlapping=None, rule=OverlapRule()).metrics
    assert found["bits_per_byte"] == found["perplexity"] == math.inf
    with pytest.raises(ValueError, match="are NaN: its training diverged"):
        score_task(model, task("the film"))


def test_the_batch_changes_no_log_probability(model: TextModel) -> None:
    made: list[Any] = [
        Continuation(before=[0, *range(1, n)], answer=[n, 7]) for n in (1, 5, 3, 14) * 5
    ]
    together = log_probabilities(model.model, made)
    alone = [log_probabilities(model.model, [one])[0] for one in made[:4]]
    assert together == pytest.approx(alone * 5, abs=1e-5)
    with pytest.raises(ValueError, match="do not fit into the context of 16"):
        log_probabilities(model.model, [Continuation(before=[0] * 16, answer=[1, 2])])
