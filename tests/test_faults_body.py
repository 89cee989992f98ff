"""Promises 10, 11, 13, 17: how a body can be framed, packed, cut and overfilled."""

from __future__ import annotations

import gzip
import threading
import zlib
from typing import Any

import faults
import pytest
from faults import (
    DONE,
    Conn,
    answer,
    ask,
    body,
    client,
    encoded,
    event,
    http_chunk,
    http_chunked,
    length,
    one_http_chunk,
    play,
    raw_answer,
    stall_after,
    text,
    thought,
    to_close,
)

from websopy_sync import (
    APITimeoutError,
    BadRequestError,
    CancelToken,
    DoneChunk,
    StreamCancelledError,
    StreamError,
    StreamInterruptedError,
    StreamProtocolError,
    Timeouts,
    ToolCall,
    Usage,
)

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
TO_CLOSE = HEAD + b"Connection: close\r\n\r\n"
HALF = text("half")
WHOLE = text("hi") + DONE
FRAMINGS = {
    "chunked": http_chunked,
    "close": to_close,
    "length": lambda: length(len(WHOLE)),
    "one chunk": lambda: one_http_chunk(len(WHOLE)),
}


def interrupted(got: faults.Outcome, content: str = "half") -> None:
    """It ended as a cut does: what came was delivered, is on the error, and may be asked again."""
    assert type(got.error) is StreamInterruptedError
    assert (got.text, got.error.partial.content) == (content, content)
    assert (got.error.retryable, got.error.last_event_id) == (True, "")


# --------------------------------------------------------------------------------------- framing


@pytest.mark.parametrize("name", FRAMINGS)
def test_whole_answer(name: str) -> None:
    """In every framing an answer is an answer."""
    with play(body(WHOLE, framing=FRAMINGS[name]())) as server:
        got = ask(server)
    assert (got.text, got.error) == ("hi", None)
    assert got.chunks[-1] == DoneChunk(Usage(20, 150))


@pytest.mark.parametrize("name", FRAMINGS)
def test_reasoning_and_tool_calls(name: str) -> None:
    """An answer without a text is one too, cut anywhere."""
    call = event({"type": "tool_call", "tool": {"name": "f", "arguments": "{}", "id": "c"}})
    sent = thought("想") + call + event({"type": "done", "finishReason": "tool_calls"})
    sizes = {"length": lambda: length(len(sent)), "one chunk": lambda: one_http_chunk(len(sent))}
    for place in range(1, len(sent), 7):
        framing = sizes.get(name, FRAMINGS[name])()
        with play(body(sent[:place], sent[place:], framing=framing)) as server:
            got = ask(server)
        assert [chunk.type for chunk in got.chunks] == ["reasoning", "tool_call", "done"]
        message = got.stream.current_message
        assert (message.content, message.reasoning, message.finish_reason) == (
            "",
            "想",
            "tool_calls",
        )
        assert message.tool_calls == (ToolCall("f", "{}", "c"),)


@pytest.mark.parametrize("name", FRAMINGS)
def test_byte_by_byte(name: str) -> None:
    """Cut at every byte, HTTP chunks and characters too, it is the same answer."""
    sent = text("中文…") + DONE
    sizes = {"length": lambda: length(len(sent)), "one chunk": lambda: one_http_chunk(len(sent))}
    framing = sizes.get(name, FRAMINGS[name])()

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.head(headers=faults.LAST, framing=framing)
        for position in range(len(sent)):
            conn.body(sent[position : position + 1])
            conn.pause(0.001)  # or the network would join them again
        conn.end()

    with play(script) as server:
        assert ask(server).text == "中文…"


def test_chunks_cut_at_every_byte() -> None:
    """The chunked framing itself may come a byte at a time."""
    wire = (
        CHUNKED + b"".join(http_chunk(piece) for piece in (HALF[:9], HALF[9:], DONE)) + b"0\r\n\r\n"
    )

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.trickle(wire, every=0.0005)
        conn.wait_gone()

    with play(script) as server, client(server) as asker:
        assert ask(server, through=asker).text == "half"


@pytest.mark.parametrize(
    "size_line",
    [b"%x", b"%X", b"000%x", b"%x;name=value", b"%x;name", b'%x ; name="a b"', b"%x ", b"%x\t"],
)
def test_chunk_size_as_it_may_be(size_line: bytes) -> None:
    """Leading zeros, capitals, extensions and blanks behind the size are fine."""
    wire = size_line % len(WHOLE) + b"\r\n" + WHOLE + b"\r\n0\r\n\r\n"
    with play(raw_answer(CHUNKED + wire)) as server:
        got = ask(server)
    assert (got.text, got.error) == ("hi", None)


