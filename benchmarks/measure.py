"""The measurements, one function a kind; each runs in a process that does nothing else.

Every kind first reads an answer that is not counted: imports, caches and the first connection are
paid there, and the texts are held against those sent, so that a fast client that loses some gives
no number at all. What is counted comes after. CPU is the whole process's, user and system.
"""

from __future__ import annotations

import gc
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace

from .answers import Answer
from .cases import Case
from .clients import Client, Read
from .wires import texts

__all__ = ["MEASURES", "Results"]

Results = dict[str, float]

WARM_UP = 256
"""Chunks of the answer that is not counted."""

SKIPPED = 10
"""First chunks of a paced stream that are not counted: its connection is still being made."""

CANCELLED_WITHIN = 1.0
"""Seconds until a reader that is not out counts as one that cannot be cancelled."""


def warmed(client: Client, url: str, answer: Answer) -> Read:
    """A reader of `answer` that has read a short one of the same framing, rightly."""
    warm_up = replace(answer, count=WARM_UP, gap_us=0, streams=1, size=0)
    check(client.reader(url + warm_up.path), texts(WARM_UP))
    return client.reader(url + answer.path)


def check(read: Read, expected: list[str]) -> None:
    """Read an answer and hold it against what was sent."""
    got: list[str] = []
    read(got.append)
    if "".join(got) != "".join(expected):
        raise RuntimeError(f"expected {len(expected)} texts as sent, got {len(got)}")


def at_once(client: Client, url: str, case: Case) -> Results:
    """CPU of a whole answer that is sent at once, read for the second time."""
    read = client.reader(url + case.answer.path)
    check(read, texts(case.answer.count))
    gc.collect()
    began = time.process_time_ns()
    read(deque[str](maxlen=0).append)
    return {"cpu_us": (time.process_time_ns() - began) / 1e3 / case.answer.count}


def paced(client: Client, url: str, case: Case) -> Results:
    """Delay from the server's clock to the loop, and CPU, of one stream or many threads."""
    return follow_all(warmed(client, url, case.answer), case.answer)


def paced_apart(client: Client, url: str, case: Case) -> Results:
    """The same, but each thread makes a client of its own when it begins."""
    warmed(client, url, case.answer)
    path = url + case.answer.path
    return follow_all(lambda seen: client.reader(path)(seen), case.answer)


def follow_all(read: Read, answer: Answer) -> Results:
    """The results of as many streams as the answer says, each read in its thread."""
    logs = [Log() for _ in range(answer.streams)]
    threads = [threading.Thread(target=log.follow, args=(read,)) for log in logs[1:]]
    gc.collect()
    for thread in threads:
        thread.start()
    logs[0].follow(read)
    for thread in threads:
        thread.join()
    return summary(logs, answer)


