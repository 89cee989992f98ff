"""What an operator sets, in the environment. Knows no framework."""

from __future__ import annotations

import os
import secrets
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
        """Those of a site.

        Raises:
            RuntimeError: One is missing, as no default would be safe, or there is no such folder.
                A server ends then. After a SystemExit gunicorn would try again for ever.
        """
        try:
            secret_key, hosts = os.environ["CHAT_SECRET_KEY"], os.environ["CHAT_HOSTS"]
            folder = Path(os.environ["CHAT_FOLDER"])
        except KeyError as error:
            every = "CHAT_SECRET_KEY, CHAT_HOSTS and CHAT_FOLDER must be"
            raise RuntimeError(f"{error.args[0]} is not set: {every}") from None
        if not folder.is_dir():
            raise RuntimeError(f"CHAT_FOLDER: expected a folder, got {folder}")
        behind_tls = os.environ.get("CHAT_BEHIND_TLS", "1") != "0"
        return cls(
            secret_key=secret_key, hosts=hosts.split(","), folder=folder, behind_tls=behind_tls
        )

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