@pytest.mark.parametrize(
    "size_line",
    [
        b"zz",
        b"-5",
        b"+5",
        b"1_0",
        b"0x10",
        b" 5",
        b"",
        b"5 5",
        b"5.0",
        b";ext",
        b"g",
        b"\xd9\xa1",
        b"ffffffffffffffffffffffff",
        b"5\x00",
        b"\x005",
        b"-0",
    ],
)
def test_chunk_size_as_it_may_not_be(size_line: bytes) -> None:
    """A chunk size that is none is a protocol error with what had come before."""
    wire = http_chunk(HALF) + size_line + b"\r\n" + WHOLE + b"\r\n0\r\n\r\n"
    with play(raw_answer(CHUNKED + wire)) as server:
        got = ask(server)
    assert type(got.error) is StreamProtocolError
    assert (got.text, got.error.partial.content) == ("half", "half")


def test_chunk_without_its_line_end() -> None:
    """Data that does not end where its size says is a protocol error."""
    with play(
        raw_answer(CHUNKED + http_chunk(HALF)[:-2] + b"XX" + http_chunk(WHOLE) + b"0\r\n\r\n")
    ) as server:
        got = ask(server)
    assert type(got.error) is StreamProtocolError
    assert "hi" not in got.text


def test_endless_chunk_size() -> None:
    """A size line without end is given up."""

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.send(CHUNKED + http_chunk(HALF) + b"5;")
        conn.flood(b"x" * 8192, limit=32_000_000)

    with play(script) as server:
        got = ask(server)
        assert server.sent < 16_000_000
    assert type(got.error) is StreamProtocolError
    assert got.error.partial.content == "half"


@pytest.mark.parametrize("trailer", [b"X-Sum: 1\r\n", b"X-A: 1\r\nX-B: 2\r\n", b"no colon\r\n"])
def test_trailers(trailer: bytes) -> None:
    """Trailers after the last chunk are let pass, and the connection is used again."""

    def script(conn: Conn) -> None:
        for _ in range(2):
            conn.read_request()
            conn.send(CHUNKED + http_chunk(WHOLE) + b"0\r\n" + trailer + b"\r\n")
        conn.wait_gone()

    with play(script) as server, client(server) as asker:
        assert [ask(server, through=asker).text for _ in range(2)] == ["hi", "hi"]


def test_endless_trailers_without_done() -> None:
    """Trailers for ever end at a limit of size or time."""

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.send(CHUNKED + http_chunk(HALF) + b"0\r\n")
        conn.flood(b"X-Again: x\r\n" * 100, limit=32_000_000)

    with play(script) as server:
        got = ask(server)
        assert server.sent < 16_000_000
    assert isinstance(got.error, StreamError)
    assert got.error.partial.content == "half"


@pytest.mark.timing
def test_trickling_trailers() -> None:
    """A trailer that trickles is ended by the total limit."""

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.send(CHUNKED + http_chunk(HALF) + b"0\r\n")
        conn.trickle(b"X-Slow: " + b"x" * 200)

    limits = Timeouts(connect=5, first_chunk=5, idle=5, total=0.3)
    with play(script) as server:
        got = ask(server, timeout=limits)
    assert (type(got.error), got.error.phase) == (APITimeoutError, "total")
    assert got.seconds < 0.8


# ------------------------------------------------------------------------------------------- cuts


@pytest.mark.parametrize("size", [0, 1, 4, 30, len(HALF) - 2, len(HALF) - 1])
@pytest.mark.parametrize("name", ["chunked", "close", "length"])
def test_cut_in_the_first_event(name: str, size: int) -> None:
    """An event that is not whole is none."""
    framing = FRAMINGS[name]()
    with play(body(*[HALF[:size]] * bool(size), framing=framing, end=False)) as server:
        interrupted(ask(server), "")


@pytest.mark.parametrize("size", range(0, len(text("中文")) + 1, 7))
@pytest.mark.parametrize("name", ["chunked", "close"])
def test_cut_after_an_event(name: str, size: int) -> None:
    """A cut anywhere in the second event leaves the first."""
    second = text("中文")[:-2]
    pieces = [HALF, second[:size]] if size else [HALF]
    with play(body(*pieces, framing=FRAMINGS[name](), end=False)) as server:
        interrupted(ask(server))


