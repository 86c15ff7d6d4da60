"""Examples with answers to choose from, and the errors of reading them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from data.errors import CorpusError


class TaskError(CorpusError):
    """Data of a task that cannot be used. The message is one line and names the remedy."""


@dataclass(frozen=True, kw_only=True)
class Example:
    """A prompt and the answers that could follow it."""

    name: str
    """Where it is in its file: `line 17`, counted from 1 with the header."""
    prompt: str
    answers: tuple[str, ...]
    """Each begins with the space that separates it from the prompt."""
    label: int
    """The place of the right answer."""
    texts: tuple[str, ...]
    """The example's own text, without what all examples share: its sentences."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """Examples of one kind, from one file."""

    name: str
    split: str
    """Of the published data, as far as the file's name says: `validation`."""
    source: str
    """The file's name and the SHA-256 of its content."""
    examples: tuple[Example, ...]

    @property
    def chance(self) -> float:
        """Accuracy of guessing."""
        return sum(1 / len(one.answers) for one in self.examples) / len(self.examples)

    @property
    def majority(self) -> float:
        """Accuracy of always giving the commonest label."""
        return max(Counter(one.label for one in self.examples).values()) / len(self.examples)
