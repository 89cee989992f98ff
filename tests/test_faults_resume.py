"""Promises 1, 5: an answer that was cut goes on behind its last id, or ends, but never repeats."""

from __future__ import annotations

import threading
import time
from typing import Any

import faults
import pytest
import test_resume
from faults import (
    DONE,
    Conn,
    Script,
    ask,
    body,
    client,
    event,
    http_chunked,
    length,
    listen,
    play,
    raw_answer,
    stall,
    stall_after,
    status_answer,
    text,
    thought,
    to_close,
)

from websopy_sync import (
    APIError,
    APITimeoutError,
    CancelToken,
    StreamCancelledError,
    StreamInterruptedError,
    StreamProtocolError,
    Timeouts,
    ToolCall,
    hookimpl,
)

SOON = b"retry: 1\n\n"
"""Reconnect after a millisecond: the tests have no time for a back-off."""

HEL, LO, THERE = text("Hel", id="1"), text("lo ", id="2"), text("there", id="3")
END = event({"type": "done", "usage": faults.USAGE}, id="4")
NO_CONTENT = raw_answer(b"HTTP/1.1 204 No Content\r\n\r\n")


def part(*pieces: bytes, end: bool = False, framing: Any = http_chunked) -> Script:
    """A piece of an answer, cut off after it; with `end`, ended in good order."""
    return body(SOON, *pieces, framing=framing(), end=end)


def last_ids(server: faults.Server) -> list[bytes | None]:
    """The Last-Event-ID of each request."""
    return [request.header("last-event-id") for request in server.requests]


def interrupted(got: faults.Outcome, content: str, last_id: str) -> None:
    """It ended for good, with just this text, and can be told where."""
    assert type(got.error) is StreamInterruptedError
    assert (got.text, got.error.partial.content) == (content, content)
    assert got.error.last_event_id == last_id
    assert got.stream.state == "error"


# --------------------------------------------------------------------------------------- it works


def cut_by_reset(conn: Conn) -> None:
    part(HEL, LO)(conn)
    conn.pause(0.05)
    conn.reset()


@pytest.mark.parametrize(
    "first",
    [
        part(HEL, LO), part(HEL, LO, end=True), part(HEL, LO, framing=to_close), cut_by_reset,
        part(HEL, LO, b"id: 3\ndata: {"), part(HEL, LO, framing=lambda: length(9999)),
        part(HEL + LO), part(HEL, LO, b": comment\n\n"),
    ],
    ids=["cut", "eof", "close", "reset", "in an event", "length", "together", "comment"],
)  # fmt: skip
def test_goes_on(first: Script) -> None:
    """However it was cut, it is asked for by its last id, with the same body and key."""
    with play(first, part(THERE, END, end=True)) as server:
        got = ask(server, temperature=0.5)
        one, two = server.requests
    assert (got.text, got.error, got.stream.state) == ("Hello there", None, "done")
    assert last_ids(server) == [None, b"2"]
    assert (one.method, one.target, one.body) == (two.method, two.target, two.body)
    assert one.header("idempotency-key") == two.header("idempotency-key") is not None
    assert one.header("authorization") == two.header("authorization")
    assert got.stream.last_event_id in ("3", "4")
    assert got.stream.current_message.usage.completion_tokens == 150


@pytest.mark.parametrize(
    "pieces",
    [
        [THERE], [LO, THERE], [HEL, LO, THERE], [SOON, b": hi\n\n", HEL, LO, THERE],
        [HEL + LO + THERE], [b"event: ping\ndata: {}\n\n", LO, THERE],
    ],
    ids=["behind", "overlap", "from the start", "with comments", "together", "with a ping"],
)  # fmt: skip
def test_what_was_delivered_is_dropped(pieces: list[bytes]) -> None:
    """Events already handed over do not come again, wherever the server begins."""
    with play(part(HEL, LO), part(*pieces, END, end=True)) as server:
        got = ask(server)
    assert ([piece.type for piece in got.chunks], got.error) == (["content"] * 3 + ["done"], None)
    assert got.text == "Hello there"


