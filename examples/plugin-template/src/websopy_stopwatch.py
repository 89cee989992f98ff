"""websopy-stopwatch: writes to stderr how long each answer took."""

import sys
import time
from typing import Any

from websopy_sync import ChatStream, StreamLocal, hookimpl


class Stopwatch:
    """Each client makes its own instance. A method has the name of its hook."""

    def __init__(self) -> None:
        self.started: StreamLocal[float] = StreamLocal()

    @hookimpl
    def on_request(self, request: Any, stream: ChatStream) -> None:
        """Start the clock: the request is about to be sent."""
        self.started[stream] = time.monotonic()

    @hookimpl
    def on_done(self, stream: ChatStream) -> None:
        """Stop the clock: the answer is complete."""
        self.stop(stream)

    @hookimpl
    def on_error(self, stream: ChatStream) -> None:
        """Stop the clock: the answer ended in any other way."""
        self.stop(stream)

    def stop(self, stream: ChatStream) -> None:
        """Write the time. Without `@hookimpl`, so it is no hook."""
        seconds = time.monotonic() - self.started.pop(stream)
        print(f"stopwatch: {stream.state} after {seconds:.2f} s", file=sys.stderr)
