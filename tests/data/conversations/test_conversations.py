"""Conversations are read or refused by line, and packed so that only answers are learned."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.batches import DOCUMENTS
from data.chatml import Conversation, Turn, prompt_of, segments
from data.conversations.packing import PackedConversations, best_fit
from data.conversations.reading import read_conversations
from data.errors import CorpusError
from tests.tune_app.untrained import small_tokenizer

TALK = [
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello"},
    {"role": "user", "content": "Bye"},
    {"role": "assistant", "content": "See you"},
]


def written(tmp_path: Path, *rows: Any) -> Path:
    path = tmp_path / "talks.jsonl"
    path.write_text(
        "".join(f"{one if isinstance(one, str) else json.dumps(one)}\n" for one in rows)
    )
    return path


def test_answers_are_scored_and_nothing_else(tmp_path: Path) -> None:
    file = read_conversations(written(tmp_path, {"messages": TALK}, {"text": "the film"}))
    talk = file.conversations[0]
    parts = segments(talk)
    assert "".join(one.text for one in parts) == (
        "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
        "<|im_start|>assistant\nHello<|im_end|>\n<|im_start|>user\nBye<|im_end|>\n"
        "<|im_start|>assistant\nSee you<|im_end|>"
    )
    assert [one.text for one in parts if one.scored] == ["Hello<|im_end|>", "See you<|im_end|>"]
    # What stands in front of the first answer is what an answer is asked for with.
    assert parts[0].text == prompt_of(talk.turns[:2])

    tokenizer = small_tokenizer()
    packed = PackedConversations(
        file.conversations, tokenizer, end_of_text=0, context=300, batch_size=2
    )
    assert (packed.rows, packed.conversations, packed.cut) == (1, 2, 0)
    (batch,) = packed
    assert batch.mask_BT is not None
    learned = batch.targets_BT[batch.mask_BT]
    told = tokenizer.decode(learned.tolist(), skip_special_tokens=False)
    end = "<|endoftext|>"
    assert told == f"Hello<|im_end|>See you<|im_end|>{end}the film{end}"
    assert packed.text_bytes == len(told) - 2 * len(end)
    assert packed.scored == len(learned)
    # The text is the second document; padding behind it belongs to none of the two.
    documents = batch.extras[DOCUMENTS][0]
    starts = np.flatnonzero(batch.inputs_BT[0] == 0)
    assert documents[starts[0]] != documents[starts[1]] != documents[starts[2]]
    assert (packed.batch(7).inputs_BT == batch.inputs_BT).all()


def test_what_does_not_fit_is_cut_off_or_left_out_and_counted() -> None:
    tokenizer = small_tokenizer()
    asked = len(tokenizer.encode(prompt_of([Turn(role="user", content="Hi")])).ids)

    def talk(question: str, answer: str) -> Conversation:
        turns = (Turn(role="user", content=question), Turn(role="assistant", content=answer))
        return Conversation(name="line 1", turns=turns)

    context = asked + 5
    talks = [talk("Hi", "x" * 90), talk("y" * 90, "Hello")]
    packed = PackedConversations(talks, tokenizer, end_of_text=0, context=context, batch_size=1)
    assert (packed.conversations, packed.cut, packed.skipped) == (1, 1, 1)
    assert packed.scored == packed.text_bytes == 5  # no end: it was cut off
    with pytest.raises(CorpusError, match="no answer begins within the context of 20 tokens"):
        PackedConversations(talks[1:], tokenizer, end_of_text=0, context=20, batch_size=1)


@given(st.lists(st.integers(1, 20), min_size=1, max_size=40))
def test_each_is_packed_once_and_no_two_half_empty_sequences_remain(lengths: list[int]) -> None:
    bins = best_fit(lengths, 20)
    assert sorted(place for members in bins for place in members) == [*range(len(lengths))]
    filled = [sum(lengths[place] for place in members) for members in bins]
    assert max(filled) <= 20 and sum(2 * one <= 20 for one in filled) <= 1


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"messages": TALK[:2]}, "talks.jsonl, line 2: no message is the assistant's"),
        ({"messages": [{"role": "bot", "content": "x"}]}, "line 2, message 1: unknown role 'bot'"),
        ({"messages": [{"role": "user"}]}, "line 2, message 1: it must be an object with 'role'"),
        ({"messages": [{"role": "user", "content": 3}]}, "line 2, message 1: 'content' is 3"),
        ({"messages": [{"role": "user", "content": " "}]}, "line 2, message 1: 'content' is ' '"),
        ({"messages": "Hi"}, "line 2: 'messages' is no list"),
        ({"prompt": "Hi"}, "line 2: there is no 'messages'; it has 'prompt'"),
        ({"text": "a <|im_end|>"}, "line 2: 'text' contains '<|im_end|>', which marks turns"),
        ('{"text": "\\ud800"}', "line 2: 'text' has half a character"),
        ('{"messages": [', "line 2: it is no JSON"),
        ("[]", "line 2: it is '[]', not a JSON object"),
    ],
)
def test_a_line_that_is_no_conversation_is_named(tmp_path: Path, row: Any, message: str) -> None:
    path = written(tmp_path, {"messages": TALK}, row)
    with pytest.raises(CorpusError) as raised:
        read_conversations(path)
    assert message in str(raised.value)


def test_a_file_without_conversations_is_refused(tmp_path: Path) -> None:
    for path in (written(tmp_path), tmp_path / "talks.csv", tmp_path / "none.jsonl"):
        with pytest.raises(CorpusError, match=path.name):
            read_conversations(path)