@pytest.mark.slow
def test_long_replay_is_linear() -> None:
    """Eight times the events to drop is about eight times the work, not sixty-four."""

    def cost(count: int) -> float:
        events = b"".join(text(".", id=str(number)) for number in range(count))
        with play(part(events), part(events, END, end=True)) as server, client(server) as asker:
            begun = time.thread_time()
            assert ask(server, through=asker, timeout=Timeouts(total=30)).text == "." * count
            return time.thread_time() - begun

    small, large = min(cost(1_000) for _ in range(3)), min(cost(8_000) for _ in range(2))
    assert large < 24 * small


def test_cut_again_and_again() -> None:
    """Each event that comes anew is progress: it may be cut any number of times."""
    events = [text(f"{number} ", id=str(number)) for number in range(7)]
    scripts = [part(piece) for piece in events]
    last = event({"type": "done"}, id="end")
    with play(*scripts, part(last, end=True)) as server:
        got = ask(server, timeout=Timeouts(total=5))
        assert last_ids(server) == [None, *(str(number).encode() for number in range(7))]
    assert (got.text, got.error) == ("0 1 2 3 4 5 6 ", None)


def test_last_event_id_is_that_of_what_was_delivered() -> None:
    """Events that came in the same packet and were not taken yet do not count."""
    with play(stall_after(HEL + LO + THERE)) as server, client(server) as asker:
        stream = asker.ai.chat_stream("hi")
        seen = [stream.last_event_id]
        for _ in range(3):
            next(stream)
            seen.append(stream.last_event_id)
        stream.close()
    assert seen == ["", "1", "2", "3"]


def test_cut_again_before_it_caught_up() -> None:
    """A replay that is cut before anything new is asked for by the same id."""
    with play(part(HEL, LO), part(HEL), part(HEL, LO, THERE, END, end=True)) as server:
        got = ask(server)
        assert last_ids(server)[1] == b"2"
    assert (got.text, got.error) == ("Hello there", None)


def test_id_without_an_event() -> None:
    """An id that comes without data counts (WHATWG 9.2.6)."""
    with play(part(HEL, b"id: 1337\n\n"), part(THERE, END, end=True)) as server:
        got = ask(server)
    assert (got.text, last_ids(server)) == ("Helthere", [None, b"1337"])


def test_id_before_any_text() -> None:
    """So does one before the first chunk."""
    with play(part(b"id: 0\n\n"), part(HEL, END, end=True)) as server:
        got = ask(server)
    assert (got.text, last_ids(server)) == ("Hel", [None, b"0"])


def test_id_of_an_incomplete_event() -> None:
    """The id of an event that was cut is not yet the last one."""
    cut = b'id: 2\ndata: {"type": "content", "content": "lo "}\n'
    with play(part(HEL, cut), part(LO, END, end=True)) as server:
        got = ask(server)
    assert (got.text, last_ids(server)) == ("Hello ", [None, b"1"])


def test_id_is_kept_over_connections() -> None:
    """A connection that brought no id does not make the last one forgotten."""
    with play(part(HEL), part(b": nothing\n\n"), part(LO, END, end=True)) as server:
        got = ask(server)
    assert (got.text, last_ids(server)) == ("Hello ", [None, b"1", b"1"])


@pytest.mark.parametrize(
    "id", ["…", "中文", "a" * 255, "e5p3n<3k0k0s", "a b", "a:b", "😀", "é", "%41"]
)
def test_id_goes_out_as_utf8(id: str) -> None:
    """The id goes out as its UTF-8 bytes, neither Latin-1 nor escaped."""
    with play(part(text("Hel", id=id)), part(text("lo", id="n"), DONE, end=True)) as server:
        got = ask(server)
    assert (got.text, got.error) == ("Hello", None)
    assert last_ids(server) == [None, id.encode()]


def test_id_with_nul_is_ignored() -> None:
    """An id with NUL is none (WHATWG 9.2.6)."""
    with play(part(HEL, b"id: 2\x003\n\n"), part(LO, END, end=True)) as server:
        got = ask(server)
    assert (got.text, last_ids(server)) == ("Hello ", [None, b"1"])


@pytest.mark.parametrize("id", ["\x01", "\x7f", "\t1", "1\x0b2", "\u2028", "\x85"])
def test_id_of_control_characters(id: str) -> None:
    """Odd bytes in an id never make a second header or a foreign exception."""
    with play(part(text("Hel", id=id)), always=part(LO, END, end=True)) as server:
        got = ask(server)
        for request in server.requests:
            assert request.header("host") is not None
    assert got.error is None or isinstance(got.error, StreamInterruptedError)


