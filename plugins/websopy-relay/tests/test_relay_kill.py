"""Workers that are killed or frozen at any moment: each answer is a true beginning with one end."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from relay_browser import Reader, ends_of, events_of, ids_of, texts_of, until
from relay_process import LEASE, log_at
from relay_servers import program_of, redis_server
from websopy_relay import Relay

from websopy_sync.sandbox import Sandbox, done, pause, say, silence
from websopy_sync.sse import ServerSentEvent

pytestmark = pytest.mark.slow

WORDS = [f"{number} " for number in range(60)]
WORKERS, ANSWERS = 50, 3


@pytest.fixture(params=["sqlite", "redis"])
def place(
    request: pytest.FixtureRequest, tmp_path: Path, needs: Callable[[object, str], None]
) -> Iterator[str]:
    """The path or URL of an empty log."""
    if request.param == "sqlite":
        yield str(tmp_path / "answers.db")
        return
    needs(program_of("redis"), "redis-server: apt-get install redis-server")
    with redis_server("redis") as server:
        yield server.url


@contextlib.contextmanager
def workers(place: str, sandbox: Sandbox) -> Iterator[Callable[[int], tuple[int, list[str]]]]:
    """`start(n)`: a process with n answers under way; its process id and theirs."""
    script = Path(__file__).with_name("relay_process.py")
    paths = os.pathsep.join(map(str, (script.parent, *sys.path)))
    process = subprocess.Popen(
        [sys.executable, script, place, sandbox.url],
        env={**os.environ, "PYTHONPATH": paths},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin and process.stdout
    pids = []

    def start(count: int) -> tuple[int, list[str]]:
        assert process.stdin and process.stdout
        process.stdin.write(f"{count}\n")
        process.stdin.flush()
        pid, ids = json.loads(process.stdout.readline())
        pids.append(pid)
        return pid, ids

    try:
        yield start
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.stdin.close()
        process.wait(10)
        process.stdout.close()


@pytest.mark.timeout(120)
def test_fifty_workers_killed_at_random_moments(place: str) -> None:
    """Who followed sees each event once and one end; so does whoever comes later."""
    script = [[say(word), pause(0.002)] for word in WORDS]
    chance = random.Random(14)
    readers: dict[str, Reader] = {}
    with Sandbox([*script, done()], pause=0) as sandbox, workers(place, sandbox) as start:
        many = WORKERS * ANSWERS
        with Relay(log_at(place), lease=LEASE, max_followers_per_owner=many) as relay:
            for _ in range(WORKERS):
                pid, ids = start(ANSWERS)
                for answer_id in ids:
                    readers[answer_id] = Reader(relay.follow(answer_id, owner="me"))
                time.sleep(chance.uniform(0, 0.25))
                os.kill(pid, signal.SIGKILL)
            for answer_id, reader in readers.items():
                events = reader.events(20)
                check(events)
                assert events_of(relay.follow(answer_id, owner="me")) == events
        with Relay(log_at(place)) as later:
            for answer_id, reader in readers.items():
                assert events_of(later.follow(answer_id, owner="me")) == reader.events()
    broken_off = [r for r in readers.values() if ends_of(r.events()) == ["interrupted"]]
    assert len(broken_off) > 30, "too few were killed on the way"


def check(events: list[ServerSentEvent]) -> None:
    assert ids_of(events) == list(range(1, len(events) + 1))
    texts, ends = texts_of(events), ends_of(events)
    assert texts == WORDS[: len(texts)]
    assert ends in (["interrupted"], ["done"])
    assert len(texts) == len(WORDS) or ends == ["interrupted"]


def test_a_killed_worker_is_noticed_within_two_leases(place: str) -> None:
    """Followers do not wait for ever; nor do they give up on a worker that lives."""
    with Sandbox([say("a"), silence()]) as sandbox, workers(place, sandbox) as start:
        with Relay(log_at(place), lease=LEASE) as relay:
            pid, (answer_id,) = start(1)
            reader = Reader(relay.follow(answer_id, owner="me"))
            time.sleep(0.3)
            time.sleep(0.3)
            time.sleep(0.3)
            assert reader.is_alive()
            os.kill(pid, signal.SIGKILL)
            begun = time.monotonic()
            assert ends_of(reader.events()) == ["interrupted"]
            assert time.monotonic() - begun < 4 * LEASE


def test_a_frozen_worker_that_wakes_writes_nothing(place: str) -> None:
    """Its answer has an end by then. It cancels its request."""
    script = [[say(word), pause(0.005)] for word in WORDS * 50]
    with Sandbox(script, pause=0) as sandbox, workers(place, sandbox) as start:
        with Relay(log_at(place), lease=LEASE) as relay:
            pid, (answer_id,) = start(1)
            reader = Reader(relay.follow(answer_id, owner="me"))
            assert until(lambda: len(texts_of(events_of(reader.pieces))) > 3)
            os.kill(pid, signal.SIGSTOP)
            events = reader.events()
            check_end(events)
            os.kill(pid, signal.SIGCONT)
            assert sandbox.wait_disconnect(timeout=5.0)
            assert events_of(relay.follow(answer_id, owner="me")) == events


def check_end(events: list[ServerSentEvent]) -> None:
    assert ids_of(events) == list(range(1, len(events) + 1))
    assert ends_of(events) == ["interrupted"]
