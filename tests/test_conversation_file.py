"""The file of a saved conversation: what it holds, and what is none."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from tables import each

from websopy_sync import ConfigError, FileError, Message, ToolCall, image, parts
from websopy_sync.conversation_file import MAX_SIZE, read_turns, write_turns

TURNS = [
    {"role": "system", "content": "简短"},
    {"role": "user", "content": [{"type": "text", "text": "x\u2028"}, {"type": "own", "y": [1]}]},
    {"role": "assistant", "content": None, "tool_calls": [{"name": "f", "arguments": "{"}]},
    {"role": "tool", "tool_call_id": None, "name": "f", "content": "", "own": 1.5},
]


BASE64_OF_THE_LARGEST_IMAGE = parts.MAX_SIZE * 4 // 3


def test_turns_come_back(tmp_path: Path) -> None:
    """All their fields, in their order; as JSON in UTF-8 that other programs read, too."""
    path = tmp_path / "a.json"
    write_turns(path, TURNS)
    assert read_turns(path) == TURNS
    assert [list(turn) for turn in read_turns(path)] == [list(turn) for turn in TURNS]
    assert json.loads(path.read_text("utf-8")) == {"version": 1, "messages": TURNS}
    assert "简短" in path.read_text("utf-8")


def test_values_are_saved_as_their_dicts(tmp_path: Path) -> None:
    """A message, an image, a tool call."""
    call = ToolCall("f", "{}", "1")
    part = image("https://example.com/a.png")
    write_turns(tmp_path / "a", [{"role": "user", "content": [part]}, Message("a", [call])])
    assert read_turns(tmp_path / "a") == [
        {"role": "user", "content": [part.to_dict()]},
        {"role": "assistant", "content": "a", "tool_calls": [call.to_dict()]},
    ]


def deep(depth: int) -> list[Any]:
    nested: list[Any] = []
    for _ in range(depth):
        nested = [nested]
    return nested


@each(
    ("turn", "says"),
    [
        ({"role": "user", "content": "s3cret\ud800"}, "lone surrogate"),
        ({"role": "user", "content": "s3cret", "own": object()}, "expected what JSON can hold"),
        ({"role": "user", "content": "s3cret", "own": float("inf")}, "expected what JSON can hold"),
        ({"role": "user", "content": "s3cret", "own": deep(100_000)}, "nested too deeply"),
        ({"role": "user", "content": b"s3cret"}, r"messages\[0\].*bytes"),
        ({"content": "s3cret"}, r"messages\[0\].*'role'"),
        ("s3cret", r"messages\[0\].*str"),
    ],
)
def test_what_cannot_be_saved(tmp_path: Path, turn: Any, says: str) -> None:
    """An error that quotes nothing, and the old file as it was."""
    path = tmp_path / "a"
    write_turns(path, TURNS)
    with pytest.raises(ConfigError, match=says) as caught:
        write_turns(path, [turn])
    assert "s3cret" not in str(caught.value)
    assert read_turns(path) == TURNS
    assert [file.name for file in tmp_path.iterdir()] == ["a"]


@each("depth", [50, 900, 1000, 3000, 20_000, 50_000])
def test_what_was_saved_can_be_loaded(tmp_path: Path, depth: int) -> None:
    """`json` may write deeper than it reads: such a turn is refused when it is saved."""
    turns = [{"role": "user", "content": "x", "own": deep(depth)}]
    path = tmp_path / str(depth)
    with contextlib.suppress(ConfigError):
        write_turns(path, turns)
    assert not path.exists() or read_turns(path)
    assert path.exists() or depth > 50


@each(
    ("text", "says"),
    [
        ("", "expected JSON in UTF-8, got something else"),
        ("s3cret", "expected JSON in UTF-8"),
        (b"\xff\xfes3cret", "expected JSON in UTF-8"),
        ('{"version": 1, "messages": ["s3cret', "expected JSON in UTF-8"),
        ("[" * 100_000, "nested too deeply|expected JSON"),
        ('{"version": ' + "9" * 5000 + "}", "expected JSON"),
        ("[1]", "expected a JSON object, got list"),
        ("null", "expected a JSON object, got NoneType"),
        ("{}", "expected version 1, got none"),
        ('{"version": true, "messages": []}', "expected version 1, got none"),
        ('{"version": "1", "messages": []}', "expected version 1, got none"),
        ('{"version": 1.0, "messages": []}', "expected version 1, got none"),
        (
            '{"version": 2, "messages": []}',
            "expected version 1, got version 2; a later websopy-sync may have saved it",
        ),
        ('{"version": 1}', "expected a list of messages, got NoneType"),
        ('{"version": 1, "messages": {"s3cret": 1}}', "expected a list of messages, got dict"),
        ('{"version": 1, "messages": ["s3cret"]}', r"messages\[0\]: expected a dict"),
        (
            '{"version": 1, "messages": [{"role": "s3cret"}]}',
            r"messages\[0\]: expected a 'content'",
        ),
    ],
)
def test_what_is_no_saved_conversation(tmp_path: Path, text: str | bytes, says: str) -> None:
    """What was expected and what came; nothing of the file is quoted."""
    path = tmp_path / "a"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError, match=f"^conversation file: ({says})") as caught:
        read_turns(path)
    assert "s3cret" not in str(caught.value)
    assert caught.value.__context__ is None


def test_a_byte_order_mark(tmp_path: Path) -> None:
    """An editor may have put one in."""
    (tmp_path / "a").write_text('{"version": 1, "messages": []}', "utf-8-sig")
    assert read_turns(tmp_path / "a") == []


def test_no_file(tmp_path: Path) -> None:
    """The error names the path."""
    with pytest.raises(FileError, match=r"conversation file: cannot read '.*none'"):
        read_turns(tmp_path / "none")


def test_sizes(tmp_path: Path) -> None:
    """What is too large to be read is not written either."""
    path = tmp_path / "a"
    write_turns(path, TURNS)
    size = path.stat().st_size
    write_turns(path, TURNS, max_size=size)
    assert read_turns(path, max_size=size) == TURNS
    limit = f"conversation file: expected at most {size - 1} bytes, got {size}"
    with pytest.raises(ConfigError, match=limit):
        read_turns(path, max_size=size - 1)
    with pytest.raises(ConfigError, match=limit):
        write_turns(path, TURNS, max_size=size - 1)
    assert read_turns(path) == TURNS
    assert MAX_SIZE >= 4 * BASE64_OF_THE_LARGEST_IMAGE
