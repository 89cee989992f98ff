"""What a page may send, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from tables import each

from websopy_sync import ConfigError
from websopy_sync.web import page_messages

USER = {"role": "user", "content": "secret words"}
CALLS = [{"name": "f", "arguments": "{}", "id": "c"}]


def test_texts_of_user_and_assistant() -> None:
    """They are new dicts, and the other fields of the body are left out."""
    turns = [USER, {"role": "assistant", "content": ""}]
    body = {"messages": turns, "model": "dear", "tools": []}
    assert page_messages(body) == turns
    assert page_messages(body)[0] is not USER


@each(
    "body",
    [
        None,
        [],
        7,
        "messages",
        {},
        {"messages": None},
        {"messages": []},
        {"messages": {}},
        {"messages": "secret words"},
    ],
)
def test_no_messages(body: Any) -> None:
    """Any JSON may come."""
    with pytest.raises(ConfigError, match="expected a list of turns"):
        page_messages(body)


@each(
    "turn",
    [
        "secret words",
        [],
        {"role": "user"},
        {"content": "secret words"},
        {"role": "system", "content": "secret words"},
        {"role": "tool", "content": "secret words"},
        {"role": ["user"], "content": "secret words"},
        {"role": None, "content": "secret words"},
        {"role": "tool", "tool_call_id": "c", "name": "f", "content": "secret words"},
        {"role": "assistant", "content": None, "tool_calls": CALLS},
        {"role": "assistant", "content": "", "tool_calls": CALLS},
        {"role": "assistant", "content": "", "toolCalls": CALLS},
        {"role": "user", "content": None},
        {"role": "user", "content": 7},
        {"role": "user", "content": [{"type": "text", "text": "secret words"}]},
        {"role": "user", "content": [{"type": "image", "url": "http://169.254.169.254/"}]},
        {"role": "user", "content": {"type": "text", "text": "secret words"}},
        {"role": "user", "content": "secret words", "name": "x"},
    ],
)
def test_turn_that_a_page_may_not_send(turn: Any) -> None:
    """It is refused wherever it stands, and no text of it is quoted."""
    with pytest.raises(ConfigError, match=r"messages\[1\]") as caught:
        page_messages({"messages": [USER, turn, USER]})
    assert "secret" not in str(caught.value)
