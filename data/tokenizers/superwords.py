"""The second stage of SuperBPE: pairs of tokens that are merged across white space.

Every occurrence of a pair (x, y) comes into being at one moment: when the newer of its two tokens
is made, which is the merge of one pair. After that their number only falls. So the positions of a
pair are listed once, a count that was taken earlier is an upper bound, and the pair with the
highest bound is counted again before it is merged: a lazy priority queue, exact without
bookkeeping.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Ints: TypeAlias = NDArray[np.int32]
Pair: TypeAlias = tuple[int, int]

BOUNDARY = -1
"""Between two stretches of text that no token joins."""
LEAST_COUNT = 2
"""A pair that occurs once is not merged."""

_REPORT_EVERY = 32
_WORD = re.compile("[^{}]+".format("".join(chr(256 + byte) for byte in b"\t\n\v\f\r ")))
"""What is not white space, in GPT-2's alphabet of bytes."""


def words_in(spelling: str) -> int:
    """The words in a token, whole or in part, as white space separates them."""
    return len(_WORD.findall(spelling))


def superword_merges(
    tokens: Ints,
    spellings: Sequence[str],
    wanted: int,
    *,
    max_words: int,
    progress: Callable[[int], None] = lambda done: None,
) -> list[Pair]:
    """The pairs that are merged, in their order; the n-th makes token len(spellings) + n.

    The most frequent pair comes first; of equally frequent ones the one whose left, then whose
    right token is older. A pair is left out if its token would have more than `max_words` words, or
    if there is a token of that spelling already: encoding, which merges the oldest pair first, then
    gives exactly the tokens that were counted here.

    Args:
        tokens: [tokens], ids in the order of the text, with BOUNDARY where no merge may reach over.
        spellings: of each id, in GPT-2's alphabet of bytes.
        wanted: how many; fewer are returned if no other pair occurs twice.
        progress: called with the number of pairs found so far, now and then.
    """
    text = _Text(tokens, len(spellings), wanted)
    queue = _Queue(text)
    known = list(spellings)
    taken = set(known)
    merges: list[Pair] = []
    while len(merges) < wanted and (found := queue.next()) is not None:
        pair, positions = found
        left, right = pair
        spelling = known[left] + known[right]
        if spelling in taken or words_in(spelling) > max_words:
            continue
        positions = text.occurrences(pair, positions)
        merged = text.without_overlaps(pair, positions)
        if len(merged) < LEAST_COUNT:
            continue
        if not queue.is_first(len(merged), pair):
            queue.add(pair, positions, at_most=len(merged))
            continue
        for made, places in text.merged(pair, merged, len(known)):
            queue.add(made, places, at_most=len(places))
        known.append(spelling)
        taken.add(spelling)
        merges.append(pair)
        if len(merges) % _REPORT_EVERY == 0:
            progress(len(merges))
    progress(len(merges))
    return merges


class _Text:
    """Text as tokens in place: a merge changes a few slots and moves nothing.

    A token of n first-stage tokens occupies n slots. 8 bytes a slot.
    """

    def __init__(self, tokens: Ints, known: int, more: int) -> None:
        edge = np.full(1, BOUNDARY, dtype=np.int32)
        self.starting = np.concatenate([edge, tokens.astype(np.int32), edge])
        """[slots], the token that begins in a slot; BOUNDARY inside tokens too."""
        self.ending = self.starting.copy()
        """[slots], the token that ends in a slot; anything inside tokens."""
        self.slots = np.ones(known + more, dtype=np.int32)
        """[tokens], how many slots a token has."""
        self.known = known

    def occurrences(self, pair: Pair, places: Ints) -> Ints:
        """Those of the places where the pair still begins, in their order."""
        left, right = pair
        found: Ints = places[self.starting[places] == left]
        found = found[self.starting[found + self.slots[left]] == right]
        return found

    def without_overlaps(self, pair: Pair, places: Ints) -> Ints:
        """Those of the occurrences that are merged: in three equal tokens, the first two."""
        left, right = pair
        return _without_overlaps(places, int(self.slots[left])) if left == right else places

    def merged(self, pair: Pair, places: Ints, new: int) -> list[tuple[Pair, Ints]]:
        """Puts a new token in the places of a pair. Returns the pairs that this makes, with their
        positions, if there are enough."""
        left, right = pair
        self.slots[new] = size = self.slots[left] + self.slots[right]
        self.starting[places + self.slots[left]] = BOUNDARY
        self.starting[places] = new
        self.ending[places + size - 1] = new
        before, after = self.ending[places - 1], self.starting[places + size]
        follows = after != BOUNDARY
        # Of two new tokens in a row the first one's `after` tells.
        precedes = (before != BOUNDARY) & (before != new)
        found = [
            ((new, other), found) for other, found in _grouped(after[follows], places[follows])
        ]
        begins = places[precedes] - self.slots[before[precedes]]
        found += [((other, new), found) for other, found in _grouped(before[precedes], begins)]
        return found


