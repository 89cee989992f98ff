"""Promises 16, 17, 18: memory that stays bounded, and work that grows no faster than its input.

Memory is measured in a child with a bounded address space, so that what is not bounded fails.
"""

from __future__ import annotations

import gc
import gzip
import time
import zlib
from collections.abc import Callable

import faults
import pytest
from faults import (
    DONE,
    Conn,
    Framing,
    Script,
    answers,
    ask,
    child,
    client,
    http_chunk,
    http_chunked,
    output,
    play,
    text,
    to_close,
)

from websopy_sync import ConfigError, StreamProtocolError
from websopy_sync.sse import Decoder

MIB = 1 << 20
ROOM = 64 * MIB
"""Address space a child may take beyond what it has when it asks."""

ASKING = """
    import resource, sys
    from websopy_sync import Timeouts, WebsopyClient, WebsopyError

    def of_memory(name):
        with open("/proc/self/status") as lines:
            return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))

    url, room, size, keep, form = sys.argv[1:]
    room, size = int(room), int(size)
    limits = Timeouts(connect=5, first_chunk=10, idle=10, total=20)
    client = WebsopyClient("key", base_url=url, plugins=[], max_event_size=size, timeout=limits)
    client.ai.chat("warm")
    before = of_memory("VmRSS")
    if room:
        resource.setrlimit(resource.RLIMIT_AS, (of_memory("VmSize") + room,) * 2)
    count = 0
    try:
        if form == "chat":
            items = client.ai.chat_stream("hi", max_retries=0, keep_message=keep == "keep")
        else:
            items = client.events("GET", "/ai/chat")
        for item in items:
            count += 1
        end = "done"
    except WebsopyError as error:
        end = type(error).__name__
    print(end, count, of_memory("VmHWM") - before)
"""


def growth(
    script: Script, *, size: int = 4 * MIB, room: int = ROOM, keep: str = "keep", form: str = "chat"
) -> tuple[str, int, int]:
    """How a child's question to this script ends: its end, its chunks, the bytes it grew by."""
    with play(answers_once, script) as server:
        arguments = (server.url, str(room), str(size), keep, form)
        with child(ASKING, *arguments) as process:
            (line,) = output(process, seconds=25)
    end, count, grown = line.split()
    return end, int(count), int(grown)


def answers_once(conn: Conn) -> None:
    """The warm-up: a whole answer on a connection of its own."""
    conn.read_request()
    faults.reply(conn, headers=faults.LAST)


def flood(start: bytes, piece: bytes, *, limit: int = 256 * MIB) -> Script:
    """A chunked event stream that begins so and goes on so."""

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.head(framing=to_close())
        conn.body(start)
        conn.flood(piece, limit=limit)

    return script


