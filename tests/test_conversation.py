"""A conversation: what it keeps, and when."""

from __future__ import annotations

import copy
import gc
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from discretion import PROMPT, assert_discreet
from tables import each
from test_faults_interrupts import Points, Struck, raising

from websopy_sync import (
    ConfigError,
    Conversation,
    StreamCancelledError,
    StreamInterruptedError,
    StreamServerError,
    ToolCall,
    Usage,
    WebsopyClient,
    WebsopyError,
    image,
)
from websopy_sync.sandbox import (
    Sandbox,
    chunk,
    cut,
    done,
    error,
    no_ids,
    say,
    silence,
    status,
    tool,
    wait,
)
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
    for piece in conversation.send("x"):
        if piece.type == "done":
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


# --- options of every send -----------------------------------------------------------------------


def test_options_of_every_send(client: WebsopyClient, sandbox: Sandbox) -> None:
    """Those of one send come first; they can be read and changed between answers."""
    conversation = client.ai.conversation(model="small", temperature=0.5, metadata={"id": 7})
    assert conversation.options == {"model": "small", "temperature": 0.5, "metadata": {"id": 7}}
    assert conversation.send("a").until_done().metadata == {"id": 7}
    conversation.send("b", model="large", temperature=None).until_done()
    conversation.options["model"] = "other"
    conversation.send("c").until_done()
    conversation.options = {"seed": 1}
    conversation.send("d").until_done()
    sent = [{**request.json, "messages": None} for request in sandbox.requests]
    assert sent == [
        {"messages": None, "model": "small", "temperature": 0.5},
        {"messages": None, "model": "large", "temperature": None},
        {"messages": None, "model": "other", "temperature": 0.5},
        {"messages": None, "seed": 1},
    ]


def test_options_are_a_copy(client: WebsopyClient) -> None:
    """What the caller does with the dict afterwards stays with the caller."""
    options: dict[str, Any] = {"model": "m"}
    conversation = client.ai.conversation()
    conversation.options = options  # type: ignore[assignment]  # a user's dict
    options["model"] = "changed"
    assert conversation.options == {"model": "m"}


BAD_OPTIONS = [
    ({"timeout": -1}, "timeout"),
    ({"max_retries": "3"}, "max_retries"),
    ({"time_out": 1}, "did you mean 'timeout'"),
    ({"extra_headers": {"X": "a\n"}}, "X"),
    ({"idempotency_key": "k"}, "each send needs another one"),
    ({"keep_message": True}, "keeps its answers"),
    ({"keep_partial": True}, "pass it to send"),
]


@each(("options", "says"), BAD_OPTIONS)
def test_bad_options_are_refused_at_once(
    client: WebsopyClient, options: dict[str, Any], says: str
) -> None:
    """When the conversation is made, and when they are set: those before stay."""
    with pytest.raises(ConfigError, match=says):
        client.ai.conversation(**options)
    conversation = client.ai.conversation(model="m")
    with pytest.raises(ConfigError, match=says):
        conversation.options = options  # type: ignore[assignment]  # that is the test
    assert conversation.options == {"model": "m"}


@each(("options", "says"), BAD_OPTIONS)
def test_bad_options_are_refused_by_the_next_send(
    client: WebsopyClient, sandbox: Sandbox, options: dict[str, Any], says: str
) -> None:
    """When the dict was edited."""
    conversation = client.ai.conversation()
    conversation.options.update(options)  # type: ignore[typeddict-item]  # that is the test
    with pytest.raises(ConfigError, match=says):
        conversation.send("x")
    assert conversation.messages == [] and not sandbox.requests


@each("options", [{7: 1}, {None: 1}])
def test_names_of_options_are_texts(conversation: Conversation, options: Any) -> None:
    """As keywords are."""
    with pytest.raises(ConfigError, match="options: expected names of type str"):
        conversation.options = options
    conversation.options.update(options)
    with pytest.raises(ConfigError, match="options: expected names of type str"):
        conversation.send("x")


@each("options", [None, 7, "x", [("a", 1)]])
def test_options_are_a_dict(conversation: Conversation, options: Any) -> None:
    """Anything else is named by its type."""
    with pytest.raises(ConfigError, match=f"got {type(options).__name__}"):
        conversation.options = options


# --- the last answer -----------------------------------------------------------------------------


