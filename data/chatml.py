"""ChatML: a conversation as text with a mark before and behind each turn.

    <|im_start|>user
    How are you?<|im_end|>
    <|im_start|>assistant
    Well.<|im_end|>

The marks are encoded as ordinary text, so the vocabulary and with it the model stay as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

ASSISTANT = "assistant"
ROLES = ("system", "user", ASSISTANT)
START, END = "<|im_start|>", "<|im_end|>"


@dataclass(frozen=True, kw_only=True)
class Turn:
    """What one side says."""

    role: str
    """One of ROLES."""
    content: str


@dataclass(frozen=True, kw_only=True)
class Conversation:
    """Turns, of which the assistant's are learned; or a text, all of which is."""

    name: str
    """Where it is in its file: `line 17`."""
    turns: tuple[Turn, ...] = ()
    text: str | None = None
    """Of a row without turns."""


@dataclass(frozen=True, kw_only=True)
class Segment:
    """Text that is encoded on its own, so that no token is half prompt and half answer."""

    text: str
    scored: bool
    """Whether it is the assistant's, its closing mark included."""


def segments(conversation: Conversation) -> list[Segment]:
    """The text of a conversation: prompts and answers by turns. What follows the last answer is
    left out: nothing is learned from it."""
    if conversation.text is not None:
        return [Segment(text=conversation.text, scored=True)]
    found: list[Segment] = []
    before = ""
    for turn in conversation.turns:
        if turn.role == ASSISTANT:
            found.append(Segment(text=f"{before}{_opened(ASSISTANT)}", scored=False))
            found.append(Segment(text=f"{turn.content}{END}", scored=True))
            before = "\n"
        else:
            before += f"{_opened(turn.role)}{turn.content}{END}\n"
    return found


def ends(conversation: Conversation) -> bool:
    """Whether the document ends behind its last scored text, so that its end is learned too."""
    return conversation.text is not None or conversation.turns[-1].role == ASSISTANT


def prompt_of(turns: Sequence[Turn]) -> str:
    """The text behind which the assistant's answer is expected, as in training."""
    return "".join(f"{_opened(one.role)}{one.content}{END}\n" for one in turns) + _opened(ASSISTANT)


def _opened(role: str) -> str:
    return f"{START}{role}\n"
