"""Streams that are faster than the database: rows, ends and texts are kept, and no stream waits."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import attrs
import pytest
from websopy_persistence import History, Limits, PersistencePlugin
from websopy_persistence.inbox import RESERVE, Inbox
from websopy_persistence.records import Begin, End, Piece

from websopy_sync import WebsopyClient
from websopy_sync.chunks import ContentChunk, StreamChunk, ToolCall, ToolCallChunk, UnknownChunk

pytestmark = pytest.mark.slow

PATIENT = Limits(period=0.02, retry=0.02, longest_retry=0.05, tries=10**6)

SERVICE = """
import sys, time
from websopy_sync.sandbox import Sandbox, done, say
with Sandbox([*(say("word ") for _ in range(20_000)), done(1, 20_000)], pause=0) as sandbox:
    print(sandbox.url, flush=True)
    time.sleep(60)
"""


@contextlib.contextmanager
def another_writer(file: Path) -> Iterator[None]:
    """Somebody in the middle of writing to the same SQLite file."""
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield


def rows(file: Path) -> list[tuple[int, float, str]]:
    with contextlib.closing(sqlite3.connect(file)) as connection:
        query = "SELECT seq, seconds, data FROM chunks ORDER BY stream, seq"
        return connection.execute(query).fetchall()


def test_twenty_thousand_chunks_at_once(history_file: Path) -> None:
    """One answer from a service in another process, as fast as it can be read."""
    plugin = PersistencePlugin(history_file)
    with (
        subprocess.Popen([sys.executable, "-c", SERVICE], stdout=subprocess.PIPE, text=True) as it,
        contextlib.closing(plugin),
    ):
        assert it.stdout is not None
        with WebsopyClient("key", base_url=it.stdout.readline().strip(), plugins=[plugin]) as asked:
            message = asked.ai.chat("Hello")
        it.kill()
    with History(history_file) as history:
        (stream,) = history.list()
        assert (stream.status, stream.chunks, stream.lost) == ("done", 20_001, 0)
        assert stream.answer == message.content == "word " * 20_000
        assert history.message(stream.id) == message
        assert [piece.seq for piece in history.chunks(stream.id)] == list(range(20_001))
    assert (plugin.lost_chunks, plugin.lost_streams) == (0, 0)


def test_fifty_threads(history_file: Path, keep, ask) -> None:
    """Five answers each, much faster than 170 chunks a second."""
    plugin = keep(history_file, limits=Limits())

    def stream(number: int) -> None:
        for turn in range(5):
            ask(plugin, f"{number}/{turn}").tell(*[f"{number} "] * 340).done()

    threads = [threading.Thread(target=stream, args=(number,)) for number in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert plugin.flush(30)
    with History(history_file) as history:
        streams = {str(stream.question): stream for stream in history.list(limit=None)}
    assert len(streams) == 250
    for question, stream in streams.items():
        assert (stream.status, stream.chunks, stream.lost) == ("done", 341, 0)
        assert stream.answer == f"{question.partition('/')[0]} " * 340


def test_chunks_that_wait_share_rows(history_file: Path, keep, ask) -> None:
    """Each chunk is read back as it came, with its time; (stream, seq) numbers the rows."""
    plugin = keep(history_file, busy_timeout=0.05, limits=attrs.evolve(PATIENT, batch=50))
    answer = ask(plugin)
    assert plugin.flush()
    chunks: list[StreamChunk] = [ContentChunk("字" * (n % 7)) for n in range(3000)]
    chunks[1000] = ToolCallChunk(ToolCall("weather", "{}"))
    chunks[2000] = UnknownChunk("thinking", {"deep": [1, 2]})
    with another_writer(history_file):
        answer.tell(*chunks).done()
    assert plugin.flush()
    with History(history_file) as history:
        (stream,) = history.list()
        stored = history.chunks(stream.id)
        assert history.message(stream.id) == answer.current_message
    assert (stream.status, stream.chunks, stream.lost) == ("done", 3001, 0)
    assert [piece.seq for piece in stored] == list(range(3001))
    assert [piece.chunk for piece in stored[:-1]] == chunks
    times = [piece.seconds for piece in stored]
    assert times == sorted(times)
    assert len(set(times[100:900])) > 10
    numbers = [seq for seq, _, _ in rows(history_file)]
    assert numbers == list(range(len(numbers)))
    assert len(numbers) < 1000


def test_slow_streams_have_a_row_a_chunk(history_file: Path, keep, ask) -> None:
    """Nothing is joined while the database keeps up."""
    plugin = keep(history_file)
    answer = ask(plugin)
    for number in range(100):
        answer.tell(f"{number} ")
        if number % 10 == 0:
            assert plugin.flush()
    answer.done()
    assert plugin.flush()
    texts = [json.loads(data).get("content") for _, _, data in rows(history_file)]
    assert texts == [*(f"{number} " for number in range(100)), None]


def test_fast_in_every_kind(url: str, keep, ask) -> None:
    """PostgreSQL and MySQL take the same; odd characters are no error in a row of many."""
    plugin = keep(url, limits=Limits())
    pieces = ["a\0b", "\ud83d", "\ude00", "字", "", "🎈", "'\"\\"] * 3000
    ask(plugin).tell(*pieces).done()
    assert plugin.flush(30)
    assert (plugin.problem, plugin.lost_chunks) == ("", 0)
    with History(url) as history:
        (stream,) = history.list()
        text = "".join(piece.chunk.content for piece in history.chunks(stream.id)[:-1])  # type: ignore[union-attr]
    assert (stream.status, stream.chunks, stream.lost) == ("done", len(pieces) + 1, 0)
    whole = "".join(pieces).encode("utf-16", "surrogatepass").decode("utf-16")
    assert text.encode("utf-16", "surrogatepass").decode("utf-16") == whole
    assert stream.answer == whole.replace("\0", "\ufffd")


def test_a_prefix_at_any_moment(history_file: Path, keep, ask) -> None:
    """What is stored of a fast stream is its beginning, without gaps and without doubles."""
    plugin = keep(history_file, limits=attrs.evolve(PATIENT, batch=5))
    answer = ask(plugin)
    for turn in range(20):
        answer.tell(*(f"{turn * 100 + number} " for number in range(100)))
        assert plugin.flush()
        with History(history_file) as history:
            (stream,) = history.list()
            assert stream.chunks == (turn + 1) * 100
            stored = [piece.chunk.content for piece in history.chunks(stream.id)]  # type: ignore[union-attr]
            assert stored == [f"{number} " for number in range(stream.chunks)]


NOW = datetime(2026, 1, 2, tzinfo=UTC)


def piece(seq: int, text: str = "text", *, stream: str = "s") -> Piece:
    return Piece(stream, seq, 0.0, ContentChunk(text), len(text))


def end(answer: str, *, stream: str = "s") -> End:
    return End(stream, "done", NOW, 1.0, 0, answer=answer)


def test_chunks_leave_room_for_rows_and_texts() -> None:
    """When chunks find no room, streams can still begin, and end with their text."""
    inbox = Inbox(weight=10_000, batch=10)
    assert inbox.put(Begin("s", NOW))
    seq = 0
    while inbox.put(piece(seq)):
        seq += 1
    for number in range(5):
        assert inbox.put(Begin(f"{number}", NOW))
        assert not inbox.put(piece(0, stream=f"{number}"))
        assert inbox.put(end("x" * 1000, stream=f"{number}"))
    answers = [record.answer for record in inbox.take() if isinstance(record, End)]
    assert answers == ["x" * 1000] * 5
    assert (inbox.lost_chunks, inbox.lost_streams) == (6, 0)


def test_memory_is_bounded_for_rows_and_texts_too() -> None:
    """Far beyond that a text is left out, then a stream; an end is taken always."""
    inbox = Inbox(weight=10_000, batch=10)
    assert inbox.put(Begin("s", NOW))
    assert inbox.put(end("x" * (RESERVE * 10_000)))
    (_, ended) = inbox.take()
    assert isinstance(ended, End)
    assert ended.answer is None
    while inbox.put(Begin("t", NOW)):
        pass
    assert (inbox.lost_chunks, inbox.lost_streams) == (0, 1)


def test_what_is_stored_makes_room() -> None:
    """The bound is on what waits, joined chunks included."""
    inbox = Inbox(weight=10_000, batch=2)
    for turn in range(20):
        seq = 0
        while inbox.put(piece(seq, stream=f"{turn}")):
            seq += 1
        assert seq > 100
        inbox.free(sum(record.weight for record in inbox.take()))


def test_rows_do_not_grow_without_end() -> None:
    """A database server takes only so much at once."""
    inbox = Inbox(weight=10**9, batch=1)
    for seq in range(300):
        inbox.put(piece(seq, "x" * 1000))
    pieces = [record for record in inbox.take() if isinstance(record, Piece)]
    assert max(len(each.text) for each in pieces) <= 65_536
    assert sum(each.count for each in pieces) == 300
    assert len(pieces) < 10
