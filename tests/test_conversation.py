"""A conversation: what it keeps, and when."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from discretion import PROMPT, assert_discreet

from websopy_sync import (
    ConfigError,
    Conversation,
    StreamCancelledError,
    StreamInterruptedError,
    StreamServerError,
    WebsopyClient,
    WebsopyError,
)
from websopy_sync.sandbox import Sandbox, cut, done, error, no_ids, say, silence, status, wait
from websopy_sync.status_errors import BadRequestError


@pytest.fixture
def conversation(client: WebsopyClient) -> Conversation:
    return client.ai.conversation()


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def test_begins_with_nothing(conversation: Conversation) -> None:
    """No turn, nothing coming."""
    assert conversation.messages == []
    assert conversation.streaming is False
    assert conversation.current_content == ""


def test_begins_with_what_the_system_says(client: WebsopyClient, sandbox: Sandbox) -> None:
    """And sends it first."""
    conversation = client.ai.conversation("be brief")
    conversation.send("hi").until_done()
    system = {"role": "system", "content": "be brief"}
    assert conversation.messages[0] == system
    assert sandbox.requests[0].json["messages"] == [system, user("hi")]


def test_grows_by_the_users_turn_and_the_whole_answer(
    conversation: Conversation, sandbox: Sandbox
) -> None:
    """Each turn is sent with all turns before it."""
    sandbox.play([say("one"), say("!"), done()])
    sandbox.play([say("two"), done()])
    assert conversation.send("first").get_final_text() == "one!"
    assert conversation.send("second").get_final_text() == "two"
    assert conversation.messages == [
        user("first"),
        assistant("one!"),
        user("second"),
        assistant("two"),
    ]
    assert [request.json["messages"] for request in sandbox.requests] == [
        [user("first")],
        [user("first"), assistant("one!"), user("second")],
    ]


def test_shows_what_is_coming(conversation: Conversation, sandbox: Sandbox) -> None:
    """As the guide's component does: streaming, current_content."""
    word = threading.Event()
    sandbox.play([say("a"), say("b"), wait(word), say("c"), done()])
    stream = conversation.send("x")
    assert conversation.messages == [user("x")]
    assert (conversation.streaming, conversation.current_content) == (True, "")
    next(stream), next(stream)
    assert (conversation.streaming, conversation.current_content) == (True, "ab")
    word.set()
    stream.until_done()
    assert (conversation.streaming, conversation.current_content) == (False, "")


def test_the_answer_is_there_when_the_done_chunk_is(
    conversation: Conversation, sandbox: Sandbox
) -> None:
    """A loop that leaves at the done chunk has a whole answer."""
    sandbox.play([say("a"), done()])
    for chunk in conversation.send("x"):
        if chunk.type == "done":
            break
    assert conversation.messages == [user("x"), assistant("a")]


@pytest.mark.parametrize(
    ("script", "failure"),
    [
        ([say("half"), error("no")], StreamServerError),
        ([no_ids(), say("half"), cut()], StreamInterruptedError),
        ([no_ids(), say("half")], StreamInterruptedError),
    ],
    ids=["error chunk", "cut", "no done"],
)
def test_half_an_answer_does_not_join(
    conversation: Conversation, sandbox: Sandbox, script: list[object], failure: type[Exception]
) -> None:
    """The user's turn stays the last one; the next can be sent."""
    sandbox.play(script)  # type: ignore[arg-type]  # steps
    with pytest.raises(failure):
        conversation.send("x").until_done()
    assert conversation.messages == [user("x")]
    assert conversation.streaming is False and conversation.current_content == ""
    sandbox.play([say("whole"), done()])
    conversation.send("again").until_done()
    assert conversation.messages == [user("x"), user("again"), assistant("whole")]


def test_a_cancelled_answer_does_not_join(conversation: Conversation, sandbox: Sandbox) -> None:
    """Nor one that was closed or broken off."""
    sandbox.play([say("a"), silence()])
    stream = conversation.send("x")
    next(stream)
    stream.cancel()
    assert conversation.streaming is False
    with pytest.raises(StreamCancelledError):
        next(stream)
    for _ in range(2):
        sandbox.play([say("a"), silence()])
        for _chunk in conversation.send("y"):
            break
    assert conversation.messages == [user("x"), user("y"), user("y")]


def test_a_dropped_answer_is_not_streaming(conversation: Conversation, sandbox: Sandbox) -> None:
    """The conversation does not keep a stream alive that nobody holds."""
    sandbox.play([say("a"), silence()])
    conversation.send("x")
    assert conversation.streaming is False
    assert sandbox.wait_disconnect()


