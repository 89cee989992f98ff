"""Promises 15, 16 over a socket: the event stream as WHATWG defines it, and its limits.

The decoder's own table is tested elsewhere; here is what the whole way from the socket makes of it.
"""

from __future__ import annotations

import gzip
from typing import Any

import faults
import pytest
from faults import (
    DONE,
    LAST,
    Conn,
    ask,
    body,
    client,
    event,
    http_chunk,
    http_chunked,
    length,
    listen,
    play,
    text,
    to_close,
)
from tables import each

from websopy_sync import APIError, StreamInterruptedError, StreamProtocolError, Timeouts

MIB = 1 << 20
BOM = b"\xef\xbb\xbf"
END = b"data: END\n\n"


def events_of(sent: bytes, *, cut: int = 0, **options: Any) -> list[tuple[str, str, str]]:
    """What the native layer makes of a body; in pieces of `cut` bytes when that is not 0."""
    pieces = [sent[at : at + cut] for at in range(0, len(sent), cut)] if cut else [sent]

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.head(headers=LAST)
        for piece in pieces:
            conn.body(piece)
            conn.pause(0.001 if cut else 0)  # or the network would join them again
        conn.body(END)
        conn.end()

    seen = []
    with play(script) as server, client(server, max_retries=0, **options) as asker:
        for came in asker.events("GET", "/ai/chat", params={"message": "hi"}):
            if came.data == "END":
                break
            seen.append((came.event, came.data, came.id))
    return seen


def message(data: str, *, id: str = "", name: str = "message") -> tuple[str, str, str]:
    """An event as `events_of` shows it."""
    return (name, data, id)


CASES: dict[str, tuple[bytes, list[tuple[str, str, str]]]] = {
    "plain": (b"data: a\n\n", [message("a")]),
    "CR": (b"data: a\rdata: b\r\r", [message("a\nb")]),
    "CRLF": (b"data: a\r\ndata: b\r\n\r\n", [message("a\nb")]),
    "all line ends": (b"data: a\rdata: b\r\ndata: c\n\r\n", [message("a\nb\nc")]),
    "LF CR is two": (b"data: a\n\rdata: b\n\r", [message("a"), message("b")]),
    "BOM": (BOM + b"data: a\n\n", [message("a")]),
    "two BOMs": (BOM + BOM + b"data: a\n\ndata: b\n\n", [message("b")]),
    "BOM later": (b"data: a\n" + BOM + b"data: b\n\n", [message("a")]),
    "no space": (b"data:a\n\n", [message("a")]),
    "one space goes": (b"data:  a\n\n", [message(" a")]),
    "tab stays": (b"data:\ta\n\n", [message("\ta")]),
    "no colon": (b"data\n\ndata\ndata\n\n", [message(""), message("\n")]),
    "colon in data": (b"data: a: b\n\n", [message("a: b")]),
    "no data": (b"event: x\nid: 1\n\ndata: a\n\n", [message("a", id="1")]),
    "empty data": (b"data:\n\n", [message("")]),
    "comment": (b": c\ndata: a\n:\n\n", [message("a")]),
    "event name": (b"event: x\ndata: a\n\ndata: b\n\n", [message("a", name="x"), message("b")]),
    "event emptied": (b"event: x\nevent\ndata: a\n\n", [message("a")]),
    "field case": (b"Data: x\nDATA: x\ndata: a\n\n", [message("a")]),
    "space before": (b" data: x\ndata : x\ndata: a\n\n", [message("a")]),
    "unknown fields": (b"foo: x\nretry\ndata: a\n\n", [message("a")]),
    "id kept": (b"id: 1\ndata: a\n\ndata: b\n\n", [message("a", id="1"), message("b", id="1")]),
    "id emptied": (b"id: 1\ndata: a\n\nid\ndata: b\n\n", [message("a", id="1"), message("b")]),
    "id with NUL": (b"id: 1\ndata: a\n\nid: 2\x003\ndata: b\n\n",
                    [message("a", id="1"), message("b", id="1")]),
    "id of Chinese": ("id: 中文\ndata: a\n\n".encode(), [message("a", id="中文")]),
    "NUL in data": (b"data: a\x00b\n\n", [message("a\x00b")]),
    "U+2028": ("data: a\u2028b\u2029c\x85d\x0be\x0cf\x1cg\n\n".encode(),
               [message("a\u2028b\u2029c\x85d\x0be\x0cf\x1cg")]),
    "bad UTF-8": (b"data: a\xffb\xe4\xb8c\xf0\x9f\n\n", [message("a\ufffdb\ufffdc\ufffd")]),
    "surrogates": (b"data: \xed\xa0\x80\n\n", [message("\ufffd" * 3)]),
    "overlong": (b"data: \xc0\xaf\n\n", [message("\ufffd" * 2)]),
    "emoji": ("data: 👩‍👩‍👧\n\n".encode(), [message("👩‍👩‍👧")]),
    "ten thousand data lines": (b"data: x\n" * 10_000 + b"\n", [message("x\n" * 9_999 + "x")]),
}  # fmt: skip


