"""The process that writes a stream, and whether it still runs.

Process ids are reused, so an identity also has the host, the start time of the process, the boot id
and the PID namespace (each container has one). Parts are empty where /proc is missing. Knows no
database.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Literal

import attrs

__all__ = ["Identity", "Life"]

Life = Literal["alive", "dead", "unknown"]

_SEPARATOR = "/"


@attrs.frozen
class Identity:
    """One process on one machine; a stream's row has its str()."""

    host: str
    pid: int
    started: str = ""
    boot: str = ""
    space: str = ""

    @classmethod
    def of_this_process(cls) -> Identity:
        """The identity of the calling process."""
        pid = os.getpid()
        return cls(
            host=socket.gethostname().replace(_SEPARATOR, "_")[:100],
            pid=pid,
            started=_start_time(pid) or "",
            boot=_read("/proc/sys/kernel/random/boot_id"),
            space=_namespace(),
        )

    @classmethod
    def parse(cls, text: str) -> Identity | None:
        """The identity with this str(); None for any other text."""
        parts = text.split(_SEPARATOR)
        if len(parts) != 5 or not (parts[1].isascii() and parts[1].isdigit()):
            return None
        host, pid, started, boot, space = parts
        return cls(host, int(pid), started, boot, space)

    def __str__(self) -> str:
        return _SEPARATOR.join((self.host, str(self.pid), self.started, self.boot, self.space))

    def life_of(self, other: Identity, *, same_machine: bool) -> Life:
        """Whether another process runs, if this one can know it for certain.

        Args:
            other: The other process.
            same_machine: Whether all writers of the database run on this machine, as for an SQLite
                file with a write-ahead log. Another boot id then means before a restart.
        """
        if (self.boot, self.space) == (other.boot, other.space) and (self.boot or same_machine):
            return _life_here(other) if self.host == other.host or self.boot else "unknown"
        if same_machine and self.boot and other.boot and self.boot != other.boot:
            return "dead"
        return "unknown"


def _life_here(process: Identity) -> Life:
    if os.name != "posix":  # os.kill(pid, 0) would end it on Windows
        return "unknown"
    try:
        os.kill(process.pid, 0)
    except (ProcessLookupError, OverflowError):
        return "dead"
    except PermissionError:
        pass
    started = _start_time(process.pid)
    if not started or not process.started:
        return "unknown"
    return "alive" if started == process.started else "dead"


def _start_time(pid: int) -> str | None:
    """Clock ticks from boot to the process's start; None when it has ended or is unknown.

    proc(5): the 22nd field; the 2nd, a name in brackets, may hold anything, brackets too.
    """
    state, *fields = _read(f"/proc/{pid}/stat").rpartition(")")[2].split() or [""]
    if state in ("Z", "X"):
        return "dead"  # a zombie: its parent has not collected it yet
    return fields[18] if len(fields) > 18 else None


def _namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid").replace(_SEPARATOR, "_")
    except OSError:
        return ""


def _read(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace").strip()
    except OSError:
        return ""
