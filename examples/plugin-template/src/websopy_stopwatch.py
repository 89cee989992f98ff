"""websopy-stopwatch: says on stderr how long each answer took."""

import sys
import time
from typing import Any

from websopy_sync import ChatStream, StreamLocal, hookimpl


class Stopwatch:
    """Each client makes one of its own; the methods are named after the hooks."""

    def __init__(self) -> None:
        self.started: StreamLocal[float] = StreamLocal()

    @hookimpl
    def on_request(self, request: Any, stream: ChatStream) -> None:
        """A question is about to be sent."""
        self.started[stream] = time.monotonic()

    @hookimpl
    def on_done(self, stream: ChatStream) -> None:
        """Its answer is complete."""
        self.stop(stream)

    @hookimpl
    def on_error(self, stream: ChatStream) -> None:
        """Or it ended in any other way."""
        self.stop(stream)

    def stop(self, stream: ChatStream) -> None:
        """No hook: just what both ends have in common."""
        seconds = time.monotonic() - self.started.pop(stream)
        print(f"stopwatch: {stream.state} after {seconds:.2f} s", file=sys.stderr)