def test_cut_in_a_character() -> None:
    """A cut inside a UTF-8 character gives no half of it."""
    sent = text("中文")
    with play(body(HALF, sent[: sent.index("文".encode()) + 1], end=False)) as server:
        interrupted(ask(server))


@pytest.mark.parametrize(
    "start", [b"1", b"1f", b"1f\r", b"1f\r\n", b"1f\r\nda", b"0", b"0\r", b"0\r\n"]
)
def test_cut_in_a_chunk_header(start: bytes) -> None:
    """A cut in the framing is a cut."""
    with play(raw_answer(CHUNKED + http_chunk(HALF) + start)) as server:
        interrupted(ask(server))


@pytest.mark.parametrize("missing", [1, 2])
def test_cut_at_the_end_of_a_chunk(missing: int) -> None:
    """An event whose chunk lacks only its line end is whole."""
    with play(raw_answer(CHUNKED + http_chunk(HALF)[:-missing])) as server:
        interrupted(ask(server))


@pytest.mark.parametrize("name", ["chunked", "close"])
@pytest.mark.parametrize("pause", [0, 0.1])
def test_reset_after_an_event(name: str, pause: float) -> None:
    """A reset does not swallow the event before it."""

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.head(framing=FRAMINGS[name]())
        conn.body(HALF + b'data: {"type":"cont')
        conn.pause(pause)
        conn.reset()

    with play(script) as server:
        interrupted(ask(server))


@pytest.mark.parametrize("name", ["chunked", "close", "length"])
def test_orderly_end_without_done(name: str) -> None:
    """The end of the bytes is no end of the answer."""
    framing = length(len(HALF)) if name == "length" else FRAMINGS[name]()
    with play(body(HALF, framing=framing)) as server:
        interrupted(ask(server))


def test_short_of_its_length() -> None:
    """Fewer bytes than Content-Length promised is a cut."""
    with play(body(HALF, framing=length(999), end=False)) as server:
        interrupted(ask(server))


@pytest.mark.parametrize("name", ["chunked", "close", "length"])
def test_empty_answer(name: str) -> None:
    """No byte at all is an interrupted answer too."""
    framing = length(0) if name == "length" else FRAMINGS[name]()
    with play(body(framing=framing)) as server:
        interrupted(ask(server), "")


@pytest.mark.parametrize(
    "sent", [b": hello\n\n", b"\n\n\n", b"data\n", b"event: ping\ndata: {}\n\n"]
)
def test_answer_without_a_chunk(sent: bytes) -> None:
    """Neither do comments, blank lines or pings make an answer."""
    with play(body(sent)) as server:
        interrupted(ask(server), "")


def test_partial_holds_everything() -> None:
    """The partial message has text, reasoning, tool calls, and what else had come."""
    call = event({"type": "tool_call", "tool": {"name": "f", "arguments": "{}"}})
    with play(body(thought("hm"), text("a"), call, text("b"), thought("?"), end=False)) as server:
        got = ask(server)
    partial = got.error.partial
    assert (partial.content, [tool.name for tool in partial.tool_calls]) == ("ab", ["f"])
    assert (partial.reasoning, partial.finish_reason, partial.truncated) == ("hm?", None, False)
    assert got.stream.state == "error"
    assert got.stream.current_message == partial


def test_cut_in_reasoning() -> None:
    """An answer that was thought about and never came is interrupted, however it looks."""
    for end in (True, False):
        with play(body(thought("two and "), thought("two"), end=end)) as server:
            got = ask(server)
        interrupted(got, "")
        assert got.error.partial.reasoning == "two and two"


# ------------------------------------------------------------------------------------- after done


def then_silence(conn: Conn) -> None:
    conn.wait_gone()


def then_reset(conn: Conn) -> None:
    conn.pause(0.02)
    conn.reset()


def then_fin(conn: Conn) -> None:
    conn.half_close()


def then_more(conn: Conn) -> None:
    conn.body(text("not this"), DONE)
    conn.end()


def then_an_error(conn: Conn) -> None:
    conn.body(event({"type": "error", "error": "late"}))
    conn.end()


def then_garbage(conn: Conn) -> None:
    conn.send(b"zz\r\n\x00\xff")


def then_a_flood(conn: Conn) -> None:
    conn.flood(http_chunk(text("not this") * 1000), limit=32_000_000)
    assert conn.sent < 16_000_000


