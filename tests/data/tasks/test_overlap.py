"""Examples that stand in the training text are named, and no others."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from data.tasks.overlap import Overlap, OverlapRule, overlaps, words_of
from data.tasks.small_bench import find_task, read_task

LONG = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen"


def named(examples: list[tuple[str, ...]], *training: str, **rule: int) -> list[int]:
    return [one.example for one in overlaps(examples, training, OverlapRule(**rule))]


def test_exactly_the_planted_sentences_are_named(shared_data: Path) -> None:
    path = find_task("sst2", shared_data)
    assert path is not None
    task = read_task("sst2", path)
    long = [place for place, one in enumerate(task.examples) if len(words_of(one.texts[0])) > 7]
    planted = sorted(random.Random(0).sample(long, 20))
    with (shared_data / "movie-reviews/valid.jsonl").open(encoding="utf-8") as file:
        training = [json.loads(line)["text"] for line, _ in zip(file, range(30), strict=False)]
    for place, number in enumerate(planted):
        sentence = task.examples[number].texts[0]
        # Alone, inside other text, in other letters and with other punctuation.
        forms = (sentence, f"before {sentence} after", sentence.upper(), sentence.replace(" ", "_"))
        training.append(forms[place % 4])
    examples = [one.texts for one in task.examples]
    found = overlaps(examples, training, OverlapRule())
    assert [one.example for one in found] == planted
    assert all(
        one.words in " ".join(words_of(task.examples[one.example].texts[0])) for one in found
    )


def test_thirteen_words_in_a_row_count_and_a_shorter_text_as_a_whole() -> None:
    short = "a short text of only eight words here"
    examples = [(LONG,), (short,), ("the rest is elsewhere",)]
    thirteen = " ".join(LONG.split()[1:])
    assert named(examples, f"x {thirteen} y", f"… {short.upper()}!") == [0, 1]
    twelve = " ".join(LONG.split()[2:])
    assert named(examples, twelve, short.removesuffix(" here")) == []
    assert named(examples, twelve, short, words=12) == [0, 1]
    assert named(examples, short, shortest=9) == []
    assert named(examples, "the rest is elsewhere", shortest=4) == [2]
    # A run that two documents have together is in neither.
    half = LONG.split()
    assert named(examples, " ".join(half[:9]), " ".join(half[9:])) == []


def test_an_example_of_short_texts_overlaps_if_all_are_found() -> None:
    one, two = "is this the first of two short texts", "and is this the second of two short texts"
    assert named([(one, two)], one) == []
    assert named([(one, two)], one, two) == [0]
    # A long text decides alone.
    assert named([(LONG, two)], two) == []
    assert named([(LONG, two)], LONG) == [0]


def test_there_may_be_nothing_to_find() -> None:
    assert overlaps([], [LONG], OverlapRule()) == []
    assert named([("",), ("…",)], "", "…", LONG) == []
    assert overlaps([(LONG,)], iter([LONG]), OverlapRule(words=3, shortest=3)) == [
        Overlap(example=0, words="one two three")
    ]
    with pytest.raises(ValueError, match="1 ≤ shortest ≤ words"):
        OverlapRule(words=5, shortest=6)
