"""Conversations: their id is stored, and their turns come back to be continued."""

from __future__ import annotations

import json
import logging
import signal
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from websopy_persistence import History, Limits, PersistencePlugin, PromptsNotStoredError
from websopy_persistence.schema import streams

import websopy_sync
from websopy_sync import Message, StreamCancelledError, Usage, WebsopyClient, file
from websopy_sync.chunks import ContentChunk, ErrorChunk, ReasoningChunk, ToolCall, ToolCallChunk
from websopy_sync.errors import APIStatusError, StreamServerError
from websopy_sync.hooks import Request
from websopy_sync.sandbox import Sandbox, done, error, say, think, tool

TEXT_PART = {"type": "text", "text": "look"}
CALL = ToolCall("weather", '{"city": "成都"}', "call-1")


def user(text: Any) -> dict[str, Any]:
    return {"role": "user", "content": text}


def assistant(text: str, **fields: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": text, **fields}


def test_the_turns_of_a_conversation(url, keep, ask) -> None:
    """The last request has all turns before it; its answer is the last turn."""
    plugin = keep(url)
    for question, answer, id in (
        ("other", "no", "b"),
        ("first", "one", "a"),
        ("second", "two", "a"),
        ("alone", "no", None),
    ):
        ask(plugin, question, conversation=id).tell(answer).done()
    assert plugin.load_conversation(None) == {
        "id": "a",
        "messages": [user("second"), assistant("two")],
    }
    found = plugin.load_conversation("b")
    assert found == {"id": "b", "messages": [user("other"), assistant("no")]}
    assert plugin.load_conversation("c") is None
    with History(url) as history:
        assert [stream.question for stream in history.list(conversation="a")] == ["second", "first"]
        assert history.list(conversation="c") == []


def test_the_first_characters_of_an_id(url, keep, ask) -> None:
    """They are enough if no other id begins with them; case counts, and nothing is a wildcard."""
    plugin = keep(url)
    for id in ("3fa9", "3fb0", "3f", "K1", "k2", "%_"):
        ask(plugin, id, conversation=id).tell("text").done()

    def found(id: str) -> str | None:
        conversation = plugin.load_conversation(id)
        return conversation and conversation["id"]

    assert [found(id) for id in ("3fa", "3fb0", "3f", "K", "k", "%")] == [
        "3fa9",
        "3fb0",
        "3f",
        "K1",
        "k2",
        "%_",
    ]
    assert [found(id) for id in ("3", "3fa99", "_", "3F", "\0")] == [None] * 5


def test_tool_calls_and_parts_come_back(url, keep, ask) -> None:
    """In the names of this package's turns, whatever the names on the wire."""
    plugin = keep(url)
    body = [
        {"role": "system", "content": "be brief"},
        user([TEXT_PART, {"type": "image", "mediaType": "image/png", "data": "AA"}]),
        assistant("", toolCalls=[{"name": "weather", "arguments": "{}", "id": "c-0"}]),
        {"role": "tool", "toolCallId": "c-0", "name": "weather", "content": "rain"},
    ]
    answer = ask(plugin, conversation="a", messages=body)
    answer.tell(ReasoningChunk("hm"), "Once more", ToolCallChunk(CALL)).done()
    found = plugin.load_conversation(None)
    assert found is not None
    assert found["messages"] == [
        {"role": "system", "content": "be brief"},
        user([TEXT_PART, {"type": "image", "media_type": "image/png", "data": "AA"}]),
        assistant("", tool_calls=[{"name": "weather", "arguments": "{}", "id": "c-0"}]),
        {"role": "tool", "tool_call_id": "c-0", "name": "weather", "content": "rain"},
        assistant("Once more", tool_calls=[CALL.to_dict()]),
    ]


def image(size: int) -> dict[str, Any]:
    return {"type": "image", "mediaType": "image/png", "data": "A" * size}


def test_large_images_are_not_stored(history_file: Path, keep, ask) -> None:
    """A text stands in the place of those that are too much; the last ones stay."""
    plugin = keep(history_file)
    document = {"type": "file", "name": "a.pdf", "mediaType": "application/pdf"}
    body = [
        user([TEXT_PART, image(1000)]),
        assistant("A cat."),
        user([image(1024 * 1024), {**document, "data": "B" * 4 * 1024 * 1024}, TEXT_PART]),
        user([image(1000), "text", {"type": "image", "url": "https://example.com/a.png"}]),
    ]
    sent = json.dumps(body)
    ask(plugin, conversation="a", messages=body).tell("text").done()
    found = plugin.load_conversation("a")
    assert found is not None
    stored = {"type": "image", "media_type": "image/png", "data": "A" * 1000}
    assert found["messages"] == [
        user([TEXT_PART, stored]),
        assistant("A cat."),
        user(
            [
                {"type": "text", "text": "[image/png, 786432 bytes: not stored]"},
                {"type": "text", "text": "[a.pdf, 3145728 bytes: not stored]"},
                TEXT_PART,
            ]
        ),
        user([stored, "text", {"type": "image", "url": "https://example.com/a.png"}]),
        assistant("text"),
    ]
    assert json.dumps(body) == sent
    with History(history_file) as history:
        (stream,) = history.list()
    assert stream.question == "[image/png]\ntext\n[image]"
    assert "AAAA" not in repr(stream)


def test_the_form_of_openai(history_file: Path, keep, ask) -> None:
    """A client of another service has a history too, in the form that every service is sent."""
    plugin = keep(history_file)
    function = {"name": "weather", "arguments": "{}"}
    file = {"filename": "a.pdf", "file_data": "data:application/pdf;base64,BB"}
    pictures = ["data:image/png;base64,AA", "https://example.com/a.png", "data:text/plain,x"]
    body = [
        user(
            [
                TEXT_PART,
                *({"type": "image_url", "image_url": {"url": url}} for url in pictures),
                {"type": "file", "file": file},
                {"type": "file", "file": {"file_id": "f-1"}},
            ]
        ),
        assistant("", tool_calls=[{"id": "c-0", "type": "function", "function": function}]),
        {"role": "tool", "tool_call_id": "c-0", "name": "weather", "content": "rain"},
    ]
    ask(plugin, conversation="a", messages=body).tell("text").done()
    found = plugin.load_conversation("a")
    assert found is not None
    assert found["messages"] == [
        user(
            [
                TEXT_PART,
                {"type": "image", "media_type": "image/png", "data": "AA"},
                {"type": "image", "url": "https://example.com/a.png"},
                {"type": "image", "url": "data:text/plain,x"},
                {"type": "file", "name": "a.pdf", "media_type": "application/pdf", "data": "BB"},
                {"type": "file", "file": {"file_id": "f-1"}},
            ]
        ),
        assistant("", tool_calls=[{**function, "id": "c-0"}]),
        {"role": "tool", "tool_call_id": "c-0", "name": "weather", "content": "rain"},
        assistant("text"),
    ]
    large = {"type": "image_url", "image_url": {"url": pictures[0] + "A" * 2_000_000}}
    ask(plugin, conversation="b", messages=[user([large])]).tell("text").done()
    assert plugin.flush()
    with History(history_file) as history:
        latest, first = history.list()
    assert latest.request == {
        "messages": [user([{"type": "text", "text": "[image/png, 1500001 bytes: not stored]"}])]
    }
    assert first.question == "look\n[image/png]\n[image]\n[image]\n[a.pdf]\n[file]"


def test_turns_in_another_form(url, keep, ask) -> None:
    """What the program sent in its own form comes back as it is."""
    plugin = keep(url)
    odd = [user(["text", 1, None]), assistant("", tool_calls="x"), {"role": "tool", "content": {}}]
    ask(plugin, conversation="a", messages=odd).tell("text").done()
    found = plugin.load_conversation("a")
    assert found is not None
    assert found["messages"] == [*odd, assistant("text")]


def test_partial_answers(url, keep, ask) -> None:
    """An answer that was cancelled or failed is a turn when it has text; else the one before is."""
    plugin = keep(url)
    ask(plugin, "first", conversation="a").tell("whole").done()
    ask(plugin, "second", conversation="a").tell("so f").fail(StreamCancelledError("x"))
    partial = {"id": "a", "messages": [user("second"), assistant("so f")]}
    assert plugin.load_conversation("a") == partial
    for chunks in ((), (ErrorChunk("busy"),), (ReasoningChunk("hm"),), ("",)):
        ask(plugin, "third", conversation="a").tell(*chunks).fail(StreamServerError("busy"))
    ask(plugin, "open", conversation="a").tell("not yet")
    ask(plugin, "refused", conversation="b").fail(StreamServerError("busy"))
    assert plugin.load_conversation("a") == partial
    assert plugin.load_conversation(None) == partial
    assert plugin.load_conversation("b") is None


def test_an_answer_of_tool_calls_only(url, keep, ask) -> None:
    """It has no text and is a turn."""
    plugin = keep(url)
    ask(plugin, "first", conversation="a").tell("whole").done()
    ask(plugin, "second", conversation="a").tell(ToolCallChunk(CALL)).done()
    found = plugin.load_conversation("a")
    assert found is not None
    assert found["messages"][-1] == assistant("", tool_calls=[CALL.to_dict()])


def test_without_prompts(url, keep, ask, caplog) -> None:
    """The user chose not to store them: the log says so, and the conversation is not there."""
    plugin = keep(url, prompts=False)
    ask(plugin, "my secret", conversation="a").tell("text").done()
    assert plugin.load_conversation(None) is None
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("websopy_persistence", logging.WARNING)
    assert "conversation a cannot be continued: its prompts are not stored" in record.getMessage()
    assert "secret" not in caplog.text
    with History(url) as history, pytest.raises(PromptsNotStoredError):
        history.conversation("a")


NO_IDS = [1, b"a", ["a"], "", "x" * 256]


def test_ids_that_cannot_be_stored(history_file: Path, keep, ask, caplog) -> None:
    """The stream is stored without it, and one warning does not quote it."""
    plugin = keep(history_file)
    for id in NO_IDS:
        ask(plugin, conversation=id).tell("text").done()
    ask(plugin, conversation="x" * 255).tell("text").done()
    assert plugin.flush()
    (record,) = caplog.records
    assert record.getMessage() == (
        "metadata: expected a str of 1 to 255 characters for 'conversation', got int: these "
        "streams are stored without it"
    )
    with History(history_file) as history:
        conversations = [stream.conversation for stream in history.list()]
    assert conversations == ["x" * 255, *[None] * len(NO_IDS)]


@pytest.mark.parametrize("id", ["NUL \0", "half \ud83d", "长" * 255, "🦜", " a ", "'; --"])
def test_odd_ids(url, keep, ask, id: str) -> None:
    """They are found by what the program passed, also when the database replaces a character."""
    plugin = keep(url)
    ask(plugin, "q", conversation=id).tell("text").done()
    found = plugin.load_conversation(id)
    assert found is not None
    assert found["messages"] == [user("q"), assistant("text")]


def test_a_history_that_is_not_there(tmp_path: Path) -> None:
    """No file is made, and there is no conversation."""
    plugin = PersistencePlugin(tmp_path / "folder" / "history.db")
    assert plugin.load_conversation(None) is None
    assert list(tmp_path.iterdir()) == []


def test_a_time_limit_comes_out(history_file: Path, keep, ask) -> None:
    """What the program's signal handler raises is no failure of the database."""
    plugin = keep(history_file)
    ask(plugin, conversation="a").tell("text").done()
    assert plugin.flush()

    def expire(*signal_and_frame: object) -> None:
        raise TimeoutError("the program's own limit")

    def interrupt(*statement: object) -> None:
        signal.raise_signal(signal.SIGALRM)

    before = signal.signal(signal.SIGALRM, expire)
    try:
        with History(history_file) as history:
            sqlalchemy.event.listen(history._engine, "before_cursor_execute", interrupt)
            with pytest.raises(TimeoutError, match="own limit"):
                history.conversation("a")
    finally:
        signal.signal(signal.SIGALRM, before)


class Ringing(dict[str, Any]):
    """A dict during whose encoding a signal comes."""

    def items(self) -> Any:
        signal.raise_signal(signal.SIGALRM)
        return super().items()


@pytest.mark.parametrize("field", ["contents", "other"])
def test_a_time_limit_while_a_body_is_encoded(field: str, history_file: Path, keep) -> None:
    """An exception of the program's signal handler is no body that cannot be encoded."""

    def expire(*signal_and_frame: object) -> None:
        raise ValueError("the program's own limit")

    result = {"functionResponse": {"name": "f", "response": Ringing(a=1)}}
    body = {field: [{"role": "user", "parts": [result]}]}
    request = Request("POST", "http://x", {}, body)
    before = signal.signal(signal.SIGALRM, expire)
    try:
        with pytest.raises(ValueError, match="own limit"):
            keep(history_file).on_request(request, None)
    finally:
        signal.signal(signal.SIGALRM, before)


def test_many_chunks_of_reasoning_share_rows(history_file: Path, keep, ask) -> None:
    """As chunks of text do; kinds are never mixed, and a chunk with more fields keeps its row."""
    plugin = keep(history_file)
    chunks: list[Any] = [
        kind(f"{number} ")
        for number in range(2000)
        for kind in [ReasoningChunk if number // 300 % 2 else ContentChunk]
    ]
    chunks[700] = ReasoningChunk("700 ", extra={"more": 1})
    answer = ask(plugin).tell(*chunks)
    answer.done()
    assert plugin.flush(20)
    with History(history_file) as history:
        (stream,) = history.list()
        stored = [piece.chunk for piece in history.chunks(stream.id)]
        assert history.message(stream.id) == answer.current_message
    assert stored[:-1] == chunks
    assert stored[700].extra == {"more": 1}
    assert stream.reasoning == answer.current_message.reasoning


def test_extra_that_is_no_json(history_file: Path, keep, ask) -> None:
    """A program may make a chunk of anything: the text is kept, the rest is not."""
    plugin = keep(history_file)
    answer = ask(plugin).tell(ContentChunk("text", extra={"x": object()}), ReasoningChunk("why"))
    answer.done(Usage(1, 2, details={"x": object()}), finish_reason="stop")
    assert plugin.flush()
    with History(history_file) as history:
        (stream,) = history.list()
        assert history.message(stream.id) == Message(
            "text", (), Usage(1, 2), "stop", reasoning="why"
        )
    assert (stream.answer, stream.reasoning, stream.lost) == ("text", "why", 0)


def test_extra_weighs(history_file: Path, keep, ask) -> None:
    """What waits for the database is bounded, wherever in a chunk it is."""
    plugin = keep(history_file, limits=Limits(weight=5000))
    ask(plugin).tell(ContentChunk("x", extra={"more": "y" * 5000}))
    assert plugin.lost_chunks == 1


@pytest.mark.parametrize("rest", [[], ["some text", ToolCallChunk(CALL)]])
def test_a_process_that_died(url, keep, ask, rest) -> None:
    """Its stream is marked with the text and the reasoning that were stored, and is a turn."""
    plugin = keep(url)
    ask(plugin, "first", conversation="a").tell("whole").done()
    ask(plugin, "second", conversation="a").tell(ReasoningChunk("why"), *rest)
    assert plugin.flush()
    plugin.close()
    is_open = streams.c.status == "open"
    dead = {"writer": "host/1/1/boot/namespace", "seen": datetime(2001, 1, 1, tzinfo=UTC)}
    with plugin.database.engine_for_writing().begin() as connection:
        connection.execute(sqlalchemy.update(streams).where(is_open).values(**dead))
    found = keep(url).load_conversation("a")
    with History(url) as history:
        (stream,) = history.list(status="interrupted")
    assert stream.reasoning == "why"
    if rest:
        turns = [user("second"), assistant("some text", tool_calls=[CALL.to_dict()])]
    else:
        turns = [user("first"), assistant("whole")]
    assert found == {"id": "a", "messages": turns}


@pytest.mark.parametrize("text", ["text", ""])
def test_nothing_is_kept_in_memory(history_file: Path, keep, text: str) -> None:
    """With keep_message=False the reasoning is stored too, and what the done chunk says."""
    end = done(finish_reason="length", model="w-2", answer_id="a-1")
    with (
        Sandbox([think("why"), say(text), end], pause=0) as sandbox,
        WebsopyClient("k", base_url=sandbox.url, plugins=[plugin := keep(history_file)]) as client,
    ):
        client.ai.chat_stream("q", keep_message=False).until_done()
    assert plugin.flush()
    with History(history_file) as history:
        (stream,) = history.list()
    assert (stream.answer, stream.reasoning) == (text, "why")
    assert (stream.finish_reason, stream.answer_model, stream.answer_id) == ("length", "w-2", "a-1")


def test_another_process_continues(history_file: Path) -> None:
    """By the client: what goes over the wire is the whole conversation, tool results included."""
    bodies: list[Any] = []

    def talk(turns: list[dict[str, Any]], *script: Any) -> None:
        plugin = PersistencePlugin(history_file)
        with (
            Sandbox(pause=0) as sandbox,
            WebsopyClient("k", base_url=sandbox.url, plugins=[plugin]) as client,
        ):
            found = client.load_conversation("c-1")
            sandbox.play(script)
            messages = [*(found["messages"] if found else []), *turns]
            try:
                client.ai.chat(messages, metadata={"conversation": "c-1"})
            except (StreamServerError, APIStatusError):
                pass
            bodies.append(json.loads(sandbox.requests[-1].body)["messages"])
        plugin.close()

    talk([user("Weather?")], tool("weather", '{"city": "成都"}', "call-1"), done())
    talk([user("lost")], error("busy"))
    result = {"role": "tool", "tool_call_id": "call-1", "name": "weather", "content": "rain"}
    talk([result], say("It rains."), done())
    talk([user("Thanks")], say("Bye"), done())
    call = {"name": "weather", "arguments": '{"city": "成都"}', "id": "call-1"}
    assert bodies[-1] == [
        user("Weather?"),
        assistant("", toolCalls=[call]),
        {"role": "tool", "toolCallId": "call-1", "name": "weather", "content": "rain"},
        assistant("It rains."),
        user("Thanks"),
    ]


@pytest.mark.parametrize(
    "wire", ["websopy", "openai", "anthropic", "gemini", "ollama", "responses"]
)
def test_every_wire(history_file: Path, keep, wire: str) -> None:
    """A continued conversation sends what one that never stopped would send."""
    png = b"\x89PNG\r\n\x1a\npicture"
    parts = [
        websopy_sync.image(png),
        *([] if wire == "ollama" else [file(b"%PDF-", name="a.pdf")]),
        "look",
    ]
    script = [tool("weather", '{"city": "成都"}', "call_1"), done()]
    plugin = keep(history_file)
    with (
        Sandbox(pause=0, wire=wire) as sandbox,
        WebsopyClient("k", base_url=sandbox.url, wire=wire, model="m", plugins=[plugin]) as client,
    ):
        live = client.ai.conversation("Be brief.", metadata={"conversation": "a"})
        live.send("first").get_final_message()
        live.send(parts).get_final_message()
        sandbox.play(script)
        (call,) = live.send("Weather?").get_final_message().tool_calls
        live.add_tool_result(call, "rain")
        live.send().get_final_message()
        found = client.load_conversation("a")
        assert found is not None
        for messages in (live.messages, found["messages"]):
            client.ai.chat([*messages, user("Thanks")])
        stayed, came_back = (request.json for request in sandbox.requests[-2:])
        with History(history_file) as history:
            questions = [stream.question for stream in history.list()]
    assert came_back == stayed
    assert [turn["content"] for turn in found["messages"][:3]] == [
        turn["content"] for turn in live.messages[:3]
    ]
    assert questions[-1] == "first"
    assert questions[0] == "Thanks"


def weather(city: str) -> str:
    """The weather.

    Args:
        city: Where.
    """
    return f"rain in {city}"


def test_a_run_of_tools_is_continued(history_file: Path, keep) -> None:
    """Each turn of a run is a stream of its conversation; the last one has them all."""
    plugin = keep(history_file)
    with (
        Sandbox(pause=0) as sandbox,
        WebsopyClient("k", base_url=sandbox.url, plugins=[plugin]) as client,
    ):
        for city in ("成都", "北京"):
            sandbox.play([tool("weather", {"city": city}, f"call-{city}"), done()])
        sandbox.play([say("Rain everywhere."), done(finish_reason="stop")])
        metadata = {"conversation": "a"}
        with client.ai.run("Weather?", tools=[weather], metadata=metadata) as run:
            for _ in run:
                pass
        found = client.load_conversation("a")
    assert found is not None
    assert found["messages"] == run.messages
    assert len(run.messages) == 6
    with History(history_file) as history:
        assert len(history.list(conversation="a")) == 3