@pytest.mark.parametrize(
    "tail",
    [
        "data: 中".encode()[:-1], b"\r", b"event: x\r", b"event: odd\n", b"data: left over\n",
        b"id: 99\n", b"retry", b": ",
    ],
)  # fmt: skip
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
def test_nothing_leaks_into_the_next_connection(tail: bytes, bom: bytes) -> None:
    """Each connection is read from its start: half lines are dropped, a BOM is passed over."""
    with play(part(HEL, tail), body(bom + LO, END)) as server:
        got = ask(server)
    assert (got.text, got.error, last_ids(server)) == ("Hello ", None, [None, b"1"])


def test_ping_without_an_id() -> None:
    """A ping is not handed over, so it need not be named."""
    ping = b"event: ping\ndata: {}\n\n"
    with play(part(HEL, ping), part(LO, ping, END, end=True)) as server:
        got = ask(server)
    assert (got.text, got.error) == ("Hello ", None)


def test_halves_of_a_character_over_the_cut() -> None:
    """A surrogate half that waits for its other is not lost in the cut."""
    high = event('{"type": "content", "content": "a\\ud83d"}', id="1")
    low = event('{"type": "content", "content": "\\ude00b"}', id="2")
    with play(part(high), part(low, END, end=True)) as server:
        got = ask(server)
    assert (got.text, got.error) == ("a😀b", None)


def test_tool_calls() -> None:
    """Tool calls are counted once."""
    call = event({"type": "tool_call", "tool": {"name": "f", "arguments": "{}"}}, id="2")
    with play(part(HEL, call), part(HEL, call, THERE, END, end=True)) as server:
        got = ask(server)
    assert got.stream.current_message.tool_calls == (ToolCall("f", "{}"),)


def test_whole_answer_over_a_cut() -> None:
    """client.ai.chat resumes as well."""
    with play(part(HEL), part(LO, END, end=True)) as server, client(server) as asker:
        assert asker.ai.chat("hi").content == "Hello "


def test_old_connection_is_closed_first() -> None:
    """The lost connection is closed before the next is opened."""
    seen: list[bool] = []

    def first(conn: Conn) -> None:
        part(HEL)(conn)
        conn.half_close()
        conn.wait_gone()

    def second(conn: Conn) -> None:
        conn.pause(0.05)
        seen.append(conn.server.conns[0].gone_at is not None)
        part(LO, END, end=True)(conn)

    with play(first, second) as server:
        assert ask(server).text == "Hello "
    assert seen == [True]


def test_hooks() -> None:
    """on_request once, on_retry before the wait, and one end."""
    seen: list[str] = []

    class Watcher:
        @hookimpl
        def on_request(self) -> None:
            seen.append("request")

        @hookimpl
        def on_chunk(self, chunk: Any) -> None:
            seen.append(chunk.type)

        @hookimpl
        def on_retry(self, error: Exception, delay: float) -> None:
            assert delay == 0.001
            seen.append(type(error).__name__)

        @hookimpl
        def on_done(self, message: Any) -> None:
            seen.append(message.content)

        @hookimpl
        def on_error(self) -> None:
            seen.append("error")

    with play(part(HEL), part(HEL, LO, END, end=True)) as server:
        with client(server, plugins=[Watcher()]) as asker:
            ask(server, through=asker)
    assert seen == ["request", "content", "StreamInterruptedError", "content", "done", "Hello "]


# ------------------------------------------------------------------------------ it is not possible


@pytest.mark.parametrize(
    "pieces",
    [[text("Hel"), text("lo ")], [HEL, b"id\n\n"], [HEL, text("lo ", id="")]],
    ids=["no ids", "taken back", "taken back with text"],
)
def test_without_an_id(pieces: list[bytes]) -> None:
    """Without an id there is nothing to go on from: it is not asked again."""
    with play(part(*pieces)) as server:
        got = ask(server)
    assert type(got.error) is StreamInterruptedError
    assert (got.error.attempts, got.error.partial.content) == (1, got.text)