@each("name", CASES)
def test_whole(name: str) -> None:
    """The case in one piece."""
    sent, expected = CASES[name]
    assert events_of(sent) == expected


@each("name", [name for name in CASES if len(CASES[name][0]) < 200])
def test_byte_by_byte(name: str) -> None:
    """The case in pieces of one byte: line ends and characters are cut everywhere."""
    sent, expected = CASES[name]
    assert events_of(sent, cut=1) == expected


def test_incomplete_last_event_is_dropped() -> None:
    """An event without its blank line is none."""
    with play(body(text("a"), DONE[:-1])) as server:
        got = ask(server)
    assert (type(got.error), got.text) == (StreamInterruptedError, "a")


def test_event_that_ends_in_cr_at_the_end() -> None:
    """A bare CR at the very end of the body ends the event."""
    with play(body((text("a") + DONE).replace(b"\n", b"\r"))) as server:
        got = ask(server)
    assert (got.text, got.error) == ("a", None)


@pytest.mark.parametrize("name", ["ping", "ping "])
def test_pings_are_passed_over(name: str) -> None:
    """`event: ping` is no chunk, whatever its data; another name does not matter."""
    ping = f"event: ping\ndata: {'{}' if name == 'ping' else 'no JSON'}\n\n".encode()
    with play(body(ping, text("a", name="whatever"), ping, DONE)) as server:
        got = ask(server)
    assert (got.text, got.error) == ("a", None)


def test_data_over_several_lines() -> None:
    """A chunk's JSON may be broken over data lines."""
    sent = b'data: {"type": "content",\ndata:  "content": "a"}\n\n'
    with play(body(sent, DONE)) as server:
        assert ask(server).text == "a"


def test_retry_alone() -> None:
    """A `retry:` field is no event."""
    with play(body(b"retry: 10\n\n", text("a"), DONE)) as server:
        assert ask(server).text == "a"


# ----------------------------------------------------------------------------------------- limits


def test_ten_megabytes() -> None:
    """A large event is delivered whole."""
    large = "x" * (10 * MIB)
    with play(body(text(large) + DONE)) as server:
        assert ask(server, timeout=Timeouts(total=10)).text == large


def test_large_event_of_data_lines() -> None:
    """So is one of a hundred thousand lines."""
    with play(
        body(b"data: {\n" + b"data: \n" * 100_000 + b'data: "type": "x"}\n\n', DONE)
    ) as server:
        got = ask(server)
    assert [piece.type for piece in got.chunks] == ["x", "done"]


LIMITED = {
    "endless line": (b"data: ", b"x" * 65536),
    "endless event": (b"", b"data: " + b"x" * 1000 + b"\n"),
    "endless short lines": (b"", b"data\n" * 10_000),
    "endless field name": (b"", b"x" * 65536),
    "endless id": (b"id: ", b"1" * 65536),
    "endless name": (b"event: ", b"n" * 65536),
    "endless retry": (b"retry: ", b"1" * 65536),
}


@each("name", LIMITED)
def test_event_without_end(name: str) -> None:
    """An event larger than max_event_size is a protocol error, early, with what had come."""
    start, piece = LIMITED[name]

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.head()
        conn.body(text("half"), start or b"data: x\n")
        conn.flood(http_chunk(piece), limit=64 * MIB)

    with play(script) as server, client(server, max_event_size=MIB) as asker:
        got = ask(server, through=asker)
        assert server.sent < 24 * MIB
    assert type(got.error) is StreamProtocolError
    assert (got.text, got.error.partial.content) == ("half", "half")
    assert len(str(got.error)) < 1000


def test_ignored_lines_do_not_add_up() -> None:
    """Comments of any number are no event, and end with the answer."""
    many = b": comment\n" * 50_000
    with (
        play(body(text("a"), many, DONE)) as server,
        client(server, max_event_size=10_000) as asker,
    ):
        got = ask(server, through=asker)
    assert (got.text, got.error) == ("a", None)


