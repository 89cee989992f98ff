"""Floor: a socket, `recv` and `json.loads`; no HTTP, no SSE rules, every event in one piece."""

from __future__ import annotations

import json
import socket
from urllib.parse import urlsplit

from . import Read, Seen


def reader(base: str) -> Read:
    url = urlsplit(base)
    request = f"GET {url.path}/v1/ai/chat HTTP/1.1\r\nHost: {url.netloc}\r\n\r\n".encode()

    def read(seen: Seen) -> None:
        with socket.create_connection((url.hostname or "", url.port or 0)) as connection:
            connection.sendall(request)
            rest = b""
            while data := connection.recv(65536):
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    if line.startswith(b"data: "):
                        chunk = json.loads(line[6:])
                        if chunk["type"] == "done":
                            return
                        seen(chunk["content"])

    return read