def test_text_behind_the_last_id() -> None:
    """Text that came without an id of its own is never handed over twice."""
    first = part(HEL, text("lo "))
    with play(first, always=part(text("lo "), THERE, END, end=True)) as server:
        got = ask(server)
    assert got.text in ("Hello ", "Hello there")
    if got.error is not None:
        assert got.error.partial.content == "Hello "


def test_not_wanted() -> None:
    """resume=False leaves it at the cut."""
    with play(part(HEL, LO)) as server:
        interrupted(ask(server, resume=False), "Hello ", "2")


def test_server_that_knows_no_ids_any_more() -> None:
    """An answer without ids to the resumption is not believed: not one word comes twice."""
    anew = part(text("Hel"), text("lo "), text("there"), DONE, end=True)
    with play(part(HEL, LO), anew) as server:
        interrupted(ask(server), "Hello ", "2")


@pytest.mark.parametrize(
    "pieces",
    [
        [text("Hal", id="1"), text("li ", id="2"), text("hallo", id="3")],
        [HEL, text("li ", id="2"), text("hallo", id="3")],
    ],
)
def test_server_that_gives_another_answer(pieces: list[bytes]) -> None:
    """The same ids with other text are another answer, which replaces nothing."""
    with play(part(HEL, LO), part(*pieces, END, end=True)) as server:
        interrupted(ask(server), "Hello ", "2")


def test_server_that_forgets_everything() -> None:
    """A server that only says done has no more to give; what was delivered stands."""
    with play(part(HEL, LO), part(END, end=True)) as server:
        got = ask(server)
    assert (got.text, got.error) == ("Hello ", None)


def test_no_content_ends_it() -> None:
    """204 stops it for good."""
    with play(part(HEL), NO_CONTENT) as server:
        interrupted(ask(server), "Hel", "1")


@pytest.mark.parametrize(
    "barren",
    [part(), part(end=True), part(b": hello\n\n"), faults.hang_up, faults.reset, part(HEL),
     status_answer(503, {"Retry-After": "0"})],
    ids=["cut", "empty", "comment", "no head", "reset", "replay", "503"],
)  # fmt: skip
def test_three_barren_reconnections(barren: Script) -> None:
    """Three reconnections that bring nothing new end it."""

    def first(conn: Conn) -> None:
        part(HEL)(conn)

    with play(first, barren, barren, barren) as server:
        got = ask(server, timeout=Timeouts(total=8))
        assert last_ids(server) == [None, b"1", b"1", b"1"]
    interrupted(got, "Hel", "1")


@pytest.mark.parametrize(
    "fault",
    [
        status_answer(400), status_answer(401), status_answer(404), status_answer(409),
        status_answer(501),
        status_answer(301, {"Location": "/x"}),
        raw_answer(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<p>"),
        raw_answer(b"no HTTP\r\n\r\n"),
        raw_answer(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Encoding: br\r\n\r\n"
        ),
        status_answer(503, {"Retry-After": "3600"}),
    ],
)  # fmt: skip
def test_refused(fault: Script) -> None:
    """A refusal of the resumption ends it with what had come; it is not asked a third time."""
    with play(part(HEL), fault) as server:
        got = ask(server)
    assert isinstance(got.error, APIError)
    assert (got.text, got.error.partial.content, got.error.attempts) == ("Hel", "Hel", 2)


@pytest.mark.parametrize(
    "fault", [status_answer(503, {"Retry-After": "0"}), faults.hang_up, faults.reset]
)
def test_failure_and_then_success(fault: Script) -> None:
    """A resumption may fail once and work then."""
    with play(part(HEL), fault, part(LO, END, end=True)) as server:
        got = ask(server)
        assert last_ids(server) == [None, b"1", b"1"]
    assert (got.text, got.error) == ("Hello ", None)


@pytest.mark.parametrize(
    "bad", [event("no JSON", id="2"), event({"type": 5}, id="2"), b"data: " + b"x" * 99_999]
)
def test_bad_data_is_not_asked_for_again(bad: bytes) -> None:
    """A protocol error is no cut."""
    with play(part(HEL, bad)) as server, client(server, max_event_size=50_000) as asker:
        got = ask(server, through=asker)
    assert (type(got.error), got.error.partial.content) == (StreamProtocolError, "Hel")


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [range(start, start + 25) for start in range(0, 100, 25)])
def test_model_of_servers_over_sockets(seeds: range) -> None:
    """The servers of test_resume, over real connections."""
    for seed in seeds:
        model = test_resume.Server(seed)

        def script(conn: Conn, model: test_resume.Server = model) -> None:
            request = conn.read_request()
            conn.head()
            for piece in model.write(request.header("last-event-id")):
                conn.body(piece)

        with play(always=script) as server:
            got = ask(server)
        assert type(got.error) in (type(None), StreamInterruptedError), seed
        assert got.text == model.text if got.error is None else model.text.startswith(got.text)
        assert got.stream.current_message.content == got.text


