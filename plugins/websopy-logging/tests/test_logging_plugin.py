"""The lines: one at the start, one at each retry, exactly one at the end, whatever the end."""

from __future__ import annotations

import gc
import itertools
import json
import logging
from collections.abc import Callable
from typing import Any

import pytest
from websopy_logging import JsonFormatter, LoggingPlugin

from websopy_sync import APIError, CancelToken, ChatStream, Timeouts, WebsopyClient
from websopy_sync.sandbox import (
    Sandbox,
    Steps,
    cut,
    done,
    error,
    event,
    no_ids,
    reset,
    retry,
    say,
    silence,
    status,
    think,
)

QUESTION = "写一篇关于 AI 的文章"
ANSWER = [say("AI"), say(" 正在"), say("改变世界...")]
KEY = "secret-key-of-a-user"
IMPATIENT = Timeouts(first_chunk=0.2, idle=0.2)


def client_of(sandbox: Sandbox, plugin: LoggingPlugin, **options: Any) -> WebsopyClient:
    options = {"max_retries": 0, "timeout": IMPATIENT, **options}
    return WebsopyClient(
        api_key=KEY, base_url=sandbox.url, plugins=[plugin], strict_plugins=True, **options
    )


def lines(caplog: pytest.LogCaptureFixture, event: str = "") -> list[dict[str, Any]]:
    """The fields of the plugin's lines, all or those of one event."""
    fields = [record.websopy for record in caplog.records if hasattr(record, "websopy")]
    return [line for line in fields if event in ("", line["event"])]


@pytest.fixture(autouse=True)
def _info(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "websopy_sync")


def ask(sandbox: Sandbox, script: Steps, plugin: LoggingPlugin | None = None, **p: Any) -> None:
    """One question, its answer read to the end, whatever that is."""
    sandbox.play(script)
    with client_of(sandbox, plugin or LoggingPlugin()) as client:
        try:
            client.ai.chat(QUESTION, **p)
        except APIError:
            pass


ENDS: dict[str, tuple[str, str | None, Steps]] = {
    "done": ("done", None, [*ANSWER, done(20, 150)]),
    "resumed": ("done", None, [retry(0), *ANSWER[:1], cut(), *ANSWER[1:], done()]),
    "cut": ("error", "StreamInterruptedError", [no_ids(), *ANSWER, cut()]),
    "reset": ("error", "StreamInterruptedError", [no_ids(), *ANSWER, reset()]),
    "error chunk": ("error", "StreamServerError", [*ANSWER, error("overloaded", "busy")]),
    "not json": ("error", "StreamProtocolError", [*ANSWER, event("{oops")]),
    "time-out": ("error", "APITimeoutError", [*ANSWER, silence()]),
    "refused": ("error", "AuthenticationError", status(401)),
    "server error": ("error", "InternalServerError", status(500)),
}


@pytest.mark.parametrize("end", ENDS)
def test_every_end_has_one_line(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture, end: str
) -> None:
    """One start and one end for each question, and the end says how it ended."""
    outcome, error_name, script = ENDS[end]
    ask(sandbox, script)
    [start], [last] = lines(caplog, "start"), lines(caplog, "end")
    assert last["outcome"] == outcome and last.get("error") == error_name
    assert start["question"] == last["question"]
    level = next(one.levelno for one in caplog.records if getattr(one, "websopy", 0) is last)
    assert level == (logging.WARNING if outcome == "error" else logging.INFO)


def leave_by_break(stream: ChatStream) -> None:
    for _ in stream:
        break


def leave_by_ctrl_c(stream: ChatStream) -> None:
    with pytest.raises(KeyboardInterrupt):
        for _ in stream:
            raise KeyboardInterrupt


WAYS: dict[str, Callable[[ChatStream], object]] = {
    "break": leave_by_break,
    "ctrl-c": leave_by_ctrl_c,
    "close": ChatStream.close,
    "garbage": next,
}


@pytest.mark.parametrize("way", WAYS)
def test_left(sandbox: Sandbox, caplog: pytest.LogCaptureFixture, way: str) -> None:
    """An answer whose reader leaves has one end line too, and it is no warning."""
    sandbox.play([*ANSWER, silence()])
    with client_of(sandbox, LoggingPlugin()) as client:
        stream = client.ai.chat_stream(QUESTION)
        WAYS[way](stream)
        del stream
        gc.collect()
        [last] = lines(caplog, "end")
    assert last["outcome"] == "closed" and "error" not in last
    assert len(lines(caplog)) == 2


