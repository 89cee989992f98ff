"""OpenAI Chat Completions, and what compatible servers make of it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from readers import DATA, STEPS, cases, datas, play, shown
from tables import each

from websopy_sync.chunks import ContentChunk, DoneChunk, ToolCall, ToolCallChunk, Usage
from websopy_sync.client import WebsopyClient
from websopy_sync.errors import ConfigError, StreamProtocolError, StreamServerError
from websopy_sync.message import Message, MessageBuilder
from websopy_sync.sandbox import Sandbox, done, raw, say
from websopy_sync.wires import ChatRequest, find_wire
from websopy_sync.wires.base import chunks_of
from websopy_sync.wires.openai import OpenAI, OpenAIReader

WIRE = OpenAI()


def event(*deltas: dict[str, Any], finish: str | None = None, **more: Any) -> str:
    choices = [{"index": 0, "delta": delta, "finish_reason": finish} for delta in deltas]
    return f"data: {json.dumps({'id': '1', 'model': 'm', 'choices': choices, **more})}\n\n"


def message(fields: dict[str, Any], finish: str | None = None) -> str:
    choice = {"index": 0, "message": {"role": "assistant", **fields}, "finish_reason": finish}
    return f"data: {json.dumps({'object': 'chat.completion', 'choices': [choice]})}\n\n"


def call(index: int | None, arguments: str, **more: Any) -> dict[str, Any]:
    function = {"arguments": arguments, **({"name": more.pop("name")} if "name" in more else {})}
    piece = {"function": function, **more} | ({} if index is None else {"index": index})
    return {"tool_calls": [piece]}


WHOLE_CALLS = [
    {"id": id, "type": "function", "function": {"name": "f", "arguments": arguments}}
    for id, arguments in (("a", "{}"), ("b", "[]"))
]
DONE = "data: [DONE]\n\n"
STOP = event({}, finish="stop")
CLAUDE = {"type": "reasoning.text", "format": "anthropic-claude-v1", "index": 0}
GOOGLE = {"type": "reasoning.encrypted", "format": "google-gemini-v1", "index": 0}
THOUGHT = {"extra_content": {"google": {"thought": True}}}
USAGE = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}

# Sharper than the cases of the file: each of these was wrong in a reader that passed those.
SHARP: list[tuple[str, str, list[Any], str | None]] = [
    (
        "the end of the bytes after text",
        event({"content": "Hi"}),
        [["content", "Hi"]],
        "StreamInterruptedError",
    ),
    (
        "the end of the bytes within a tool call",
        event(call(0, '{"a"', id="c", name="f")),
        [],
        "StreamInterruptedError",
    ),
    (
        "interleaved calls whose pieces have no ids",
        event(call(0, "{", id="a", name="f"))
        + event(call(1, "[", id="b", name="g"))
        + event(call(0, "}"))
        + event(call(1, "]"))
        + event({}, finish="tool_calls"),
        [
            ["tool_call", ["f", "{}", "a"]],
            ["tool_call", ["g", "[]", "b"]],
            ["done", ["tool_calls", None]],
        ],
        None,
    ),
    (
        "a call after the finish reason, and the end of the bytes: it may be cut",
        event({"content": "x"}, finish="stop") + event(call(0, '{"a"', id="a", name="f")),
        [["content", "x"]],
        "StreamInterruptedError",
    ),
    (
        "a call after the finish reason, and the end",
        event({"content": "x"}, finish="stop") + event(call(0, "{}", id="a", name="f")) + DONE,
        [["content", "x"], ["tool_call", ["f", "{}", "a"]], ["done", ["stop", None]]],
        None,
    ),
    (
        "text after a tool call in one event",
        event({"content": "x", **call(0, "{}", id="a", name="f")}, finish="tool_calls"),
        [["content", "x"], ["tool_call", ["f", "{}", "a"]], ["done", ["tool_calls", None]]],
        None,
    ),
    (
        "an error after half an answer, and [DONE] all the same",
        event({"content": "x"}) + 'data: {"error":{"message":"m","code":503}}\n\n' + DONE,
        [["content", "x"], ["error", ["m", "503"]]],
        "StreamServerError",
    ),
    (
        "text beside an error",
        event({"content": "x"}, finish="error", error={"message": "m", "code": 503}),
        [["content", "x"], ["error", ["m", "503"]]],
        "StreamServerError",
    ),
    *(
        (
            f"an error beside what is no text: {choices}",
            f'data: {{"error": "m", "choices": {choices}}}\n\n',
            [["error", ["m", None]]],
            "StreamServerError",
        )
        for choices in ('[{"delta": {"content": 7}}]', '[{"delta": 7}]', "[7]", "[]", "7")
    ),
    (
        "an error of Groq's, which it does not name so",
        event({"content": "x"}) + event({}, x_groq={"id": "r", "error": "over capacity"}) + DONE,
        [["content", "x"], ["error", ["over capacity", None]]],
        "StreamServerError",
    ),
    (
        "an error within a tool call: a piece of one is none",
        event({"content": "x"})
        + event(call(0, '{"path": "/tmp', id="c", name="rm"))
        + 'data: {"error":{"message":"m","code":503}}\n\n',
        [["content", "x"], ["error", ["m", "503"]]],
        "StreamServerError",
    ),
    (
        "an error that is the whole object",
        event({"content": "x"}) + 'data: {"object":"error","message":"m","code":400}\n\n' + DONE,
        [["content", "x"], ["error", ["m", "400"]]],
        "StreamServerError",
    ),
    (
        "a finish reason that is an error, with the error in the choice",
        event({"content": "x"}) + 'data: {"choices":[{"delta":{},"finish_reason":"error","error":'
        '{"code":502,"message":"m"}}]}\n\n' + DONE,
        [["content", "x"], ["error", ["m", "502"]]],
        "StreamServerError",
    ),
    *(
        (
            f"a finish reason that says that the server failed: {reason}",
            event({"content": "a\ud83d"}) + event({}, finish=reason) + DONE,
            [
                ["content", "a"],
                ["content", "\ufffd"],
                ["error", ["the service gave no reason", code]],
            ],
            "StreamServerError",
        )
        for reason, code in (
            ("error", None),
            ("abort", "abort"),
            ("TIMEOUT", "TIMEOUT"),
            ("insufficient_system_resource", "insufficient_system_resource"),
            ("network_error", "network_error"),
        )
    ),
    *(
        (
            f"a finish reason in other words: {reason}",
            event({"content": "x"}, finish=reason) + DONE,
            [["content", "x"], ["done", [usual, None]]],
            None,
        )
        for reason, usual in (
            ("model_length", "length"),
            ("model_context_window_exceeded", "length"),
            ("MAX_TOKENS", "length"),
            ("sensitive", "content_filter"),
            ("STOP", "stop"),
            ("eos", "stop"),
            ("eos_token", "stop"),
            ("end_turn", "stop"),
            ("tool_use", "tool_calls"),
            ("SAFETY", "content_filter"),
            ("guardrail_intervened", "content_filter"),
            ("content_filter: PROHIBITED_CONTENT", "content_filter"),
            ("function_call_filter: MALFORMED_FUNCTION_CALL",) * 2,
        )
    ),
    *(
        (
            f"an error that is not named so: {data}",
            f"data: {data}\n\n" + DONE,
            [["error", error]],
            "StreamServerError",
        )
        for data, error in (
            ('{"code":400,"message":"m"}', ["m", "400"]),
            ('{"detail":"m"}', ["m", None]),
            ('{"detail":{"error":"m"}}', ["m", None]),
            ('{"type":"error","message":"m"}', ["m", None]),
            ('{"success":false,"errors":[{"code":3040,"message":"m"}]}', ["m", "3040"]),
            ('{"text":"m","error_code":50001}', ["m", "50001"]),
            ('{"error_code":17,"error_msg":"m","id":"1"}', ["m", "17"]),
            ('{"choices":null,"base_resp":{"status_code":1004,"status_msg":"m"}}', ["m", "1004"]),
        )
    ),
    (
        "fields that are no error",
        event({"content": "x"}, message="m", code=200, detail="d", base_resp={"status_code": 0})
        + 'data: {"message": "one moment"}\n\ndata: {"code": 200, "message": "fine"}\n\n'
        + 'data: {"code": "0", "message": "fine"}\n\ndata: {"code": "Success", "message": ""}\n\n'
        + STOP,
        [["content", "x"], ["done", ["stop", None]]],
        None,
    ),
    (
        "a finish reason that is none, in each event",
        event({"content": "x"}, finish="null") + event({"content": "y"}, finish="null"),
        [["content", "x"], ["content", "y"]],
        "StreamInterruptedError",
    ),
    (
        "usage in the choice",
        'data: {"choices":[{"delta":{"content":"x"},"finish_reason":"stop","usage":'
        f"{json.dumps(USAGE)}}}]}}\n\n",
        [["content", "x"], ["done", ["stop", 7]]],
        None,
    ),
    (
        "usage in a field of Groq's",
        event({"content": "x"}, finish="stop", x_groq={"id": "r", "usage": USAGE}) + DONE,
        [["content", "x"], ["done", ["stop", 7]]],
        None,
    ),
    (
        "usage before the finish reason",
        event({"content": "x"}, usage=USAGE) + STOP,
        [["content", "x"], ["done", ["stop", 7]]],
        None,
    ),
    (
        "usage that is no count",
        event({"content": "x"}) + event({}, finish="stop", usage={**USAGE, "prompt_tokens": "3"}),
        [["content", "x"], ["done", ["stop", None]]],
        None,
    ),
    (
        "a call without a name",
        event(call(0, "{}", id="a")) + event({}, finish="tool_calls"),
        [],
        "StreamProtocolError",
    ),
    (
        "a half pair at the very end",
        event({"content": "a\ud83d"}) + STOP,
        [["content", "a"], ["content", "\ufffd"], ["done", ["stop", None]]],
        None,
    ),
    (
        "a delta that is a list",
        'data: {"choices":[{"delta":["x"]}]}\n\n',
        [],
        "StreamProtocolError",
    ),
    ("choices that are an object", 'data: {"choices":{}}\n\n', [], "StreamProtocolError"),
    (
        "a message in place of deltas, as of a server that does not stream",
        message({"content": "Hi", "tool_calls": [*WHOLE_CALLS]}, finish="tool_calls") + DONE,
        [
            ["content", "Hi"],
            ["tool_call", ["f", "{}", "a"]],
            ["tool_call", ["f", "[]", "b"]],
            ["done", ["tool_calls", None]],
        ],
        None,
    ),
    (
        "a message beside a delta that is null",
        message({"content": "Hi"}, finish="stop").replace('"message"', '"delta": null, "message"'),
        [["content", "Hi"], ["done", ["stop", None]]],
        None,
    ),
    (
        "messages in place of deltas",
        message({"content": "Hi"}) + message({"content": " you"}, finish="stop"),
        [["content", "Hi"], ["content", " you"], ["done", ["stop", None]]],
        None,
    ),
    (
        "the message once more after its deltas",
        event({"content": "Hi"}) + message({"content": "Hi"}, finish="stop"),
        [["content", "Hi"], ["done", ["stop", None]]],
        None,
    ),
    (
        "reasoning as text, with a mark of Google's",
        event({"content": "<thought>h", **THOUGHT})
        + event({"content": "m<thought>", **THOUGHT})
        + event({"content": "</thought>Hi"})
        + event({"content": "</thought>", "extra_content": "no mark"})
        + STOP,
        [
            ["reasoning", "h"],
            ["reasoning", "m<thought>"],
            ["content", "Hi"],
            ["content", "</thought>"],
            ["done", ["stop", None]],
        ],
        None,
    ),
    (
        "a list with reasoning, as of Databricks",
        event(
            {"content": [{"type": "reasoning", "summary": [{"type": "summary_text", "text": "h"}]}]}
        )
        + event({"content": [{"type": "thinking", "thinking": "m"}]})
        + event({"content": [{"type": "text", "text": "Hi"}]})
        + STOP,
        [["reasoning", "h"], ["reasoning", "m"], ["content", "Hi"], ["done", ["stop", None]]],
        None,
    ),
    (
        "a list with reasoning whose text is no summary",
        event({"content": [{"type": "reasoning", "text": "h"}, {"type": "text", "text": "Hi"}]})
        + event({"content": [{"type": "thinking", "text": "m"}]})
        + STOP,
        [["reasoning", "h"], ["content", "Hi"], ["reasoning", "m"], ["done", ["stop", None]]],
        None,
    ),
    (
        "a name that says that there is none, in the second piece of a call",
        event(call(0, '{"a":', id="c", name="f"))
        + event(call(0, "1}", id="", name="null"))
        + event({}, finish="tool_calls"),
        [["tool_call", ["f", '{"a":1}', "c"]], ["done", ["tool_calls", None]]],
        None,
    ),
    (
        "reasoning in details only, as of Snowflake and MiniMax",
        event({"reasoning_details": [CLAUDE | {"text": "h"}, GOOGLE | {"data": "x"}, 7]})
        + event({"reasoning_details": [CLAUDE | {"summary": "m"}, CLAUDE | {"text": 7}]})
        + event({"content": "Hi", "reasoning_details": "none"})
        + STOP,
        [["reasoning", "h"], ["reasoning", "m"], ["content", "Hi"], ["done", ["stop", None]]],
        None,
    ),
    (
        "reasoning, and details that say the same in another event",
        event({"reasoning": "hm"})
        + event({"reasoning": "", "reasoning_details": [CLAUDE | {"text": "hm"}]})
        + event({"content": "Hi"})
        + STOP,
        [["reasoning", "hm"], ["content", "Hi"], ["done", ["stop", None]]],
        None,
    ),
    (
        "a list with a thought that is none",
        event({"content": [{"type": "thinking", "thinking": {"text": "m"}}]}),
        [],
        "StreamProtocolError",
    ),
    (
        "a mistral list with thinking",
        event({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]})
        + event({"content": [{"type": "text", "text": "Hi"}, " there"]})
        + STOP,
        [["reasoning", "hm"], ["content", "Hi there"], ["done", ["stop", None]]],
        None,
    ),
]


@each("case", cases("openai"))
@each("step", STEPS)
def test_cases(case: dict[str, Any], step: int) -> None:
    """What compatible servers really send: read whole, in pieces, and byte by byte."""
    chunks, error = play(datas(WIRE, case["stream"].encode(), step), WIRE.reader())
    assert ([shown(chunk) for chunk in chunks], error) == (case["chunks"], case["error"])


@each(("name", "stream", "chunks", "error"), SHARP)
@each("step", STEPS)
def test_sharper_cases(
    name: str, stream: str, chunks: list[Any], error: str | None, step: int
) -> None:
    """Nothing is lost, doubled or taken for complete."""
    read, failure = play(datas(WIRE, stream.encode(), step), WIRE.reader())
    assert ([shown(chunk) for chunk in read], failure) == (chunks, error)


def test_an_error_in_a_field_of_its_own() -> None:
    """PROMISE 11: llama.cpp ended an answer that had failed as it ends a whole one."""
    failure = b'error: {"code": 500, "message": "too long", "type": "server_error"}\n\n'
    with Sandbox([say("a"), raw(failure), done()], wire="openai", pause=0) as service:
        with WebsopyClient(base_url=service.url, wire="openai", model="m", plugins=[]) as client:
            with pytest.raises(StreamServerError, match="too long") as caught:
                client.ai.chat("x")
    assert caught.value.code == "server_error"
    assert caught.value.partial is not None and caught.value.partial.content == "a"


def message_of(recording: str) -> Message:
    chunks, error = play(datas(WIRE, (DATA / recording).read_bytes(), 7), WIRE.reader())
    assert error is None
    builder = MessageBuilder()
    for chunk in chunks:
        builder.add(chunk)
    return builder.message


def test_recording_of_llama_cpp() -> None:
    """A real server: text, usage with what was cached, model and id; its timings are kept."""
    message = message_of("llama_openai_usage.txt")
    assert message.usage == Usage(36, 12, 48, cached_tokens=35)
    assert (message.finish_reason, message.truncated) == ("stop", False)
    assert message.model == "smollm2" and (message.id or "").startswith("chatcmpl-")
    assert message.content.startswith("Hello, welcome to my little")
    assert message_of("llama_openai_plain.txt").content == message.content


def test_recordings_of_a_mock() -> None:
    """Text with characters that JSON escapes, and two tool calls in pieces."""
    plain, tool = message_of("openai_plain.txt"), message_of("openai_tool.txt")
    assert plain.content == 'Hello 世界, this is a plain answer with <b>tags</b> and "quotes".'
    assert (plain.finish_reason, plain.usage) == ("stop", Usage(2, 16))
    assert [(c.name, c.parse_arguments()) for c in tool.tool_calls] == [
        ("get_weather", {"city": "Paris", "unit": "C"}),
        ("get_time", {"city": "Paris"}),
    ]


def test_usage_details() -> None:
    """PROMISE 47: the service's other counts, such as what OpenRouter takes for an answer."""
    sent = {"cached_tokens": 2, "audio_tokens": 0, "cache_write_tokens": 5}
    written = {"reasoning_tokens": 3, "accepted_prediction_tokens": 0}
    more = {"prompt_tokens_details": sent, "completion_tokens_details": written, "x": None}
    reader = OpenAIReader()
    reader.read(event({}, finish="stop", usage=USAGE | more | {"cost": 0.01})[6:])
    usage = reader.done and reader.done.usage
    assert usage == Usage(3, 4, 7, cached_tokens=2, reasoning_tokens=3)
    assert usage.details == {"cost": 0.01, "prompt_tokens_details": {"cache_write_tokens": 5}}