HA, CAT, THE = text("ha"), text("cat "), text("The ")


@pytest.mark.parametrize(
    ("first", "second", "whole"),
    [
        ([text("ha", id="1")], [HA, HA, text("!", id="2")], "hahaha!"),
        ([text("so "), text("ha", id="1")], [HA, HA, text("!", id="2")], "so hahaha!"),
        ([text("so", id="1"), text("ha", id="2")], [HA, DONE], "sohaha"),
        ([text("so", id="1"), HA, text("!", id="2")], [HA, text("?", id="3")], "soha!ha?"),
        ([text("so", id="1"), HA, text("!", id="2")], [HA, text("!", id="2"), CAT], "soha!cat "),
        ([text("so", id="1"), HA, text("!", id="2")], [text("!", id="2"), HA], "soha!ha"),
        ([HA, text("!", id="2")], [HA, text("!", id="2"), HA], "ha!ha"),
    ],
)
def test_text_equal_to_its_neighbour(first: list[bytes], second: list[bytes], whole: str) -> None:
    """When only some events have ids, text that looks delivered is neither lost nor doubled."""
    done = b"" if second[-1] == DONE else DONE
    with play(part(*first), part(*second, done, end=True)) as server:
        got = ask(server)
    assert (got.text, got.error) == (whole, None)


@pytest.mark.parametrize(
    "second",
    [
        [b"id\n" + text("Hello "), text("world"), DONE],
        [b"id:\n\n", text("Hello "), text("world"), DONE],
        [text("Hello ", id=""), text("world"), text("!", id="3"), DONE],
    ],
)
def test_id_that_is_reset(second: list[bytes]) -> None:
    """An answer that takes its ids back and starts anew doubles nothing."""
    first = part(text("Hello ", id="1"), text("world", id="2"))
    with play(first, part(*second, end=True)) as server:
        interrupted(ask(server), "Hello world", "2")


@pytest.mark.parametrize(
    "second",
    [
        [text("The ", id="a"), text("cat ", id="b"), text("sat.", id="c"), DONE],
        [text("The cat ", id="a"), text("sat.", id="b"), DONE],
        [text("T", id="a"), text("he cat sat.", id="b"), DONE],
        [THE, CAT, text("sat."), DONE],
        [event({"type": "start"}, id="s"), text("The ", id="a"), CAT, DONE],
        [event({"type": "content", "content": "The ", "at": 1700}, id="a"), CAT, DONE],
    ],
    ids=["fresh ids", "other pieces", "smaller pieces", "no ids", "a start chunk", "other fields"],
)
def test_server_that_ignores_the_last_id(second: list[bytes]) -> None:
    """What begins like the answer's own beginning is no continuation: 'The cat The cat sat.'"""
    with play(part(text("The ", id="1"), text("cat ", id="2")), part(*second, end=True)) as server:
        interrupted(ask(server), "The cat ", "2")


@pytest.mark.parametrize(
    ("first", "second", "reasoning", "told"),
    [
        # In the middle of the reasoning, with an id on every event and on some.
        ([thought("a", id="1")], [thought("b", id="2"), text("c", id="3")], "ab", "c"),
        ([thought("a"), thought("b", id="1")], [thought("b"), text("c", id="2")], "abb", "c"),
        ([thought("a", id="1"), thought("b", id="2")], [thought("b", id="2")], "ab", ""),
        ([thought("a"), thought("b", id="2")], [thought("a"), thought("b", id="2")], "ab", ""),
        # Where the reasoning ends and the text begins, which may have the same words.
        (
            [thought("4", id="1"), text("4", id="2")],
            [text("4", id="2"), text("!", id="3")],
            "4",
            "4!",
        ),
    ],
)
def test_goes_on_in_reasoning(
    first: list[bytes], second: list[bytes], reasoning: str, told: str
) -> None:
    """Reasoning is neither lost nor doubled, and not taken for text."""
    with play(part(*first), part(*second, DONE, end=True)) as server:
        got = ask(server)
    message = got.stream.current_message
    assert (message.reasoning, message.content, got.error) == (reasoning, told, None)


