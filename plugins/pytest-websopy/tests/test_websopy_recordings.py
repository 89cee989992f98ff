"""Recordings as files, and the scripts made of them."""

from __future__ import annotations

import time
from pathlib import Path

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytest_websopy import Piece, Recorder, Recording, load_recordings, save_recordings

from websopy_sync import StreamInterruptedError, WebsopyClient
from websopy_sync.sandbox import Sandbox

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
