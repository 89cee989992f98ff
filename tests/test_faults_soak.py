"""Promises 25, 27, 28, 30 at length: 2,000 streams, 50 threads, a service that misbehaves."""

from __future__ import annotations

import collections
import gc
import os
import random
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from websopy_sync import (
    CancelToken,
    Timeouts,
    WebsopyClient,
    WebsopyError,
    hookimpl,
    sandbox,
)
from websopy_sync.sandbox import (
    Sandbox,
    comment,
    cut,
    done,
    error,
    no_ids,
    pause,
    raw,
    reset,
    retry,
    say,
    silence,
    status,
    tool,
)

pytestmark = pytest.mark.slow

STREAMS = 2000
THREADS = 50
LIMITS = Timeouts(connect=5, first_chunk=5, idle=0.4, total=20)


class Endings:
    """Counts how each question ended, by its key."""

    def __init__(self) -> None:
        self.ends: collections.Counter[str] = collections.Counter()
        self.asked: collections.Counter[str] = collections.Counter()

    @hookimpl
    def on_request(self, request: Any) -> None:
        self.asked[request.idempotency_key] += 1

    @hookimpl
    def on_done(self, stream: Any) -> None:
        self.ends[stream.idempotency_key] += 1

    @hookimpl
    def on_error(self, stream: Any) -> None:
        self.ends[stream.idempotency_key] += 1


def faults_of(chance: random.Random) -> Iterator[sandbox.Steps]:
    """Scripts with their question's number in the text, so that an answer shows whose it is."""
    words = [say(f"{word} ") for word in range(chance.randrange(1, 6))]
    yield [*words, done(1, 2)]
    yield [retry(5), *words, cut(), say("on"), done(1, 2)]
    yield [no_ids(), *words, cut()]
    yield [*words, reset()]
    yield [*words, error("overloaded", "busy")]
    yield [*words, raw(b"data: no JSON\n\n")]
    yield [pause(0.01), *words, comment("still here"), pause(0.01), done()]
    yield [*words, tool("find", {"q": 1}), done(1, 2)]
    yield status(500, retry_after=0)
    yield status(401)
    yield [*words, silence(timeout=5)]
    yield [*words]


def left_somehow(stream: Any, chance: random.Random) -> None:
    """Read an answer, to its end or not."""
    way = chance.randrange(6)
    if way == 0:
        stream.close()
    elif way == 1:
        for _ in stream:
            break
    elif way == 2:
        threading.Timer(chance.random() * 0.02, stream.cancel).start()
        list(stream)
    else:
        list(stream)


def open_files() -> int:
    """How many descriptors this process has."""
    return len(os.listdir("/proc/self/fd"))


def test_soak() -> None:
    """No foreign exception, every question ended once, and nothing is left afterwards."""
    gc.collect()
    files, threads = open_files(), threading.active_count()
    endings, foreign = Endings(), []
    outcomes: collections.Counter[str] = collections.Counter()

    def script(request: Any) -> sandbox.Steps:
        chance = random.Random(request.idempotency_key)
        return chance.choice(list(faults_of(chance)))

    def work(number: int, client: WebsopyClient) -> None:
        chance = random.Random(number)
        for turn in range(STREAMS // THREADS):
            token = CancelToken() if chance.random() < 0.2 else None
            if token and chance.random() < 0.3:
                token.cancel()
            try:
                key = f"{number}-{turn}"
                left_somehow(
                    client.ai.chat_stream("hi", idempotency_key=key, cancel_token=token), chance
                )
                outcomes["fine"] += 1
            except WebsopyError as problem:
                outcomes[type(problem).__name__] += 1
            except BaseException as problem:  # noqa: BLE001  # what must never come
                foreign.append(problem)

    with Sandbox(script) as service:
        with WebsopyClient(
            "test", base_url=service.url, plugins=[endings], timeout=LIMITS
        ) as client:
            workers = [threading.Thread(target=work, args=(n, client)) for n in range(THREADS)]
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join()
        assert service.wait_closed()
    assert foreign == []
    assert sum(outcomes.values()) == STREAMS
    assert len(outcomes) >= 6, outcomes
    assert set(endings.asked.values()) == {1} and endings.ends == endings.asked
    deadline = time.monotonic() + 2
    while (open_files(), threading.active_count()) != (files, threads):
        assert time.monotonic() < deadline, (open_files(), files, threading.enumerate())
        gc.collect()
        time.sleep(0.02)