def test_reasoning_of_a_server_that_ignores_the_last_id() -> None:
    """A model that begins to think anew is no continuation."""
    again = [thought("The ", id="a"), thought("cat ", id="b"), text("sat", id="c"), DONE]
    with play(part(thought("The ", id="1"), thought("cat ", id="2")), part(*again)) as server:
        got = ask(server)
    assert type(got.error) is StreamInterruptedError
    assert (got.error.partial.reasoning, got.text) == ("The cat ", "")


def test_tool_call_of_a_server_that_ignores_the_last_id() -> None:
    """Nor is a tool called twice, by whatever id it comes the second time."""

    def call(id: str) -> bytes:
        tool = {"name": "pay", "arguments": "{}", "id": f"call_{id}"}
        return event({"type": "tool_call", "tool": tool}, id=id)

    with play(part(call("1")), part(call("2"), DONE, end=True)) as server:
        got = ask(server)
    assert type(got.error) is StreamInterruptedError
    assert len(got.error.partial.tool_calls) == 1


@pytest.mark.parametrize(("size", "goes_on"), [(8192, True), (8193, False), (60_000, False)])
def test_id_that_is_too_long_to_send(size: int, goes_on: bool) -> None:
    """An id above 8 KiB is not sent back, so there is nothing to go on from."""
    rest = [part(LO, DONE, end=True)] if goes_on else []
    with play(part(text("Hel", id="x" * size)), *rest) as server:
        got = ask(server)
        assert len(server.requests) == 1 + goes_on
    assert (got.text, got.error is None) == ("Hello " if goes_on else "Hel", goes_on)


def test_ids_that_come_late() -> None:
    """An answer whose first thousand events bring no id is taken for one without."""
    for count, goes_on in ((999, True), (1001, False)):
        first = part(text("a") * count, text("b", id="1"))
        rest = [part(text("c", id="2"), DONE, end=True)] if goes_on else []
        with play(first, *rest) as server:
            got = ask(server)
        assert (got.error is None) is goes_on
        assert got.text == "a" * count + ("bc" if goes_on else "b")


# ------------------------------------------------------------------------------------------ delay


class Delays:
    """Notes the delay before each wait, and ends the first one."""

    def __init__(self) -> None:
        self.token = CancelToken()
        self.seen: list[float] = []

    @hookimpl
    def on_retry(self, delay: float) -> None:
        self.seen.append(delay)
        self.token.cancel()


@pytest.mark.parametrize(
    ("field", "delay"),
    [
        ("100", 0.1),
        ("0", 0),
        ("02000", 2),
        ("30000", 30),
        ("30001", 30),
        (str(365 * 86400_000), 30),
        ("9" * 400, 30),
        ("5\nretry: x", 0.005),
        ("5\nretry: -7", 0.005),
        ("5\nretry: 1.5", 0.005),
        ("5\nretry: 1e3", 0.005),
        ("5\nretry: ", 0.005),
        ("5\nretry: +7", 0.005),
        ("5\nretry: ７", 0.005),
        ("5\nretry: 7x", 0.005),
        ("5\nretry:  7", 0.005),
        ("5\nretry: 1_0", 0.005),
    ],
)
def test_delay_that_the_server_sets(field: str, delay: float) -> None:
    """`retry:` in digits sets the delay, at most 30 s; anything else is not there."""
    delays = Delays()
    with play(body(f"retry: {field}\n\n".encode(), HEL, end=False)) as server:
        with client(server, plugins=[delays], timeout=Timeouts(total=100)) as asker:
            got = ask(server, through=asker, cancel_token=delays.token)
    assert delays.seen == [delay]
    assert type(got.error) is StreamCancelledError
    assert got.error.partial.content == "Hel"


@pytest.mark.timing
def test_delay_is_waited() -> None:
    """It is really waited."""
    with play(body(b"retry: 300\n\n", HEL, end=False), part(LO, END, end=True)) as server:
        got = ask(server)
    assert (got.text, 0.28 < got.seconds < 1.0) == ("Hello ", True)


