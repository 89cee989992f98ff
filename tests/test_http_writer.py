"""Promptness in every framing: what has arrived is handed over while the rest is held back.

No clock is needed to show it: the server goes on only at the client's word, and the client gives
it only with the chunk in its hands.
"""

from __future__ import annotations

import threading

import pytest

from websopy_sync import ContentChunk, DoneChunk, WebsopyClient
from websopy_sync.sandbox import (
    Framing,
    Sandbox,
    comment,
    done,
    headers,
    raw,
    say,
    wait,
)

FRAMINGS: tuple[Framing, ...] = ("chunked", "content-length", "close", "gzip", "trickle")
every_framing = pytest.mark.parametrize("framing", FRAMINGS)


@every_framing
def test_each_chunk_before_the_next_is_sent(
    client: WebsopyClient, sandbox: Sandbox, framing: Framing
) -> None:
    """PROMISE 9, chunk by chunk, in one answer after the other."""
    for _ in range(2):
        words = [threading.Event() for _ in range(4)]
        pieces = [step for word in words for step in (say("世界"), wait(word))]
        sandbox.play([headers(framing=framing), *pieces, done()])
        stream = client.ai.chat_stream("x")
        for word in words:
            assert next(stream) == ContentChunk("世界")
            word.set()
        assert list(stream) == [DoneChunk()]


@every_framing
@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\r\r", b"\r\n\r"])
def test_each_line_end_before_the_next_byte(
    client: WebsopyClient, sandbox: Sandbox, framing: Framing, end: bytes
) -> None:
    """A bare CR ends an event at once, though an LF may follow."""
    word = threading.Event()
    text = b'data: {"type":"content","content":"a"}' + end
    sandbox.play([headers(framing=framing), raw(text), wait(word), done()])
    stream = client.ai.chat_stream("x")
    assert next(stream) == ContentChunk("a")
    word.set()
    assert list(stream) == [DoneChunk()]


@every_framing
def test_headers_before_the_first_chunk(
    client: WebsopyClient, sandbox: Sandbox, framing: Framing
) -> None:
    """chat_stream returns when the answer's headers are here, not at its first chunk."""
    word = threading.Event()
    sandbox.play([headers(framing=framing), comment(), wait(word), say("a"), done()])
    stream = client.ai.chat_stream("x")
    assert stream.status_code == 200
    word.set()
    assert stream.get_final_text() == "a"


@every_framing
def test_done_before_the_bodys_end(
    client: WebsopyClient, sandbox: Sandbox, framing: Framing
) -> None:
    """PROMISE 10: the server still holds the end back when the loop has ended."""
    word = threading.Event()
    sandbox.play([headers(framing=framing), say("a"), done(), wait(word)])
    assert list(client.ai.chat_stream("x")) == [ContentChunk("a"), DoneChunk()]
    word.set()


@every_framing
@pytest.mark.parametrize("size", [1, 3, 1000])
def test_events_cut_anywhere(
    client: WebsopyClient, sandbox: Sandbox, framing: Framing, size: int
) -> None:
    """Pieces that end inside events, lines and characters."""
    text = "".join(f'data: {{"type":"content","content":"{n}世界😀"}}\r\n\r\n' for n in range(8))
    data = (text + 'data: {"type":"done"}\n\n').encode()
    pieces = [raw(data[start : start + size]) for start in range(0, len(data), size)]
    sandbox.play([headers(framing=framing), *pieces])
    expected = "".join(f"{n}世界😀" for n in range(8))
    assert client.ai.chat_stream("x").get_final_text() == expected


@every_framing
def test_large_events(client: WebsopyClient, sandbox: Sandbox, framing: Framing) -> None:
    """Many reads long, then a short one."""
    sandbox.play([headers(framing=framing), say("世" * 300_000), say("!"), done()])
    assert client.ai.chat_stream("x").get_final_text() == "世" * 300_000 + "!"


@pytest.mark.parametrize("framing", ["chunked", "content-length", "gzip"])
def test_connections_are_kept_where_the_end_is_told(
    client: WebsopyClient, sandbox: Sandbox, framing: Framing
) -> None:
    """PROMISE 28 in each framing that can."""
    for _ in range(3):
        sandbox.play([headers(framing=framing), say("a"), done()])
        list(client.ai.chat_stream("x"))
    assert sandbox.connections == 1
