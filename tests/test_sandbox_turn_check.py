"""Which turns the sandbox refuses, and which tool results a script can ask for."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from tables import each

from websopy_sync import BadRequestError, ToolCall, WebsopyClient, file, image
from websopy_sync.sandbox import (
    Framing,
    RecordedRequest,
    Sandbox,
    Steps,
    cut,
    done,
    expect_tool_result,
    say,
    think,
    tool,
)
from websopy_sync.sandbox.turn_check import results_in, text_of, turns_problem, unmet
from websopy_sync.sandbox.wires import find_service
from websopy_sync.sandbox.wires.websopy import WebsopyService

PNG = b"\x89PNG\r\n\x1a\n" + b"x" * 20


def user(content: Any = "Hi") -> dict[str, Any]:
    return {"role": "user", "content": content}


def calling(*calls: tuple[str, str | None], content: str | None = None) -> dict[str, Any]:
    """A turn of the model that calls tools, as it stands on the wire."""
    listed: list[dict[str, Any]] = [
        {"name": name, "arguments": "{}", **({"id": id} if id else {})} for name, id in calls
    ]
    return {"role": "assistant", "content": content, "toolCalls": listed}


def result(name: str | None, id: str | None = None, content: Any = "sunny") -> dict[str, Any]:
    """The turn of a tool's result, as it stands on the wire."""
    named = {"toolCallId": id, "name": name}
    return {"role": "tool", "content": content} | {k: v for k, v in named.items() if v}


def problem(*turns: Any) -> str:
    return turns_problem(WebsopyService().turns_in({"messages": list(turns)}))


