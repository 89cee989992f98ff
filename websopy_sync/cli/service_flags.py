"""The flags that say which service is asked, and the client that they give.

Knows nothing of what is asked.
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator
from typing import Any

from ..client import WebsopyClient
from ..errors import ConfigError
from ..sandbox import Sandbox
from .sandbox import NO_MODEL
from .terminal import say


def add_service_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags to a command."""
    flags = parser.add_argument_group("who is asked")
    where = flags.add_mutually_exclusive_group()
    where.add_argument("--sandbox", action="store_true", help="ask the sandbox, which is no model")
    where.add_argument("--base-url", metavar="URL", help="ask there instead of the service")
    flags.add_argument(
        "--wire", metavar="NAME", help="the format of another service, such as openai"
    )
    flags.add_argument("--timeout", metavar="SECONDS", help="limit for each whole answer")


@contextlib.contextmanager
def client_of(args: argparse.Namespace, **options: Any) -> Iterator[WebsopyClient]:
    """The client of the flags, and the sandbox that it asks, while the command runs.

    Args:
        args: The flags.
        **options: Further options of the client.

    Raises:
        ConfigError: A flag has no usable value, or there is no key.
    """
    timeout = _timeout(args.timeout)
    key, url, wire = None, args.base_url, args.wire
    with contextlib.ExitStack() as stack:
        if args.sandbox:
            wire = wire or "websopy"  # the sandbox does not read WEBSOPY_WIRE
            key, url = "sandbox-key", stack.enter_context(Sandbox(wire=wire)).url
            say(NO_MODEL)
        client = WebsopyClient(key, base_url=url, wire=wire, timeout=timeout, **options)
        yield stack.enter_context(client)


def _timeout(seconds: str | None) -> float | None:
    if seconds is None:
        return None
    try:
        return float(seconds)
    except ValueError:
        pass  # raised below: its context would be a foreign exception
    raise ConfigError(f"--timeout: expected seconds, got {seconds!a:.200}")
