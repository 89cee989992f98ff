"""Where and with what a comparison was run: date, machine, Python, versions of every client."""

from __future__ import annotations

import datetime
import os
import platform
from pathlib import Path

from .clients import CLIENTS, version

__all__ = ["describe"]

BELOW = ("urllib3", "httpx2", "pydantic")
"""Distributions that do the clients' work underneath, and are worth naming too."""


def describe() -> dict[str, object]:
    """All of it, ready for JSON."""
    packages = {name for client in CLIENTS.values() for name in client.packages} | {*BELOW}
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} {platform.release()}",
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "versions": {name: version(name) for name in sorted(packages) if version(name)},
    }


def cpu_model() -> str:
    """The processor's own name, as far as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