def test_a_cache_as_moonshot_counts_it() -> None:
    """PROMISE 47: beside the other counts."""
    reader = OpenAIReader()
    reader.read(event({}, finish="stop", usage=USAGE | {"cached_tokens": 2})[6:])
    assert reader.done and reader.done.usage == Usage(3, 4, 7, cached_tokens=2)


@each(
    ("more", "usage"),
    [
        (
            {"total_tokens": 354, "completion_tokens_details": {"reasoning_tokens": 347}},
            Usage(3, 351, 354, reasoning_tokens=347),
        ),
        (
            {"prompt_tokens_details": None, "reasoning_tokens": 2},
            Usage(3, 4, 7, reasoning_tokens=2),
        ),
    ],
)
def test_reasoning_that_is_counted_otherwise(more: dict[str, Any], usage: Usage) -> None:
    """PROMISE 47: xAI counts it beside the completion, SGLang says it beside the other counts."""
    reader = OpenAIReader()
    reader.read(event({}, finish="stop", usage=USAGE | more)[6:])
    assert reader.done and reader.done.usage == usage and not usage.details


def test_what_is_neither_text_nor_reasoning() -> None:
    """PROMISE 47: sound and images come in several events, and none of them is lost."""
    reference = {"type": "reference", "reference_ids": [1]}
    sound, image = {"id": "a", "data": "AA=="}, [{"type": "image_url", "image_url": {"url": "u"}}]
    stream = event({"audio": sound}) + event({"audio": {"transcript": "h\ud83d"}})
    stream += event({"content": "x", "images": image}) + event({"images": image, "audio": None})
    stream += event({"content": [{"type": "text", "text": "y"}, reference]}) + STOP
    chunks, error = play(datas(WIRE, stream.encode(), 7), WIRE.reader())
    told = [chunk.data if chunk.type != "content" else chunk.content for chunk in chunks[:-1]]  # type: ignore[union-attr]
    assert told == [
        {"audio": sound},
        {"audio": {"transcript": "h\ufffd"}},
        "x",
        {"images": image},
        {"images": image},
        "y",
        reference,
    ]
    assert error is None and not chunks[-1].extra


