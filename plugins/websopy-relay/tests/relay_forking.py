"""Forks while its own answers are under way. `relay_forking.py URL-OR-PATH SANDBOX CHILDREN`.

Each child produces answers of its own, and follows one of its parent's. Prints what was wrong.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
import time

from relay_browser import Reader, begin, ends_of, ids_of
from relay_process import log_at
from websopy_relay import MemoryLog, Relay

from websopy_sync import WebsopyClient


def main() -> None:
    place, service, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    signal.alarm(50)
    client = WebsopyClient(api_key="test", base_url=service, plugins=[], max_retries=0)
    memory, elsewhere = MemoryLog(), log_at(place)
    elsewhere.read("k", 0)  # a connection is open
    relay = Relay(log_at(place), lease=2.0, max_answers=200, max_answers_per_owner=200)

    def ask(name: str) -> tuple[str, Reader]:
        body = relay.start(
            lambda cancel: client.ai.chat_stream("x", cancel_token=cancel), owner="me"
        )
        answer_id, rest = begin(body)
        return answer_id, Reader(rest)

    mine = [ask("parent") for _ in range(4)]
    threading.Thread(target=watch, args=(memory,), daemon=True).start()
    children = []
    for _ in range(count):
        pid = os.fork()
        if pid == 0:
            signal.alarm(30)
            os._exit(child(relay, ask, mine))
        children.append(pid)
        mine.append(ask("parent"))
        time.sleep(0.01)
    failed = [os.waitpid(pid, 0)[1] for pid in children]
    cut_off = [problem for _, reader in mine if (problem := problem_of(reader))]
    sys.stdout.write(f"children: {sum(map(bool, failed))} of {count} failed\nanswers: {cut_off}\n")


def watch(memory: MemoryLog) -> None:
    while True:
        memory.watch({}, "w", 0.01)


def child(relay, ask, inherited) -> int:
    readers = [ask("child")[1] for _ in range(2)]
    followed = Reader(relay.follow(inherited[0][0], owner="me"))
    del inherited[:]
    gc.collect()  # bodies of the parent: their ends must not wait for locks of its threads
    problems = [problem for reader in (*readers, followed) if (problem := problem_of(reader))]
    if problems:
        os.write(1, f"child: {problems}\n".encode())
    relay.close()
    return len(problems)


def problem_of(reader: Reader) -> str:
    events = reader.events(20)
    ids = ids_of(events)
    if ends_of(events) != ["done"]:
        return f"ends {ends_of(events)} after {len(ids)}"
    return "" if ids == list(range(ids[0], ids[0] + len(ids))) else f"ids {ids}"


if __name__ == "__main__":
    main()
