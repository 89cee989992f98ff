"""Chunks as lines of JSON that a terminal can show."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st
from tables import each

from websopy_sync import ContentChunk
from websopy_sync.chunks import UnknownChunk
from websopy_sync.cli.json_lines import json_line

FORBIDDEN = "".join(
    map(
        chr,
        [
            *range(0x20),
            *range(0x7F, 0xA0),
            0x61C,
            0x200B,
            0x200E,
            0x200F,
            *range(0x2028, 0x202F),
            *range(0x2066, 0x206A),
            0xFEFF,
            0xD800,
            0xDFFF,
            0xE0041,
        ],
    )
)


@each(
    ("text", "line"),
    [
        ("写 é 😀 👩\u200d💻", '{"type": "content", "content": "写 é 😀 👩\u200d💻"}\n'),
        ("\x1b[2J\x9b", '{"type": "content", "content": "\\u001b[2J\\u009b"}\n'),
        ("\u202eevil", '{"type": "content", "content": "\\u202eevil"}\n'),
        ("\ud800", '{"type": "content", "content": "\\ud800"}\n'),
        ("\U000e0041", '{"type": "content", "content": "\\udb40\\udc41"}\n'),
    ],
)
def test_line(text: str, line: str) -> None:
    """Text stays text; what a terminal obeys or hides is an escape."""
    assert json_line(ContentChunk(text)) == line


@given(st.text() | st.text(st.sampled_from(FORBIDDEN + "a写")))
def test_what_is_read_back(text: str) -> None:
    """The same chunk, from one line that holds nothing dangerous and can be encoded."""
    for chunk in (ContentChunk(text), UnknownChunk(text, {text: [text]})):
        for ascii_only in (True, False):
            line = json_line(chunk, ascii_only=ascii_only)
            # Two escaped halves of a pair are one character again, for any reader of JSON.
            assert json.loads(line) == json.loads(json.dumps(chunk.to_dict()))
            assert line.splitlines() == [line[:-1]]
            assert not set(line[:-1]) & set(FORBIDDEN)
            line.encode("ascii" if ascii_only else "utf-8")
