"""What an operator sets, in the environment. Knows no framework."""

from __future__ import annotations

import os
import secrets
import sys
from pathlib import Path

import attrs


@attrs.frozen(kw_only=True)
class Settings:
    """How the chat is served.

    Attributes:
        secret_key: Signs the sessions. All workers have the same, and nobody else knows it.
        hosts: The names by which browsers reach the site.
        folder: Where answers and the history are kept. All workers have the same.
        behind_tls: Whether browsers come by HTTPS, over a proxy that says so.
        heartbeat: Seconds in which a browser that left is noticed; `index.html` has it, too.
        grace: Seconds that an answer goes on while no page follows it.
        lease: Seconds without a sign of life after which a worker counts as dead.
    """

    secret_key: str = attrs.field(repr=False)
    hosts: list[str]
    folder: Path
    behind_tls: bool = True
    heartbeat: float = 15.0
    grace: float = 30.0
    lease: float = 5.0

    @classmethod
    def from_environment(cls) -> Settings:
        """Those of a site; the program ends when one is missing, as no default would be safe."""
        try:
            return cls(
                secret_key=os.environ["CHAT_SECRET_KEY"],
                hosts=os.environ["CHAT_HOSTS"].split(","),
                folder=Path(os.environ["CHAT_FOLDER"]),
                behind_tls=os.environ.get("CHAT_BEHIND_TLS", "1") != "0",
            )
        except KeyError as missing:
            sys.exit(f"{missing} is not set: CHAT_SECRET_KEY, CHAT_HOSTS and CHAT_FOLDER must be")

    @classmethod
    def for_this_machine(cls, folder: Path, *, heartbeat: float, grace: float) -> Settings:
        """Those of a trial on the loopback, in one process."""
        return cls(
            secret_key=secrets.token_hex(),
            hosts=["127.0.0.1", "localhost"],
            folder=folder,
            behind_tls=False,
            heartbeat=heartbeat,
            grace=grace,
        )
