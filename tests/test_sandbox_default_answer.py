"""The sandbox's own answers: Markdown in the question's language, cut answers, tool calls."""

from __future__ import annotations

import json
import re
from typing import Any

import attrs
import pytest
from tables import each

from websopy_sync import BadRequestError, Message, WebsopyClient, file, image
from websopy_sync.sandbox import Sandbox

GUIDE_QUESTION = "写一篇关于 AI 的文章"

WEATHER = {
    "name": "get_weather",
    "description": "…",
    "parameters": {
        "type": "object",
        "properties": {
            "city": {"type": "string"},
            "days": {"type": "integer"},
            "unit": {"enum": ["celsius", "kelvin"]},
            "wind": {"anyOf": [{"type": "boolean"}, {"type": "null"}]},
            "place": {
                "type": "object",
                "properties": {"height": {"type": "number"}, "names": {"type": "array"}},
                "required": ["height", "names"],
            },
            "optional": {"type": "string"},
        },
        "required": ["city", "days", "unit", "wind", "place"],
    },
}


@each("question", ["What is AI?", "什么是 AI?"])
def test_answer_is_markdown(client: WebsopyClient, question: str) -> None:
    """A heading, a list, a table and a block of code, so that it looks like a model's answer."""
    text = client.ai.chat(question).content
    assert re.search(r"^## \S", text, re.MULTILINE)
    assert re.search(r"^- \S", text, re.MULTILINE)
    assert re.search(r"^\|---\|---\|$", text, re.MULTILINE)
    assert re.search(r"^```python\n.+^```\n", text, re.MULTILINE | re.DOTALL)
    assert text.index(question) > text.rindex("```")


def test_question_cannot_break_the_markdown(client: WebsopyClient) -> None:
    """It comes after all else, so that a block of code it opens swallows nothing."""
    assert client.ai.chat("```\n| x").content.endswith("“```\n| x”")


@each("name", ["max_tokens", "maxTokens"])
@each(("question", "text"), [("Hi", "## This is"), (GUIDE_QUESTION, "AI 正在改变")])
def test_limit_of_length(client: WebsopyClient, name: str, question: str, text: str) -> None:
    """The answer is cut, and says so."""
    message = client.ai.chat(question, **{name: 3})
    assert (message.content, message.finish_reason, message.truncated) == (text, "length", True)
    assert message.usage and message.usage.completion_tokens == 3


def test_limit_that_is_not_reached(client: WebsopyClient) -> None:
    """The answer is whole; the guide's is the guide's, which gives no reason."""
    assert client.ai.chat("Hi", max_tokens=9999).finish_reason == "stop"
    message = client.ai.chat(GUIDE_QUESTION, max_tokens=4)
    assert (message.content, message.finish_reason) == ("AI 正在改变世界...", None)


def test_model_is_echoed(client: WebsopyClient) -> None:
    """None is named for a request that names none."""
    assert client.ai.chat("Hi", model="m-1").model == "m-1"
    assert client.ai.chat(GUIDE_QUESTION, model="m-1").model == "m-1"
    assert client.ai.chat("Hi").model is None


@each(
    ("options", "said"),
    [
        ({"model": 7}, "model: expected a name, got 7"),
        ({"model": ""}, "model: expected a name"),
        ({"max_tokens": 0}, "max_tokens: expected a whole number above 0, got 0"),
        ({"max_tokens": True}, "got True"),
        ({"max_tokens": "5" * 999}, "got a str"),
        ({"maxTokens": 1.5}, "got 1.5"),
        ({"tools": {}}, "tools: expected a list of objects, got a dict"),
        ({"tools": ["get_weather"]}, "tools: expected a list of objects, got a list"),
    ],
)
def test_options_that_are_none(client: WebsopyClient, options: dict[str, Any], said: str) -> None:
    """They are refused with what was expected."""
    with pytest.raises(BadRequestError) as caught:
        client.ai.chat("Hi", extra_body=options)
    assert said in caught.value.body and len(caught.value.body) < 500


def test_tool_that_the_question_names(client: WebsopyClient) -> None:
    """It is called with arguments that fit its schema; other tools are not."""
    other = {"name": "search", "parameters": {}}
    message = client.ai.chat("Please use get_weather", tools=[other, WEATHER])
    (call,) = message.tool_calls
    assert (message.content, message.finish_reason) == ("", "tool_calls")
    assert (call.name, call.id) == ("get_weather", "call-1")
    assert call.parse_arguments() == {
        "city": "text",
        "days": 1,
        "unit": "celsius",
        "wind": True,
        "place": {"height": 1.5, "names": []},
    }
    assert client.ai.chat("What is it?", tools=[WEATHER]).tool_calls == ()


