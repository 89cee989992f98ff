"""Promises 13, 14, 16: whatever bytes come, nothing but the package's own errors goes."""

from __future__ import annotations

import itertools
import json
from typing import Any

import faults
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from websopy_sync import WebsopyError
from websopy_sync.sse import Decoder
from websopy_sync.wires.websopy import parse_chunk

pytestmark = pytest.mark.slow

WORDS = st.sampled_from(
    [
        b"data",
        b"event",
        b"id",
        b"retry",
        b":",
        b": ",
        b"\n",
        b"\r",
        b"\r\n",
        b"\n\n",
        b"\x00",
        b"\xef\xbb\xbf",
        b"ping",
        b"{",
        b"}",
        b"[",
        b"]",
        b'"',
        b"type",
        b"content",
        b"done",
        b"error",
        b"tool_call",
        b"usage",
        b'data: {"type": "content", "content": "',
        b'"}\n\n',
        b"\\ud83d",
        b"\\ude00",
        b"\\u0000",
        b"1" * 4400,
        b"[" * 1200,
        b'{"a":' * 1200,
        b"NaN",
        b"Infinity",
        b"-",
        b"0",
        b"1e999",
        b"null",
        b"true",
        "中".encode(),
        b"\xff",
        b"\xed\xa0\x80",
        b"\xf0\x9f",
        b"\xe2\x80\xa8",
    ]
)
STREAMS = st.lists(st.one_of(WORDS, st.binary(max_size=20)), max_size=60).map(b"".join)

JSON = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(max_size=10),
        st.sampled_from(["content", "done", "error", "tool_call", "ping", "\ud83d", "\ude00", ""]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(
            st.sampled_from(
                [
                    "type",
                    "content",
                    "tool",
                    "name",
                    "arguments",
                    "id",
                    "usage",
                    "promptTokens",
                    "completionTokens",
                    "totalTokens",
                    "error",
                    "message",
                    "code",
                    "\ud83d",
                ]
            ),
            inner,
            max_size=6,
        ),
    ),
    max_leaves=12,
)
CHUNKS = st.fixed_dictionaries(
    {"type": st.one_of(st.sampled_from(["content", "done", "error", "tool_call"]), JSON)},
    optional=dict.fromkeys(("content", "tool", "usage", "error", "message", "code", "id"), JSON),
)


def read_all(stream: bytes, cuts: list[int], limit: int) -> list[Any]:
    """Every chunk in a stream that comes in pieces; stops at our own error."""
    decoder = Decoder(max_event_size=limit)
    chunks = []
    edges = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    try:
        for start, end in itertools.pairwise(edges):
            for event in decoder.feed(stream[start:end]):
                event.data.encode()
                try:
                    chunks.append(parse_chunk(event.data))
                except WebsopyError as error:
                    str(error).encode()
    except WebsopyError as error:
        str(error).encode()
    return chunks


@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(STREAMS, st.lists(st.integers(0, 10_000), max_size=6), st.sampled_from([50, 1000, 1 << 24]))
def test_any_bytes(stream: bytes, cuts: list[int], limit: int) -> None:
    """Decoder and wire raise nothing but WebsopyError, and give text that can be encoded."""
    for chunk in read_all(stream, cuts, limit):
        json.dumps(chunk.to_dict(), ensure_ascii=False).encode()


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(STREAMS, st.lists(st.integers(0, 10_000), max_size=6))
def test_any_split_of_any_bytes(stream: bytes, cuts: list[int]) -> None:
    """However a stream is split, the same comes out."""
    assert read_all(stream, cuts, 1 << 24) == read_all(stream, [], 1 << 24)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.one_of(JSON, CHUNKS), st.booleans())
def test_any_json(value: Any, escaped: bool) -> None:
    """Any JSON is a chunk, of which every text can be encoded, or a protocol error."""
    data = json.dumps(value, ensure_ascii=escaped).encode("utf-8", "replace").decode()
    try:
        chunk = parse_chunk(data)
    except WebsopyError as error:
        str(error).encode()
        return
    json.dumps(chunk.to_dict(), ensure_ascii=False).encode()
    repr(chunk).encode()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(STREAMS, st.sampled_from(["chunked", "close", "raw", "head"]))
def test_any_answer(stream: bytes, how: str) -> None:
    """The same over a socket: as a body, as broken chunks, and in place of a head."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
    sent = {
        "chunked": head
        + b"Transfer-Encoding: chunked\r\n\r\n"
        + faults.http_chunk(stream)
        + b"0\r\n\r\n",
        "close": head + b"\r\n" + stream,
        "raw": head + b"Transfer-Encoding: chunked\r\n\r\n" + stream,
        "head": stream,
    }[how]
    with faults.play(faults.raw_answer(sent), always=faults.hang_up) as server:
        got = faults.ask(server, max_retries=0)
    assert got.error is None or isinstance(got.error, WebsopyError)
    if got.error is None:
        assert got.chunks[-1].type == "done"
    str(got.error).encode()
