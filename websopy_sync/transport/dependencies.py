"""Checks that requests and urllib3 are the libraries that this package is made for.

Knows nothing of requests that are sent. Another package may have installed a fork or an old version
in their place. That would fail deep in a call; here one sentence says it.
"""

from __future__ import annotations

import http.client
import re
from typing import Any

import requests
import urllib3
import urllib3.connection

__all__ = ["dependency_problem"]

LOWEST = {"requests": (2, 32, 2), "urllib3": (2, 7, 0)}
"""The lower bounds that setup.cfg declares."""

_KEPT_APART = "URLLIB3_NO_OVERRIDE=1 pip install niquests --no-binary urllib3-future"


def dependency_problem(requests: Any = requests, urllib3: Any = urllib3) -> str:
    """What is wrong with requests and urllib3 as they are installed, "" for nothing.

    Args:
        requests: The module of that name.
        urllib3: The module of that name.
    """
    # This package relies on urllib3's connections being http.client's. Those of urllib3-future are
    # not: a fork that comes with niquests and installs itself under urllib3's name.
    if not issubclass(urllib3.connection.HTTPConnection, http.client.HTTPConnection):
        return (
            f"urllib3: expected urllib3 itself, got {urllib3.__version__} of a fork in its place "
            f"(urllib3-future, which comes with niquests). To keep them apart: {_KEPT_APART}"
        )
    for module, name in ((requests, "requests"), (urllib3, "urllib3")):
        found = tuple(map(int, re.findall(r"\d+", module.__version__)[:3]))
        if found < LOWEST[name]:
            expected = ".".join(map(str, LOWEST[name]))
            return (
                f"{name}: expected version {expected} or newer, got {module.__version__}: "
                f"pip install --upgrade {name}"
            )
    return ""