def test_results_are_repeated(client: WebsopyClient) -> None:
    """After the results the sandbox answers, so that no run goes on for ever."""
    conversation = client.ai.conversation(tools=[WEATHER, {"name": "search"}])
    calls = conversation.send("get_weather and search").get_final_message().tool_calls
    assert [(call.name, call.id, call.arguments) for call in calls][1:] == [
        ("search", "call-2", "{}")
    ]
    for call in calls:
        conversation.add_tool_result(call, f"{call.name} says {{}}")
    message = conversation.send().get_final_message()
    assert message.finish_reason == "stop"
    assert message.content.endswith(
        "The tool get_weather gave: get_weather says {}\n\nThe tool search gave: search says {}"
    )
    again = conversation.send("get_weather once more").get_final_message()
    assert [call.id for call in again.tool_calls] == ["call-3"]


def test_tools_of_another_form(client: WebsopyClient) -> None:
    """They are left alone, and so is a schema that is none or has no end."""
    deep: dict[str, Any] = {"type": "object"}
    for _ in range(50):
        deep = {"properties": {"x": {"anyOf": [deep]}}, "required": ["x"]}
    tools: list[Any] = [
        {"type": "function", "function": {"name": "f"}},
        {"name": 7},
        {"name": ""},
        {"name": "g", "parameters": {"properties": 7, "required": [{}], "type": [], "enum": []}},
        {"name": "h", "parameters": {"properties": {"x": deep}, "required": ["x", 7]}},
    ]
    message = client.ai.chat("f g h", tools=tools)
    assert [call.name for call in message.tool_calls] == ["g", "h"]
    assert all(json.loads(call.arguments) is not False for call in message.tool_calls)


def test_what_came_with_the_question(client: WebsopyClient) -> None:
    """Images and files are named, and count as tokens."""
    png = b"\x89PNG\r\n\x1a\n" + b"x" * 20
    parts = ["What?", image(png), image("https://x/y.png"), file(b"x", name="a.csv")]
    message = client.ai.chat([{"role": "user", "content": parts}])
    assert message.content.endswith("You asked: “What?”\n\nIt came with image/png, image, a.csv.")
    assert message.usage and message.usage.prompt_tokens == len("What?") + 300


@each("wire", ["websopy", "openai", "responses", "anthropic", "gemini"])
def test_a_file_on_every_wire(wire: str) -> None:
    """The sandbox takes the file that the client sends; Ollama has no files."""
    with (
        Sandbox(pause=0, wire=wire) as sandbox,
        WebsopyClient("test", base_url=sandbox.url, wire=wire, model="m") as client,
    ):
        parts = ["What?", file(b"%PDF-", name="a.pdf")]
        message = client.ai.chat([{"role": "user", "content": parts}])
        assert "You asked: “What?”\n\nIt came with " in message.content
        assert message.usage and message.usage.prompt_tokens == len("What?") + 100


def test_tokens_of_tool_turns(client: WebsopyClient) -> None:
    """Each character of a call's name and arguments and of its result counts."""
    calls = [{"name": "f", "arguments": '{"a": 1}', "id": "c1"}]
    turns = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": None, "tool_calls": calls},
        {"role": "tool", "tool_call_id": "c1", "name": "f", "content": "rain"},
    ]
    usage = client.ai.chat(turns).usage
    assert usage and usage.prompt_tokens == len("Hi") + len("f") + len('{"a": 1}') + len("rain")


def test_many_of_everything_is_bounded(client: WebsopyClient) -> None:
    """An answer stays short, whatever was sent."""
    tools = [{"name": f"t{number}"} for number in range(100, 200)]
    named = " ".join(str(tool["name"]) for tool in tools)
    assert len(client.ai.chat(named, tools=tools).tool_calls) == 10
    parts = [file(b"x", name="n" * 999) for _ in range(100)]
    message: Message = client.ai.chat([{"role": "user", "content": parts}])
    assert len(message.content) < 3500


@attrs.frozen
class River:
    """A type for structured output."""

    length: int


@each("wire", ["websopy", "openai", "ollama", "responses", "anthropic", "gemini"])
@each("question", ["Which river?", "哪条河?", GUIDE_QUESTION])
def test_request_for_json_gets_an_example(wire: str, question: str) -> None:
    """Structured output can be tried by hand, also with the guide's question."""
    turns = [{"role": "system", "content": "Be brief"}, {"role": "user", "content": question}]
    with (
        Sandbox(pause=0, wire=wire) as sandbox,
        WebsopyClient("test", base_url=sandbox.url, wire=wire, model="m") as client,
    ):
        message = client.ai.chat(turns, response_type=River)
        assert (message.parsed, message.finish_reason) == (River(1), "stop")