def test_where_an_answer_has_it_from() -> None:
    """PROMISE 47: OpenRouter names one source an event; they count for `max_answer_size`."""
    notes = [{"type": "url_citation", "url_citation": {"url": f"https://x/{x}"}} for x in "abc"]
    stream = event({"content": "x", "annotations": notes[:1]})
    stream += "".join(event({"content": "", "annotations": [note]}) for note in notes)
    stream += event({"annotations": "none"}) + STOP
    chunks, error = play(datas(WIRE, stream.encode(), 7), WIRE.reader())
    assert error is None and [shown(chunk) for chunk in chunks] == [
        ["content", "x"],
        ["done", ["stop", None]],
    ]
    assert chunks[0].extra == {"annotations": notes[:1]}
    assert chunks[-1].extra == {"annotations": notes}
    reader = OpenAIReader()
    for number in range(3):
        reader.read(event({"annotations": [f"{number}" + "x" * 100_000]})[6:])
        assert reader.held > 100_000 * (number + 1) - 65_536


def test_unknown_fields_are_kept() -> None:
    """PROMISE 47: those of the choice and the delta too; those that say nothing are not."""
    reader = OpenAIReader()
    data = event({"content": "x", "reasoning_details": [1]}, logprobs=None, service_tier="default")
    chunk = reader.read(data[6:])
    assert isinstance(chunk, ContentChunk) and chunk.extra == {"reasoning_details": [1]}
    reader.read(event({}, finish="stop", timings={"ms": 1})[6:])
    assert reader.done is not None and reader.done.extra == {"timings": {"ms": 1}}