def test_the_last_message(conversation: Conversation, sandbox: Sandbox) -> None:
    """The whole answer, with what is not sent back."""
    assert conversation.last_message is None
    fields = {"finishReason": "length", "usage": {"promptTokens": 1, "completionTokens": 2}}
    sandbox.play([chunk("reasoning", {"content": "hm"}), say("a"), chunk("done", fields)])
    message = conversation.send("x").get_final_message()
    assert conversation.last_message == message
    assert (message.reasoning, message.finish_reason, message.usage) == (
        "hm",
        "length",
        Usage(1, 2),
    )
    assert conversation.messages == [user("x"), assistant("a")]
    sandbox.play([no_ids(), say("half"), cut()])
    with pytest.raises(StreamInterruptedError):
        conversation.send("y").until_done()
    assert conversation.last_message == message


# --- answers that end early ----------------------------------------------------------------------


def by_cancel(conversation: Conversation) -> None:
    """Cancelled, and read to its end."""
    stream = conversation.send("x", keep_partial=True)
    next(stream)
    stream.cancel()
    with pytest.raises(StreamCancelledError):
        next(stream)


def by_cancel_alone(conversation: Conversation) -> None:
    """Cancelled, and never read again."""
    stream = conversation.send("x", keep_partial=True)
    next(stream)
    stream.cancel()
    conversation.kept = stream  # type: ignore[attr-defined]  # the program still holds it


def by_break(conversation: Conversation) -> None:
    for _ in conversation.send("x", keep_partial=True):
        break


def by_close(conversation: Conversation) -> None:
    stream = conversation.send("x", keep_partial=True)
    next(stream)
    stream.close()


def by_ctrl_c(conversation: Conversation) -> None:
    with pytest.raises(KeyboardInterrupt):
        for _ in conversation.send("x", keep_partial=True):
            raise KeyboardInterrupt


def by_dropping(conversation: Conversation) -> None:
    """Nobody holds the stream any more."""
    next(conversation.send("x", keep_partial=True))


@each("leave", [by_cancel, by_cancel_alone, by_break, by_close, by_ctrl_c, by_dropping])
def test_a_partial_answer_can_be_kept(
    client: WebsopyClient, sandbox: Sandbox, leave: Callable[[Conversation], None]
) -> None:
    """It joins before the next turn, so that the next question makes sense."""
    conversation = client.ai.conversation()
    sandbox.play([say("half"), silence()])
    leave(conversation)
    sandbox.play([say("whole"), done()])
    conversation.send("go on").until_done()
    turns = [user("x"), assistant("half"), user("go on")]
    assert sandbox.requests[-1].json["messages"] == turns
    assert conversation.messages == [*turns, assistant("whole")]


@each("failure", [[error("no")], [cut()], []])
def test_a_failed_answer_can_be_kept(
    client: WebsopyClient, sandbox: Sandbox, failure: list[Any]
) -> None:
    """The error comes out all the same."""
    conversation = client.ai.conversation()
    sandbox.play([no_ids(), say("half"), tool("f", {}, "1"), *failure])
    with pytest.raises(WebsopyError):
        conversation.send("x", keep_partial=True).until_done()
    assert conversation.messages == [user("x"), assistant("half")]
    assert conversation.last_message is not None
    assert conversation.last_message.content == "half"
    assert conversation.last_message.tool_calls == ()


def test_a_partial_answer_without_text_is_not_kept(
    conversation: Conversation, sandbox: Sandbox
) -> None:
    """An empty turn says nothing, and half of the tool calls cannot be answered."""
    sandbox.play([no_ids(), tool("f", {}, "1"), cut()])
    with pytest.raises(StreamInterruptedError):
        conversation.send("x", keep_partial=True).until_done()
    assert conversation.messages == [user("x")]
    assert conversation.last_message is None


def test_a_refused_turn_keeps_nothing(conversation: Conversation, sandbox: Sandbox) -> None:
    """There is no answer, and the turn is taken out as without keep_partial."""
    sandbox.play(status(400))
    with pytest.raises(BadRequestError):
        conversation.send("x", keep_partial=True)
    assert conversation.messages == []


def test_an_answer_finds_its_place(conversation: Conversation, sandbox: Sandbox) -> None:
    """It follows the turn that asked for it, also when the list was edited meanwhile."""
    sandbox.play([say("a"), done()])
    stream = conversation.send("x")
    conversation.messages.append(user("later"))
    conversation.messages.insert(0, user("earlier"))
    stream.until_done()
    assert conversation.messages == [user("earlier"), user("x"), assistant("a"), user("later")]
    sandbox.play([say("b"), done()])
    stream = conversation.send("y")
    conversation.messages.clear()
    stream.until_done()
    assert conversation.messages == [assistant("b")]


@each("keep_partial", [None, 1, "yes"])
def test_keep_partial_is_a_bool(conversation: Conversation, keep_partial: Any) -> None:
    """Named by its type."""
    with pytest.raises(ConfigError, match=f"keep_partial.*{type(keep_partial).__name__}"):
        conversation.send("x", keep_partial=keep_partial)