def summary(logs: list[Log], answer: Answer) -> Results:
    """The results of all streams that were read together."""
    for log in logs:
        if len(log.delays) != answer.count:
            raise RuntimeError(f"expected {answer.count} texts, got {len(log.delays)}")
    delays = sorted(delay for log in logs for delay in log.delays[SKIPPED:])
    cpu = max(log.cpu_last for log in logs) - max(log.cpu_first for log in logs)
    return {
        "cpu_us": cpu / 1e3 / len(delays),
        "p50_us": delays[len(delays) // 2] / 1e3,
        "p99_us": delays[len(delays) * 99 // 100] / 1e3,
    }


class Log:
    """What one stream's loop saw: the delay of each text, and the process's CPU time then."""

    def __init__(self) -> None:
        self.delays: list[int] = []
        self.cpu_first = self.cpu_last = 0

    def follow(self, read: Read) -> None:
        """Read one answer, noting."""
        read(self.note)
        self.cpu_last = time.process_time_ns()

    def note(self, text: str) -> None:
        """One text has come; it says when it was sent."""
        self.delays.append(time.monotonic_ns() - int(text))
        if len(self.delays) == SKIPPED:
            self.cpu_first = time.process_time_ns()


def made(client: Client, url: str, case: Case) -> Results:
    """CPU of making a client, the median of many that are all kept."""
    path = url + case.answer.path
    check(client.reader(path), texts(case.answer.count))
    kept, times = [], []
    gc.collect()
    for _ in range(case.repeats):
        began = time.process_time_ns()
        kept.append(client.reader(path))
        times.append(time.process_time_ns() - began)
    return {"made_us": statistics.median(times) / 1e3}


def first_chunk(client: Client, url: str, case: Case) -> Results:
    """Time from the question to its first chunk, the median of many asked one by one."""
    read = warmed(client, url, case.answer)
    times = [time_to_first(read) for _ in range(case.repeats)]
    return {"first_us": statistics.median(times) / 1e3}


def time_to_first(read: Read) -> int:
    """Nanoseconds from one question to its first chunk."""
    seen: list[int] = []
    began = time.perf_counter_ns()
    read(lambda text: seen.append(time.perf_counter_ns()))
    return seen[0] - began


def memory(client: Client, url: str, case: Case) -> Results:
    """How far the process's peak memory grows while a long answer is read."""
    read = warmed(client, url, case.answer)
    gc.collect()
    before = peak()
    read(deque[str](maxlen=0).append)
    grown = peak() - before
    return {"grown_mb": grown / 1e6, "chunk_bytes": grown / case.answer.count}


def large(client: Client, url: str, case: Case) -> Results:
    """CPU and peak memory of an answer with one very large event."""
    read = warmed(client, url, case.answer)
    gc.collect()
    sizes: list[int] = []
    before, began = peak(), time.process_time_ns()
    read(lambda text: sizes.append(len(text)))
    cpu = time.process_time_ns() - began
    if sizes != [case.answer.size]:
        raise RuntimeError(f"expected one text of {case.answer.size}, got {sizes[:3]}")
    return {"cpu_ms": cpu / 1e6, "grown_times": (peak() - before) / case.answer.size}


def peak() -> int:
    """The most memory this process has had, in bytes."""
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size if sys.platform == "darwin" else size * 1024


IMPORT = "import time; a = time.process_time(); {}; print(time.process_time() - a)"


def import_time(client: Client, url: str, case: Case) -> Results:
    """CPU of a program's first import, the median of some fresh processes."""
    command = [sys.executable, "-c", IMPORT.format(client.imports)]
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": cache}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        times = [
            float(subprocess.check_output(command, env=environment))
            for _ in range(case.repeats + 1)
        ][1:]  # the first one compiles everything
    return {"import_ms": statistics.median(times) * 1e3}


def cancel(client: Client, url: str, case: Case) -> Results:
    """Time from giving up in another thread until a reader blocked in the loop is out.

    Infinite for a client whose reader goes on.
    """
    times: list[float] = []
    while len(times) < case.repeats and float("inf") not in times:
        times.append(time_to_cancel(client, url + case.answer.path))
    if float("inf") in times:
        return {"cancel_us": float("inf")}
    return {"cancel_us": statistics.median(times) / 1e3}


def time_to_cancel(client: Client, base: str) -> float:
    """Nanoseconds of one such."""
    pair = client.cancellable(base)
    if pair is None:
        return float("inf")
    read, give_up = pair
    reading, out = threading.Event(), deque[int](maxlen=1)
    reader = threading.Thread(target=until_out, args=(read, reading, out), daemon=True)
    reader.start()
    reading.wait()
    time.sleep(0.02)  # The reader is back in the socket by now.
    began = time.perf_counter_ns()
    threading.Thread(target=give_up, daemon=True).start()  # It may itself be blocked.
    reader.join(CANCELLED_WITHIN)
    return out[0] - began if out else float("inf")


def until_out(read: Read, reading: threading.Event, out: deque[int]) -> None:
    """Read until something ends it, and note when."""
    try:
        read(lambda text: reading.set())
    except Exception:  # noqa: BLE001 - each client has its own error for it
        pass
    out.append(time.perf_counter_ns())


MEASURES: dict[str, Callable[[Client, str, Case], Results]] = {
    function.__name__: function
    for function in (
        at_once,
        paced,
        paced_apart,
        made,
        first_chunk,
        memory,
        large,
        import_time,
        cancel,
    )
}
"""Every kind of measurement by its name."""