AFTERS = [then_silence, then_reset, then_fin, then_more, then_an_error, then_garbage, then_a_flood]


@pytest.mark.timing
@pytest.mark.parametrize("after", AFTERS)
@pytest.mark.parametrize("together", [True, False])
def test_after_done(after: Any, together: bool) -> None:
    """done ends the answer, whatever the connection does then; the next question is served."""

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.head()
        conn.body(*([WHOLE] if together else [text("hi"), DONE]))
        after(conn)

    with play(script, answer("next")) as server, client(server) as asker:
        got = ask(server, through=asker)
        assert (got.text, got.error, got.stream.state) == ("hi", None, "done")
        assert got.seconds < 0.5
        assert ask(server, through=asker).text == "next"


def test_more_in_the_same_write() -> None:
    """What comes in one packet with the done chunk is not handed over."""
    with play(body(WHOLE + text("not this") + event({"type": "error", "error": "no"}))) as server:
        got = ask(server)
    assert (got.text, got.error) == ("hi", None)
    assert got.chunks[-1].type == "done"


@pytest.mark.timing
@pytest.mark.parametrize("framing", [to_close, lambda: length(9999)])
def test_done_in_an_open_body(framing: Any) -> None:
    """done is enough where the framing promises more."""

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.head(framing=framing())
        conn.body(WHOLE)
        conn.wait_gone()

    with play(script) as server:
        got = ask(server)
    assert (got.text, got.error) == ("hi", None)
    assert got.seconds < 0.5


def test_answer_nobody_asked_for() -> None:
    """A second answer behind the first is never taken for the one to the next question."""
    extra = CHUNKED + http_chunk(text("poison") + DONE) + b"0\r\n\r\n"

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.send(CHUNKED + http_chunk(WHOLE) + b"0\r\n\r\n" + extra)
        conn.wait_gone()

    with play(script, answer("next")) as server, client(server) as asker:
        assert ask(server, through=asker).text == "hi"
        assert ask(server, through=asker).text == "next"


@pytest.mark.parametrize("body_size", [0, 4])
def test_answer_nobody_asked_for_behind_a_refusal(body_size: int) -> None:
    """The same behind a refusal, with and without a body."""
    refusal = b"HTTP/1.1 400 No\r\nContent-Length: %d\r\n\r\n" % body_size + b"oops"[:body_size]
    extra = CHUNKED + http_chunk(text("poison") + DONE) + b"0\r\n\r\n"

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.send(refusal + extra)
        conn.wait_gone()

    with play(script, answer("next")) as server, client(server) as asker:
        assert type(ask(server, through=asker).error) is BadRequestError
        assert ask(server, through=asker).text == "next"


def test_late_answer_nobody_asked_for() -> None:
    """Nor one that comes while the connection lies idle."""
    poisoned = threading.Event()

    def script(conn: Conn) -> None:
        conn.read_request()
        faults.reply(conn, "hi")
        conn.pause(0.05)
        conn.send(CHUNKED + http_chunk(text("poison") + DONE) + b"0\r\n\r\n")
        poisoned.set()
        conn.wait_gone()

    with play(script, answer("next")) as server, client(server) as asker:
        assert ask(server, through=asker).text == "hi"
        assert poisoned.wait(2)
        assert ask(server, through=asker).text == "next"


def test_more_than_its_length() -> None:
    """Bytes beyond Content-Length belong to no answer."""

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.head(framing=length(len(WHOLE)))
        conn.send(WHOLE + b"HTTP/1.1 200 OK\r\n" + text("poison"))
        conn.wait_gone()

    with play(script, answer("next")) as server, client(server) as asker:
        assert ask(server, through=asker).text == "hi"
        assert ask(server, through=asker).text == "next"


# ------------------------------------------------------------------------------------ compression


def test_identity_is_asked_for() -> None:
    """Accept-Encoding says identity, and nothing else."""
    with play(answer()) as server:
        ask(server)
        assert server.requests[0].header("accept-encoding") == b"identity"


@pytest.mark.parametrize("coding", ["gzip", "x-gzip", "deflate"])
@pytest.mark.parametrize("name", ["chunked", "close"])
def test_compressed_all_the_same(coding: str, name: str) -> None:
    """What comes compressed is readable."""
    with play(body(HALF, WHOLE, framing=encoded(FRAMINGS[name](), coding=coding))) as server:
        got = ask(server)
    assert (got.text, got.error) == ("halfhi", None)