def test_a_message_beside_each_delta() -> None:
    """Perplexity repeats there all that has come."""
    reader = OpenAIReader()
    for text, so_far in (("Hi", "Hi"), (" you", "Hi you")):
        choice = {"index": 0, "delta": {"content": text}, "message": {"content": so_far}}
        chunk = reader.read(json.dumps({"choices": [choice]}))
        assert chunk == ContentChunk(text) and not chunk.extra
    assert reader.held == 0


# --- what is sent --------------------------------------------------------------------------------


def body_of(*turns: dict[str, Any], wire: OpenAI = WIRE, **fields: Any) -> Any:
    return json.loads(json.dumps(wire.body(ChatRequest(turns, **fields))))


CALLS = [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]


@each(
    ("turn", "sent"),
    [
        ({"role": "user", "content": "x"}, {"role": "user", "content": "x"}),
        (
            Message("a", (ToolCall("f", "{}", "c"),)).to_dict(),
            {"role": "assistant", "content": "a", "tool_calls": CALLS},
        ),
        (
            {"role": "assistant", "content": None, "tool_calls": CALLS},
            {"role": "assistant", "content": None, "tool_calls": CALLS},
        ),
        (
            {"role": "tool", "tool_call_id": "c", "name": "f", "content": "1"},
            {"role": "tool", "tool_call_id": "c", "name": "f", "content": "1"},
        ),
        (
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "x"},
                    {"type": "image", "media_type": "image/png", "data": "AA=="},
                    {"type": "image", "url": "https://x/y.png"},
                    {"type": "file", "name": "n", "media_type": "text/plain", "data": "AA=="},
                    {"type": "input_audio", "input_audio": {}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "x"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
                    {"type": "image_url", "image_url": {"url": "https://x/y.png"}},
                    {
                        "type": "file",
                        "file": {"filename": "n", "file_data": "data:text/plain;base64,AA=="},
                    },
                    {"type": "input_audio", "input_audio": {}},
                ],
            },
        ),
    ],
)
def test_turns(turn: dict[str, Any], sent: dict[str, Any]) -> None:
    """PROMISE 48: the neutral form becomes OpenAI's; what is in that form already stays."""
    before = json.dumps(turn)
    assert body_of(turn)["messages"] == [sent]
    assert json.dumps(turn) == before


