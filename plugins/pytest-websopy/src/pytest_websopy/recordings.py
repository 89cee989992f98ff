"""A real answer kept in a file: its bytes as they came, and when; and the script that repeats it.

Kept are the status, the headers that say something of the answer, and the body in the pieces it
came in. Not kept is anything of the question: neither the key nor the prompt. Knows nothing of
pytest or of how a recording is made.

The file is JSON lines, to be read and compared by people too: a line for each answer's head, then
one for each piece, then one for its end. A piece that is no UTF-8 by itself is in base64.
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
"""Headers that belong to the connection, or to whoever recorded, and not to the answer."""


@attrs.frozen
class Piece:
    """Some bytes of a body, and how many seconds after its head they came."""

    seconds: float
    data: bytes


@attrs.frozen
class Recording:
    """One answer as it came.

    complete: whether the body came to its proper end; False when the connection was lost.
    seconds: when it ended, counted from its head like the times of the pieces.
    """

    status: int = 200
    headers: Mapping[str, str] = attrs.field(factory=dict, hash=False)
    pieces: tuple[Piece, ...] = ()
    complete: bool = True
    seconds: float = 0.0

    @property
    def body(self) -> bytes:
        """All its bytes."""
        return b"".join(piece.data for piece in self.pieces)

    def script(self, *, speed: float | None = None) -> Steps:
        """What makes a sandbox give the same answer.

        speed: 1.0 takes as long as the recorded one took, 10.0 a tenth of that; None leaves no
        pause at all.
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
    """Write answers to a file, in order; the folder is made when there is none."""
    lines = [line for recording in recordings for line in _lines(recording)]
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    # Through a second file: a test run that is killed here must not leave half a recording.
    part = target.with_name(target.name + ".part")
    part.write_text(text, encoding="utf-8", newline="\n")
    os.replace(part, target)


def load_recordings(path: str | os.PathLike[str]) -> list[Recording]:
    """The answers in a file, in order.

    Raises OSError when there is no file, ValueError when it is no recording.
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
    """Those headers of an answer that are part of it, not of its connection."""
    return {name: value for name, value in headers.items() if name.lower() not in DROPPED}


def _lines(recording: Recording) -> Iterator[dict[str, Any]]:
    head = {"status": recording.status, "headers": kept_headers(recording.headers)}
    yield {"recording": VERSION, **head}
    for piece in recording.pieces:
        yield {"seconds": round(piece.seconds, 6), **_shown(piece.data)}
    yield {
        "seconds": round(recording.seconds, 6),
        "end": "complete" if recording.complete else "cut",
    }


def _take(line: dict[str, Any], recordings: list[Recording]) -> None:
    """Add what a line says to the recordings read so far."""
    if "recording" in line:
        if line["recording"] != VERSION:
            raise ValueError(f"expected version {VERSION}, got {line['recording']!r:.50}")
        # Until its end is read, a recording is one that was cut.
        recordings.append(Recording(int(line["status"]), dict(line["headers"]), complete=False))
        return
    last, seconds = recordings[-1], float(line["seconds"])
    if "end" in line:
        complete = {"complete": True, "cut": False}[line["end"]]
        recordings[-1] = attrs.evolve(last, complete=complete, seconds=seconds)
    else:
        piece = Piece(seconds, _hidden(line))
        recordings[-1] = attrs.evolve(last, pieces=(*last.pieces, piece))


def _shown(data: bytes) -> dict[str, str]:
    try:
        return {"text": data.decode("utf-8")}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode("ascii")}


def _hidden(line: Mapping[str, Any]) -> bytes:
    if "text" in line:
        return str(line["text"]).encode("utf-8")
    return base64.b64decode(line["base64"], validate=True)
