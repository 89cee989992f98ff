"""Every way in which an answer can end, as scripts for the sandbox.

An app that handles all of them meets no new one in production. Knows nothing of pytest.
"""

from __future__ import annotations

import attrs

from websopy_sync import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    BadRequestError,
    InternalServerError,
    RateLimitError,
    StreamInterruptedError,
    StreamProtocolError,
    StreamServerError,
    Timeouts,
    WebsopyError,
)
from websopy_sync.sandbox import (
    Steps,
    before_headers,
    chunk,
    cut,
    done,
    error,
    event,
    headers,
    no_ids,
    raw,
    reset,
    retry,
    say,
    silence,
    status,
    think,
    tool,
)

__all__ = ["ENDINGS", "TEXT", "Ending"]

TEXT = "AI 正在改变世界..."
"""The text of an answer before it ends, in the endings with a text."""

IMPATIENT = Timeouts(connect=5, first_chunk=0.25, idle=0.25, total=5)


@attrs.frozen
class Ending:
    """One way in which an answer can end.

    Attributes:
        name: As a test's id shows it.
        script: The sandbox's script for each request.
        raises: The error that the client raises; None for a complete answer.
        text: The text that comes before that.
        timeouts: Timeouts with which the client notices it soon; None when any will do.
    """

    name: str
    script: Steps = attrs.field(repr=False, hash=False)
    raises: type[WebsopyError] | None = None
    text: str = ""
    timeouts: Timeouts | None = None


_SAID = (say("AI"), say(" 正在"), say("改变世界..."))
_THOUGHT = think("What do they want?")
_NOT_RESUMABLE = (no_ids(), *_SAID)

ENDINGS = (
    Ending("done", (*_SAID, done(20, 150)), text=TEXT),
    Ending("done-without-usage", (*_SAID, done()), text=TEXT),
    Ending("done-without-text", (done(20, 0),)),
    Ending("done-with-tool-call", (*_SAID, tool("search", {"q": "AI"}), done(20, 9)), text=TEXT),
    # The text may be half an answer: `message.truncated` says so.
    Ending("done-at-the-limit", (*_SAID, done(finish_reason="length")), text=TEXT),
    Ending("done-filtered", (*_SAID, done(finish_reason="content_filter")), text=TEXT),
    Ending("done-with-reasoning", (_THOUGHT, *_SAID, done(20, 9)), text=TEXT),
    Ending("done-with-unknown-chunk", (*_SAID, chunk("later"), done(20, 9)), text=TEXT),
    # The client resumes, and the sandbox continues after the cut.
    Ending("cut-and-resumed", (retry(0), *_SAID[:1], cut(), *_SAID[1:], done(20, 9)), text=TEXT),
    Ending("error-chunk", (*_SAID, error("overloaded", "busy")), StreamServerError, TEXT),
    Ending("cut", (*_NOT_RESUMABLE, cut()), StreamInterruptedError, TEXT),
    Ending("reset", (*_NOT_RESUMABLE, reset()), StreamInterruptedError, TEXT),
    Ending("end-without-done", _NOT_RESUMABLE, StreamInterruptedError, TEXT),
    Ending("silence", (*_SAID, silence()), APITimeoutError, TEXT, IMPATIENT),
    Ending("silence-before-text", (silence(),), APITimeoutError, "", IMPATIENT),
    Ending("no-answer", (before_headers(silence()),), APITimeoutError, "", IMPATIENT),
    Ending("hung-up", (before_headers(cut()),), APIConnectionError),
    Ending("not-json", (*_SAID, event("{oops")), StreamProtocolError, TEXT),
    Ending("wrong-shape", (*_SAID, chunk("content", {"content": 7})), StreamProtocolError, TEXT),
    Ending(
        "not-a-stream",
        (headers({"Content-Type": "text/html"}), raw(b"<h1>It works!</h1>")),
        StreamProtocolError,
    ),
    Ending("bad-request", status(400), BadRequestError),
    Ending("wrong-key", status(401), AuthenticationError),
    Ending("redirect", status(307, headers={"Location": "/elsewhere"}), APIStatusError),
    Ending("too-many-requests", status(429, retry_after=0), RateLimitError),
    Ending("server-error", status(500), InternalServerError),
)
"""All of them."""