def packed(data: bytes, coding: str, *, framing: faults.Framing | None = None) -> faults.Script:
    """A 200 with these bytes as its body, said to be coded so."""

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.head(headers={"Content-Encoding": coding}, framing=framing)
        conn.body(data)
        conn.end()

    return script


@pytest.mark.parametrize(
    ("coding", "pack"),
    [
        ("GZIP", gzip.compress), ("deflate", zlib.compress),
        ("deflate", lambda data: zlib.compress(data, wbits=-15)), ("identity", bytes), ("", bytes),
        ("gzip", lambda data: gzip.compress(data[:9]) + gzip.compress(data[9:])),
    ],
)  # fmt: skip
def test_codings(coding: str, pack: Any) -> None:
    """Coding names have no case; deflate may lack its wrapper; gzip may have several members."""
    with play(packed(pack(WHOLE), coding)) as server:
        got = ask(server)
    assert (got.text, got.error) == ("hi", None)


@pytest.mark.parametrize(
    "coding", ["br", "zstd", "compress", "nonsense", "gzip, gzip", "gzip,deflate"]
)
def test_unknown_coding(coding: str) -> None:
    """A coding that we do not undo, and more than one, is refused by name."""
    with play(packed(gzip.compress(gzip.compress(WHOLE)), coding)) as server:
        got = ask(server)
    assert type(got.error) is StreamProtocolError
    assert coding.split(",")[0] in str(got.error)


def test_gzip_that_is_none() -> None:
    """Plain text said to be gzip is a protocol error."""
    with play(packed(WHOLE, "gzip")) as server:
        assert type(ask(server).error) is StreamProtocolError


def test_corrupt_after_an_event() -> None:
    """What could be inflated is delivered before the error."""

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.head(framing=encoded(http_chunked()))
        conn.body(HALF)
        conn.send(http_chunk(b"\xff\xfe\xfd corrupt" * 10))
        conn.wait_gone()

    with play(script) as server:
        got = ask(server)
    assert type(got.error) is StreamProtocolError
    assert (got.text, got.error.partial.content) == ("half", "half")


@pytest.mark.parametrize("name", ["chunked", "close"])
def test_gzip_cut(name: str) -> None:
    """A compressed body that is cut is an interruption."""
    with play(body(HALF, framing=encoded(FRAMINGS[name]()), end=False)) as server:
        interrupted(ask(server))


def test_gzip_without_its_end() -> None:
    """So is one whose framing ends and whose compression does not."""

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.head(framing=encoded(http_chunked()))
        conn.body(HALF)
        conn.send(b"0\r\n\r\n")

    with play(script) as server:
        interrupted(ask(server))


def test_gzip_of_nothing() -> None:
    """An empty compressed body is an empty answer."""
    with play(packed(gzip.compress(b""), "gzip")) as server:
        interrupted(ask(server), "")


def test_gzip_with_garbage_behind() -> None:
    """Garbage behind the compressed answer comes after done."""
    with play(packed(gzip.compress(WHOLE) + b"garbage", "gzip")) as server:
        got = ask(server)
    assert (got.text, got.error) == ("hi", None)


def test_large_event_in_gzip() -> None:
    """A large event that was packed small is the same event."""
    large = text("x" * 2_000_000) + DONE
    with play(packed(gzip.compress(large), "gzip")) as server:
        assert ask(server).text == "x" * 2_000_000


