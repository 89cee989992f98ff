"""What a process and its children take, as Linux tells it."""

from __future__ import annotations

import contextlib
from pathlib import Path

__all__ = ["memory_of", "threads_of"]


def _tree(pid: int) -> list[int]:
    found = [pid]
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread that has ended
            for child in (task / "children").read_text("ascii").split():
                found += _tree(int(child))
    return found


def memory_of(pid: int) -> float:
    """Bytes in memory that they do not share."""
    return sum(_private(member) for member in _tree(pid))


def _private(pid: int) -> float:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text("ascii").splitlines()
    sizes = [line.split()[1] for line in lines if line.startswith("Private_")]
    return 1024.0 * sum(map(int, sizes))


def threads_of(pid: int) -> int:
    """Threads of all of them."""
    return sum(len(list(Path(f"/proc/{member}/task").iterdir())) for member in _tree(pid))
