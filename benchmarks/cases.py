"""What is measured: the list of cases, as plain values.

Knows neither how a case is measured (`measure`) nor by whom (`clients`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from .answers import Answer

__all__ = ["CASES", "Case", "Metric"]


@dataclass(frozen=True)
class Metric:
    """One number that a run gives; less is better in all of them.

    name: its key in a run's results. digits: how many decimals are worth printing.
    endless: what to print for infinity.
    """

    name: str
    title: str
    unit: str
    digits: int = 1
    endless: str = "never"


@dataclass(frozen=True)
class Case:
    """One thing measured.

    kind: the function in `measure`. clients: who takes part. repeats: how often a kind that
    measures one moment does so in one run; the run's number is the median.
    baseline: the client that the others' numbers are divided by; "" divides by none.
    beyond: a client whose numbers are taken off the others'. once: too slow, or too steady, to be
    repeated each round. limit: seconds after which a run counts as endless.
    """

    name: str
    title: str
    kind: str
    answer: Answer
    metrics: tuple[Metric, ...]
    clients: tuple[str, ...]
    repeats: int = 1
    baseline: str = "read1"
    beyond: str = ""
    once: bool = False
    limit: float = 300.0

    def quick(self) -> Case:
        """The same case with so little work that it only shows that it runs."""
        answer = replace(
            self.answer,
            count=min(self.answer.count, 64),
            streams=min(self.answer.streams, 4),
            size=min(self.answer.size, 100_000),
        )
        return replace(self, answer=answer, repeats=min(self.repeats, 2))


VARIANTS = ("ours-openai", "ours-flat", "ours-1", "ours-3", "ours-history", "ours-web")

EVERYONE = (
    "socket", "read1", "ours", "iter-lines", "sseclient-py", "requests-sse", "ld-eventsource",
    "httpx-sse", "anthropic", "openai",
)  # fmt: skip

CPU = Metric("cpu_us", "CPU µs a chunk", "µs")
P50 = Metric("p50_us", "delay p50", "µs", 0)
P99 = Metric("p99_us", "delay p99", "µs", 0)


def _paced(framing: str, title: str) -> Case:
    answer = Answer(framing, count=500, gap_us=2_000)
    name, title = f"paced-{framing}", f"one every 2 ms, {title}"
    return Case(name, title, "paced", answer, (CPU, P50, P99), EVERYONE)


def _threads(count: int) -> Case:
    answer = Answer(count=100, gap_us=20_000, streams=count)
    title = f"{count} threads, one every 20 ms each"
    return Case(f"threads-{count}", title, "paced", answer, (CPU, P50, P99), EVERYONE)


CASES = {
    case.name: case
    for case in (
        Case(
            "at-once-1", "20,000 at once, one event an HTTP chunk", "at_once",
            Answer(count=20_000), (CPU,), (*EVERYONE, *VARIANTS),
        ),
        Case(
            "at-once-32", "20,000 at once, 32 events an HTTP chunk", "at_once",
            Answer(count=20_000, per_chunk=32), (CPU,), (*EVERYONE, "ours-openai"),
        ),
        _paced("chunked", "chunked"),
        _paced("length", "Content-Length"),
        _paced("close", "close-delimited"),
        _threads(50),
        _threads(200),
        Case(
            "threads-50-apart", "50 threads, a client each, one every 20 ms each", "paced_apart",
            Answer(count=100, gap_us=20_000, streams=50), (CPU, P50, P99), EVERYONE,
        ),
        Case(
            "client", "a client made", "made", Answer(count=3),
            (Metric("made_us", "CPU µs", "µs", 0),), EVERYONE[1:], repeats=50,
        ),
        Case(
            "first-chunk", "asked until first chunk, less a raw socket's", "first_chunk",
            Answer(count=3), (Metric("first_us", "time to first chunk", "µs", 0),), EVERYONE,
            repeats=30, beyond="socket",
        ),
        Case(
            "cancel", "given up from another thread", "cancel",
            Answer(count=2, gap_us=2_000_000),
            (Metric("cancel_us", "until the reader is out", "µs", 0),),
            ("ours", "ld-eventsource", "anthropic", "openai"), repeats=10, baseline="",
        ),
        Case(
            "memory", "1,000,000 chunks", "memory", Answer(count=1_000_000, per_chunk=8),
            (
                Metric("grown_mb", "peak memory grows by MB", "MB"),
                Metric("chunk_bytes", "bytes a chunk", "B"),
            ),
            (*EVERYONE, "ours-flat"), baseline="", once=True, limit=900,
        ),
        Case(
            "large", "one event of 10 MB", "large", Answer(size=10_000_000),
            (
                Metric("cpu_ms", "CPU ms", "ms", 0, "over 60 s"),
                Metric("grown_times", "peak memory, times its size", "×", 1, "not known"),
            ), EVERYONE[1:], once=True, limit=60,
        ),
        Case(
            "import", "import, in a fresh process", "import_time", Answer(),
            (Metric("import_ms", "CPU ms", "ms", 0),),
            ("imports", *EVERYONE), repeats=5, baseline="imports",
        ),
    )
}  # fmt: skip
"""Every case by its name, in the order of the table's rows."""
