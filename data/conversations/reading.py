"""Conversations from JSON lines.

A row is {"messages": [{"role": "user", "content": …}, {"role": "assistant", "content": …}]}, or
{"text": …} for a document all of which is learned.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.chatml import ASSISTANT, END, ROLES, START, Conversation, Turn
from data.errors import CorpusError, listed
from data.tasks.reading import Row, read_rows

MESSAGES, TEXT = "messages", "text"
_EXAMPLE = '{"messages": [{"role": "user", "content": …}, …]}, or {"text": …} for plain text'
_SUFFIXES = (".jsonl", ".jsonl.gz")


class ConversationError(CorpusError):
    """Conversations that cannot be used. The message names file, line and remedy."""


@dataclass(frozen=True, kw_only=True)
class ConversationFile:
    """The conversations of a file; at least one."""

    path: Path
    sha256: str
    conversations: tuple[Conversation, ...]


def read_conversations(path: Path) -> ConversationFile:
    """All conversations of a file.

    Raises CorpusError, which names file and line, if it cannot be read, is cut off or has a row
    that is no conversation.
    """
    if not path.name.endswith(_SUFFIXES):
        raise ConversationError(
            f"{path} must be JSON lines, a file whose name ends in {' or '.join(_SUFFIXES)}"
        )
    rows = read_rows(path)
    return ConversationFile(
        path=path,
        sha256=rows.sha256,
        conversations=tuple(_conversation(f"{path}, {row.name}", row) for row in rows.rows),
    )


def _conversation(where: str, row: Row) -> Conversation:
    if MESSAGES not in row.values and TEXT in row.values:
        return Conversation(name=row.name, text=_said(where, TEXT, row.values[TEXT]))
    messages = row.values.get(MESSAGES)
    if not isinstance(messages, list):
        found = f"there is no {MESSAGES!r}; it has {listed(row.values)}"
        if messages is not None:
            found = f"{MESSAGES!r} is no list"
        raise ConversationError(f"{where}: {found}; write {_EXAMPLE}")
    turns = tuple(
        _turn(f"{where}, message {number}", one) for number, one in enumerate(messages, start=1)
    )
    if not any(turn.role == ASSISTANT for turn in turns):
        raise ConversationError(
            f"{where}: no message is the {ASSISTANT}'s, so there is nothing to learn from it; add "
            "the answer, or remove the line"
        )
    return Conversation(name=row.name, turns=turns)


def _turn(where: str, message: Any) -> Turn:
    if not isinstance(message, Mapping) or not {"role", "content"} <= message.keys():
        raise ConversationError(f"{where}: it must be an object with 'role' and 'content'")
    role, content = message["role"], message["content"]
    if role not in ROLES:
        raise ConversationError(f"{where}: unknown role {role!r}; expected one of {listed(ROLES)}")
    return Turn(role=role, content=_said(where, "content", content))


def _said(where: str, name: str, content: Any) -> str:
    if not isinstance(content, str) or not content.strip():
        raise ConversationError(f"{where}: {name!r} is {content!r:.40}; it must be text")
    try:
        content.encode()
    except UnicodeEncodeError as error:
        raise ConversationError(
            f"{where}: {name!r} has half a character at position {error.start}; write it as UTF-8"
        ) from error
    for mark in (START, END):  # they would forge a turn
        if mark in content:
            raise ConversationError(
                f"{where}: {name!r} contains {mark!r}, which marks turns in ChatML; remove it"
            )
    return content