def test_delay_is_kept_over_connections() -> None:
    """A delay set on the first connection holds for later ones."""
    delays: list[float] = []

    class Watcher:
        @hookimpl
        def on_retry(self, delay: float) -> None:
            delays.append(delay)

    with play(part(HEL), body(LO, end=False), body(END)) as server:
        with client(server, plugins=[Watcher()]) as asker:
            ask(server, through=asker)
    assert delays == [0.001, 0.001]


@pytest.mark.timing
def test_delay_beyond_the_deadline() -> None:
    """A wait that the total limit does not allow is not begun."""
    with play(body(b"retry: 20000\n\n", HEL, end=False)) as server:
        got = ask(server)
    assert isinstance(got.error, StreamInterruptedError | APITimeoutError)
    assert (got.error.partial.content, got.seconds < 0.6) == ("Hel", True)


@pytest.mark.timing
def test_cancel_in_the_wait() -> None:
    """cancel() ends the wait; nothing is asked after it."""
    with play(body(b"retry: 5000\n\n", HEL, end=False)) as server:
        with client(server, timeout=Timeouts(total=20)) as asker:
            stream = asker.ai.chat_stream("hi")
            threading.Timer(0.15, stream.cancel).start()
            got = listen(lambda: stream)
    assert type(got.error) is StreamCancelledError
    assert (got.error.partial.content, got.seconds < 0.8) == ("Hel", True)


@pytest.mark.timing
def test_silence_after_a_resumption() -> None:
    """A resumption that stays silent ends at the idle limit, with what had come."""
    limits = Timeouts(connect=5, first_chunk=5, idle=0.3, total=5)
    for quiet in (stall, stall_after()):
        with play(part(HEL), quiet) as server:
            got = ask(server, timeout=limits)
        assert type(got.error) is APITimeoutError
        assert (got.error.phase, got.error.partial.content) == ("idle", "Hel")
        assert got.seconds < 1.2


@pytest.mark.timing
def test_total_limit_over_resumptions() -> None:
    """Resuming for ever ends at the total limit."""
    number = iter(range(10_000))

    def one_more(conn: Conn) -> None:
        body(b"retry: 30\n\n", text(".", id=str(next(number))), end=False)(conn)

    limits = Timeouts(connect=5, first_chunk=5, idle=5, total=0.5)
    with play(always=one_more) as server:
        got = ask(server, timeout=limits)
    assert isinstance(got.error, APITimeoutError | StreamInterruptedError)
    assert set(got.text) == {"."} and got.error.partial.content == got.text
    assert got.seconds < 1.0


# ---------------------------------------------------------------------------------- native events


def native(server: faults.Server, **options: Any) -> faults.Outcome:
    """The events of the guide's native form."""
    with client(server, **options) as asker:
        return listen(lambda: asker.events("GET", "/ai/chat", params={"message": "hi"}))


def test_native_events_go_on() -> None:
    """A cut stream of native events goes on behind its last id; the query is the same."""
    first = part(b"id: abc\ndata: Hello\n\n")
    with play(first, body(b"id: def\ndata: World\n\n")) as server:
        got = native(server)
        assert last_ids(server) == [None, b"abc"]
        assert {(request.method, request.target) for request in server.requests} == {
            ("GET", "/v1/ai/chat?message=hi")
        }
    assert [(came.data, came.id) for came in got.chunks] == [("Hello", "abc"), ("World", "def")]
    assert got.error is None


def test_native_events_without_ids() -> None:
    """Without ids a cut is an error there too."""
    with play(part(b"data: Hello\n\n")) as server:
        got = native(server)
    assert ([came.data for came in got.chunks], type(got.error)) == (
        ["Hello"],
        StreamInterruptedError,
    )


def test_native_events_discard_what_was_cut() -> None:
    """Nothing of a half event is handed over."""
    first = part(b"id: abc\ndata: Hello\n\nid: def\ndata: Goodbye")
    with play(first, body(b"id: ghi\ndata: We meet again\n\n")) as server:
        got = native(server)
    assert [came.data for came in got.chunks] == ["Hello", "We meet again"]
    assert last_ids(server) == [None, b"abc"]
