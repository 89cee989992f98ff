"""The same on SQLite, PostgreSQL and MariaDB: what was streamed is read back as it was."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy
from websopy_persistence import History, PersistencePlugin, UnknownStreamError
from websopy_persistence.schema import streams

from websopy_sync.chunks import (
    ContentChunk,
    DoneChunk,
    ErrorChunk,
    ReasoningChunk,
    ToolCall,
    ToolCallChunk,
    UnknownChunk,
    Usage,
)
from websopy_sync.errors import (
    APITimeoutError,
    StreamCancelledError,
    StreamServerError,
)
from websopy_sync.message import Message

USAGE = Usage(20, 150, cached_tokens=5, reasoning_tokens=100, details={"audioTokens": 2})
TOOL = ToolCall("天气", '{"city": "成都"}', "call-1")


def test_an_answer_comes_back_as_it_came(url, keep, ask) -> None:
    """Every kind of chunk, and the message they make."""
    plugin = keep(url)
    chunks = [
        ReasoningChunk("我想"),
        ContentChunk("人工智能 🦜", extra={"index": 0, "logprobs": [{"深": -0.5}]}),
        ToolCallChunk(TOOL, extra={"tool": {"kind": "function"}}),
        UnknownChunk("thought", {"深": [1, 2.5, None]}),
        ReasoningChunk(" and so on", extra={"signature": "\ud83d"}),
        ContentChunk(" changes the world"),
        DoneChunk(
            USAGE, "tool_calls", "w-1-2026", "answer-1", state={"w": ["深"]}, extra={"created": 1}
        ),
    ]
    answer = ask(plugin, "写一篇关于 AI 的文章", model="w-1", temperature=0.5)
    answer.last_event_id = "4"
    answer.tell(*chunks[:-1])
    answer.done(
        USAGE,
        finish_reason="tool_calls",
        model="w-1-2026",
        id="answer-1",
        state={"w": ["深"]},
        extra={"created": 1},
    )
    assert plugin.flush()
    with History(url) as history:
        (stream,) = history.list()
        stored = [piece.chunk for piece in history.chunks(stream.id)]
        assert stored == chunks
        assert [chunk.extra for chunk in stored] == [chunk.extra for chunk in chunks]
        assert stored[-1].usage.details == {"audioTokens": 2}
        assert [piece.seq for piece in history.chunks(stream.id)] == list(range(7))
        message = history.message(stream.id)
        assert message == answer.current_message
        assert message.reasoning == stream.reasoning == "我想 and so on"
        assert message.tool_calls == (TOOL,)
    assert (stream.status, stream.chunks, stream.lost, stream.usage) == ("done", 7, 0, USAGE)
    assert (stream.finish_reason, stream.truncated) == ("tool_calls", False)
    assert (stream.answer_model, stream.answer_id) == ("w-1-2026", "answer-1")
    assert (stream.model, stream.question) == ("w-1", "写一篇关于 AI 的文章")
    assert stream.request is not None
    assert stream.request["temperature"] == 0.5
    assert stream.answer == "人工智能 🦜 changes the world"
    assert (stream.idempotency_key, stream.request_id) == (answer.idempotency_key, "request-1")
    assert (stream.last_event_id, stream.status_code, stream.retries) == ("4", 200, 0)
    assert timedelta() <= datetime.now(UTC) - stream.started < timedelta(seconds=60)
    assert stream.finished is not None
    assert stream.started <= stream.finished
    assert stream.seconds is not None
    assert stream.first_chunk_seconds is not None
    assert 0 <= stream.first_chunk_seconds <= stream.seconds


@pytest.mark.parametrize(
    "text",
    [
        "NUL \0 in the middle",
        "half of a pair \ud83d alone",
        "halves \ud83d\ude00 that belong",
        "\ufeff\uffff\ufffe\u2028\x1b[2J\x7f\x85",
        "'; DROP TABLE streams; --",
        'back\\slash \\u0041 "quotes" % _',
        "𠀀🏴‍☠️ é é ẞ",
        " ends with a space ",
        "",
        "长" * 70_000,
    ],
    ids=lambda text: ascii(text)[:24],
)
def test_odd_text_is_stored_or_replaced(url, keep, ask, text: str) -> None:
    """NUL and lone surrogates become U+FFFD in columns; chunks keep them; nothing is an error."""
    plugin = keep(url)
    answer = ask(plugin, text)
    answer.last_event_id = answer.request_id = text[:50]
    answer.tell(text, UnknownChunk(text[:50], {text: text}), ReasoningChunk(text))
    answer.done(finish_reason=text, model=text, id=text)
    assert plugin.flush()
    assert (plugin.problem, plugin.lost_chunks) == ("", 0)
    with History(url) as history:
        (stream,) = history.list()
        first = history.chunks(stream.id)[0].chunk
    expected = text.replace("\ud83d\ude00", "😀")
    assert first == ContentChunk(expected)
    clean = expected.replace("\0", "\ufffd").replace("\ud83d", "\ufffd")
    assert (stream.question, stream.answer, stream.reasoning) == (clean, clean, clean or None)
    assert (stream.finish_reason, stream.answer_model) == (clean[:255], clean[:255])
    assert stream.answer_id == clean[:65_536]


def test_ids_differ_by_case(url, keep, ask) -> None:
    """MariaDB's usual collation would take `K` and `k` for one key."""
    plugin = keep(url)
    ask(plugin).done()
    assert plugin.flush()
    engine = plugin.database.engine_for_writing()
    with engine.begin() as connection:
        (row,) = connection.execute(sqlalchemy.select(streams)).mappings()
        for key in ("K", "k"):
            connection.execute(sqlalchemy.insert(streams), {**row, "id": key})
    with History(url) as history:
        assert len(history.list()) == 3


