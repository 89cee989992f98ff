"""Streams until it is killed. A script for test_persistence_kill.py: `killed.py URL`.

Each line on standard input is a seed. For each a process is forked off, which streams in a way
that follows from the seed and writes what it knows to be stored: `stored KEY COUNT`. This process
imports everything once, writes the child's id, and `dead` when the child is.
"""

from __future__ import annotations

import os
import random
import runpy
import signal
import sys
from pathlib import Path

TOOLS = runpy.run_path(str(Path(__file__).with_name("conftest.py")))


def stream(url: str, seed: int) -> None:
    """Ask and answer for ever; say what is stored."""
    chance = random.Random(seed)
    limits = TOOLS["Limits"](batch=chance.choice([1, 5, 50]), period=chance.choice([0.002, 0.25]))
    plugin = TOOLS["PersistencePlugin"](url, limits=limits)
    number = 0
    while True:
        key = f"{seed}-{number}"
        answer = TOOLS["Answer"](plugin, key=key, body={"messages": []})
        if number == 0:
            if seed % 2:  # the others may be killed while they make the tables
                plugin.flush()
            os.write(1, b"streaming\n")
        told = 0
        for _ in range(chance.randrange(1, 40)):
            count = chance.choice([1, 3, 20, 100])
            answer.tell(*(f"{index} " for index in range(told, told + count)))
            told += count
            if chance.random() < 0.3 and plugin.flush():
                os.write(1, f"stored {key} {told}\n".encode())
        answer.done()
        number += 1


def main() -> None:
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            signal.alarm(20)  # nobody may have come to kill it
            stream(sys.argv[1], int(line))
        os.write(1, f"{pid}\n".encode())
        os.waitpid(pid, 0)
        os.write(1, b"dead\n")


if __name__ == "__main__":
    main()
