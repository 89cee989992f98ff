"""Promise 9: a token is handed over when it is there, however it is framed.

Shown without a clock: the server holds back each event until the test has the one before it. A
reader that waits for more than has come would wait for ever. One test at the end measures.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable

import pytest
from faults import (
    DONE,
    Conn,
    Framing,
    authority,
    client,
    encoded,
    http_chunk,
    http_chunked,
    in_step,
    length,
    one_http_chunk,
    play,
    text,
    to_close,
)

WORDS = [f"word {number} " for number in range(8)]
EVENTS = [*map(text, WORDS)]
SIZE = sum(map(len, EVENTS)) + len(DONE)

FRAMINGS: dict[str, Callable[[], Framing]] = {
    "chunked": http_chunked,
    "one chunk that trickles": lambda: one_http_chunk(SIZE),
    "length": lambda: length(SIZE),
    "close": to_close,
    "gzip, chunked": lambda: encoded(http_chunked()),
    "gzip, close": lambda: encoded(to_close()),
    "deflate, chunked": lambda: encoded(http_chunked(), coding="deflate"),
}


@pytest.mark.parametrize("name", FRAMINGS)
@pytest.mark.parametrize("tls", [False, True])
def test_each_event_before_the_next_is_sent(name: str, tls: bool) -> None:
    """Chunked, trickling, by length, to the close, compressed; plain and TLS."""
    word = threading.Semaphore(0)
    script = in_step(FRAMINGS[name](), EVENTS, word)
    with play(script, tls=authority().server() if tls else None) as server:
        with client(server) as asker:
            seen = []
            for piece in asker.ai.chat_stream("hi"):
                if piece.type == "content":
                    seen.append(piece.content)
                    word.release()
    assert seen == WORDS


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("name", ["chunked", "close", "one chunk that trickles"])
def test_every_line_end(end: str, name: str) -> None:
    """An event that ends in a bare CR is not held back for a LF that may follow."""
    word = threading.Semaphore(0)
    events = [event.replace(b"\n", end.encode()) for event in EVENTS]
    size = sum(map(len, events)) + len(DONE)
    framing = one_http_chunk(size) if name.startswith("one") else FRAMINGS[name]()
    with play(in_step(framing, events, word)) as server, client(server) as asker:
        for piece in asker.ai.chat_stream("hi"):
            if piece.type == "content":
                word.release()


def test_native_events() -> None:
    """The native layer is as prompt."""
    word = threading.Semaphore(0)
    with play(in_step(to_close(), EVENTS, word)) as server, client(server) as asker:
        seen = 0
        for event in asker.events("GET", "/ai/chat", params={"message": "hi"}):
            seen += 1
            word.release()
            if "done" in event.data:
                break
    assert seen == len(WORDS) + 1


def test_text_stream() -> None:
    """So is the text alone."""
    word = threading.Semaphore(0)
    with play(in_step(http_chunked(), EVENTS, word)) as server, client(server) as asker:
        for _ in asker.ai.chat_stream("hi").text_stream:
            word.release()


def test_event_and_the_beginning_of_the_next() -> None:
    """An event is not held back by the half event that came with it."""
    told = threading.Event()

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.head()
        conn.body(text("one") + text("two")[:20])
        conn.wait(told)
        conn.body(text("two")[20:] + DONE)
        conn.end()

    with play(script) as server, client(server) as asker:
        stream = asker.ai.chat_stream("hi")
        assert next(stream).content == "one"
        told.set()
        assert next(stream).content == "two"
        stream.close()


def test_event_and_the_beginning_of_a_chunk_header() -> None:
    """Nor by half a chunk header."""
    told = threading.Event()

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.head()
        rest = http_chunk(text("two") + DONE)
        conn.send(http_chunk(text("one")) + rest[:1])
        conn.wait(told)
        conn.send(rest[1:], b"0\r\n\r\n")

    with play(script) as server, client(server) as asker:
        stream = asker.ai.chat_stream("hi")
        assert next(stream).content == "one"
        told.set()
        assert next(stream).content == "two"
        stream.close()


def test_event_whose_chunk_is_not_whole() -> None:
    """An event is handed over though its HTTP chunk lacks its end."""
    told = threading.Event()

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.head()
        conn.send(http_chunk(text("one"))[:-2])
        conn.wait(told)
        conn.send(b"\r\n", http_chunk(DONE), b"0\r\n\r\n")

    with play(script) as server, client(server) as asker:
        stream = asker.ai.chat_stream("hi")
        assert next(stream).content == "one"
        told.set()
        assert [piece.type for piece in stream] == ["done"]


def test_done_is_handed_over_at_once() -> None:
    """The done chunk does not wait for the end of the body."""
    told = threading.Event()

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.head()
        conn.body(text("one"), DONE)
        conn.wait(told)

    with play(script) as server, client(server) as asker:
        assert [piece.type for piece in asker.ai.chat_stream("hi")] == ["content", "done"]
        told.set()


@pytest.mark.timing
def test_events_that_came_together_need_no_more_from_the_network() -> None:
    """A thousand events in one packet are all handed over though nothing follows."""
    told = threading.Event()

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.head()
        conn.body(text(".") * 1000)
        conn.wait(told)

    with play(script) as server, client(server) as asker:
        stream = asker.ai.chat_stream("hi")
        assert "".join(next(stream).content for _ in range(1000)) == "." * 1000
        told.set()
        stream.close()


def measured_delay(name: str) -> float:
    """Seconds from the socket to the loop, the median of 20 tokens."""
    sent: list[float] = []
    came: list[float] = []
    events = [text(f"token {number:02}") for number in range(20)]
    size = sum(map(len, events)) + len(DONE)
    framing = {
        "length": lambda: length(size),
        "one chunk that trickles": lambda: one_http_chunk(size),
    }

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.head(framing=framing.get(name, FRAMINGS[name])())
        for event in events:
            conn.pause(0.005)
            sent.append(time.monotonic())
            conn.body(event)
        conn.body(DONE)
        conn.end()

    with play(script) as server, client(server) as asker:
        for piece in asker.ai.chat_stream("hi"):
            if piece.type == "content":
                came.append(time.monotonic())
    return statistics.median(there - here for here, there in zip(sent, came, strict=True))


@pytest.mark.timing
@pytest.mark.parametrize("name", FRAMINGS)
def test_strict_delay(name: str) -> None:
    """From the socket to the loop in 5 ms; a machine that is busy has three tries."""
    assert any(measured_delay(name) < 0.005 for _ in range(3))
