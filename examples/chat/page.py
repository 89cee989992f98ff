"""The page itself, what it is told of a failure, and the command line of a trial.

Knows no framework.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from chat import Chat
from settings import Settings

from websopy_sync import APIStatusError, ConfigError, RateLimitError, WebsopyError
from websopy_sync.sandbox import Sandbox
from websopy_sync.web import ConversationTooLongError, public_error

HERE = Path(__file__).resolve().parent
DIST = HERE / "dist"
"""The output of `npm run build`: index.html, favicon.svg and assets/."""

HEADERS = {
    # Scripts and styles come from this server only, never from the page itself, and no string can
    # become markup: the model's text stays text.
    "Content-Security-Policy": "; ".join(
        [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self'",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types vue",
        ]
    ),
    "Cache-Control": "no-cache",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""Headers of the page."""


def failure(error: WebsopyError) -> tuple[dict[str, Any], int, dict[str, str]]:
    """Body, status and headers of a response when an answer could not begin."""
    if isinstance(error, ConversationTooLongError):
        told = {"code": "conversation_too_long", "message": "The conversation is too long."}
        return {"error": told}, 413, {}
    if isinstance(error, ConfigError):
        told = {"code": "refused", "message": "The question cannot be sent."}
        return {"error": told}, 400, {}
    public = public_error(error)
    body = {"error": {"code": public.code, "message": public.message}}
    if isinstance(error, RateLimitError):
        return body, 429, {"Retry-After": str(math.ceil(error.retry_after or 5))}
    if not isinstance(error, APIStatusError):
        return body, 503, {}
    headers = {"Retry-After": str(math.ceil(error.retry_after))} if error.retry_after else {}
    return body, 502, headers


class Trial:
    """The back end's command line, as a context manager that opens and closes its chat."""

    def __init__(self, description: str) -> None:
        parser = argparse.ArgumentParser(description=description)
        parser.add_argument("--port", type=int, default=8000, help="where to serve (8000)")
        parser.add_argument(
            "--sandbox", action="store_true", help="ask a service played here, not the real one"
        )
        parser.add_argument(
            "--heartbeat", type=float, default=15.0, help="seconds in which a closed tab is noticed"
        )
        parser.add_argument(
            "--grace", type=float, default=30.0, help="seconds that an answer goes on without a tab"
        )
        asked = parser.parse_args()
        self.port: int = asked.port
        self._times = {"heartbeat": asked.heartbeat, "grace": asked.grace}
        self._sandbox: bool = asked.sandbox
        self._open = ExitStack()

    def __enter__(self) -> Self:
        check_built()
        folder = self._open.enter_context(tempfile.TemporaryDirectory(prefix="chat-"))
        self.settings = Settings.for_this_machine(Path(folder), **self._times)
        try:
            self.chat = Chat(self.settings, **self._service())
        except ConfigError as error:  # mostly there is no key
            self._open.close()
            sys.exit(f"{error}\nWithout a key, try the page with --sandbox.")
        self._open.callback(self.chat.close)
        print(f"Open http://127.0.0.1:{self.port} in a browser; Ctrl-C ends it.", flush=True)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._open.close()

    def _service(self) -> dict[str, str]:
        if not self._sandbox:
            return {}
        sandbox = self._open.enter_context(Sandbox(pause=0.05))
        return {"api_key": "sandbox", "base_url": sandbox.url}


def check_built() -> None:
    """End the program with instructions if the page has not been built."""
    if not (DIST / "index.html").exists():
        sys.exit(
            "The page has not been built yet. With Node 20.19 or newer, run this once:\n"
            f"    npm --prefix {_relative(HERE)} ci && npm --prefix {_relative(HERE)} run build"
        )


def _relative(path: Path) -> Path:
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
