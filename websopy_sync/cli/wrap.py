"""Breaks lines between words at the terminal's edge, while the text is still coming.

Pure: a piece of the text goes in, what to write comes out. Knows of the terminal only its width.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

_PIECE = re.compile(r"[!-~]+|.", re.DOTALL)  # ASCII without spaces in one go: each has one cell
_FENCE = re.compile(r"[ \t>]*(?:(?:[-*+]|\d+[.)])[ \t]+)*(`{3,}(?=[^`]*$)|~{3,})")

# A line does not begin with one of these, nor end with one of those.
_CLOSING = frozenset("、。，．：；？！）］｝」』】〉》〕〗〙〛”’…～ー々!),.:;?]}%")
_OPENING = frozenset("（［｛「『【〈《〔〖〘〚“‘([{")

_LONGEST_FENCE = 200
"""Characters of a line that are kept, to see whether it begins or ends a code block."""

_JOINER, _AS_EMOJI = "\u200d", "\ufe0f"


def cells(character: str) -> int:
    """How many cells of the terminal a character takes at most: 0, 1 or 2."""
    if character == _AS_EMOJI:
        return 1  # many terminals make the symbol before it as wide as an emoji
    category = unicodedata.category(character)
    if category in ("Mn", "Me") or (category == "Cf" and character != "\u00ad"):
        return 0
    if "\u1160" <= character <= "\u11ff":  # Hangul vowels and finals, drawn into the syllable
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _is_symbol(character: str) -> bool:
    """Whether it may be an emoji: terminals do not agree how many cells a sequence takes."""
    return unicodedata.category(character) in ("So", "Sk") and character not in "^`"


def _is_letter(character: str) -> bool:
    """Whether words are made of it. Korean has spaces, Chinese and Japanese have none."""
    wide = cells(character) == 2 and not "\uac00" <= character <= "\ud7a3"
    return not wide and not _is_symbol(character)


def _is_glued(before: str, after: str) -> bool:
    """Whether no line may end between two characters, neither of which is a space."""
    if before == _JOINER or after == _AS_EMOJI or cells(after) == 0:
        return True
    if "\U0001f3fb" <= after <= "\U0001f3ff" or "\U0001f1e6" <= min(before, after) <= "\U0001f1ff":
        return True  # a skin colour belongs to the emoji before it; two letters make a flag
    if before in _OPENING or after in _CLOSING:
        return True
    return _is_letter(before) and _is_letter(after)


def _is_space(character: str) -> bool:
    """Whether a line may end at it, and then shows none of it."""
    if character in "\u00a0\u202f":  # spaces that are made to keep two words on one line
        return False
    return character == "\t" or unicodedata.category(character) == "Zs"


def line_starts(line: str, width: int) -> list[int]:
    """Where the second and each further row begins, of a whole line that is to be wrapped.

    Args:
        line: The text, without a line end.
        width: Cells of a row. Spaces at its end do not count.
    """
    starts: list[int] = []
    begin = column = 0
    chance = 0  # where a row may begin
    for index, character in enumerate(line):
        if _is_space(character):
            column += cells(character)
            chance = index + 1
            continue
        if index > chance and not _is_glued(line[index - 1], character):
            chance = index
        while column + cells(character) > width and index > begin:
            begin = chance if chance > begin else index
            starts.append(begin)
            column = sum(map(cells, line[begin:index]))
        column += cells(character)
    return starts


class Wrapper:
    """Adds line ends to one text. It never holds text back.

    A word is written as it comes. Where it meets the edge, its beginning is erased and written
    again on the next line. A line end replaces the spaces at which it stands. A word that is longer
    than a line, and a line in a code fence, are left to the terminal.

    Args:
        columns: Gives the terminal's width. It is asked for each line, when its text begins.
    """

    def __init__(self, columns: Callable[[], int]) -> None:
        self._columns = columns
        self._fence = ""
        self._line = ""
        self._width = 2
        self._start_line()

    def _start_line(self) -> None:
        self._column = 0
        self._word = ""
        self._word_cells = 0
        self._erasable = True
        self._full = False

    @property
    def mid_line(self) -> bool:
        """Whether the last line has text and no end yet."""
        return bool(self._line)

    def write(self, text: str) -> str:
        """What to write for the next piece of the text."""
        return "".join(map(self._written, _PIECE.findall(text)))

    def _written(self, piece: str) -> str:
        if piece == "\n":
            self._end_line()
            return piece
        if not self._line:
            self._width = max(self._columns(), 2)
        if len(self._line) < _LONGEST_FENCE:
            self._line += piece
        if self._fence:
            return self._code(piece)
        if piece == "\t" or (
            unicodedata.category(piece[0]) == "Zs" and piece not in "\u00a0\u202f"
        ):
            return self._space(piece)
        return self._next_of_word(piece)

    def _code(self, piece: str) -> str:
        """A piece of a line that the terminal breaks."""
        size = 8 - self._column % 8
        if piece == "\t" and self._column + size < self._width:
            self._column += size
            return piece
        piece = " " if piece == "\t" else piece  # at the edge a tab stays on the line
        self._column = self._folded(self._column, piece)
        return piece

    def _end_line(self) -> None:
        fence = _FENCE.match(self._line)
        if not self._fence:
            self._fence = fence[1] if fence else ""
        elif fence and fence[1].startswith(self._fence) and self._line.strip(" \t>") == fence[1]:
            self._fence = ""
        self._line = ""
        self._start_line()

    def _space(self, space: str) -> str:
        size = 8 - self._column % 8 if space == "\t" else cells(space)
        self._word = ""
        if self._full or self._column + size >= self._width:
            self._full = True
            return ""
        self._column += size
        return space

    def _next_of_word(self, piece: str) -> str:
        size = len(piece) if piece.isascii() else cells(piece)
        if not (self._word and _is_glued(self._word[-1], piece[0])):
            self._word, self._word_cells, self._erasable = "", 0, True
        start = self._column - self._word_cells
        erasable = self._erasable
        self._word += piece
        self._word_cells += size
        self._erasable = erasable and not (_is_symbol(piece[-1]) or piece in (_JOINER, _AS_EMOJI))
        # The last column stays free: a cursor beyond it moves back differently in each terminal.
        if not self._full and self._column + size < self._width:
            self._column += size
            return piece
        written = self._word_cells - size
        if self._full or (start > 0 and (self._erasable or not written)):
            return self._on_next_line(written)
        # Not every terminal moves a wide character that has one column left.
        one_left = self._column + 1 == self._width
        end = "\n" if one_left and cells(piece[0]) == 2 and self._erasable else ""
        self._column = self._folded(self._column, piece)
        return end + piece

    def _on_next_line(self, written: int) -> str:
        """The current word on a new line; so many cells of it stand on this one."""
        erase = "\b" * written + "\x1b[K" if written else ""
        word, size, erasable = self._word, self._word_cells, self._erasable
        self._start_line()
        self._width = max(self._columns(), 2)
        self._word, self._word_cells, self._erasable = word, size, erasable
        self._column = self._folded(0, word)
        return f"{erase}\n{word}"

    def _folded(self, column: int, text: str) -> int:
        """The column after a text that the terminal breaks."""
        for size in map(cells, text):
            column = column + size if column + size <= self._width else size
        return column