def test_cancelled(sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    """Cancelled is an outcome of its own."""
    sandbox.play([*ANSWER, silence()])
    token = CancelToken()
    with client_of(sandbox, LoggingPlugin()) as client:
        stream = client.ai.chat_stream(QUESTION, cancel_token=token)
        next(stream)
        token.cancel()
        with pytest.raises(APIError):
            stream.until_done()
    assert [line.get("outcome") for line in lines(caplog)] == [None, "cancelled"]


def test_unreachable(sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    """A service that is not there has a start and an end as well."""
    sandbox.close()
    with client_of(sandbox, LoggingPlugin()) as client, pytest.raises(APIError):
        client.ai.chat(QUESTION)
    assert [line["event"] for line in lines(caplog)] == ["start", "end"]
    assert lines(caplog)[1]["error"] == "APIConnectionError"


def test_what_the_end_says(sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    """Chunks, seconds to the first, chunks a second, and the usage."""
    # A clock that goes a quarter of a second each time it is read: at the start, at each of the
    # four chunks, and at the end.
    plugin = LoggingPlugin(clock=itertools.count(step=0.25).__next__)
    ask(sandbox, [*ANSWER, done(20, 150)], plugin, model="websopy-1")
    [last] = lines(caplog, "end")
    question = last.pop("question")
    assert question == sandbox.requests[0].idempotency_key
    assert last == {
        "event": "end",
        "model": "websopy-1",
        "outcome": "done",
        "truncated": False,
        "request_id": "sandbox-1",
        "chunks": 4,
        "seconds": 1.25,
        "seconds_to_first_chunk": 0.25,
        "chunks_per_second": 4.0,
        "retries": 0,
        "prompt_tokens": 20,
        "completion_tokens": 150,
        "total_tokens": 170,
    }


@pytest.mark.parametrize(
    ("reason", "truncated"),
    [
        ("stop", False),
        ("length", True),
        ("content_filter", True),
        ("tool_calls", False),
        ("odd word", False),
        (None, False),
    ],
)
def test_why_it_ended(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture, reason: str | None, truncated: bool
) -> None:
    """Each finish reason; a cut answer has one line at WARNING, and its outcome is done."""
    ask(sandbox, [*ANSWER, done(finish_reason=reason)])
    [last] = lines(caplog, "end")
    assert (last["outcome"], last["truncated"]) == ("done", truncated)
    assert last.get("finish_reason") == reason
    warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert [record.websopy["event"] for record in warnings] == ["end"] * truncated  # type: ignore[attr-defined]


def test_what_the_service_says(sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    """The model and the id of the answer, and the details of the usage, bounded and in one line."""
    end = {"finish_reason": "length", "model": "w\u2028" + "2" * 10_000, "answer_id": "answer-1"}
    script = [think("secret thought"), *ANSWER, done(20, 150, cached=5, reasoning=100, **end)]
    ask(sandbox, script, model="w-1")
    [last] = lines(caplog, "end")
    assert (last["model"], last["answer_id"]) == ("w-1", "answer-1")
    assert last["answer_model"] == "w\u2028" + "2" * 198
    assert (last["cached_tokens"], last["reasoning_tokens"]) == (5, 100)
    assert "secret thought" not in caplog.text
    assert len(caplog.records[-1].getMessage().splitlines()) == 1
    formatted = json.loads(JsonFormatter().format(caplog.records[-1]))
    for name in ("finish_reason", "truncated", "model", "cached_tokens", "reasoning_tokens"):
        assert formatted[name] == last[name]
    ask(sandbox, script, LoggingPlugin(capture_content=True))
    assert lines(caplog, "end")[-1]["reasoning"] == "secret thought"


def test_an_answer_without_chunks(sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    """What cannot be said is left out."""
    ask(sandbox, status(401))
    [last] = lines(caplog, "end")
    assert last["chunks"] == 0 and last["status_code"] == 401
    absent = {"seconds_to_first_chunk", "chunks_per_second", "phase"}
    absent |= {"truncated", "finish_reason", "answer_model", "total_tokens", "cached_tokens"}
    assert not absent & set(last)


def test_retries(sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    """Each wait has a line that says why and how long; the end says how many there were."""
    for _ in range(2):
        sandbox.play(status(503, retry_after=0))
    ask(sandbox, [*ANSWER, done()], max_retries=3)
    retries = lines(caplog, "retry")
    assert [line["retry"] for line in retries] == [1, 2]
    assert {line["status_code"] for line in retries} == {503}
    assert {line["delay"] for line in retries} == {0.0}
    assert lines(caplog, "end")[0]["retries"] == 2
    assert len({line["question"] for line in lines(caplog)}) == 1


def test_prompt_and_answer_are_in_no_line(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody who reads the log learns what was asked or answered, or the key."""
    caplog.set_level(logging.DEBUG)
    for _, _, script in ENDS.values():
        ask(sandbox, script)
    for record in caplog.records:
        text = f"{record.getMessage()} {record.__dict__}"
        assert not any(word in text for word in (QUESTION, "正在", KEY))
    assert lines(caplog, "start")[0]["messages"] == 1


@pytest.mark.parametrize("by", ["argument", "environment"])
def test_content_when_asked(
    sandbox: Sandbox,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    by: str,
) -> None:
    """Prompts and answers are logged where somebody asked for them, the key never."""
    if by == "environment":
        monkeypatch.setenv("WEBSOPY_LOGGING_CONTENT", "1")
    ask(
        sandbox,
        [*ANSWER, done()],
        LoggingPlugin(capture_content=True if by == "argument" else None),
    )
    assert lines(caplog, "start")[0]["messages"] == [{"role": "user", "content": QUESTION}]
    assert lines(caplog, "end")[0]["content"] == "AI 正在改变世界..."
    assert KEY not in str([record.__dict__ for record in caplog.records])


def test_images_are_in_no_line(sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    """When prompts are logged, an image or a file is named with its length."""
    data = "A" * 1000
    long = {"type": "text", "text": "look" * 100}
    image = {"type": "image", "media_type": "image/png", "data": data}
    of_openai = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}
    turns = [{"role": "user", "content": [image, long, "x", of_openai]}]
    sandbox.play([say("AI"), done()])
    with client_of(sandbox, LoggingPlugin(capture_content=True)) as client:
        client.ai.chat([*turns, {"role": "user", "content": "more"}])
    assert json.loads(sandbox.requests[0].body)["messages"][0]["content"][0]["data"] == data
    [first, second] = lines(caplog, "start")[0]["messages"]
    assert second["content"] == "more"
    assert first["content"][0]["data"] == "1000 characters"
    assert first["content"][1] == long
    assert first["content"][3]["image_url"] == {"url": "1022 characters"}
    assert data[:20] not in caplog.text


def test_text_is_one_line_that_can_be_read_back(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever a model writes, a record is one line of words."""
    ask(
        sandbox,
        [say('a "b"\r\nend\u2028 outcome=done'), done()],
        LoggingPlugin(capture_content=True),
    )
    message = [record.getMessage() for record in caplog.records if hasattr(record, "websopy")][-1]
    assert message.splitlines() == [message]
    assert message.startswith("end question=")
    assert r'content="a \"b\"\r\nend\u2028 outcome=done"' in message


@pytest.mark.parametrize("content", [False, True])
def test_what_a_program_sends_is_one_line_too(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture, content: bool
) -> None:
    """Neither a model's name nor a prompt can begin a line."""
    plugin = LoggingPlugin(capture_content=content)
    sandbox.play([say("世界"), done()])
    with client_of(sandbox, plugin) as client:
        client.ai.chat("a\u2028b\x85c\nd", model="m\u2028n")
    for record in caplog.records:
        assert len(record.getMessage().splitlines()) == 1
    assert r"model=\"m\u2028n\"".replace('\\"', '"') in caplog.messages[0]
    assert ("content=世界" in caplog.text) is content


def test_a_quiet_logger_is_not_written_to(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """Levels hold: at WARNING only trouble is seen."""
    caplog.set_level(logging.WARNING, "websopy_sync")
    ask(sandbox, [*ANSWER, done()])
    ask(sandbox, status(401))
    assert [line["event"] for line in lines(caplog)] == ["end"]


def test_two_open_streams_under_one_key_are_counted_apart(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """A user may set the same idempotency key twice; each answer's end line has its own counts."""
    sandbox.play([say("a"), done()])
    sandbox.play([*ANSWER, done()])
    with client_of(sandbox, LoggingPlugin()) as client:
        streams = [client.ai.chat_stream(QUESTION, idempotency_key="same") for _ in range(2)]
        for stream in streams:
            stream.until_done()
    assert [line["chunks"] for line in lines(caplog, "end")] == [2, 4]


def test_nothing_is_kept_of_an_ended_answer(sandbox: Sandbox) -> None:
    """A client that lives long does not grow with its answers."""
    plugin = LoggingPlugin()
    for _, _, script in ENDS.values():
        ask(sandbox, script, plugin)
    assert plugin._open == {}
