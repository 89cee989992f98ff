"""The last lines on a terminal, which are redrawn while they change.

Pure: lines go in, what to write comes out. Knows nothing of Markdown.
"""

from __future__ import annotations

import re

from .wrap import cells

# A terminal that knows this shows the next bytes at once, as one picture; others ignore it.
_BEGIN, _END = "\x1b[?2026h", "\x1b[?2026l"

# To the end of the screen. tmux would keep what is erased from the screen's very first cell.
_ERASE = "\r \x1b[J\r"

_STYLE = re.compile(r"\x1b\[[0-9;]*m")


class Region:
    """The growing lines, below those that are final.

    The cursor stays at the end of the last line.
    """

    def __init__(self) -> None:
        self._shown: list[str] = []
        self._begun = False

    def update(self, final: list[str], growing: list[str], *, columns: int, rows: int) -> str:
        """What to write, so that the screen shows the final lines and then the growing ones.

        Args:
            final: Lines that take the place of the first growing ones, and are never drawn again.
            growing: Lines that may change. Only the last ones are shown if the screen is lower.
            columns: The width of the terminal now.
            rows: Its height.
        """
        before, tail = self._shown, growing[-max(rows - 1, 1) :]
        lines = final + tail
        same = _same(before, lines)
        self._shown = tail
        if same == len(before) == len(lines):
            return ""
        begun, self._begun = self._begun, bool(lines)
        if same == len(before):
            return ("\n" if begun else "") + "\n".join(lines[same:])
        if same == len(before) - 1 and lines[same:] and lines[same].startswith(before[same]):
            return "\n".join(lines[same:])[len(before[same]) :]
        same = max(min(same, len(lines) - 1), 0)
        up = sum(_rows(line, columns) for line in before[same:]) - 1
        back = (f"\x1b[{up}A" if up else "") + _ERASE
        return f"{_BEGIN}{back}" + "\n".join(lines[same:]) + _END


def _rows(line: str, columns: int) -> int:
    """The rows that a line takes: more than one after the terminal became narrower."""
    return max(-(-sum(map(cells, _STYLE.sub("", line))) // max(columns, 1)), 1)


def _same(before: list[str], after: list[str]) -> int:
    """How many lines are the same from the beginning."""
    pairs = enumerate(zip(before, after, strict=False))
    different = (index for index, (old, new) in pairs if old != new)
    return next(different, min(len(before), len(after)))