@each(
    ("wire", "id", "sent"),
    [
        ("openai", None, "call_0_0"),
        ("openai", "functions.f:0", "functions.f:0"),
        ("openai", "c" * 40, "c" * 40),
        ("openai", "c" * 41, "call_2d55900a1d3409d7a599bb69946cbd9a"),
        ("openai", "c__thought__" * 9, "c__thought__" * 9),
        ("vllm", "c" * 45, "c" * 45),
        ("mistral", "abcDEF123", "abcDEF123"),
        ("mistral", "functions.f:0", "d6bdd4de3"),
        ("mistral", None, "667848c66"),
    ],
)
def test_calls_of_another_service(wire: str, id: str | None, sent: str) -> None:
    """PROMISE 48: each call has an id, as the service takes it, and arguments that are JSON."""
    call = Message("", (ToolCall("f", "", id),)).to_dict()
    result = {"role": "tool", "tool_call_id": id, "name": "f", "content": "1"}
    asked, told = find_wire(wire).body(ChatRequest([call, result]))["messages"]
    assert asked["tool_calls"] == [CALLS[0] | {"id": sent}]
    assert told == result | {"tool_call_id": sent}


def test_an_answer_without_content() -> None:
    """Mistral refuses it; to others it keeps the turns of both sides in order."""
    turns = [
        {"role": "user", "content": "x"},
        Message("").to_dict(),
        {"role": "user", "content": "y"},
    ]
    for wire, sent in (("mistral", [turns[0], turns[2]]), ("openai", turns)):
        assert find_wire(wire).body(ChatRequest(turns))["messages"] == sent