# --- what is sent --------------------------------------------------------------------------------


def test_turns_as_they_are(conversation: Conversation, sandbox: Sandbox) -> None:
    """send() adds no turn of its own."""
    conversation.messages.append(user("mine"))
    sandbox.play([say("a"), done()])
    conversation.send().until_done()
    assert conversation.messages == [user("mine"), assistant("a")]
    sandbox.play(status(400))
    with pytest.raises(BadRequestError):
        conversation.send(None)
    assert conversation.messages == [user("mine"), assistant("a")]


def test_parts(conversation: Conversation, sandbox: Sandbox) -> None:
    """They stand in `messages` as dicts, which can be saved."""
    part = image("https://example.com/a.png")
    conversation.send(["What is it?", part]).until_done()
    content = [{"type": "text", "text": "What is it?"}, part.to_dict()]
    assert conversation.messages[0] == {"role": "user", "content": content}
    assert sandbox.requests[0].json["messages"][0]["content"] == content


@each("content", [[7], [None], [["x"]], {"type": "text"}])
def test_bad_parts_leave_nothing(
    conversation: Conversation, sandbox: Sandbox, content: Any
) -> None:
    """Refused before anything is sent."""
    with pytest.raises(ConfigError, match=r"messages\[0\].*content"):
        conversation.send(content)
    assert conversation.messages == [] and not sandbox.requests


@each("messages", [None, (), "x", {"role": "user"}])
def test_messages_stay_a_list(
    conversation: Conversation, sandbox: Sandbox, tmp_path: Path, messages: Any
) -> None:
    """A user who replaced it by something else is told so."""
    conversation.messages = messages
    for call in (
        lambda: conversation.send("x"),
        lambda: conversation.save(tmp_path / "a"),
        lambda: conversation.add_tool_result("1", "r"),
    ):
        with pytest.raises(ConfigError, match=f"expected a list, got {type(messages).__name__}"):
            call()
    assert not sandbox.requests and not list(tmp_path.iterdir())


# --- tool calls ----------------------------------------------------------------------------------


def calling(*calls: ToolCall) -> dict[str, Any]:
    return {
        "role": "assistant",
        "content": "",
        "tool_calls": [call.to_dict() for call in calls],
    }


def result(call_id: str | None, name: str, content: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call_id, "name": name, "content": content}


ONE, TWO = ToolCall("f", "{}", "1"), ToolCall("g", "{}", "2")


def test_tool_results(conversation: Conversation, sandbox: Sandbox) -> None:
    """By the call or its id, in any order; then send() gives them to the model."""
    sandbox.play([tool("f", {}, "1"), tool("g", {}, "2"), done()])
    sandbox.play([say("so"), done()])
    conversation.send("x").until_done()
    conversation.add_tool_result("2", "two")
    conversation.add_tool_result(ONE, {"one": 1})
    assert conversation.send().get_final_text() == "so"
    assert conversation.messages == [
        user("x"),
        calling(ONE, TWO),
        result("2", "g", "two"),
        result("1", "f", '{"one": 1}'),
        assistant("so"),
    ]


@each(
    ("call", "says"),
    [
        ("3", r"\('f' with id '1', 'g' with id '2'\), got another"),
        ("f", "got another"),
        (ToolCall("f", "{}", "3"), "got another"),
        (ToolCall("f", "{}"), "got another"),
        (None, "expected a ToolCall or its id, got NoneType"),
        (1, "got int"),
    ],
)
def test_results_of_no_open_call(client: WebsopyClient, call: Any, says: str) -> None:
    """The error says which calls are open."""
    conversation = client.ai.conversation()
    conversation.messages = [user("x"), calling(ONE, TWO)]
    with pytest.raises(ConfigError, match=says):
        conversation.add_tool_result(call, "r")


def test_one_result_for_each_call(conversation: Conversation) -> None:
    """A second one is refused."""
    conversation.messages = [user("x"), calling(ONE, TWO)]
    conversation.add_tool_result(ONE, "r")
    with pytest.raises(ConfigError, match=r"no result yet \('g' with id '2'\)"):
        conversation.add_tool_result(ONE, "r")
    conversation.add_tool_result(TWO, "r")
    with pytest.raises(ConfigError, match=r"no result yet \(none\)"):
        conversation.add_tool_result("2", "r")


