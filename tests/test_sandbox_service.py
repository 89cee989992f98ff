"""Requests of any JSON: refused or answered, and never an error of the sandbox's own."""

from __future__ import annotations

import json
from typing import Any

import requests
from hypothesis import given, settings
from hypothesis import strategies as st
from tables import each

from websopy_sync.sandbox import RecordedRequest, Sandbox, done, expect_tool_result, say
from websopy_sync.sandbox.compiled_script import Script
from websopy_sync.sandbox.default_answer import default_script
from websopy_sync.sandbox.service import refusal, unexpected
from websopy_sync.sandbox.wires import find_service
from websopy_sync.sandbox.wires.registry import SERVICES

NAMES = """messages role content type text image file url name media_type mediaType data tools
    tool_calls toolCalls tool_call_id toolCallId id arguments function parameters properties
    required anyOf enum items $ref $defs model max_tokens maxTokens response_format json_schema
    schema"""
KEYS = st.sampled_from(NAMES.split())
WORDS = st.sampled_from(["user", "assistant", "tool", "text", "image", "file", "f", "{}", "", "😀"])
LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | WORDS
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)
CALLS = st.lists(
    st.fixed_dictionaries({"name": WORDS, "arguments": WORDS | VALUES}, optional={"id": VALUES}),
    max_size=2,
)
TURNS = st.fixed_dictionaries(
    {"role": WORDS, "content": WORDS | VALUES},
    optional={
        "tool_calls": CALLS | VALUES,
        "toolCalls": CALLS | VALUES,
        "tool_call_id": VALUES,
        "toolCallId": VALUES,
        "name": WORDS | VALUES,
    },
)
TOOLS = st.lists(st.fixed_dictionaries({"name": WORDS, "parameters": VALUES}), max_size=2)
BODIES = VALUES | st.fixed_dictionaries(
    {"messages": st.lists(TURNS, min_size=1, max_size=4)},
    optional={
        "input": st.lists(TURNS | VALUES, max_size=4) | VALUES,
        "options": VALUES,
        "text": VALUES,
        "format": VALUES,
        "tools": TOOLS | VALUES,
        "model": WORDS | VALUES,
        "max_tokens": VALUES,
        "response_format": VALUES,
    },
)


def answer(wire: str, body: Any) -> None:
    """Have the sandbox look at a request, and make its script if it is accepted."""
    service = find_service(wire)
    path = f"/v1{service.wire.path}"
    headers = {"authorization": "Bearer test"}
    request = RecordedRequest(1, 1, "POST", path, headers, json.dumps(body).encode())
    if refusal(request, service, api_key=None) is None:
        unexpected([expect_tool_result("f")], request, service)
        assert Script.of(default_script(request, service, seconds=0), service).body


@each("wire", SERVICES)
@settings(max_examples=60, deadline=None)
@given(body=BODIES)
def test_any_json(wire: str, body: Any) -> None:
    """Whatever a client sends, it gets a response."""
    answer(wire, body)


def calling(id: Any, result: Any, arguments: Any = "{}") -> list[dict[str, Any]]:
    """Turns of a call and its result, with these ids."""
    call = {"name": "f", "id": id, "arguments": arguments}
    return [
        {"role": "user", "content": "f"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": result, "content": "x"},
    ]


ASKED = [{"role": "user", "content": "f"}]
STRANGE = [
    {"messages": calling(["c"], ["c"])},
    {"messages": calling({"c": 1}, {"c": 1}, {"a": 1})},
    {"messages": calling(None, None)},
    {"messages": [*calling("c", "c"), {"role": "tool", "tool_call_id": ["c"], "content": "x"}]},
    {"messages": ASKED, "tools": [{"function": 7}, {"function": {"name": ["f"]}}]},
    {"messages": ASKED, "tools": [{"name": "f", "parameters": [7]}, {"name": {"f": 1}}]},
    {"messages": [{"role": "user", "content": [{"type": "file", "name": ["f"]}]}]},
    {"messages": [{"role": "user", "content": [{"type": "later", "name": ["f"], "text": 7}]}]},
    {"messages": ASKED, "response_format": {"json_schema": {"schema": {"type": ["object"]}}}},
    {"messages": [{"role": "system", "content": "Answer with one JSON value that matches this"}]},
    {
        "messages": [
            {
                "role": "system",
                "content": "Answer with one JSON value that matches this JSON Schema, and nothing "
                "else: {no JSON",
            }
        ]
    },
    {"messages": [{"role": "system", "content": "x"}], "max_tokens": 10**400},
    {"input": ["x", {"type": "function_call", "name": "f"}]},
    {"input": [{"role": "assistant", "tool_calls": 7}, {"type": "function_call", "name": "f"}]},
    {"input": "f", "text": {"format": {"schema": 7}}, "tools": [{"name": "f"}]},
]


@each("wire", SERVICES)
@each("body", STRANGE)
def test_strange_fields(wire: str, body: Any) -> None:
    """Nor do fields of other types than they should have."""
    answer(wire, body)


@each("wire", ["openai", "responses", "anthropic", "ollama"])
def test_a_request_for_a_whole_response(wire: str) -> None:
    """Another client may forget to ask for a stream. It would take the events for JSON."""
    with Sandbox(wire=wire, pause=0) as sandbox:
        path = find_service(wire).wire.path
        body = {"model": "m", "messages": [], "input": [], "stream": False}
        answer = requests.post(sandbox.url + path, json=body, timeout=5)
    assert answer.status_code == 400 and "stream: expected true" in answer.text


@each(("options", "said"), [({}, False), ({"stream_options": {"include_usage": True}}, True)])
def test_usage_for_those_who_ask(options: dict[str, Any], said: bool) -> None:
    """OpenAI's own loop over `choices[0]` fails at an event that it did not ask for."""
    with Sandbox([say("a"), done(1, 2, finish_reason="stop")], wire="openai") as sandbox:
        body = {"model": "m", "messages": [{"role": "user", "content": "x"}], "stream": True}
        answer = requests.post(f"{sandbox.url}/chat/completions", json=body | options, timeout=5)
    assert ('"choices":[],"usage"' in answer.text) is said and "[DONE]" in answer.text
