"""Recorded responses: their file, and the sandbox script that plays them.

A recording has the status, the response's own headers, and the pieces of the body with their times.
It has nothing of the request: neither key nor prompt. Knows nothing of pytest or of the recorder.

The file is JSON lines, readable in a diff: one for each response's head, one for each piece, one
for its end. A piece that is not UTF-8 by itself is in base64.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from websopy_sync.sandbox import Step, Steps, cut, headers, pause, raw

__all__ = ["Piece", "Recording", "kept_headers", "load_recordings", "save_recordings"]

VERSION = 1

DROPPED = frozenset(
    {
        *("connection", "content-length", "date", "keep-alive", "proxy-authenticate"),
        *("set-cookie", "set-cookie2", "trailer", "transfer-encoding", "upgrade", "via"),
        *("alt-svc", "nel", "report-to", "strict-transport-security"),
    }
)
"""Headers of the connection or of the recording machine, not of the response."""


@attrs.frozen
class Piece:
    """Some bytes of a body, and their time in seconds after the head."""

    seconds: float
    data: bytes


@attrs.frozen
class Recording:
    """One response as it came.

    Attributes:
        status: Its status.
        headers: Its own headers.
        pieces: The body.
        complete: Whether the body came to its end; False for a lost connection.
        seconds: The time of its end, in seconds after the head.
    """

    status: int = 200
    headers: Mapping[str, str] = attrs.field(factory=dict, hash=False)
    pieces: tuple[Piece, ...] = ()
    complete: bool = True
    seconds: float = 0.0

    @property
    def body(self) -> bytes:
        """The whole body."""
        return b"".join(piece.data for piece in self.pieces)

    def script(self, *, speed: float | None = None) -> Steps:
        """The script with which a sandbox sends the same response.

        Args:
            speed: 1.0 keeps the recorded pauses, 10.0 takes a tenth of them; None has no pause.
        """
        steps: list[Step] = [headers(self.headers, status=self.status)]
        now = 0.0
        for piece in self.pieces:
            if speed and piece.seconds > now:
                steps.append(pause((piece.seconds - now) / speed))
            steps.append(raw(piece.data))
            now = max(now, piece.seconds)
        if speed and self.seconds > now:
            steps.append(pause((self.seconds - now) / speed))
        return steps if self.complete else [*steps, cut()]


def save_recordings(path: str | os.PathLike[str], recordings: Iterable[Recording]) -> None:
    """Write responses to a file, in order; makes the folder if necessary."""
    lines = [line for recording in recordings for line in _lines(recording)]
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    # Written to a second file: a test run killed here must not leave half a recording.
    part = target.with_name(target.name + ".part")
    part.write_text(text, encoding="utf-8", newline="\n")
    os.replace(part, target)


def load_recordings(path: str | os.PathLike[str]) -> list[Recording]:
    """The responses in a file, in order.

    Raises:
        OSError: There is no such file.
        ValueError: It is no recording.
    """
    recordings: list[Recording] = []
    numbered = enumerate(Path(path).read_text(encoding="utf-8").split("\n"), start=1)
    for number, line in numbered:
        if line.strip():
            try:
                _take(json.loads(line), recordings)
            except (ValueError, TypeError, KeyError, IndexError) as error:
                raise ValueError(f"{path}, line {number}: no recording: {error!r:.200}") from None
    return recordings


def kept_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The response's own headers, without those of the connection."""
    return {name: value for name, value in headers.items() if name.lower() not in DROPPED}


def _lines(recording: Recording) -> Iterator[dict[str, Any]]:
    head = {"status": recording.status, "headers": kept_headers(recording.headers)}
    yield {"recording": VERSION, **head}
    for piece in recording.pieces:
        yield {"seconds": round(piece.seconds, 6), **_encoded(piece.data)}
    yield {
        "seconds": round(recording.seconds, 6),
        "end": "complete" if recording.complete else "cut",
    }


def _take(line: dict[str, Any], recordings: list[Recording]) -> None:
    """Add one line to the recordings read so far."""
    if "recording" in line:
        if line["recording"] != VERSION:
            raise ValueError(f"expected version {VERSION}, got {line['recording']!r:.50}")
        # Cut, until the line of its end is read.
        recordings.append(Recording(int(line["status"]), dict(line["headers"]), complete=False))
        return
    last, seconds = recordings[-1], float(line["seconds"])
    if "end" in line:
        complete = {"complete": True, "cut": False}[line["end"]]
        recordings[-1] = attrs.evolve(last, complete=complete, seconds=seconds)
    else:
        piece = Piece(seconds, _decoded(line))
        recordings[-1] = attrs.evolve(last, pieces=(*last.pieces, piece))


def _encoded(data: bytes) -> dict[str, str]:
    try:
        return {"text": data.decode("utf-8")}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode("ascii")}


def _decoded(line: Mapping[str, Any]) -> bytes:
    if "text" in line:
        return str(line["text"]).encode("utf-8")
    return base64.b64decode(line["base64"], validate=True)