def test_calls_without_ids(conversation: Conversation, sandbox: Sandbox) -> None:
    """The service may give none: equal calls then have as many results."""
    call, other = ToolCall("f", "{}"), ToolCall("f", '{"x":1}')
    sandbox.play([tool("f", {}), tool("f", {}), tool("f", {"x": 1}), done()])
    conversation.send("x").until_done()
    for _ in range(2):
        conversation.add_tool_result(call, "r")
    with pytest.raises(ConfigError, match="'f'"):
        conversation.send()
    conversation.add_tool_result(other, "r")
    with pytest.raises(ConfigError, match="none"):
        conversation.add_tool_result(call, "r")
    conversation.send().until_done()
    assert sandbox.requests[1].json["messages"][-1] == {
        "role": "tool",
        "name": "f",
        "content": "r",
    }


def test_calls_without_results_stop_the_next_turn(
    conversation: Conversation, sandbox: Sandbox
) -> None:
    """A service that pairs calls with results refuses it; here nothing is sent, and it says why."""
    sandbox.play([tool("f", {"s3cret": 1}, "1"), tool("g", {}, "2"), done()])
    conversation.send("x").until_done()
    for content in ("y", None):
        with pytest.raises(ConfigError, match="'f' with id '1', 'g' with id '2'") as caught:
            conversation.send(content)
        assert "s3cret" not in str(caught.value)
    assert len(sandbox.requests) == 1 and len(conversation.messages) == 2
    del conversation.messages[1]["tool_calls"]  # whoever wants no tools drops the calls
    conversation.send("y").until_done()


def test_results_wait_for_the_answer(conversation: Conversation, sandbox: Sandbox) -> None:
    """Its turn is not there before it is complete."""
    sandbox.play([tool("f", {}, "1"), silence()])
    stream = conversation.send("x")
    next(stream)
    with pytest.raises(ConfigError, match="still coming"):
        conversation.add_tool_result(ONE, "r")
    stream.close()


# --- interrupts ----------------------------------------------------------------------------------


class PointsOfConversations(Points):
    """Those of the conversation's own code; test_faults_interrupts.py has those of a call."""

    def _note(self, frame: Any, event: str, argument: Any) -> None:
        if frame.f_code.co_filename == Conversation.send.__wrapped__.__code__.co_filename:  # type: ignore[attr-defined]  # set by functools.wraps
            super()._note(frame, event, argument)


def test_an_interrupt_at_every_point_of_send(conversation: Conversation, sandbox: Sandbox) -> None:
    """PROMISE 43: the next question can be sent, and no turn is there twice or by half."""
    points = PointsOfConversations()
    old = signal.signal(signal.SIGUSR1, raising(Struck))
    gc.disable()  # so that each run has the same points
    try:
        points.run(lambda: conversation.send("x").until_done())
        assert points.count > 10
        for point in range(1, points.count + 1):
            conversation.messages.clear()
            struck = points.run(lambda: conversation.send("x").until_done(), point)
            assert struck or points.lost, points.at
            turns = [turn["role"] for turn in conversation.messages]
            assert turns in ([], ["user"], ["user", "assistant"]), points.at
            conversation.send("y").until_done()
            assert conversation.messages[len(turns)] == user("y")
    finally:
        gc.enable()
        signal.signal(signal.SIGUSR1, old)


# --- saved and loaded ----------------------------------------------------------------------------


def test_saved_in_one_process_and_continued_in_another(
    client: WebsopyClient, sandbox: Sandbox, tmp_path: Path
) -> None:
    """PROMISE 48: two turns with tool calls come back byte for byte as they went."""
    path = tmp_path / "chat.json"
    sandbox.play([say("我看看"), tool("weather", {"city": "京都"}, "call-1"), done()])
    sandbox.play([tool("weather", '{"city": ', None), done()])
    conversation = client.ai.conversation("简短回答")
    conversation.send(["天气?", image("https://example.com/a.png")]).until_done()
    conversation.add_tool_result("call-1", {"degrees": 21.5, "sky": "晴 \u2028 </script>"})
    message = conversation.send().get_final_message()
    conversation.add_tool_result(message.tool_calls[0], "error: no JSON")
    conversation.save(path)
    program = """
import sys
from websopy_sync import Conversation, WebsopyClient
with WebsopyClient("other key", base_url=sys.argv[1], plugins=[]) as client:
    conversation = Conversation.load(sys.argv[2], client, model="m")
    conversation.send().until_done()
    conversation.send("谢谢 🌸").until_done()
    conversation.save(sys.argv[2])
"""
    sandbox.play([say("晴"), done()])
    sandbox.play([say("不客气"), done()])
    subprocess.run([sys.executable, "-c", program, sandbox.url, path], check=True, timeout=30)
    assert [request.body.decode() for request in sandbox.requests[2:]] == [
        '{"messages":[' + SENT + '],"model":"m"}',
        '{"messages":[' + SENT + ',{"role":"assistant","content":"晴"},'
        '{"role":"user","content":"谢谢 🌸"}],"model":"m"}',
    ]
    assert Conversation.load(path, client).messages[-1] == assistant("不客气")


