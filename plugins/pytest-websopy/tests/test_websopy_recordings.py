"""Recordings as files, and the scripts made of them."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytest_websopy import Piece, Recorder, Recording, load_recordings, save_recordings

from websopy_sync import (
    ContentChunk,
    DoneChunk,
    Message,
    ReasoningChunk,
    StreamChunk,
    StreamInterruptedError,
    ToolCall,
    ToolCallChunk,
    Usage,
    WebsopyClient,
)
from websopy_sync.sandbox import Sandbox, chunk

EVENTS = 'id: 1\ndata: {"type":"content","content":"世界"}\n\n'.encode()
INSIDE = EVENTS.index("世".encode()) + 1
DONE = b'data: {"type":"done"}\n\n'
HEAD = {"Content-Type": "text/event-stream", "X-Request-Id": "r-1"}
WHOLE = Recording(200, HEAD, (Piece(0.01, EVENTS[:INSIDE]), Piece(0.15, EVENTS[INSIDE:] + DONE)))

pieces = st.builds(Piece, st.integers(0, 10**6).map(lambda n: n / 1000), st.binary(min_size=1))
recordings = st.builds(
    Recording,
    st.integers(200, 599),
    st.dictionaries(st.sampled_from(["Content-Type", "X-Request-Id"]), st.text(max_size=9)),
    st.lists(pieces, max_size=5).map(tuple),
    st.booleans(),
    st.integers(0, 10**6).map(lambda n: n / 1000),
)


@given(kept=st.lists(recordings, max_size=3))
def test_what_is_saved_is_loaded(
    tmp_path_factory: pytest.TempPathFactory, kept: list[Recording]
) -> None:
    """Whatever bytes came, in whatever pieces, they come back."""
    path = tmp_path_factory.mktemp("saved") / "new" / "some.jsonl"
    save_recordings(path, kept)
    loaded = load_recordings(path)
    assert loaded == kept
    assert [one.headers for one in loaded] == [one.headers for one in kept]
    assert list(path.parent.iterdir()) == [path]


def test_file_can_be_read_by_people(tmp_path: Path) -> None:
    """Text is text, and a piece cut inside a character is base64."""
    path = tmp_path / "one.jsonl"
    save_recordings(path, [WHOLE])
    assert path.read_text("utf-8").splitlines() == [
        '{"recording": 1, "status": 200, "headers": '
        '{"Content-Type": "text/event-stream", "X-Request-Id": "r-1"}}',
        '{"seconds": 0.01, "base64": "aWQ6IDEKZGF0YTogeyJ0eXBlIjoiY29udGVudCIsImNvbnRlbnQiOiLk"}',
        '{"seconds": 0.15, "base64": "uJbnlYwifQoKZGF0YTogeyJ0eXBlIjoiZG9uZSJ9Cgo="}',
        '{"seconds": 0.0, "end": "complete"}',
    ]
    save_recordings(path, [Recording(pieces=(Piece(1.5, DONE),), complete=False, seconds=2)])
    assert path.read_text("utf-8").splitlines()[1:] == [
        '{"seconds": 1.5, "text": "data: {\\"type\\":\\"done\\"}\\n\\n"}',
        '{"seconds": 2, "end": "cut"}',
    ]


def test_headers_of_the_connection_are_not_kept(tmp_path: Path) -> None:
    """Neither what belongs to one connection, nor cookies."""
    names = ("Set-Cookie", "Content-Length", "Transfer-Encoding", "Date", "Connection")
    save_recordings(tmp_path / "r", [Recording(200, {**HEAD, **dict.fromkeys(names, "x")})])
    assert load_recordings(tmp_path / "r")[0].headers == HEAD


@pytest.mark.parametrize(
    "text",
    [
        "{oops",
        "[]",
        '{"recording": 2, "status": 200, "headers": {}}',
        '{"recording": 1, "headers": {}}',
        '{"seconds": 1, "text": "before any head"}',
        '{"recording": 1, "status": 200, "headers": {}}\n{"seconds": 1}',
        '{"recording": 1, "status": 200, "headers": {}}\n{"seconds": 1, "base64": "?"}',
        '{"recording": 1, "status": 200, "headers": {}}\n{"seconds": 1, "end": "perhaps"}',
    ],
)
def test_what_is_no_recording(tmp_path: Path, text: str) -> None:
    """The error names the file and the line."""
    path = tmp_path / "broken.jsonl"
    path.write_text(text)
    with pytest.raises(ValueError, match=rf"broken\.jsonl, line {text.count(chr(10)) + 1}: "):
        load_recordings(path)


def test_half_a_recording_is_a_cut_one(tmp_path: Path) -> None:
    """A file that ends before its end line is an answer that was lost there."""
    path = tmp_path / "half.jsonl"
    save_recordings(path, [WHOLE])
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:2]))
    assert load_recordings(path) == [Recording(200, HEAD, WHOLE.pieces[:1], complete=False)]


def test_replayed(websopy_client: WebsopyClient, websopy_sandbox: Sandbox) -> None:
    """The sandbox gives the same answer: status, headers, bytes."""
    websopy_sandbox.play(WHOLE.script())
    stream = websopy_client.ai.chat_stream("Hi")
    assert stream.get_final_text() == "世界"
    assert stream.request_id == "r-1" and stream.last_event_id == "1"
    assert WHOLE.body == EVENTS + DONE


WHOLE_ANSWER = [
    ReasoningChunk("我想", extra={"signature": "s"}),
    ContentChunk("世界", extra={"index": 0}),
    ToolCallChunk(ToolCall("weather", "{}", "call-1"), extra={"tool": {"kind": "function"}}),
    DoneChunk(
        Usage(20, 9, cached_tokens=5, reasoning_tokens=3, details={"audioTokens": 1}),
        "length",
        "w-2",
        "answer-1",
        extra={"created": 1},
    ),
]
FIELDS: list[tuple[str, dict[str, Any]]] = [
    ("reasoning", {"content": "我想", "signature": "s"}),
    ("content", {"content": "世界", "index": 0}),
    (
        "tool_call",
        {"tool": {"name": "weather", "arguments": "{}", "id": "call-1", "kind": "function"}},
    ),
    (
        "done",
        {
            "usage": {
                "promptTokens": 20,
                "completionTokens": 9,
                "cachedTokens": 5,
                "reasoningTokens": 3,
                "audioTokens": 1,
            },
            "finishReason": "length",
            "model": "w-2",
            "id": "answer-1",
            "created": 1,
        },
    ),
]


def as_dicts(chunks: Iterable[StreamChunk]) -> list[dict[str, Any]]:
    """Everything that is in chunks: `==` leaves the unknown fields out."""
    return [one.to_dict() for one in chunks]


def test_the_whole_answer_is_recorded(
    websopy_client: WebsopyClient, websopy_sandbox: Sandbox, tmp_path: Path
) -> None:
    """Each kind of chunk, with the fields that this version knows and those that it does not."""
    websopy_sandbox.play([chunk(kind, fields) for kind, fields in FIELDS])
    with (
        Recorder(websopy_sandbox.url) as recorder,
        WebsopyClient("test", base_url=recorder.url, plugins=()) as client,
    ):
        assert as_dicts(client.ai.chat_stream("Hi")) == as_dicts(WHOLE_ANSWER)
    save_recordings(tmp_path / "whole.jsonl", recorder.recordings)
    [recording] = load_recordings(tmp_path / "whole.jsonl")
    websopy_sandbox.play(recording.script())
    assert as_dicts(websopy_client.ai.chat_stream("Hi")) == as_dicts(WHOLE_ANSWER)


OLD = r"""{"recording": 1, "status": 200, "headers": {"Content-Type": "text/event-stream"}}
{"seconds": 0.01, "text": "data: {\"type\":\"content\",\"content\":\"Bonjour\"}\n\n"}
{"seconds": 0.02, "text": "data: {\"type\":\"done\",\"usage\":{\"promptTokens\":2,"}
{"seconds": 0.02, "text": "\"completionTokens\":1}}"}
{"seconds": 0.02, "text": "\n\n"}
{"seconds": 0.03, "end": "complete"}
"""


def test_an_old_recording_is_played(
    websopy_client: WebsopyClient, websopy_sandbox: Sandbox, tmp_path: Path
) -> None:
    """A file of the first release, as it lies in somebody's repository."""
    (tmp_path / "old.jsonl").write_text(OLD, "utf-8")
    [recording] = load_recordings(tmp_path / "old.jsonl")
    websopy_sandbox.play(recording.script())
    message = websopy_client.ai.chat("Hi")
    assert message == Message("Bonjour", (), Usage(2, 1))


def test_replayed_cut(websopy_sandbox: Sandbox) -> None:
    """A recording that was cut is cut, and one that only lacks its done chunk is not."""
    bare = EVENTS.removeprefix(b"id: 1\n")
    lost = Recording(200, HEAD, (Piece(0, bare),), complete=False)
    for recording in (lost, attrs.evolve(lost, complete=True)):
        websopy_sandbox.play(recording.script())
        with (
            Recorder(websopy_sandbox.url) as recorder,
            WebsopyClient("test", base_url=recorder.url, plugins=()) as client,
            pytest.raises(StreamInterruptedError) as caught,
        ):
            client.ai.chat("Hi")
        assert caught.value.partial is not None and caught.value.partial.content == "世界"
        assert [again.complete for again in recorder.recordings] == [recording.complete]


@pytest.mark.timing
def test_speed(websopy_client: WebsopyClient, websopy_sandbox: Sandbox) -> None:
    """At speed 1 an answer takes its time, without a speed none."""
    took = []
    for speed in (1.0, None):
        websopy_sandbox.play(WHOLE.script(speed=speed))
        started = time.monotonic()
        websopy_client.ai.chat("Hi")
        took.append(time.monotonic() - started)
    assert took[0] >= 0.15 > took[1]
