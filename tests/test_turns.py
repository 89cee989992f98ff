"""What a turn of a chat may be."""

from __future__ import annotations

import re
from typing import Any

from tables import each

from websopy_sync.errors import ConfigError
from websopy_sync.message import Message
from websopy_sync.tool_call import ToolCall
from websopy_sync.turns import turns_of


def test_a_text_is_one_user_message() -> None:
    """A str stands for the most common case."""
    assert turns_of("你好") == [{"role": "user", "content": "你好"}]


def test_turns_stay_as_they_are() -> None:
    """A turn may hold more than role and content, and its content may be a list of parts."""
    turns = [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "", "name": "n"},
        {"role": "user", "content": [{"type": "image", "url": "u"}]},
    ]
    assert turns_of(turns) == turns
    assert turns_of(tuple(turns)) == turns


def test_turns_are_copies() -> None:
    """A plugin that edits the body does not edit the user's list."""
    turns = [{"role": "user", "content": "x"}]
    copied = turns_of(turns)
    assert isinstance(copied, list)
    copied[0]["content"] = "changed"
    copied.append({})
    assert turns == [{"role": "user", "content": "x"}]


def test_values_stand_for_their_dicts() -> None:
    """A message is a turn, a tool call a dict in one; a str among the parts is a text part."""
    call = ToolCall("f", "{}", "c")
    turns = turns_of(
        [
            {"role": "user", "content": ["x", {"type": "image", "url": "u"}]},
            Message("", (call,)),
            {"role": "assistant", "content": None, "tool_calls": [call]},
        ]
    )
    called = [{"name": "f", "arguments": "{}", "id": "c"}]
    assert turns == [
        {"role": "user", "content": [{"type": "text", "text": "x"}, {"type": "image", "url": "u"}]},
        {"role": "assistant", "content": "", "tool_calls": called},
        {"role": "assistant", "content": None, "tool_calls": called},
    ]


@each(
    ("messages", "says"),
    [
        ([], "at least one"),
        (None, "NoneType"),
        (7, "int"),
        (b"text", "bytes"),
        ({"role": "user", "content": "s3cret"}, "dict"),
        ({"s3cret"}, "set"),
        (iter(["s3cret"]), "iterator"),
        (["s3cret"], r"messages\[0\].*str"),
        ([None], r"messages\[0\].*NoneType"),
        ([{}], r"messages\[0\].*'role'"),
        ([{"role": "user"}], r"messages\[0\].*'content'"),
        ([{"content": "s3cret"}], r"messages\[0\].*'role'"),
        ([{"role": None, "content": "s3cret"}], r"messages\[0\].*'role'.*NoneType"),
        ([{"role": "", "content": "s3cret"}], r"messages\[0\].*role"),
        ([{"role": 7, "content": "s3cret"}], r"messages\[0\].*'role'.*int"),
        ([{"role": "user", "content": None}], r"messages\[0\].*'content'.*NoneType"),
        ([{"role": "assistant", "content": None, "tool_calls": []}], r"messages\[0\].*NoneType"),
        ([{"role": "assistant", "tool_calls": []}], r"messages\[0\].*'content', got none"),
        ([{"role": "user", "content": [7]}], r"messages\[0\]\.content\[0\].*int"),
        ([{"role": "user", "content": {"s3cret": 1}}], r"messages\[0\].*list of parts.*dict"),
        ([ToolCall], r"messages\[0\].*type"),
        ([{"role": "user", "content": b"s3cret"}], r"messages\[0\].*'content'.*bytes"),
        ([{"role": "user", "content": "ok"}, ("user", "s3cret")], r"messages\[1\].*tuple"),
    ],
)
def test_bad_messages(messages: Any, says: str) -> None:
    """A ConfigError that says which and why, and quotes no text. Given back, not raised."""
    problem = turns_of(messages)
    assert isinstance(problem, ConfigError)
    assert problem.message.startswith("messages")
    assert re.search(says, problem.message)
    assert "s3cret" not in str(problem)
