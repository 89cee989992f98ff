"""What the benchmark server is asked for, as a value that travels in the URL's path.

Knows nothing of sockets and clients: both sides import it, so that a client with nothing but a
base URL can ask for any answer.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass

__all__ = ["Answer"]


@dataclass(frozen=True)
class Answer:
    """One answer of the server.

    framing: chunked, length (Content-Length) or close (the end of the connection is the end).
    count: how many content chunks. per_chunk: how many of them an HTTP chunk holds.
    gap_us: microseconds between two; 0 sends all at once. Paced texts are the server's clock.
    streams: how many such answers start together, their beats spread evenly over the gap.
    size: bytes of a single large text in place of the usual pieces; 0 for those.
    run: names one run, so that its streams start with each other and with nobody else's.
    """

    framing: str = "chunked"
    count: int = 1
    per_chunk: int = 1
    gap_us: int = 0
    streams: int = 1
    size: int = 0
    run: str = "-"

    @property
    def path(self) -> str:
        """The path to put before the service's own."""
        return "/" + "/".join(str(value) for value in astuple(self))

    @classmethod
    def from_path(cls, path: str) -> Answer:
        """The answer that `path` was made of, whatever follows it."""
        framing, *numbers, run = path.split("/")[1:8]
        count, per_chunk, gap_us, streams, size = map(int, numbers)
        return cls(framing, count, per_chunk, gap_us, streams, size, run)