ENDLESS = {
    "line": flood(b"data: ", b"x" * 65536),
    "line of Chinese": flood(b"data: ", "中".encode() * 20_000),
    "line of one astral character": flood("data: 😀".encode(), b"x" * 65536),
    "long lines": flood(b"", b"data: " + b"x" * 1000 + b"\n"),
    "short lines": flood(b"", b"data:ab\n" * 8000),
    "short lines of Chinese": flood(b"", "data:中\n".encode() * 8000),
    "empty lines": flood(b"", b"data\n" * 10_000),
    "field name": flood(b"", b"x" * 65536),
    "id": flood(b"id: ", b"1" * 65536),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", ENDLESS)
def test_endless(name: str) -> None:
    """An event without end ends as a protocol error within 4 times max_event_size."""
    end, count, grown = growth(ENDLESS[name])
    assert (end, count) == ("StreamProtocolError", 0)
    assert grown < 4 * 4 * MIB + 2 * MIB


def test_endless_in_the_native_layer() -> None:
    """So it does for native events."""
    end, _, grown = growth(flood(b"data: ", b"x" * 65536), form="events")
    assert end == "StreamProtocolError"
    assert grown < 18 * MIB


def test_endless_comment_holds_nothing() -> None:
    """Comments are not kept, however long or many: the answer behind them arrives."""

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.head(framing=to_close())
        for _ in range(24):
            conn.body(b": " + b"x" * MIB + b"\n")
        conn.body(b":\n" * 100_000, text("a"), DONE)

    end, count, grown = growth(script)
    assert (end, count) == ("done", 2)
    assert grown < 8 * MIB


def bomb(
    start: bytes, piece: bytes, *, times: int, head: dict[str, str] | None = None, code: int = 200
) -> Script:
    """A packed body that begins so and has a piece many times over.

    A piece that was packed behind a full flush can be repeated as it is, so this costs nothing.
    """
    packer = zlib.compressobj(9, wbits=31)
    first = packer.compress(start) + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(piece) + packer.flush(zlib.Z_FULL_FLUSH)

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.head(code, {"Content-Encoding": "gzip", **(head or {})})
        conn.body(first, block * times)
        conn.end()

    return script


def test_gzip_bomb() -> None:
    """A megabyte that inflates to a gigabyte is inflated no further than an event may go."""
    end, _, grown = growth(bomb(b"data: ", b"x" * MIB, times=1024))
    assert end == "StreamProtocolError"
    assert grown < 18 * MIB


def test_gzip_bomb_of_chunks() -> None:
    """One that inflates to good chunks costs no more than they do."""
    packed = gzip.compress(text("x" * 1000) * 10_000 + DONE)

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.head(headers={"Content-Encoding": "gzip"})
        conn.body(packed)
        conn.end()

    end, count, grown = growth(script, keep="drop")
    assert (end, count) == ("done", 10_001)
    assert grown < 12 * MIB


@pytest.mark.parametrize("code", [200, 500])
def test_gzip_bomb_of_a_page(code: int) -> None:
    """Nor is a page, or the body of a refusal, inflated further than it is kept."""
    end, _, grown = growth(
        bomb(b"", b"<p>" * 400_000, times=800, head={"Content-Type": "text/html"}, code=code)
    )
    assert end == ("StreamProtocolError" if code == 200 else "InternalServerError")
    assert grown < 8 * MIB


@pytest.mark.slow
@pytest.mark.parametrize("framing", [http_chunked, to_close, lambda: faults.length(1 << 30)])
@pytest.mark.parametrize("code", [200, 500])
def test_gigabyte_of_a_page(code: int, framing: Callable[[], Framing]) -> None:
    """A gigabyte of HTML, with 200 or 500, costs as much as a small page."""

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.head(code, {"Content-Type": "text/html"}, framing=framing())
        conn.flood(conn.framing.wrap(b"<p>" * 20_000), limit=1 << 30)
        assert conn.sent < 64 * MIB

    end, _, grown = growth(script)
    assert end == ("StreamProtocolError" if code == 200 else "InternalServerError")
    assert grown < 8 * MIB


def test_chunk_of_a_gigabyte() -> None:
    """One HTTP chunk that is said to hold a gigabyte is not waited for whole."""

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.head(framing=faults.one_http_chunk(1 << 30))
        for _ in range(100):
            conn.send(text("x" * 1000) * 100)
        conn.send(DONE)
        conn.wait_gone()

    end, count, grown = growth(script, keep="drop")
    assert (end, count) == ("done", 10_001)
    assert grown < 8 * MIB


@pytest.mark.slow
def test_chunk_extensions() -> None:
    """Nor is anything kept of what HTTP chunks say beside their size."""

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.head()
        for number in range(1_500):
            conn.send(b"1;x=%d" % number + b"x" * 40_000 + b"\r\n:\r\n")
        conn.body(b"\n", DONE)
        conn.end()

    end, count, grown = growth(script)
    assert (end, count) == ("done", 1)
    assert grown < 8 * MIB


@pytest.mark.slow
@pytest.mark.parametrize("ids", [False, True])
def test_long_answer_that_is_not_kept(ids: bool) -> None:
    """keep_message=False: a hundred thousand chunks leave memory as it was."""

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.head()
        for block in range(100):
            number = range(block * 1000, block * 1000 + 1000)
            conn.body(b"".join(text("x" * 50, id=str(n) if ids else None) for n in number))
        conn.body(DONE)
        conn.end()

    end, count, grown = growth(script, keep="drop")
    assert (end, count) == ("done", 100_001)
    assert grown < 6 * MIB


def test_many_small_packets() -> None:
    """Bytes one by one do not pile up."""
    content = text("x" * 20_000) + DONE

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.head()
        conn.send(b"".join(http_chunk(content[at : at + 1]) for at in range(len(content))))
        conn.end()

    end, count, grown = growth(script)
    assert (end, count) == ("done", 2)
    assert grown < 8 * MIB


def own_objects() -> int:
    """How many objects of this package there are."""
    return sum(str(type(one).__module__).startswith("websopy_sync") for one in gc.get_objects())


@pytest.mark.slow
def test_many_answers_leave_no_objects() -> None:
    """Two hundred answers, good and bad, leave as many objects as fifty."""
    kinds: list[Script] = [
        faults.body(text("half"), end=False), faults.body(b"data: x\n\n"),
        faults.status_answer(400), faults.hang_up,
    ]  # fmt: skip

    def ask_all(server: faults.Server, asker: object) -> None:
        for _ in kinds:
            ask(server, through=asker, max_retries=0)  # type: ignore[arg-type]

    with play(*kinds * 50) as server, client(server) as asker:
        for _ in range(10):
            ask_all(server, asker)
        gc.collect()
        before = own_objects()
        for _ in range(40):
            ask_all(server, asker)
        gc.collect()
        assert own_objects() <= before + 5


@pytest.mark.timing
@pytest.mark.slow
def test_one_budget_for_many_streams() -> None:
    """A client that served a hundred answers holds none of them."""

    def streams() -> int:
        gc.collect()
        return sum(type(one).__name__ == "ChatStream" for one in gc.get_objects())

    before = streams()  # those that other tests' failures and fixtures may hold
    with play(answers("hi")) as server, client(server) as asker:
        for _ in range(100):
            ask(server, through=asker)
        assert streams() - before <= 1


# ------------------------------------------------------------------------------ the whole answer


def tool(arguments: str, name: str = "f") -> bytes:
    """A tool call's event."""
    return faults.event({"type": "tool_call", "tool": {"name": name, "arguments": arguments}})


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("where", ["client", "chat_stream"])
def test_answer_that_is_too_large(keep: bool, where: str) -> None:
    """What is above max_answer_size is not delivered, and ends it, whether text is kept or not."""
    script = faults.body(text("x" * 60), text("y" * 40), text("z"), DONE)
    option = {"max_answer_size": 100}
    with play(script) as server, client(server, **(option if where == "client" else {})) as asker:
        call = {"max_answer_size": 100} if where == "chat_stream" else {}
        got = ask(server, through=asker, keep_message=keep, **call)
    assert type(got.error) is StreamProtocolError
    assert "max_answer_size" in str(got.error) and "100" in str(got.error)
    assert got.text == "x" * 60 + "y" * 40
    assert got.error.partial.content == (got.text if keep else "")
    assert got.stream.current_message.content == got.error.partial.content


@pytest.mark.parametrize(
    "pieces",
    [
        [text("x" * 90), tool("y" * 64)],
        [tool("y" * 64), text("x" * 90)],
        [tool("y" * 80), tool("y" * 80)],
        [tool("", name="y" * 200)],
        [tool("{}")] * 3,
    ],
)
def test_tool_calls_count_as_well(pieces: list[bytes]) -> None:
    """Text, names and arguments of tool calls count together; a call counts for 64 at least."""
    with play(faults.body(*pieces, DONE)) as server:
        got = ask(server, max_answer_size=150)
    assert type(got.error) is StreamProtocolError
    calls = got.error.partial.tool_calls
    assert len(calls) == sum(chunk.type == "tool_call" for chunk in got.chunks) < len(pieces) + 1
    assert sum(len(call.name + call.arguments) for call in calls) + len(got.text) <= 150


@pytest.mark.parametrize(
    "pieces",
    [
        [faults.thought("x" * 60)] * 3,
        [faults.thought("x" * 140), text("y" * 11)],
        [text("x" * 140), faults.thought("y" * 11)],
        [faults.thought("x" * 90), tool("{}")],
    ],
)
@pytest.mark.parametrize("keep", [True, False])
def test_reasoning_counts_as_well(pieces: list[bytes], keep: bool) -> None:
    """A model that thinks for ever is ended too; what it thought is in the partial message."""
    with play(faults.body(*pieces, DONE)) as server:
        got = ask(server, max_answer_size=150, keep_message=keep)
    assert type(got.error) is StreamProtocolError
    thought = "".join(chunk.text for chunk in got.chunks if chunk.type == "reasoning")
    assert got.error.partial.reasoning == (thought if keep else "")
    assert 0 < len(thought) + len(got.text) <= 150


def test_answer_of_just_the_size() -> None:
    """One that has max_answer_size characters is whole, and a halved character is one."""
    half = faults.event('{"type": "content", "content": "\\ud83d"}')
    for pieces in ([text("x" * 36), tool("y" * 60)], [text("x" * 99), half], [text("中" * 100)]):
        with play(faults.body(*pieces, DONE)) as server, client(server) as asker:
            assert ask(server, through=asker, max_answer_size=100).error is None
    # Each half that stays alone is a character, and is counted.
    other = faults.event({"type": "other"})
    with play(faults.body(text("x" * 98), *[half, other] * 3, DONE)) as server:
        got = ask(server, max_answer_size=100)
    assert type(got.error) is StreamProtocolError and got.text == "x" * 98 + "\ufffd" * 2


def test_whole_answer_that_is_too_large() -> None:
    """client.ai.chat and a conversation hold to it too."""
    with play(always=faults.body(text("x" * 20), DONE)) as server, client(server) as asker:
        for call in (asker.ai.chat, lambda *a, **b: list(asker.ai.conversation().send(*a, **b))):
            with pytest.raises(StreamProtocolError) as caught:
                call("hi", max_answer_size=19)
            assert caught.value.partial is not None and caught.value.partial.content == ""


def test_size_counts_over_a_resumption() -> None:
    """The answer is one, over however many connections it comes."""
    first = faults.body(b"retry: 1\n\n", text("x" * 60, id="1"), end=False)
    second = faults.body(text("y" * 60, id="2"), DONE)
    with play(first, second) as server:
        got = ask(server, max_answer_size=100)
    assert (type(got.error), got.text) == (StreamProtocolError, "x" * 60)


@pytest.mark.parametrize("bad", [0, -1, "5", 1.5, True])
def test_max_answer_size_that_is_none(bad: object) -> None:
    """It is a whole number of characters, of 1 or more."""
    with play() as server:
        with pytest.raises(ConfigError, match="max_answer_size"):
            client(server, max_answer_size=bad)
        with client(server) as asker, pytest.raises(ConfigError, match="max_answer_size"):
            asker.ai.chat_stream("hi", max_answer_size=bad)


@pytest.mark.slow
@pytest.mark.parametrize("keep", ["keep", "drop"])
def test_endless_answer(keep: str) -> None:
    """An answer without end ends at 64 MiB by default."""
    end, count, grown = growth(
        flood(b"", text("x" * 60_000) * 4), keep=keep, room=400 * MIB, size=4 * MIB
    )
    assert (end, count) == ("StreamProtocolError", 64 * MIB // 60_000)
    assert grown < (300 * MIB if keep == "keep" else 8 * MIB)


# -------------------------------------------------------------------------------- linear growth

PIECES: dict[str, Callable[[int], list[bytes]]] = {
    "a line byte by byte": lambda n: [b"data: ", *[b"x"] * n, b"\n\n"],
    "an event byte by byte": lambda n: [*[b"d", b"a", b"t", b"a", b"\n"] * (n // 5), b"\n"],
    "a line in one piece": lambda n: [b"data: " + b"x" * n * 100 + b"\n\n"],
    "data lines in one piece": lambda n: [b"data: x\n" * n + b"\n"],
    "events in one piece": lambda n: [b"data: x\n\n" * n],
    "events in CR": lambda n: [b"data: x\r\r" * n],
    "a comment byte by byte": lambda n: [b":", *[b"x"] * n, b"\n\n"],
    "bad UTF-8": lambda n: [b"data: ", *[b"\xf0"] * n, b"\n\n"],
    "empty lines": lambda n: [b"\n" * n],
    "ids": lambda n: [b"id: 1\n" * n + b"\n"],
}


@pytest.mark.slow
@pytest.mark.parametrize("name", PIECES)
def test_linear(name: str) -> None:
    """Eight times the input is about eight times the work, not sixty-four.

    Counted in CPU seconds of this thread, the least of several runs, with a margin of three.
    """

    def cost(size: int) -> float:
        times = []
        for _ in range(3):
            pieces = PIECES[name](size)
            decoder = Decoder(max_event_size=64 * MIB)
            begun = time.thread_time()
            for piece in pieces:
                for _ in decoder.feed(piece):
                    pass
            times.append(time.thread_time() - begun)
        return min(times)

    small, large = cost(5_000), cost(40_000)
    assert large < 24 * max(small, 0.0005)