class _Queue:
    """Pairs by an upper bound of their number, the highest first; then the older pair.

    The pairs of the text as it comes are millions of positions, of which few are ever needed: they
    stay in one sorted array. Pairs that merges make are in a heap.
    """

    def __init__(self, text: _Text) -> None:
        places = np.flatnonzero(
            (text.starting[:-1] != BOUNDARY) & (text.starting[1:] != BOUNDARY)
        ).astype(np.int32)
        keys = text.starting[places].astype(np.int64) * text.known + text.starting[places + 1]
        order = np.argsort(keys, kind="stable")
        self._places = places[order]
        keys = keys[order]
        begins = np.flatnonzero(np.diff(keys, prepend=-1))
        counts = np.diff(begins, append=len(keys))
        enough = counts >= LEAST_COUNT
        self._begins, self._counts = begins[enough], counts[enough]
        self._keys = keys[self._begins]
        first = np.lexsort((self._keys, -self._counts))
        self._begins, self._counts = self._begins[first], self._counts[first]
        self._keys = self._keys[first]
        self._known = text.known
        self._used = 0
        self._heap: list[tuple[int, Pair]] = []
        self._made: dict[Pair, Ints] = {}

    def next(self) -> tuple[Pair, Ints] | None:
        """Takes out the first pair, with where it began once; None if there is none left."""
        initial = self._initial()
        if self._heap and (initial is None or self._heap[0] < initial):
            _, pair = heappop(self._heap)
            return pair, self._made.pop(pair)
        if initial is None:
            return None
        begin = self._begins[self._used]
        places = self._places[begin : begin + self._counts[self._used]]
        self._used += 1
        return initial[1], places

    def is_first(self, count: int, pair: Pair) -> bool:
        """Whether a pair comes before all others in the queue."""
        rank, initial = (-count, pair), self._initial()
        return (not self._heap or rank < self._heap[0]) and (initial is None or rank < initial)

    def add(self, pair: Pair, places: Ints, *, at_most: int) -> None:
        """Puts a pair in by a bound of its number; once at a time."""
        heappush(self._heap, (-at_most, pair))
        self._made[pair] = places

    def _initial(self) -> tuple[int, Pair] | None:
        if self._used == len(self._keys):
            return None
        left, right = divmod(int(self._keys[self._used]), self._known)
        return -int(self._counts[self._used]), (left, right)


def _grouped(keys: Ints, places: Ints) -> list[tuple[int, Ints]]:
    """The places of each key that has enough of them, ascending as they came."""
    if not len(keys):
        return []
    order = np.argsort(keys, kind="stable")
    keys, places = keys[order], places[order]
    begins = np.flatnonzero(np.diff(keys, prepend=-1))
    ends = np.append(begins[1:], len(keys))
    enough = np.flatnonzero(ends - begins >= LEAST_COUNT).tolist()
    # Copies: a view would keep the places of all keys in memory.
    return [(int(keys[begins[i]]), places[begins[i] : ends[i]].copy()) for i in enough]


def _without_overlaps(places: Ints, size: int) -> Ints:
    """Every other place of those that follow each other directly, the first of them included."""
    index = np.arange(len(places))
    first_of_row = np.diff(places, prepend=-1 - size) != size
    in_row = index - np.maximum.accumulate(np.where(first_of_row, index, 0))
    chosen: Ints = places[in_row % 2 == 0]
    return chosen