DEEPSEEK = find_wire("deepseek")


def thinking(*events: str) -> DoneChunk:
    chunks, error = play(datas(DEEPSEEK, "".join(events).encode(), 7), DEEPSEEK.reader())
    assert error is None and isinstance(chunks[-1], DoneChunk)
    return chunks[-1]


def test_reasoning_that_goes_back() -> None:
    """PROMISE 48: DeepSeek refuses a request without the reasoning of its earlier turns."""
    think = [event({"reasoning_content": piece}) for piece in ("h\ud83d", "\ude00m")]
    end = thinking(*think, event(call(0, "{}", id="c", name="f")), STOP)
    assert end.state == {"deepseek": {"reasoning_content": "h\U0001f600m"}}
    turn = Message("", (ToolCall("f", "{}", "c"),), state=end.state).to_dict()
    sent = {"role": "assistant", "content": None, "tool_calls": CALLS}
    assert body_of(turn, wire=DEEPSEEK)["messages"] == [
        {**sent, "content": turn["content"], "reasoning_content": "h\U0001f600m"}
    ]
    own = turn | {"reasoning_content": "mine"}
    assert body_of(own, wire=DEEPSEEK)["messages"][0]["reasoning_content"] == "mine"
    assert "reasoning_content" not in body_of(turn)["messages"][0]  # another service


OPENROUTER = find_wire("openrouter")