def swollen(start: bytes, piece: bytes) -> faults.Script:
    """A packed body that begins so and then inflates to a gigabyte."""
    packer = zlib.compressobj(9, wbits=31)
    first = packer.compress(start) + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(piece * (1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.head(headers={"Content-Encoding": "gzip"})
        conn.body(first, block * 1024)
        conn.wait_gone()

    return script


@pytest.mark.timing
def test_bomb_behind_done() -> None:
    """What is packed behind done is not inflated."""
    with play(swollen(WHOLE, b"x")) as server:
        got = ask(server)
    assert (got.text, got.error) == ("hi", None)
    assert got.seconds < 0.5


@pytest.mark.timing
@pytest.mark.parametrize("piece", [b"x", b"\n"])
@pytest.mark.parametrize("phase", ["idle", "total"])
def test_bomb_of_what_is_no_chunk(phase: str, piece: bytes) -> None:
    """A limit holds while something is inflated that needs no more of the network."""
    limits = Timeouts(**{"connect": 5, "first_chunk": 5, "idle": 20, "total": 20, phase: 0.3})
    with play(swollen(HALF + b": ", piece)) as server:
        got = ask(server, timeout=limits)
    if piece == b"\n":  # else a line that is too long may be noticed first
        assert (type(got.error), got.error.phase) == (APITimeoutError, phase)
    assert type(got.error) in (APITimeoutError, StreamProtocolError)
    assert (got.text, got.seconds < 0.9) == ("half", True)


@pytest.mark.timing
def test_cancel_while_a_bomb_is_inflated() -> None:
    """So does cancel()."""
    token = CancelToken()
    limits = Timeouts(connect=5, first_chunk=20, idle=20, total=20)
    with play(swollen(HALF + b": ", b"\n")) as server:
        threading.Timer(0.2, token.cancel).start()
        got = ask(server, timeout=limits, cancel_token=token)
    assert type(got.error) is StreamCancelledError
    assert got.seconds < 0.8


# ------------------------------------------------------------------------------------------- time


@pytest.mark.timing
@pytest.mark.parametrize(
    ("phase", "pieces"), [("first_chunk", []), ("idle", [HALF]), ("total", [HALF])]
)
def test_silence(phase: str, pieces: list[bytes]) -> None:
    """Silence in the body ends at the limit it is in, with what had come; it is not asked again."""
    limits = Timeouts(**{"connect": 5, "first_chunk": 5, "idle": 5, "total": 5, phase: 0.2})
    with play(stall_after(*pieces)) as server:
        got = ask(server, timeout=limits)
    assert (type(got.error), got.error.phase) == (APITimeoutError, phase)
    assert (got.error.sent, got.error.attempts) == (True, 1)
    assert got.error.partial.content == ("half" if pieces else "")
    assert 0.15 < got.seconds < 0.8


NO_CHUNKS = {
    "comment": b": still here\n\n",
    "comments without end": b":",
    "blank lines": b"\n",
    "ping": b"event: ping\ndata: {}\n\n",
    "ping of JSON": event({"type": "ping"}),
    "ids": b"id: 5\n\n",
    "empty events": b"event: x\n\n",
    "half an event": b"data: ",
    "bytes of a field": b"x",
}


@pytest.mark.timing
@pytest.mark.slow
@pytest.mark.parametrize("name", NO_CHUNKS)
@pytest.mark.parametrize("phase", ["first_chunk", "idle", "total"])
def test_what_is_no_chunk(phase: str, name: str) -> None:
    """Whatever comes for ever and is no chunk moves no limit."""
    limits = Timeouts(**{"connect": 5, "first_chunk": 5, "idle": 5, "total": 5, phase: 0.25})

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.head()
        conn.body(*[HALF] * (phase != "first_chunk"))
        conn.keep_until_gone(NO_CHUNKS[name])

    with play(script) as server:
        got = ask(server, timeout=limits)
    assert (type(got.error), got.error.phase) == (APITimeoutError, phase)
    assert 0.2 < got.seconds < 0.8


def test_chunks_do_move_the_idle_limit() -> None:
    """An answer that takes longer than the idle limit, but never pauses as long, is fine."""

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.head()
        for _ in range(8):
            conn.pause(0.08)
            conn.body(text("."))
        conn.body(DONE)
        conn.end()

    limits = Timeouts(connect=5, first_chunk=0.4, idle=0.4, total=5)
    with play(script) as server:
        got = ask(server, timeout=limits)
    assert (got.text, got.error) == ("........", None)


@pytest.mark.timing
def test_chunks_do_not_move_the_total_limit() -> None:
    """Chunks for ever end at the total limit, with all that came."""

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.head()
        conn.keep_until_gone(text("."))

    limits = Timeouts(connect=5, first_chunk=5, idle=5, total=0.3)
    with play(script) as server:
        got = ask(server, timeout=limits)
    assert (type(got.error), got.error.phase) == (APITimeoutError, "total")
    assert got.error.partial.content == got.text != ""
    assert 0.25 < got.seconds < 0.8


def test_no_limits() -> None:
    """With every limit off an answer is waited for."""

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.pause(0.1)
        faults.reply(conn, "hi")

    limits = Timeouts(connect=None, first_chunk=None, idle=None, total=None)
    with play(script) as server:
        assert ask(server, timeout=limits).text == "hi"


def test_number_is_the_total_limit() -> None:
    """timeout=seconds is the total limit."""
    with play(stall_after(HALF)) as server:
        got = ask(server, timeout=0.2)
    assert (type(got.error), got.error.phase) == (APITimeoutError, "total")
