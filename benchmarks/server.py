"""The server of the benchmarks: loopback, raw sockets, answers rendered beforehand.

It runs in a process of its own, so that its work is on nobody's bill. It knows no client: which
service it plays follows from the path's end, which answer from the path's start (`answers`).

Run as a module it prints its port, and ends when its standard input does, so that it cannot
outlive whoever started it.
"""

from __future__ import annotations

import heapq
import io
import itertools
import os
import queue
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from .answers import Answer
from .wires import WIRES, Wire, texts

__all__ = ["running_server"]

BLOCK = 1024
"""Events rendered at a time; a longer answer repeats the block."""

LARGE_PIECE = 16_384
"""Bytes of a large event that go into one HTTP chunk."""

STAMP = b"%020d"
"""A paced text: the monotonic clock in nanoseconds, of one width so that lengths are known."""


@contextmanager
def running_server() -> Iterator[str]:
    """A server in a process of its own, and its URL, without a slash at the end."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.server"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parent.parent,
    )
    assert process.stdin and process.stdout
    with process:
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.stdin.close()


def frame(answer: Answer, payload: bytes) -> bytes:
    """A payload as the framing puts it on the wire."""
    return b"%x\r\n%b\r\n" % (len(payload), payload) if answer.framing == "chunked" else payload


def events(answer: Answer, wire: Wire) -> list[bytes]:
    """The payloads of an answer's content, at most one block of them, not yet framed."""
    if answer.size:
        event = wire.event("x" * answer.size)
        return [event[at : at + LARGE_PIECE] for at in range(0, len(event), LARGE_PIECE)]
    rendered = iter([wire.event(text) for text in texts(min(answer.count, BLOCK))])
    return [b"".join(batch) for batch in iter(lambda: _take(rendered, answer.per_chunk), [])]


def _take(iterator: Iterator[bytes], count: int) -> list[bytes]:
    return list(itertools.islice(iterator, count))


@lru_cache(maxsize=64)
def rendered(answer: Answer, wire: Wire) -> bytes:
    """An answer's content (or a block of it) framed, ready to be sent."""
    return b"".join(frame(answer, payload) for payload in events(answer, wire))


def blocks(answer: Answer, wire: Wire) -> Iterator[bytes]:
    """All the content of an answer that is sent at once."""
    if answer.size:
        yield rendered(answer, wire)
        return
    whole, rest = divmod(answer.count, BLOCK)
    yield from itertools.repeat(rendered(replace(answer, count=BLOCK), wire), whole)
    if rest:
        yield rendered(replace(answer, count=rest), wire)


def head(answer: Answer, wire: Wire) -> bytes:
    """The answer's headers and the events that come before its content."""
    lines = ["HTTP/1.1 200 OK", "Content-Type: text/event-stream", "Cache-Control: no-store"]
    if answer.framing == "chunked":
        lines.append("Transfer-Encoding: chunked")
    elif answer.framing == "length":
        lines.append(f"Content-Length: {length(answer, wire)}")
    else:
        lines.append("Connection: close")
    events_before = b"".join(frame(answer, event) for event in wire.head)
    return "\r\n".join([*lines, "", ""]).encode() + events_before


def length(answer: Answer, wire: Wire) -> int:
    """How many bytes the whole body has."""
    around = sum(map(len, wire.head + wire.tail))
    if answer.gap_us:
        return around + answer.count * len(wire.before + STAMP % 0 + wire.after)
    return around + sum(map(len, blocks(answer, wire)))


def tail(answer: Answer, wire: Wire) -> bytes:
    """What comes after the content."""
    end = b"0\r\n\r\n" if answer.framing == "chunked" else b""
    return b"".join(frame(answer, event) for event in wire.tail) + end


