"""A server that plays the service on this machine: for a first try, and for tests.

`Sandbox` is the server; the other names are the words of its script language. Uses the standard
library and this package's codec; knows nothing of the client.
"""

from .recorded_request import RecordedRequest
from .script import (
    before_headers,
    chunk,
    comment,
    cut,
    done,
    error,
    event,
    expect_tool_result,
    headers,
    no_ids,
    pause,
    ping,
    raw,
    reset,
    retry,
    say,
    silence,
    status,
    think,
    tool,
    wait,
)
from .server import Sandbox
from .steps import Framing, Step, Steps

__all__ = [
    "Framing",
    "RecordedRequest",
    "Sandbox",
    "Step",
    "Steps",
    "before_headers",
    "chunk",
    "comment",
    "cut",
    "done",
    "error",
    "event",
    "expect_tool_result",
    "headers",
    "no_ids",
    "pause",
    "ping",
    "raw",
    "reset",
    "retry",
    "say",
    "silence",
    "status",
    "think",
    "tool",
    "wait",
]
