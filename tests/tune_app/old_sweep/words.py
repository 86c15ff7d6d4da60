"""The corpus of the old sweep: text that is the same on every machine.

The random numbers are a linear congruential generator written out here (Knuth's MMIX), so that no
library's version changes the text, its tokenizer or the results.
"""

from __future__ import annotations

import json
from pathlib import Path

SYLLABLES = (
    *("ba", "ke", "li", "mo", "nu", "ra", "se", "ti"),
    *("vo", "zu", "ash", "el", "in", "or", "un"),
)
DOCUMENTS = {"train": 120, "valid": 30, "test": 10}


class Draws:
    def __init__(self) -> None:
        self._state = 20_260_101

    def below(self, limit: int) -> int:
        step = 6_364_136_223_846_793_005, 1_442_695_040_888_963_407
        self._state = (self._state * step[0] + step[1]) % 2**64
        return (self._state >> 33) % limit


def write_corpus(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    draws = Draws()
    words = [
        "".join(SYLLABLES[draws.below(len(SYLLABLES))] for _ in range(1 + draws.below(3)))
        for _ in range(400)
    ]
    for split, documents in DOCUMENTS.items():
        lines = [json.dumps({"text": _document(words, draws)}) for _ in range(documents)]
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n", "utf-8")


def _document(words: list[str], draws: Draws) -> str:
    index, text = draws.below(len(words)), []
    for _ in range(150 + draws.below(150)):
        # Mostly one of four words that follow the word before, so that there is something to learn.
        if draws.below(4):
            index = (index * 7 + draws.below(4) * 13 + 1) % len(words)
        else:
            index = draws.below(len(words))
        text.append(words[index])
    return " ".join(text) + "."
