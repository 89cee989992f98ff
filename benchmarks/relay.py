"""What websopy-relay costs: `python -m benchmarks.relay`.

Answers of 20 events a second go through a log to followers in this process and in another one. An
event holds the moment at which it was made; all processes of a machine share that clock. Prints
the delay from producer to follower, the events a second that a log takes, and the CPU that one more
follower costs. Needs websopy-relay, and redis-server for the log of that name.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from websopy_relay import Log, MemoryLog, RedisLog, Relay, SQLiteLog, Terms, Write
from websopy_relay.answer import Answer
from websopy_relay.engine import Engine
from websopy_relay.follower import Follower
from websopy_relay.identity import key_of, owner_digest
from websopy_relay.page_events import PAGES
from websopy_relay.settings import Settings

OWNER = "benchmark"
EVENTS_A_SECOND = 20
FULL_SPEED = 50_000
"""Events that a log is given at once."""

LOGS = ("memory", "sqlite", "redis")


def main() -> None:
    """Measure each log with each number of answers, and print a line for each."""
    arguments = parse()
    if arguments.follow:
        follow(arguments.follow, arguments.answers[0])
        return
    for name in arguments.logs:
        with place_of(name) as place:
            print(f"{name}: a log takes {events_a_second(log_at(place)):,.0f} events a second")
        for count in arguments.answers:
            with place_of(name) as place:
                here, there = delays(place, count, arguments.seconds)
            print(f"  {count:3} answers: here {shown(here)}, elsewhere {shown(there)}")
    print(f"one more follower: {cost_of_a_follower(arguments.seconds):.1f} µs an event")


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.relay", description=__doc__)
    parser.add_argument("--logs", type=lambda text: text.split(","), default=list(LOGS))
    parser.add_argument(
        "--answers", type=lambda text: list(map(int, text.split(","))), default=[1, 20, 200]
    )
    parser.add_argument("--seconds", type=float, default=10.0, help="for each number of answers")
    parser.add_argument("--follow", metavar="PLACE", help=argparse.SUPPRESS)
    return parser.parse_args()


def shown(seconds: list[float]) -> str:
    """Median and 99th percentile, in milliseconds."""
    if len(seconds) < 2:
        return "-"
    last = statistics.quantiles(seconds, n=100)[98]
    return f"{statistics.median(seconds) * 1e3:.1f} / {last * 1e3:.1f} ms"


# --- logs ----------------------------------------------------------------------------------------


@contextlib.contextmanager
def place_of(name: str) -> Iterator[str]:
    """Where an empty log of this kind is, for any process; "memory" is for this one only."""
    with tempfile.TemporaryDirectory() as folder:
        if name != "redis":
            yield "memory" if name == "memory" else f"{folder}/answers.db"
            return
        program = shutil.which("redis-server")
        if program is None:
            sys.exit("redis-server is not here; --logs memory,sqlite leaves it out")
        options = ("--port", "0", "--unixsocket", f"{folder}/socket", "--save", "")
        server = subprocess.Popen([program, *options], stdout=subprocess.DEVNULL)
        while not Path(folder, "socket").exists():
            time.sleep(0.01)
        yield f"unix://{folder}/socket"
        server.terminate()
        server.wait()


def log_at(place: str) -> Log:
    """The log of one process."""
    if place == "memory":
        return MemoryLog()
    return RedisLog(place) if place.startswith("unix:") else SQLiteLog(place)


# --- what is measured ----------------------------------------------------------------------------


def events_a_second(log: Log) -> float:
    """How fast a log takes transactions of 1,000 events."""
    terms, data = Terms("benchmark", 5.0, 60.0), (event(),) * 1000
    begun = time.perf_counter()
    for number in range(FULL_SPEED // 1000):
        log.append([Write("full speed", "owner", 1000 * number + 1, data)], terms)
    took = time.perf_counter() - begun
    log.close()
    return FULL_SPEED / took


def delays(place: str, count: int, seconds: float) -> tuple[list[float], list[float]]:
    """Seconds from producer to follower, in this process and in another one."""
    found: list[float] = []
    with running(log_at(place)) as engine:
        answers = [begin(engine, number) for number in range(count)]
        threads = [read(engine, answer, found) for answer in answers]
        command = [sys.executable, "-m", "benchmarks.relay", "--answers", str(count), "--follow"]
        other = None
        if place != "memory":
            other = subprocess.Popen([*command, place], stdout=subprocess.PIPE, text=True)
            assert other.stdout
            other.stdout.readline()  # it follows
        produce(engine, answers, seconds)
        for thread in threads:
            thread.join()
        return found, json.loads(other.communicate()[0]) if other else []


def follow(place: str, count: int) -> None:
    """The other process: follow all answers to their ends, and print the delays."""
    found: list[float] = []
    with Relay(log_at(place), max_followers_per_owner=count) as relay:
        bodies = []
        for number in range(count):
            while (body := relay.follow(str(number), owner=OWNER)).status != 200:
                time.sleep(0.01)
            bodies.append(body)
        threads = [
            threading.Thread(target=note_delays, args=(body.__next__, found)) for body in bodies
        ]
        for thread in threads:
            thread.start()
        print("following", flush=True)
        for thread in threads:
            thread.join()
    print(json.dumps(found))


def cost_of_a_follower(seconds: float) -> float:
    """Microseconds of CPU for each event and follower, from 1 to 51 followers of one answer."""
    spent = []
    for followers in (1, 51):
        with running(MemoryLog()) as engine:
            answer = begin(engine, 0)
            threads = [read(engine, answer, []) for _ in range(followers)]
            before = time.process_time()
            produce(engine, [answer], seconds / 2)
            for thread in threads:
                thread.join()
            spent.append(time.process_time() - before)
    return (spent[1] - spent[0]) / 50 / (seconds / 2 * EVENTS_A_SECOND) * 1e6


# --- producers and followers ---------------------------------------------------------------------


@contextlib.contextmanager
def running(log: Log) -> Iterator[Engine]:
    """The threads of a relay."""
    engine = Engine(log, Settings())
    with engine.answers.lock:
        engine.run()
    yield engine
    engine.close(0)
    log.close()


def begin(engine: Engine, number: int) -> Answer:
    """An answer that the benchmark produces itself, without a service."""
    table = engine.answers
    with table.lock:
        answer = Answer(
            key_of(str(number)), owner_digest(OWNER), PAGES["websopy"], table.lock, lambda: None
        )
        table.keep(answer)
        answer.add(b"data: -\n\n")
        table.log_soon(answer)
    return answer


def produce(engine: Engine, answers: list[Answer], seconds: float) -> None:
    """Add events to all answers, evenly spread, and end them."""
    pause = 1 / EVENTS_A_SECOND / len(answers)
    due = time.monotonic()
    for _ in range(round(seconds * EVENTS_A_SECOND)):
        for answer in answers:
            due += pause
            time.sleep(max(0.0, due - time.monotonic()))
            with engine.answers.lock:
                answer.add(event())
                engine.answers.log_soon(answer)
    for answer in answers:
        with engine.answers.lock:
            answer.add(b"data: -\n\n", end="done")
            engine.answers.log_soon(answer)


def event() -> bytes:
    """An event that holds the moment at which it was made."""
    return f"data: {time.monotonic():.7f} {'x' * 40}\n\n".encode()


def read(engine: Engine, answer: Answer, found: list[float]) -> threading.Thread:
    """A follower in this process, which reads to the end."""
    with engine.answers.lock:
        follower = Follower(engine.answers, answer, cursor=0, interval=5.0)

    def take() -> bytes:
        piece = follower.take()
        if piece is None:
            raise StopIteration
        return piece

    thread = threading.Thread(target=note_delays, args=(take, found))
    thread.start()
    return thread


def note_delays(take: Callable[[], bytes], found: list[float]) -> None:
    """Read until StopIteration; the age of each event that says when it was made."""
    with contextlib.suppress(StopIteration):
        while True:
            piece = take()
            now = time.monotonic()
            made = [line.split()[1] for line in piece.split(b"\n") if line.startswith(b"data: ")]
            found += [now - float(moment) for moment in made if moment != b"-"]


if __name__ == "__main__":
    main()