def test_signed_reasoning_goes_back() -> None:
    """PROMISE 48: the services behind OpenRouter check each text against its signature."""
    pieces = [
        [CLAUDE | {"text": "h\ud83d", "signature": None}],
        [CLAUDE | {"text": "\ude00m"}, GOOGLE | {"id": "c", "data": "x"}],
        [CLAUDE | {"signature": "s"}, GOOGLE | {"id": "d", "data": "y"}],
        ["no detail"],
        [CLAUDE | {"index": 1, "text": "so"}],
        "no list",
    ]
    stream = "".join(event({"reasoning": "hm", "reasoning_details": piece}) for piece in pieces)
    chunks, _ = play(
        datas(OPENROUTER, f"{stream}{STOP}".encode(), 7), reader := OPENROUTER.reader()
    )
    last = chunks[-1]
    assert isinstance(last, DoneChunk) and last == reader.done
    details = [
        CLAUDE | {"text": "h\U0001f600m", "signature": "s"},
        GOOGLE | {"id": "c", "data": "x"},
        GOOGLE | {"id": "d", "data": "y"},
        CLAUDE | {"index": 1, "text": "so"},
    ]
    assert last.state == {"openrouter": {"reasoning_details": details}}
    turn = Message("a", state=last.state).to_dict()
    sent = {"role": "assistant", "content": "a"}
    assert body_of(turn, wire=OPENROUTER)["messages"] == [sent | {"reasoning_details": details}]
    assert body_of(turn)["messages"] == [sent]  # another service


def test_signed_blocks_go_back() -> None:
    """PROMISE 48: LiteLLM sends the reasoning of Anthropic's models in pieces of blocks."""
    piece: dict[str, Any] = {"type": "thinking", "thinking": "", "signature": ""}
    hidden = {"type": "redacted_thinking", "data": "x"}
    pieces: list[Any] = [
        [piece | {"thinking": "h\ud83d"}],
        [piece | {"thinking": "\ude00m"}],
        [piece | {"signature": "s"}],
        [hidden],
        [hidden],
        ["no block"],
        [piece | {"thinking": "s"}],
        [piece | {"thinking": "o"}],
        [piece | {"thinking": "so", "signature": "t"}],
        "no list",
    ]
    stream = "".join(
        event({"reasoning_content": "hm", "thinking_blocks": piece}) for piece in pieces
    )
    chunks, _ = play(datas(WIRE, f"{stream}{STOP}".encode(), 7), WIRE.reader())
    last = chunks[-1]
    assert isinstance(last, DoneChunk) and last.state
    blocks = [
        piece | {"thinking": "h\U0001f600m", "signature": "s"},
        hidden,
        hidden,
        piece | {"thinking": "so", "signature": "t"},
    ]
    assert last.state["openai"]["thinking_blocks"] == blocks
    (turn,) = body_of(Message("a", state=last.state).to_dict())["messages"]
    assert turn["thinking_blocks"] == blocks


def test_reasoning_in_another_form_costs_no_answer() -> None:
    """PROMISE 47: what is no text where text is wanted does not go back."""
    odd: list[Any] = [None, 7, ["h"], {"a": 1}]
    details = [CLAUDE | {"text": text, "summary": text} for text in [*odd, "so", *odd]]
    blocks = [{"type": "thinking", "thinking": text, "signature": "s"} for text in odd]
    stream = event({"content": "a", "reasoning_details": details, "thinking_blocks": blocks})
    chunks, error = play(datas(WIRE, (stream + STOP).encode(), 7), WIRE.reader())
    assert (
        error is None
        and isinstance(chunks[-1], DoneChunk)
        and chunks[-1].state
        == {
            "openai": {
                "reasoning_details": [CLAUDE | {"text": "so", "summary": "so"}],
                "thinking_blocks": [{"type": "thinking", "signature": "s"}] * 4,
            }
        }
    )


def test_signed_calls_go_back() -> None:
    """PROMISE 48: Gemini's compatible service refuses a call without its signature."""
    mark = {"google": {"thought_signature": "s"}}
    stream = event(call(0, "{}", id="c", name="f", extra_content=mark))
    stream += event(call(1, "{}", id="d", name="f", extra_content="no mark"))
    stream += event({"tool_calls": [{"index": 2, "id": "e", "function": {"name": "f"}}]})
    stream += event({"tool_calls": [{"index": 2, "extra_content": mark}]}, finish="stop")
    chunks, _ = play(datas(WIRE, stream.encode(), 7), WIRE.reader())
    last = chunks[-1]
    assert isinstance(last, DoneChunk) and last.state
    assert last.state["openai"]["extra_content"] == {"c": mark, "e": mark}
    turn = Message("", (ToolCall("f", "{}", "c"), ToolCall("f", "{}", "d")), state=last.state)
    calls = body_of(turn.to_dict())["messages"][0]["tool_calls"]
    assert calls == [CALLS[0] | {"extra_content": mark}, CALLS[0] | {"id": "d"}]
    (other,) = body_of(turn.to_dict(), wire=DEEPSEEK)["messages"]
    assert other["tool_calls"] == [CALLS[0], CALLS[0] | {"id": "d"}]