GOOD = [
    [user()],
    [user(""), {"role": "later", "content": "x"}],
    [user([{"type": "text", "text": "Hi"}])],
    [user([{"type": "image", "url": "https://x/y.png"}])],
    [user([{"type": "image", "mediaType": "image/png", "data": "eHg="}])],
    [user([{"type": "file", "name": "a", "mediaType": "text/plain", "data": ""}])],
    [user([{"type": "image_url", "image_url": {"url": "x"}, "data": 7}])],
    [user([{"type": "voice", "data": "no base64"}])],
    [user(), calling(("search", "c1")), result("search", "c1")],
    [user(), calling(("search", None)), result("search")],
    [user(), calling(("search", "c1"), content="Let me see"), result(None, "c1"), user()],
    [calling(("a", "c1"), ("b", "c2")), result("b", "c2"), result("a", "c1")],
    [calling(("a", "c1")), result("a", "c1"), calling(("a", "c2")), result("a", "c2")],
    [{"role": "assistant", "content": "", "toolCalls": []}, user()],
    # Another service's form, which a wire sends as it is.
    [
        {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f"}}]},
        {"role": "tool", "tool_call_id": "c1", "content": "x"},
    ],
]


@each("turns", GOOD)
def test_good_turns(turns: list[Any]) -> None:
    """Texts, parts, tool calls with their results, and what may be another service's."""
    assert problem(*turns) == ""


TEXT_OR_PARTS = "expected as its content a string or a list of parts"
BASE64 = "a mediaType and data in base64"

BAD: list[tuple[list[Any], str]] = [
    ([], "messages: expected a list"),
    (["Hi"], "messages[0]: expected an object"),
    ([user(), {"content": "x"}], "messages[1]: expected an object with a role"),
    ([user(None)], TEXT_OR_PARTS),
    ([user([])], TEXT_OR_PARTS),
    ([user(7)], TEXT_OR_PARTS),
    ([user({"type": "text", "text": "x"})], TEXT_OR_PARTS),
    ([{"role": "assistant", "content": None, "toolCalls": []}], TEXT_OR_PARTS),
    ([user(["Hi"])], "messages[0].content[0]: expected a part with a type"),
    ([user([{"text": "Hi"}])], "expected a part with a type"),
    ([user([{"type": "text", "text": "Hi"}, {"type": "text"}])], ".content[1]: expected a part"),
    ([user([{"type": "image"}])], "a url, or a mediaType and data in base64"),
    ([user([{"type": "image", "mediaType": "image/png", "data": "%%"}])], BASE64),
    ([user([{"type": "image", "mediaType": "image/png", "data": "eHg"}])], BASE64),
    ([user([{"type": "file", "mediaType": "a/b", "data": ""}])], BASE64),
    ([user([{"type": "file", "name": "x", "media_type": 1, "data": ""}])], BASE64),
    ([user(), calling(("search", "c1"))], "expected the result of the tool 'search' at the end"),
    ([calling(("search", "c1")), user()], "messages[1]: expected the result of the tool 'search'"),
    (
        [calling(("a", "c1"), ("b", "c2")), result("a", "c1"), calling(("a", "c3"))],
        "messages[2]: expected the result of the tool 'b'",
    ),
    ([result("search", "c1")], "messages[0]: a result of a tool that no earlier turn calls"),
    ([calling(("a", "c1")), result("a", "c2")], "messages[1]: a result of a tool"),
    ([calling(("a", None)), result("b")], "messages[1]: a result of a tool"),
    ([calling(("a", "c1")), result("a", "c1"), result("a", "c1")], "messages[2]: a result"),
]


@each(("turns", "said"), BAD)
def test_bad_turns(turns: list[Any], said: str) -> None:
    """The text says where it is and what was expected, and quotes no content."""
    assert said in problem(*turns)
    assert "%%" not in problem(*turns)


def test_messages_that_are_no_list() -> None:
    """A body may have anything in their place."""
    for body in ({}, {"messages": None}, {"messages": {}}):
        problem = turns_problem(WebsopyService().turns_in(body))
        assert problem == "messages: expected a list of at least one message"


def test_text_of_parts() -> None:
    """Images and files have none."""
    parts = [{"type": "text", "text": "a"}, {"type": "image", "url": "u"}, {"type": "text"}]
    assert text_of(user(parts)) == "a"
    assert text_of(user(None)) == ""


def test_results_are_the_latest() -> None:
    """Those of an earlier turn are another answer's; a name may be that of the call."""
    turns = WebsopyService().turns_in(
        {
            "messages": [
                calling(("old", "c1")),
                result("old", "c1"),
                calling(("a", "c2"), ("b", "c3")),
                result(None, "c3", "rain"),
                result("a", "c2", [{"type": "text", "text": "sun"}]),
            ]
        }
    )
    assert isinstance(turns, list)
    assert results_in(turns) == [("b", "rain"), ("a", "sun")]


def test_expectation_that_is_not_met_is_bounded() -> None:
    """Neither a long text nor many results make the refusal long."""
    turns = [{"role": "tool", "name": "x" * 9999, "content": "y" * 9999}] * 100
    said = unmet([expect_tool_result("z" * 9999, content="w" * 9999)], turns)
    assert said.startswith("expected the result of the tool 'zzz") and len(said) < 2500
    assert "got 'xxx" in said and "with the content 'yyy" in said


def test_client_sends_what_the_sandbox_takes(sandbox: Sandbox, client: WebsopyClient) -> None:
    """Parts, and tool calls with their results, of the client's own making."""
    conversation = client.ai.conversation()
    sandbox.play([tool("weather", {"city": "Paris"}, "c1"), tool("time", {}), done()])
    parts = ["What is this?", image(PNG), file(b"hello", name="a.txt")]
    calls = conversation.send(parts).get_final_message().tool_calls
    for call in calls:
        conversation.add_tool_result(call, {"is": call.name})
    sandbox.play(
        [
            expect_tool_result("weather", content='{"is": "weather"}'),
            expect_tool_result("time"),
            say("Sunny at noon"),
            done(),
        ]
    )
    assert conversation.send().get_final_message().content == "Sunny at noon"


TURNS = [user(), {"role": "assistant", "content": None, "tool_calls": [ToolCall("f", "{}", "c1")]}]
RESULT = {"role": "tool", "tool_call_id": "c1", "name": "f", "content": "rain"}


@each(
    ("expected", "turns", "said"),
    [
        (
            expect_tool_result("f", content="sun"),
            [*TURNS, RESULT],
            # The client takes out of an error what it sent.
            "expected the result of the tool 'f' with the content 'sun', "
            "got 'f' with the content '***'",
        ),
        (
            expect_tool_result("g"),
            [*TURNS, RESULT],
            "expected the result of the tool 'g', got 'f' with the content '***'",
        ),
        (expect_tool_result("f"), "Hi", "expected the result of the tool 'f', got no tool result"),
    ],
)
def test_unexpected_request(
    sandbox: Sandbox, client: WebsopyClient, expected: Any, turns: Any, said: str
) -> None:
    """Nothing is played: the client gets a 400 that says what was expected and what came."""
    sandbox.play([say("never"), expected, done()])
    with pytest.raises(BadRequestError) as caught:
        client.ai.chat(turns)
    assert said in caught.value.body
    assert client.ai.chat("写一篇关于 AI 的文章").content == "AI 正在改变世界..."


def test_expectation_of_every_request() -> None:
    """A script for all requests holds it against each one."""
    with (
        Sandbox([expect_tool_result("f"), say("ok"), done()]) as sandbox,
        WebsopyClient(api_key="test", base_url=sandbox.url) as client,
    ):
        assert client.ai.chat([*TURNS, RESULT]).content == "ok"
        with pytest.raises(BadRequestError):
            client.ai.chat("Hi")


def test_resumed_response_holds_it_again(sandbox: Sandbox, client: WebsopyClient) -> None:
    """The same request comes once more, with the same result."""
    sandbox.play([expect_tool_result("f"), say("a"), cut(), say("b"), done()])
    assert client.ai.chat([*TURNS, RESULT]).content == "ab"


@each("framing", get_args(Framing))
@each("wire", ["websopy", "openai", "ollama", "responses", "anthropic", "gemini"])
def test_two_tool_turns_in_every_framing(framing: Framing, wire: str) -> None:
    """Calls, results and the text reach their ends however the body is framed."""
    service: Any = find_service(wire)

    def script(request: RecordedRequest) -> Steps:
        results = [turn for turn in service.turns_in(request.json) if turn["role"] == "tool"]
        if len(results) == 4:
            return [expect_tool_result("time", content="2"), say("done"), done()]
        ids = (f"{name}{len(results)}" for name in "ct")
        calls = [tool("weather", {"n": len(results)}, next(ids)), tool("time", {}, next(ids))]
        checks = [expect_tool_result("weather", content="1")] if results else []
        return [checks, think("hm"), calls, done(finish_reason="tool_calls")]

    with (
        Sandbox(script, framing=framing, wire=wire) as sandbox,
        WebsopyClient(api_key="test", base_url=sandbox.url, wire=wire, model="m") as client,
    ):
        conversation = client.ai.conversation()
        message = conversation.send("Hi").get_final_message()
        for turn in ("1", "2"):
            assert (message.reasoning, message.finish_reason) == ("hm", "tool_calls")
            for call in message.tool_calls:
                conversation.add_tool_result(call, turn)
            message = conversation.send().get_final_message()
        assert message.content == "done"
