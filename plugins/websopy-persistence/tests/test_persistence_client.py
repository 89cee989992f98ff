"""With a real client and a real server: every way out of an answer, and the installed plugin."""

from __future__ import annotations

import importlib.metadata
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from websopy_persistence import History, PersistencePlugin
from websopy_persistence.history import StoredStream

from websopy_sync import CancelToken, WebsopyClient
from websopy_sync.errors import (
    APIStatusError,
    StreamCancelledError,
    StreamInterruptedError,
    StreamServerError,
)
from websopy_sync.sandbox import Sandbox, cut, done, error, pause, say, silence, status, tool

KEY = "the-key-of-the-test"


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as running:
        yield running


@pytest.fixture
def client(sandbox: Sandbox, keep, history_file: Path) -> Iterator[WebsopyClient]:
    with WebsopyClient(
        KEY, base_url=sandbox.url, plugins=[keep(history_file)], strict_plugins=True
    ) as made:
        yield made


@pytest.fixture
def stored(client: WebsopyClient, keep, history_file: Path) -> Callable[[], StoredStream]:
    """The only stream, once its end is stored."""

    def look() -> StoredStream:
        deadline = time.monotonic() + 10
        with History(history_file) as history:
            while not (found := history.list()) or found[0].status == "open":
                assert time.monotonic() < deadline
                time.sleep(0.01)
        (stream,) = found
        return stream

    return look


def test_a_whole_answer(client, sandbox, stored, history_file) -> None:
    """Text, tool calls, usage, ids."""
    sandbox.play([say("你好"), tool("weather", '{"city": "成都"}'), say("!"), done(3, 4)])
    with client.ai.chat_stream("天气?", model="w-1") as stream:
        message = stream.get_final_message()
        request_id, last_event_id = stream.request_id, stream.last_event_id
    found = stored()
    assert (found.status, found.chunks, found.lost) == ("done", 4, 0)
    assert (found.question, found.answer, found.model) == ("天气?", "你好!", "w-1")
    assert (found.request_id, found.last_event_id) == (request_id, last_event_id)
    assert (found.status_code, found.retries, found.usage) == (200, 0, message.usage)
    assert found.url == f"{sandbox.url}/ai/chat"
    with History(history_file) as history:
        assert history.message(found.id) == message
    everything = b"".join(path.read_bytes() for path in history_file.parent.iterdir())
    assert KEY.encode() not in everything


def test_break(client, sandbox, stored) -> None:
    """The consumer left."""
    sandbox.play([say("one"), say("two"), silence()])
    for chunk in client.ai.chat_stream("q"):
        if chunk.type == "content" and chunk.content == "two":
            break
    found = stored()
    assert (found.status, found.answer, found.chunks) == ("cancelled", "onetwo", 2)
    assert found.error is not None
    assert found.error.code == "closed"


def test_cancel(client, sandbox, stored) -> None:
    """Before the first chunk."""
    token = CancelToken()
    sandbox.play([silence()])
    stream = client.ai.chat_stream("q", cancel_token=token)
    token.cancel()
    with pytest.raises(StreamCancelledError):
        stream.until_done()
    found = stored()
    assert (found.status, found.answer, found.chunks) == ("cancelled", "", 0)
    assert found.error is not None
    assert found.error.code == "cancelled"
    assert found.first_chunk_seconds is None


def test_error_chunk(client, sandbox, stored) -> None:
    """The service gave up."""
    sandbox.play([say("one"), error("too busy", "overloaded")])
    with pytest.raises(StreamServerError):
        client.ai.chat("q")
    found = stored()
    assert (found.status, found.answer, found.chunks) == ("error", "one", 2)
    assert found.error is not None
    assert (found.error.message, found.error.code) == ("too busy", "overloaded")


def test_cut_and_resumed(client, sandbox, stored, history_file) -> None:
    """A resumed answer is one stream, and no chunk of it is there twice."""
    sandbox.play([say("one "), say("two "), cut(), say("three"), done()])
    client.ai.chat("q")
    found = stored()
    assert (found.status, found.answer, found.chunks) == ("done", "one two three", 4)
    assert found.retries == 1


def test_cut_for_good(client, sandbox, stored) -> None:
    """The end of the bytes without a done chunk is an error."""
    sandbox.play([say("one"), cut()])
    with pytest.raises(StreamInterruptedError):
        client.ai.chat("q", resume=False)
    found = stored()
    assert (found.status, found.answer) == ("error", "one")
    assert found.error is not None
    assert found.error.type == "StreamInterruptedError"


def test_refused(client, sandbox, stored) -> None:
    """The call itself raised: there never was a stream."""
    sandbox.play([status(422)])
    with pytest.raises(APIStatusError):
        client.ai.chat_stream("q")
    found = stored()
    assert (found.status, found.status_code, found.chunks) == ("error", 422, 0)


def test_garbage(client, sandbox, stored) -> None:
    """A stream that was dropped without being closed."""
    sandbox.play([say("one"), silence()])
    stream = client.ai.chat_stream("q")
    next(iter(stream))
    del stream
    assert stored().status == "cancelled"


def test_text_without_a_message(client, sandbox, stored) -> None:
    """keep_message=False keeps no text in memory; the history has it all the same."""
    sandbox.play([say("one "), say("two"), done()])
    for _ in client.ai.chat_stream("q", keep_message=False):
        pass
    assert stored().answer == "one two"


def test_times(client, sandbox, stored) -> None:
    """From the question, on a clock that only goes forward."""
    sandbox.play([pause(0.2), say("one"), pause(0.2), done(1, 10)])
    client.ai.chat("q")
    found = stored()
    assert 0.1 <= found.first_chunk_seconds <= found.seconds - 0.1
    assert found.tokens_per_second == 10 / (found.seconds - found.first_chunk_seconds)


def test_the_same_key_at_once(client, sandbox, keep, history_file) -> None:
    """Two questions under one idempotency key are two streams."""
    sandbox.play([say("one"), done()])
    sandbox.play([say("two"), done()])
    first = client.ai.chat_stream("q", idempotency_key="same")
    second = client.ai.chat_stream("q", idempotency_key="same")
    first.until_done()
    second.until_done()
    client.close()
    keep(history_file).close()
    deadline = time.monotonic() + 10
    with History(history_file) as history:
        while len(history.list(status="done")) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert sorted(str(stream.answer) for stream in history.list()) == ["one", "two"]


@pytest.mark.slow
def test_installed(sandbox, monkeypatch, history_file) -> None:
    """By its entry point, in every client, with no word of it in the script."""
    points = importlib.metadata.entry_points(group="websopy_sync", name="persistence")
    if not points:
        pytest.skip("needs the plugin installed: pip install -e plugins/websopy-persistence")
    (point,) = points
    assert point.load() is PersistencePlugin
    monkeypatch.setenv("WEBSOPY_PERSISTENCE_URL", f"sqlite:///{history_file}")
    monkeypatch.setenv("WEBSOPY_PLUGINS", "persistence")
    with WebsopyClient(KEY, base_url=sandbox.url) as client:
        assert [plugin.state for plugin in client.plugins if plugin.name == "persistence"] == [
            "loaded"
        ]
        client.ai.chat("Hello")
    with History(history_file) as history:  # the client's close() has seen to it
        assert [stream.status for stream in history.list()] == ["done"]