@pytest.mark.parametrize(
    ("error", "status", "type_", "code"),
    [
        (StreamServerError("busy", code="overloaded"), "error", "StreamServerError", "overloaded"),
        (APITimeoutError("late", phase="idle"), "error", "APITimeoutError", "idle"),
        (StreamCancelledError("left", reason="closed"), "cancelled", "StreamCancelledError",
         "closed"),
        (KeyboardInterrupt(), "cancelled", "KeyboardInterrupt", None),
        (RuntimeError("may quote anything"), "error", "RuntimeError", None),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)  # fmt: skip
def test_an_answer_that_failed(url, keep, ask, error, status, type_, code) -> None:
    """What came is kept, with the reason; messages of foreign errors are not."""
    plugin = keep(url)
    ask(plugin).tell("as far", ErrorChunk("busy")).fail(error)
    assert plugin.flush()
    with History(url) as history:
        (stream,) = history.list(status=status)
        assert history.message(stream.id) == Message("as far")
    assert stream.error is not None
    assert (stream.error.type, stream.error.code) == (type_, code)
    assert "anything" not in stream.error.message


@pytest.mark.parametrize("reason", ["stop", "length", "content_filter", "tool_calls", "odd", None])
def test_why_it_ended(url, keep, ask, reason) -> None:
    """Each finish reason is kept, and tells whether the answer is cut."""
    plugin = keep(url)
    ask(plugin).tell("text").done(finish_reason=reason)
    assert plugin.flush()
    with History(url) as history:
        (stream,) = history.list()
        assert history.message(stream.id).finish_reason == stream.finish_reason == reason
    assert stream.truncated == (reason in ("length", "content_filter"))
    assert stream.to_dict()["truncated"] == stream.truncated


def test_the_last_come_first(url, keep, ask) -> None:
    """Newest first, as many as were asked for."""
    plugin = keep(url)
    for number in range(5):
        ask(plugin, f"question {number}").done()
    assert plugin.flush()
    with History(url) as history:
        assert [stream.question for stream in history.list(limit=2)] == ["question 4", "question 3"]
        assert len(history.list(limit=None)) == 5
        assert history.list(limit=0) == []


def test_searching(url, keep, ask) -> None:
    """A text anywhere in question or answer, Chinese too, whatever the case; no wildcards."""
    plugin = keep(url)
    ask(plugin, "写一篇关于 AI 的文章").tell("改变世界").done()
    ask(plugin, "50% of Users_x").tell("a\\b").done()
    ask(plugin, "third").tell("cut in t", "wo").done()
    assert plugin.flush()
    with History(url) as history:

        def found(text: str) -> list[str]:
            return [str(stream.question)[:5] for stream in history.list(search=text)]

        assert found("关于") == found("变世") == found("ai 的") == ["写一篇关于"]
        assert found("0%") == found("users_") == found("A\\B") == ["50% o"]
        assert found("in two") == ["third"]
        assert found("user") == ["50% o"]  # and not every question, whose role is "user"
        assert found("0_") == found("t%o") == found("\0") == []


def test_filters(url, keep, ask) -> None:
    """By status, and by when the question was asked."""
    plugin = keep(url)
    ask(plugin, "first").done()
    middle = datetime.now(UTC)
    ask(plugin, "second").fail(StreamServerError("x"))
    assert plugin.flush()
    with History(url) as history:
        assert [stream.question for stream in history.list(status="error")] == ["second"]
        assert [stream.question for stream in history.list(since=middle)] == ["second"]
        assert [stream.question for stream in history.list(until=middle)] == ["first"]
        assert history.list(since=middle, status="done") == []


def test_the_first_digits_of_an_id_will_do(url, keep, ask) -> None:
    """As long as they belong to one stream only."""
    plugin = keep(url)
    for _ in range(17):  # two of them begin with the same digit
        ask(plugin).done()
    assert plugin.flush()
    with History(url) as history:
        stream = history.list()[3]
        assert history.get(stream.id) == history.get(stream.id[:12]) == stream
        for id_ in ("", "%", "x" * 8, stream.id + "0", stream.id.upper() + "_", "f" * 32):
            with pytest.raises(UnknownStreamError):
                history.get(id_)
        digits = [stream.id[0] for stream in history.list()]
        twice = next(digit for digit in digits if digits.count(digit) > 1)
        with pytest.raises(UnknownStreamError, match="more than one"):
            history.get(twice)


def test_deleting(url, keep, ask) -> None:
    """A stream goes with its chunks; one that is open stays."""
    plugin = keep(url)
    for number in range(3):
        ask(plugin, f"question {number}").tell("answer").done()
    ask(plugin, "still open").tell("so far")
    assert plugin.flush()
    with History(url) as history:
        history.delete(history.list(search="question 1")[0].id)
        assert len(history.list()) == 3
        assert history.prune(datetime.now(UTC) - timedelta(hours=1)) == 0
        assert history.prune(datetime.now(UTC) + timedelta(hours=1)) == 2
        (stream,) = history.list()
        assert (stream.question, stream.status) == ("still open", "open")
        assert len(history.chunks(stream.id)) == 1


def test_an_open_stream_can_be_read_meanwhile(url, keep, ask) -> None:
    """As far as it is stored, from another connection, while it is written."""
    plugin = keep(url)
    answer = ask(plugin).tell("so", " far")
    assert plugin.flush()
    with History(url) as history:
        (stream,) = history.list(status="open")
        assert history.message(stream.id).content == "so far"
        assert stream.answer is None
        answer.tell(" and on").done()
        assert plugin.flush()
        assert history.message(stream.id).content == "so far and on"


def test_a_second_plugin_finds_the_tables(url, keep, ask) -> None:
    """The same database, opened again, and by two at once."""
    first, second = keep(url), keep(url)
    ask(first).done()
    ask(second).done()
    assert first.flush()
    assert second.flush()
    ask(third := keep(url)).done()
    assert third.flush()
    with History(url) as history:
        assert len(history.list()) == 3


def test_many_make_the_tables_at_once(url, keep, ask, caplog) -> None:
    """As processes do that are started together; nobody is told of trouble."""
    plugins = [keep(url) for _ in range(6)]
    answers = [ask(plugin) for plugin in plugins]  # each opens the database in its own thread
    for answer in answers:
        answer.done()
    assert all(plugin.flush(20) for plugin in plugins)
    assert caplog.text == ""
    with History(url) as history:
        assert len(history.list()) == 6


def test_no_key_and_no_header_is_stored(url, keep, ask) -> None:
    """Headers may be secret, whatever their names; so may what is in a URL beside the path."""
    plugin = keep(url)
    ask(plugin).done()
    assert plugin.flush()
    with History(url) as history:
        (stream,) = history.list()
        assert "secret" not in repr(stream)
        assert stream.url == "http://127.0.0.1/v1/ai/chat"


def test_without_prompts(url, keep, ask) -> None:
    """With prompts off nothing of what the user wrote is there, nested or not."""
    plugin = keep(url, prompts=False)
    ask(plugin, "my secret", model="w-1", temperature=1, tools=[{"x": "my secret"}]).done()
    assert plugin.flush()
    with History(url) as history:
        (stream,) = history.list()
    assert stream.request == {"model": "w-1", "temperature": 1}
    assert stream.question is None
    assert "secret" not in repr(stream)


def test_nothing_is_opened_before_the_first_question(tmp_path) -> None:
    """An installed plugin that is never used leaves no file."""
    plugin = PersistencePlugin(tmp_path / "folder" / "history.db")
    plugin.close()
    assert plugin.flush(0)
    assert list(tmp_path.iterdir()) == []
