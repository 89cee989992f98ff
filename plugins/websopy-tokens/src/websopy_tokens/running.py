"""The tokens of a text that is still being written, exact at every moment.

The sum of the chunks' counts is wrong: a token may begin in one chunk and end in the next (Chinese
in two-character chunks comes out a fifth too high). Counting everything again at each chunk is
slow. So text waits until it can be cut where counts add up (cuts.py).
Knows nothing of where the text comes from or which counter it is given.
"""

from __future__ import annotations

from .counters import TokenCounter
from .cuts import LONGEST_PART, last_cut

__all__ = ["RunningCount"]

WORTH_COUNTING = 64
"""Characters that wait before the next cut: a call costs as much for 4 as for 64."""


class RunningCount:
    """Adds up the tokens of a text that comes in parts, in one thread at a time.

    Args:
        counter: Counts each part.
    """

    def __init__(self, counter: TokenCounter) -> None:
        self._counter = counter
        self._counted = 0
        self._tail = ""
        self._look_at = WORTH_COUNTING

    def feed(self, text: str) -> None:
        """Add the next part of the text."""
        start = 0
        while start < len(text):
            # Always filled up to the same length, so that the result depends on the text alone.
            end = start + LONGEST_PART - len(self._tail)
            self._tail += text[start:end]
            start = end
            if len(self._tail) >= self._look_at:
                self._cut()

    @property
    def total(self) -> int:
        """The tokens of the whole text, as if it had come at once."""
        return self._counted + (self._counter.count(self._tail) if self._tail else 0)

    @property
    def at_most(self) -> int:
        """An upper bound of `total`, as cheap as a length: a token is at least one byte."""
        return self._counted + len(self._tail.encode("utf-8", "surrogatepass"))

    def end_part(self) -> None:
        """Begin a new text: no token crosses this place."""
        self._take(len(self._tail))

    def _cut(self) -> None:
        place = last_cut(self._tail)
        if not place and len(self._tail) < LONGEST_PART:
            self._wait()
        else:
            self._take(place or LONGEST_PART)

    def _take(self, place: int) -> None:
        if place:
            self._counted += self._counter.count(self._tail[:place])
            self._tail = self._tail[place:]
        self._wait()

    def _wait(self) -> None:
        self._look_at = min(len(self._tail) + WORTH_COUNTING, LONGEST_PART)
