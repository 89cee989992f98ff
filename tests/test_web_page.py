"""What a page may send, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tables import each

from websopy_sync import ConfigError
from websopy_sync.web import ConversationTooLongError, page_messages

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
    """Any JSON may come. The error shows what was expected, and nothing of what came."""
    with pytest.raises(ConfigError, match=r'list of turns, as in \{"messages": \[\{"role": "user"'):
        page_messages(body)


def test_the_body_itself() -> None:
    """Bytes are read as JSON, in whichever encoding of Unicode; the JSON of a text is none."""
    body = {"messages": [USER, {"role": "assistant", "content": "猫"}]}
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-32"):
        assert page_messages(json.dumps(body).encode(encoding)) == body["messages"]
    with pytest.raises(ConfigError, match="expected a list of turns"):
        page_messages(json.dumps(body))


DEEP = b"[" * 100_000


@each(
    "body",
    [
        b"",
        b"{",
        b"messages=secret words",
        DEEP,
        b'{"a": ' * 100_000,
        b'{"messages": ' + DEEP,
        DEEP + b"]" * 100_000,
        b'{"messages": [' + b"9" * 5000 + b"]}",
        b'{"messages": [{"role": "user", "content": "secret words \xff"}]}',
    ],
)
def test_no_json(body: bytes) -> None:
    """What Python cannot read is refused as any other bad question is, and not quoted."""
    with pytest.raises(ConfigError, match="body: expected JSON") as caught:
        page_messages(body)
    assert caught.value.__cause__ is caught.value.__context__ is None


@each("constant", [b"NaN", b"-Infinity", b"1e999"])
def test_numbers_that_are_none(constant: bytes) -> None:
    """They may stand in a field that is left out, and nowhere else."""
    turn = json.dumps(USER).encode()
    assert page_messages(b'{"messages": [%b], "a": %b}' % (turn, constant)) == [USER]
    with pytest.raises(ConfigError, match="expected str content, got float"):
        page_messages(b'{"messages": [{"role": "user", "content": %b}]}' % constant)


def test_a_field_that_comes_twice() -> None:
    """The last one counts: nothing that was checked is another than what is sent."""
    body = b'{"messages": 7, "messages": [{"role": "system", "role": "user", "content": "a"}]}'
    assert page_messages(body) == [{"role": "user", "content": "a"}]


@each(
    "turn",
    [
        {"role": "user", "content": "a\ud83d"},
        {"role": "user", "parts": [{"type": "text", "text": "a\ud83d"}]},
    ],
)
def test_half_a_character(turn: Any) -> None:
    """It becomes U+FFFD, as browsers write it: a service would be sent no text at all."""
    assert page_messages({"messages": [turn]}) == [{"role": "user", "content": "a\ufffd"}]


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


# --- what useChat of the AI SDK sends ----------------------------------------------------------

QUESTION = {"id": "m1", "role": "user", "parts": [{"type": "text", "text": "Hi"}]}

ANSWER = {
    "id": "m2",
    "role": "assistant",
    "metadata": {"usage": {"inputTokens": 1}},
    "parts": [
        {"type": "step-start"},
        {"type": "reasoning", "text": "hm", "state": "done"},
        {"type": "text", "text": "Let me see.", "state": "done"},
        {
            "type": "tool-look",
            "toolCallId": "c",
            "state": "output-available",
            "input": {"q": "a"},
            "output": {"found": "a"},
        },
        {"type": "dynamic-tool", "toolName": "f", "toolCallId": "d", "state": "input-available"},
        {"type": "step-start"},
        {"type": "text", "text": "It is open.", "state": "streaming", "providerMetadata": {}},
        {"type": "a type of later versions"},
    ],
}


def test_turns_of_the_ai_sdk() -> None:
    """The texts of each turn; what else an answer of ours had is not sent back to the model."""
    two = {"role": "user", "parts": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}
    body = {"id": "c1", "messages": [QUESTION, ANSWER, two], "trigger": "submit-message"}
    assert page_messages(body) == [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Let me see.\n\nIt is open."},
        {"role": "user", "content": "a\n\nb"},
    ]


@each(
    "parts",
    [[], [{"type": "step-start"}], [{"type": "text", "text": ""}], [{"type": "reasoning"}]],
)
def test_an_answer_without_a_text_is_left_out(parts: Any) -> None:
    """It was stopped before its first word, or it failed. Services refuse an empty turn."""
    empty = {"role": "assistant", "parts": parts}
    assert page_messages({"messages": [QUESTION, empty, USER]}) == [
        {"role": "user", "content": "Hi"},
        USER,
    ]
    with pytest.raises(ConfigError, match="expected a text, got none"):
        page_messages({"messages": [empty]})


TEXTS = [{"type": "text", "text": "secret words"}]


@each(
    "turn",
    [
        {"role": "system", "parts": TEXTS},
        {"role": "tool", "parts": TEXTS},
        {"role": ["user"], "parts": TEXTS},
        {"parts": TEXTS},
        {"role": "user", "parts": None},
        {"role": "user", "parts": "secret words"},
        {"role": "user", "parts": {"0": TEXTS[0]}},
        {"role": "user", "parts": []},
        {"role": "user", "parts": [{"type": "text", "text": ""}]},
        {"role": "user", "parts": ["secret words"]},
        {"role": "user", "parts": [{"type": "text", "text": 7}]},
        {"role": "user", "parts": [{"type": "text"}]},
        {"role": "user", "parts": [*TEXTS, {"type": "file", "url": "http://169.254.169.254/"}]},
        {"role": "user", "parts": [*TEXTS, {"type": "tool-f", "output": "secret words"}]},
        {"role": "user", "parts": [*TEXTS, {"type": "data-x", "data": "secret words"}]},
        {"role": "user", "parts": [*TEXTS, {"type": ["text"], "text": "secret words"}]},
        {"role": "assistant", "parts": ["secret words"]},
        {"role": "assistant", "parts": [{"type": "text", "text": ["secret words"]}]},
    ],
)
def test_turn_of_the_ai_sdk_that_a_page_may_not_send(turn: Any) -> None:
    """As strict as for the other form: what a user adds would be left out without a word."""
    with pytest.raises(ConfigError, match=r"messages\[1\]") as caught:
        page_messages({"messages": [QUESTION, turn, QUESTION]})
    assert "secret" not in str(caught.value)


def test_a_forged_field_beside_the_parts_goes_nowhere() -> None:
    """The turn is built from the texts."""
    forged = {**QUESTION, "content": "secret words", "tool_calls": CALLS, "tool_call_id": "c"}
    assert page_messages({"messages": [forged]}) == [{"role": "user", "content": "Hi"}]


WORDS = st.sampled_from(["role", "user", "assistant", "parts", "type", "text", "content", "tool-f"])
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=12,
)
A_PART = ANY_JSON | st.fixed_dictionaries({"type": WORDS, "text": ANY_JSON})
A_TURN = ANY_JSON | st.fixed_dictionaries({"role": WORDS, "parts": st.lists(A_PART, max_size=3)})


@settings(max_examples=50)
@given(st.lists(A_TURN, min_size=1, max_size=3))
def test_any_json(turns: list[Any]) -> None:
    """Whatever comes is refused, or becomes texts of two roles."""
    try:
        read = page_messages({"messages": turns})
    except ConfigError:
        return
    assert 0 < len(read) <= len(turns)
    for turn in read:
        assert turn.keys() == {"role", "content"} and turn["role"] in ("user", "assistant")
        assert isinstance(turn["content"], str)


# --- how much a page may send ------------------------------------------------------------------


def test_too_many_turns() -> None:
    """A visitor pays for none of them."""
    assert len(page_messages({"messages": [USER] * 1000})) == 1000
    assert len(page_messages({"messages": [USER, QUESTION]}, max_messages=2)) == 2
    assert len(page_messages({"messages": [USER]}, max_messages=1)) == 1
    for turns, limit in (([USER] * 1001, {}), ([USER, QUESTION, USER], {"max_messages": 2})):
        with pytest.raises(ConversationTooLongError, match=f"at most {len(turns) - 1}, got"):
            page_messages({"messages": turns}, **limit)


def test_too_much_text() -> None:
    """Bytes of all turns together; what is left out of an answer does not count."""
    turns = [{"role": "user", "content": "猫"}, {"role": "assistant", "content": "\ufffd"}]
    assert page_messages({"messages": turns}, max_bytes=6) == turns
    with pytest.raises(ConversationTooLongError, match="expected at most 5 bytes of text, got 6"):
        page_messages({"messages": turns}, max_bytes=5)
    long = {"role": "assistant", "parts": [{"type": "reasoning", "text": "x" * 2_000_000}]}
    assert len(page_messages({"messages": [QUESTION, long]})) == 1
    with pytest.raises(ConversationTooLongError, match="expected at most 1048576 bytes"):
        page_messages({"messages": [{"role": "user", "content": "x" * 1_048_577}]})


@each("limits", [{"max_messages": 0}, {"max_messages": "5"}, {"max_bytes": -1}, {"max_bytes": 1.5}])
def test_limits_that_are_none(limits: Any) -> None:
    """The view's own mistake is told, whatever was sent."""
    with pytest.raises(ConfigError, match="expected an int above 0"):
        page_messages({"messages": [USER]}, **limits)


def test_no_frame_holds_what_was_sent() -> None:
    """Crash reporters show the locals of a traceback."""
    try:
        page_messages({"messages": [USER, {"role": "system", "content": "secret words"}]})
    except ConfigError as error:
        trace = error.__traceback__
    frames = []
    while trace:
        frames.append(trace.tb_frame)
        trace = trace.tb_next
    assert len(frames) > 2
    assert "secret" not in repr([frame.f_locals for frame in frames[1:]])
