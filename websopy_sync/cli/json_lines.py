"""Chunks as JSON, one a line, that a terminal can show as well.

Pure. Knows nothing of how an answer is written otherwise.
"""

from __future__ import annotations

import json
import re

from ..chunks import StreamChunk

# Control, bidi and invisible format characters, surrogates, noncharacters and the line ends that
# only some readers see. The two joiners of words and emoji (U+200C, U+200D) stay.
_UNSAFE = re.compile(
    "[\x7f-\x9f\xad\u061c\u115f\u1160\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\u3164"
    "\ud800-\udfff\ufeff\uffa0\ufff9-\uffff\U000e0000-\U000e0fff]"
)


def json_line(chunk: StreamChunk, *, ascii_only: bool = False) -> str:
    """The chunk as one line of JSON, its end included.

    What a terminal would obey or hide is a JSON escape: the parsed text is the same.

    Args:
        chunk: Any chunk.
        ascii_only: Escape everything else as well, for an encoding that is not UTF-8.
    """
    text = json.dumps(chunk.to_dict(), ensure_ascii=ascii_only)
    return _UNSAFE.sub(_escaped, text) + "\n"


def _escaped(match: re.Match[str]) -> str:
    return json.dumps(match[0])[1:-1]