def test_what_goes_back_counts() -> None:
    """PROMISE 16: what is kept is held in memory, so it counts for `max_answer_size`."""
    reader = OpenAIReader()
    for size in (100_000, 200_000):
        big = GOOGLE | {"data": "x" * 100_000}
        reader.read(event({"reasoning_details": [big]})[6:])
        assert reader.held > size - 65_536


def test_only_what_goes_back_counts() -> None:
    """A value that every piece repeats is kept once."""
    reader = OpenAIReader()
    for _ in range(5_000):
        fields = {"type": "reasoning.text", "format": "x", "index": 0, "text": "h"}
        blocks = [{"type": "thinking", "thinking": "h"}]
        reader.read(event({"reasoning_details": [fields], "thinking_blocks": blocks})[6:])
    assert reader.held == 0


def test_signed_calls_that_get_another_id() -> None:
    """PROMISE 48: some services begin to count anew in each answer."""
    mark = {"google": {"thought_signature": "s"}}
    state = {"openai": {"extra_content": {"c": mark}}}
    turn = Message("", (ToolCall("f", "{}", "c"),), state=state).to_dict()
    first, second = body_of(turn, turn)["messages"]
    assert first["tool_calls"] == [CALLS[0] | {"extra_content": mark}]
    assert second["tool_calls"] == [CALLS[0] | {"id": "c_call_1_0", "extra_content": mark}]


@each("field", ["reasoning", "content"])
def test_what_does_not_go_back(field: str) -> None:
    """Other servers refuse a field that they do not know."""
    assert thinking(event({field: "hm"}), STOP).state is None


@each("state", [None, "x", {"deepseek": "x"}, {"deepseek": {"reasoning_content": ["x"]}}])
def test_state_of_another_form(state: Any) -> None:
    """It came from a file, say."""
    turn = {"role": "assistant", "content": "a", "state": state}
    assert body_of(turn, wire=DEEPSEEK)["messages"] == [{"role": "assistant", "content": "a"}]


def test_body() -> None:
    """Streaming with usage; tools and schema in OpenAI's form; unknown parameters go through."""
    tool = {"name": "f", "description": "d", "parameters": {"type": "object"}}
    own = {"type": "web_search"}
    turn = {"role": "user", "content": "x"}
    body = body_of(
        turn, model="m", tools=[tool, own], params={"top_k": 3}, output_schema={"type": "object"}
    )
    assert body == {
        "messages": [turn],
        "model": "m",
        "stream": True,
        "stream_options": {"include_usage": True},
        "tools": [{"type": "function", "function": tool}, own],
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": {"type": "object"}},
        },
        "top_k": 3,
    }
    assert "stream_options" not in body_of(turn, wire=OpenAI(usage=False))
    assert body_of(turn, params={"stream_options": {"x": 1}})["stream_options"] == {"x": 1}


def test_several_answers_are_refused() -> None:
    """A message is one answer."""
    with pytest.raises(ConfigError, match="n: expected 1"):
        body_of({"role": "user", "content": "x"}, params={"n": 2})
    assert body_of({"role": "user", "content": "x"}, params={"n": 1})["n"] == 1


def test_a_tool_call_chunk_is_whole() -> None:
    """Pieces are held back, which counts as progress, and come as one chunk."""
    reader = OpenAIReader()
    for piece in (call(0, '{"a":', id="c", name="f"), call(0, "1}")):
        held = reader.read(event(piece)[6:])
        assert held is not None and chunks_of(held) == []
    chunk = reader.read(event({}, finish="tool_calls")[6:])
    assert chunk == ToolCallChunk(ToolCall("f", '{"a":1}', "c"))
    assert reader.done == DoneChunk(None, "tool_calls", "m", "1")


def test_names_that_change() -> None:
    """The model and the id are the first ones; some servers make up an id for each event."""
    reader = OpenAIReader()
    for name in ("first", "second"):
        reader.read(event({"content": "a"}, id=name, model=f"m-{name}")[6:])
    reader.read(event({}, finish="stop", id="", model="")[6:])
    assert reader.done == DoneChunk(None, "stop", "m-first", "first")


@each("piece", [None, "x", 1, [[]]])
def test_a_piece_of_a_call_that_is_no_object(piece: object) -> None:
    """PROMISE 13: the error says what was expected; no other one comes out of the reader."""
    with pytest.raises(StreamProtocolError, match="expected an object with 'function', got"):
        OpenAIReader().read(event({"tool_calls": [piece]})[6:])