def test_a_turn_that_was_refused_leaves_nothing(
    conversation: Conversation, sandbox: Sandbox
) -> None:
    """It was never asked."""
    sandbox.play(status(400))
    with pytest.raises(BadRequestError):
        conversation.send("x")
    assert conversation.messages == []
    assert conversation.streaming is False


def test_a_refused_turn_takes_no_earlier_one_along(
    conversation: Conversation, sandbox: Sandbox
) -> None:
    """The same text may have been asked before."""
    sandbox.play([say("a"), done()])
    conversation.send("x").until_done()
    sandbox.play(status(400))
    with pytest.raises(BadRequestError):
        conversation.send("x")
    assert conversation.messages == [user("x"), assistant("a")]


@pytest.mark.parametrize("text", [None, 7, b"x", {"x": 1}])
def test_a_bad_turn_leaves_nothing(
    conversation: Conversation, sandbox: Sandbox, text: object
) -> None:
    """Refused before anything is sent."""
    with pytest.raises((ConfigError, TypeError)):
        conversation.send(text)  # type: ignore[arg-type]  # that is the test
    assert conversation.messages == []
    assert not sandbox.requests


@pytest.mark.parametrize("options", [{"timeout": -1}, {"max_retries": "3"}, {"time_out": 1}])
def test_bad_options_leave_nothing(
    conversation: Conversation, sandbox: Sandbox, options: dict[str, object]
) -> None:
    """The options are those of chat_stream, and so are the errors."""
    with pytest.raises(ConfigError, match=next(iter(options))):
        conversation.send("x", **options)
    assert conversation.messages == [] and not sandbox.requests


@pytest.mark.parametrize(
    "spoil",
    [
        lambda conversation, sandbox: {"timeout": -1},
        lambda conversation, sandbox: {"keep_message": False},
        lambda conversation, sandbox: sandbox.play(status(400)) or {},
        lambda conversation, sandbox: (
            sandbox.play([say("a"), silence()]) or {"coming": conversation.send("x")}
        ),
    ],
    ids=["option", "keep_message", "refused", "still coming"],
)
def test_no_frame_shows_the_prompt(
    conversation: Conversation, sandbox: Sandbox, spoil: Callable[..., dict[str, Any]]
) -> None:
    """PROMISE 21: error reporters show the locals of frames; the prompt is in none of ours."""
    options = spoil(conversation, sandbox)
    coming = options.pop("coming", None)
    with pytest.raises(WebsopyError) as caught:
        conversation.send(PROMPT, **options)
    assert_discreet(caught.value)
    del coming


def test_options_go_along(conversation: Conversation, sandbox: Sandbox) -> None:
    """Parameters, headers, keys."""
    conversation.send("x", model="m", idempotency_key="k", extra_headers={"X-A": "1"}).until_done()
    (request,) = sandbox.requests
    assert (request.json["model"], request.idempotency_key) == ("m", "k")
    assert request.headers["x-a"] == "1"


def test_one_answer_at_a_time(conversation: Conversation, sandbox: Sandbox) -> None:
    """Its turns would get mixed."""
    sandbox.play([say("a"), silence()])
    stream = conversation.send("x")
    with pytest.raises(ConfigError, match="still coming"):
        conversation.send("y")
    assert conversation.messages == [user("x")]
    stream.close()
    conversation.send("z").until_done()
    assert len(sandbox.requests) == 2


def test_turns_are_the_users_to_edit(conversation: Conversation, sandbox: Sandbox) -> None:
    """Between answers: drop the oldest, add one."""
    conversation.send("x").until_done()
    conversation.messages[:] = [user("edited"), assistant("so")]
    conversation.send("y").until_done()
    assert sandbox.requests[1].json["messages"] == [user("edited"), assistant("so"), user("y")]


def test_answers_that_are_not_kept_cannot_join(
    conversation: Conversation, sandbox: Sandbox
) -> None:
    """keep_message=False keeps no text: an empty turn would be a false one."""
    sandbox.play([say("a"), done()])
    try:
        conversation.send("x", keep_message=False).until_done()
    except (ConfigError, TypeError):
        pass
    assert assistant("") not in conversation.messages


@pytest.mark.parametrize("system", [7, b"x", ["x"]])
def test_bad_system_text(client: WebsopyClient, system: object) -> None:
    """Named at once."""
    with pytest.raises(ConfigError, match="system"):
        client.ai.conversation(system)  # type: ignore[arg-type]  # that is the test