def test_endless_comment() -> None:
    """One comment without end is ended by size or by time, and holds no memory meanwhile."""

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.head()
        conn.body(text("half") + b": ")
        for _ in range(40):
            conn.body(b"x" * 65536)
            conn.pause(0.02)
        conn.wait_gone()

    limits = Timeouts(connect=5, first_chunk=5, idle=0.4, total=5)
    with play(script) as server, client(server, max_event_size=MIB) as asker:
        got = ask(server, through=asker, timeout=limits)
    assert isinstance(got.error, APIError)
    assert got.error.partial.content == "half"


@pytest.mark.parametrize("framing", [http_chunked, to_close])
def test_limit_is_exact(framing: Any) -> None:
    """An event of just max_event_size passes; the least that cannot be one does not."""
    near = text("x" * 9_000)
    with play(body(near, DONE, framing=framing())) as server:
        with client(server, max_event_size=len(near) + 10) as asker:
            assert ask(server, through=asker).error is None
    with play(body(near, DONE, framing=framing())) as server:
        with client(server, max_event_size=8_000) as asker:
            assert type(ask(server, through=asker).error) is StreamProtocolError


def test_sixteen_mebibytes_unless_set() -> None:
    """The default limit is 16 MiB."""

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.head(framing=to_close())
        conn.body(b"data: ")
        conn.flood(b"x" * 65536, limit=64 * MIB)

    with play(script) as server:
        got = ask(server, timeout=Timeouts(total=10))
        assert 15 * MIB < server.sent < 32 * MIB
    assert type(got.error) is StreamProtocolError


def test_limit_in_the_native_layer() -> None:
    """The native layer has the same limit."""
    with play(body(b"data: " + b"x" * 100_000 + b"\n\n")) as server:
        with client(server, max_event_size=50_000) as asker:
            got = listen(lambda: asker.events("GET", "/ai/chat", params={"message": "hi"}))
    assert type(got.error) is StreamProtocolError


def test_bomb_that_is_one_event() -> None:
    """A small packed body that inflates beyond the limit is stopped at the limit."""
    bomb = gzip.compress(b"data: " + b"x" * (64 * MIB))

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.head(headers={"Content-Encoding": "gzip"})
        conn.body(bomb)
        conn.wait_gone()

    with play(script) as server, client(server, max_event_size=MIB) as asker:
        got = ask(server, through=asker)
    assert type(got.error) is StreamProtocolError


def test_small_events_that_make_a_large_answer() -> None:
    """The limit is one event's: an answer of many events may be larger."""
    with play(body(*[text("x" * 1000)] * 50, DONE)) as server:
        with client(server, max_event_size=2_000) as asker:
            assert len(ask(server, through=asker).text) == 50_000


def test_no_read_ahead() -> None:
    """Who takes one event of thousands has had the others neither parsed nor told."""
    bad = b"data: this is no JSON\n\n"
    with play(body(text("a") + bad * 1000, end=False)) as server, client(server) as asker:
        stream = asker.ai.chat_stream("hi")
        assert next(stream).content == "a"
        stream.close()
    assert stream.state == "closed"


def test_names_of_events_are_not_types() -> None:
    """An event named `done` or `error` is what its JSON says."""
    with play(body(text("a", name="done"), text("b", name="error"), DONE)) as server:
        got = ask(server)
    assert (got.text, got.error) == ("ab", None)


def test_native_events_end_with_their_bytes() -> None:
    """The native layer knows of no done: each event is handed over, also after a done chunk."""
    pieces = [event({"type": "done"}, id="1"), b"event: x\ndata: y\n\n"]
    with play(body(*pieces), always=faults.raw_answer(b"HTTP/1.1 204 No\r\n\r\n")) as server:
        with client(server, max_retries=0) as asker:
            got = listen(lambda: asker.events("GET", "/ai/chat", params={"message": "hi"}))
    assert [came.event for came in got.chunks] == ["message", "x"]


@pytest.mark.timing
def test_native_events_end_with_their_length() -> None:
    """A body that is complete is at its end, though the connection stays open."""
    sent = b"data: a\n\n"

    def script(conn: Conn) -> None:
        for _ in range(2):
            conn.read_request()
            conn.head(framing=length(len(sent)))
            conn.body(sent)
        conn.wait_gone()

    with play(script) as server, client(server) as asker:
        for _ in range(2):
            got = listen(lambda: asker.events("GET", "/ai/chat"))
            assert ([came.data for came in got.chunks], got.error) == (["a"], None)
            assert got.seconds < 0.5
