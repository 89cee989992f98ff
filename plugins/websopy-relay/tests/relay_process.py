"""Processes that produce answers until they are killed. `relay_process.py URL-OR-PATH SANDBOX`.

Each line on standard input is a number of answers. For each line a process is forked off that
starts so many, and writes one line: its id and those of the answers. This process imports
everything once.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time

from websopy_relay import Log, RedisLog, Relay, SQLiteLog

from websopy_sync import WebsopyClient

LEASE = 0.5


def log_at(place: str) -> Log:
    """The log that a test names by its URL or its path."""
    return RedisLog(place) if place.startswith(("unix:", "redis:")) else SQLiteLog(place)


def produce(place: str, service: str, count: int) -> None:
    """Start answers, say which, and wait to be killed."""
    signal.alarm(30)  # nobody may have come
    client = WebsopyClient(api_key="test", base_url=service, plugins=[], max_retries=0)
    relay = Relay(log_at(place), lease=LEASE)
    ids = []
    for _ in range(count):
        body = relay.start(
            lambda cancel: client.ai.chat_stream("x", cancel_token=cancel), owner="me"
        )
        said = next(piece for piece in body if b"event: answer" in piece)
        ids.append(re.findall(r'"id": ?"(\w+)"', said.decode())[0])
    os.write(1, (json.dumps([os.getpid(), ids]) + "\n").encode())
    while True:
        time.sleep(1)


def main() -> None:
    for line in sys.stdin:
        if os.fork() == 0:
            produce(sys.argv[1], sys.argv[2], int(line))
    while True:  # the last of them ends by itself or is killed
        try:
            os.wait()
        except ChildProcessError:
            return


if __name__ == "__main__":
    main()
