"""What a turn of a chat may be."""

from __future__ import annotations

import re
from typing import Any

from tables import each

from websopy_sync.errors import ConfigError
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
