"""The parts that both back ends of the chat example share: page, headers, command line.

Knows neither Flask nor Django.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from websopy_sync import (
    APIStatusError,
    ConfigError,
    RateLimitError,
    WebsopyClient,
    WebsopyError,
)
from websopy_sync.sandbox import Sandbox
from websopy_sync.web import public_error

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


def failure(error: WebsopyError) -> tuple[dict[str, Any], int]:
    """The body and status of a response when the request to the service failed."""
    public = public_error(error)
    body = {"error": {"code": public.code, "message": public.message}}
    if isinstance(error, ConfigError):
        return {"error": {"code": "refused", "message": "The question cannot be sent."}}, 400
    if isinstance(error, RateLimitError):
        return body, 429
    return body, 502 if isinstance(error, APIStatusError) else 503


class Options:
    """The command line's options, as a context manager that opens and closes the client."""

    def __init__(self, description: str) -> None:
        parser = argparse.ArgumentParser(description=description)
        parser.add_argument("--port", type=int, default=8000, help="where to serve (8000)")
        parser.add_argument(
            "--sandbox", action="store_true", help="ask a service played here, not the real one"
        )
        parser.add_argument(
            "--heartbeat", type=float, default=15.0, help="seconds in which a closed tab is noticed"
        )
        asked = parser.parse_args()
        self.port: int = asked.port
        self.heartbeat: float = asked.heartbeat
        self._sandbox: bool = asked.sandbox
        self._open = ExitStack()

    def __enter__(self) -> WebsopyClient:
        check_built()
        if not self._sandbox:
            return self._open.enter_context(_client())
        sandbox = self._open.enter_context(Sandbox(pause=0.05))
        return self._open.enter_context(WebsopyClient(api_key="sandbox", base_url=sandbox.url))

    def __exit__(self, *exc_info: object) -> None:
        self._open.close()


def _client() -> WebsopyClient:
    try:
        return WebsopyClient()
    except ConfigError as problem:
        sys.exit(f"{problem}\nSet WEBSOPY_API_KEY, or try it without a key: --sandbox")


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
