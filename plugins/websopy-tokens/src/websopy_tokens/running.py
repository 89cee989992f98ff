"""The tokens of a text that is still being written, exact at every moment.

Adding up the counts of the chunks is wrong: a token may begin in one chunk and end in the next
(Chinese in two-character chunks comes out a fifth too high). Counting all again at each chunk is
slow. So text waits until it can be cut where counts add up, see `cuts`.
Knows nothing of where the text comes from or which counter it is given.
"""

from __future__ import annotations

from .counters import TokenCounter
from .cuts import LONGEST_PART, last_cut

__all__ = ["RunningCount"]

WORTH_COUNTING = 64
"""Characters that wait before a cut is looked for: a call costs as much for 4 as for 64."""


class RunningCount:
    """Adds up the tokens of a text that comes in parts. Not for many threads at once."""

    def __init__(self, counter: TokenCounter) -> None:
        self._counter = counter
        self._counted = 0
        self._tail = ""
        self._look_at = WORTH_COUNTING

    def feed(self, text: str) -> None:
        """Take the next part of the text."""
        start = 0
        while start < len(text):
            # Filling up to the same length always makes the result depend on the text alone.
            end = start + LONGEST_PART - len(self._tail)
            self._tail += text[start:end]
            start = end
            if len(self._tail) >= self._look_at:
                self._cut()

    @property
    def total(self) -> int:
        """The tokens of all that was fed, as if it had come in one."""
        return self._counted + (self._counter.count(self._tail) if self._tail else 0)

    @property
    def at_most(self) -> int:
        """A number that `total` does not pass, for the price of a length.

        A token is at least one byte of UTF-8. Good for a limit that is still far away.
        """
        return self._counted + len(self._tail.encode("utf-8", "surrogatepass"))

    def end_part(self) -> None:
        """Let what comes next begin a text of its own: no token reaches over this place."""
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