class Paced:
    """One answer that is sent to a beat, and where it has got to."""

    def __init__(self, connection: socket.socket, answer: Answer, wire: Wire) -> None:
        self.answer = answer
        self.over = threading.Event()
        self._connection = connection
        self._wire = wire
        self._left = answer.count

    def beat(self) -> bool:
        """Send the next event with the clock in it. False when there is nothing more to come."""
        self._left -= 1
        wire = self._wire
        try:
            event = wire.before + STAMP % time.monotonic_ns() + wire.after
            self._connection.sendall(frame(self.answer, event))
        except OSError:  # The client left; that is its right.
            self._left = 0
        if not self._left:
            self.over.set()
        return self._left > 0


class Pacer(threading.Thread):
    """Sends every paced answer from one thread, each on its own absolute timetable.

    One thread, because a sleeping thread a stream would add its own waking to the delays.
    """

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._inbox: queue.SimpleQueue[Paced] = queue.SimpleQueue()
        self._waiting: dict[str, list[Paced]] = {}
        self._due: list[tuple[float, int, Paced]] = []
        self._tickets = itertools.count()

    def play(self, paced: Paced) -> None:
        """Send the answer; returns when it is over."""
        self._inbox.put(paced)
        paced.over.wait()

    def run(self) -> None:
        """Wait for the next beat or the next answer, for ever."""
        while True:
            wait = max(self._due[0][0] - time.monotonic(), 0) if self._due else None
            try:
                self._gather(self._inbox.get(timeout=wait))
            except queue.Empty:
                self._beat()

    def _gather(self, paced: Paced) -> None:
        together = self._waiting.setdefault(paced.answer.run, [])
        together.append(paced)
        if len(together) < paced.answer.streams:
            return
        del self._waiting[paced.answer.run]
        gap, start = paced.answer.gap_us / 1e6, time.monotonic()
        for place, member in enumerate(together):
            first = start + gap * place / len(together)
            heapq.heappush(self._due, (first, next(self._tickets), member))

    def _beat(self) -> None:
        due, ticket, paced = heapq.heappop(self._due)
        if paced.beat():
            heapq.heappush(self._due, (due + paced.answer.gap_us / 1e6, ticket, paced))


def read_request(reader: io.BufferedReader) -> str | None:
    """The path of the next request, its body read and dropped; None when there is none."""
    first = reader.readline().split()
    size = 0
    while (line := reader.readline()) not in (b"\r\n", b""):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            size = int(value)
    reader.read(size)
    return first[1].decode() if len(first) > 1 else None


def wire_of(path: str) -> Wire:
    """Which service a path belongs to."""
    if path.endswith("/chat/completions"):
        return WIRES["openai"]
    return WIRES["anthropic"] if path.endswith("/messages") else WIRES["websopy"]


def serve(connection: socket.socket, pacer: Pacer) -> None:
    """Answer one connection's requests until it ends."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with connection, connection.makefile("rb") as reader:
        try:
            while path := read_request(reader):
                answer, wire = Answer.from_path(path), wire_of(path)
                send(connection, answer, wire, pacer)
                if answer.framing == "close":
                    return
        except OSError:  # The client left; that is its right.
            return


def send(connection: socket.socket, answer: Answer, wire: Wire, pacer: Pacer) -> None:
    """Send one answer, at once or to its beat."""
    connection.sendall(head(answer, wire))
    if answer.gap_us:
        pacer.play(Paced(connection, answer, wire))
    else:
        for block in blocks(answer, wire):
            connection.sendall(block)
    connection.sendall(tail(answer, wire))


def accept(listener: socket.socket) -> None:
    """Give each connection a thread, for ever."""
    pacer = Pacer()
    pacer.start()
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=serve, args=(connection, pacer), daemon=True).start()


def main() -> None:
    """Serve on a free port of the loopback until standard input ends."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    print(listener.getsockname()[1], flush=True)
    threading.Thread(target=accept, args=(listener,), daemon=True).start()
    sys.stdin.buffer.read()
    os._exit(0)  # Threads may be in the middle of an answer that nobody waits for.


if __name__ == "__main__":
    main()