SENT = (
    '{"role":"system","content":"简短回答"},'
    '{"role":"user","content":[{"type":"text","text":"天气?"},'
    '{"type":"image","url":"https://example.com/a.png"}]},'
    '{"role":"assistant","content":"我看看",'
    '"toolCalls":[{"name":"weather","arguments":"{\\"city\\":\\"京都\\"}","id":"call-1"}]},'
    '{"role":"tool","toolCallId":"call-1","name":"weather",'
    '"content":"{\\"degrees\\": 21.5, \\"sky\\": \\"晴 \u2028 </script>\\"}"},'
    '{"role":"assistant","content":"",'
    '"toolCalls":[{"name":"weather","arguments":"{\\"city\\": "}]},'
    '{"role":"tool","name":"weather","content":"error: no JSON"}'
)


def test_options_of_a_loaded_conversation(client: WebsopyClient, tmp_path: Path) -> None:
    """They are given anew: the file has turns only. An empty conversation can be saved, too."""
    path = tmp_path / "chat.json"
    client.ai.conversation(model="m").save(path)
    assert json.loads(path.read_bytes()) == {"version": 1, "messages": []}
    loaded = Conversation.load(path, client, seed=1)
    assert (loaded.messages, loaded.options, loaded.last_message) == ([], {"seed": 1}, None)
    with pytest.raises(ConfigError, match="did you mean 'timeout'"):
        Conversation.load(path, client, time_out=1)


@each("other", [None, "client", 7])
def test_only_a_client_loads(tmp_path: Path, other: Any) -> None:
    """Named by its type."""
    with pytest.raises(ConfigError, match=f"WebsopyClient, got {type(other).__name__}"):
        Conversation.load(tmp_path, other)


def test_a_cancelled_answer_is_saved(
    conversation: Conversation, sandbox: Sandbox, tmp_path: Path
) -> None:
    """Its text joins when the conversation is saved, if it was not read since."""
    by_cancel_alone_of = tmp_path / "chat.json"
    sandbox.play([say("half"), silence()])
    by_cancel_alone(conversation)
    conversation.save(by_cancel_alone_of)
    saved = json.loads(by_cancel_alone_of.read_bytes())
    assert saved["messages"] == [user("x"), assistant("half")]


def test_no_key_is_saved_and_no_frame_shows_a_turn(
    make: Callable[..., WebsopyClient], tmp_path: Path
) -> None:
    """PROMISE 21: nor does an error of save, load or add_tool_result show one."""
    conversation = make(api_key="sk-s3cret").ai.conversation(PROMPT)
    conversation.save(tmp_path / "chat.json")
    assert "s3cret" not in (tmp_path / "chat.json").read_text()
    conversation.messages.append(user(PROMPT + "\ud800"))
    (tmp_path / "bad.json").write_text(f'{{"version": 1, "messages": [{{"role": "{PROMPT}"}}]}}')
    for call in (
        lambda: conversation.save(tmp_path / "chat.json"),
        lambda: Conversation.load(tmp_path / "bad.json", make()),
        lambda: conversation.add_tool_result("1", PROMPT),
    ):
        with pytest.raises(ConfigError) as caught:
            call()
        assert_discreet(caught.value)


@pytest.mark.parametrize("system", [7, b"x", ["x"]])
def test_bad_system_text(client: WebsopyClient, system: object) -> None:
    """Named at once."""
    with pytest.raises(ConfigError, match="system"):
        client.ai.conversation(system)  # type: ignore[arg-type]  # that is the test


@each("copied", [copy.copy, copy.deepcopy])
def test_a_copy_goes_its_own_way(
    client: WebsopyClient, sandbox: Sandbox, copied: Callable[[Conversation], Conversation]
) -> None:
    """It has the turns so far and the options, and each may send while the other does."""
    conversation = client.ai.conversation("s", model="m")
    conversation.send("one").until_done()
    other = copied(conversation)
    assert other.last_message == conversation.last_message
    with conversation.send("two"), other.send("three") as stream:
        stream.until_done()
    assert [turn["content"] for turn in conversation.messages[3:]] == ["two"]
    assert [turn["content"] for turn in other.messages[3:-1]] == ["three"]
    other.options["model"] = "n"
    assert conversation.options["model"] == sandbox.requests[-1].json["model"] == "m"
