"""The task and the views of docs/how-to/use-celery.md, with a worker, a server and a Redis."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from chat_visitors import events_in, texts_of
from documents import saved_files
from web_apps.running import free_port, running

from websopy_sync.sandbox import Sandbox, done, say, silence, wait

pytest.importorskip("redis", reason="needs redis")
from relay_servers import redis_server

pytestmark = [
    pytest.mark.slow,
    pytest.mark.leaves("the connections that the worker keeps to the sandbox"),
]

QUESTION = {"messages": [{"role": "user", "content": "hello"}]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that the document says to save."""
    if importlib.util.find_spec("celery") is None or not shutil.which("redis-server"):
        pytest.skip("needs celery and redis-server")
    folder = tmp_path_factory.mktemp("celery")
    for name, code in saved_files("docs/how-to/use-celery.md").values():
        (folder / name).write_text(code.replace("PATIENCE = 10", "PATIENCE = 0.5"), "utf-8")
    return folder


@pytest.fixture(scope="module")
def service() -> Iterator[Sandbox]:
    with Sandbox(pause=0) as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def environment(service: Sandbox) -> Iterator[dict[str, str]]:
    """What each process of the site has."""
    port = free_port()
    with redis_server("redis", "--port", str(port), "--bind", "127.0.0.1"):
        yield {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "REDIS_URL": f"redis://127.0.0.1:{port}/0",
            "SECRET_KEY": "of this test",
            "WEBSOPY_API_KEY": "test",
            "WEBSOPY_BASE_URL": service.url,
        }


@pytest.fixture(scope="module")
def url(folder: Path, environment: dict[str, str]) -> Iterator[str]:
    """The views."""
    command = (sys.executable, "-m", "flask", "--app", "flask_celery", "run", "-p", "{port}")
    log = folder / "flask.log"
    with running(command, log, ready="/", cwd=folder, environment=environment) as server:
        yield f"{server.url}/api/chat"


@contextlib.contextmanager
def worker(folder: Path, environment: dict[str, str], *pool: str) -> Iterator[subprocess.Popen]:
    """A worker that takes tasks; it ends when it has none."""
    log = folder / "worker.log"
    command = (
        sys.executable,
        "-m",
        "celery",
        "-A",
        "chat_tasks",
        "worker",
        "--loglevel=info",
        *pool,
    )
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=output, stderr=output
        )
    try:
        deadline = time.monotonic() + 20
        while b"ready." not in log.read_bytes():
            assert process.poll() is None and time.monotonic() < deadline, log.read_text("utf-8")
            time.sleep(0.05)
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def ask(session: requests.Session, url: str) -> tuple[str, Iterator]:
    """Ask; the answer's id, and its events."""
    response = session.post(url, json=QUESTION, stream=True, timeout=10)
    assert response.status_code == 200
    events = events_in(response)
    return json.loads(next(events).data)["id"], events


POOLS = {"threads": ("--pool=threads", "--concurrency=8"), "prefork": ("--concurrency=2",)}


@pytest.mark.parametrize("pool", POOLS)
def test_a_task_produces_and_the_views_follow(
    folder: Path, environment: dict[str, str], url: str, service: Sandbox, pool: str
) -> None:
    """In order, over a second connection too; the key is the worker's, the owner the visitor."""
    more = threading.Event()
    with worker(folder, environment, *POOLS[pool]), requests.Session() as visitor:
        service.play([say("AI"), wait(more), say(" 正在"), done()])
        id, events = ask(visitor, url)
        first = next(events)
        assert (first.id, json.loads(first.data)["content"]) == ("2", "AI")
        again = visitor.get(f"{url}/{id}", headers={"Last-Event-ID": "2"}, stream=True, timeout=10)
        more.set()
        assert texts_of(events) == texts_of(events_in(again)) == [" 正在", "done"]
        assert requests.get(f"{url}/{id}", timeout=10).status_code == 404


def test_stop_reaches_the_worker(
    folder: Path, environment: dict[str, str], url: str, service: Sandbox
) -> None:
    """Through the log; the page is told, and the worker takes the next task."""
    with worker(folder, environment, "--pool=threads", "--concurrency=1"):
        with requests.Session() as visitor:
            left = len(service.disconnects)
            service.play([say("AI"), silence()])
            id, events = ask(visitor, url)
            assert visitor.delete(f"{url}/{id}", timeout=10).status_code == 204
            assert service.wait_disconnect(left + 1, timeout=3.0)
            assert texts_of(events) == ["AI", "cancelled"]
            service.play([say("next"), done()])
            assert texts_of(ask(visitor, url)[1]) == ["next", "done"]


def test_a_worker_that_is_stopped_finishes(
    folder: Path, environment: dict[str, str], url: str, service: Sandbox
) -> None:
    """SIGTERM cuts no answer."""
    more = threading.Event()
    with worker(folder, environment, "--pool=threads") as process, requests.Session() as visitor:
        service.play([say("AI"), wait(more), say("!"), done()])
        _, events = ask(visitor, url)
        assert json.loads(next(events).data)["content"] == "AI"
        process.send_signal(signal.SIGTERM)
        threading.Timer(0.3, more.set).start()
        assert texts_of(events) == ["!", "done"]
        assert process.wait(10) == 0


def test_without_a_worker(url: str, service: Sandbox) -> None:
    """The page is told to try again later; what may not be sent is refused at once."""
    asked = len(service.requests)
    response = requests.post(url, json=QUESTION, timeout=10)
    assert (response.status_code, response.headers["Retry-After"]) == (503, "10")
    assert requests.post(url, json={"messages": [7]}, timeout=10).status_code == 400
    assert len(service.requests) == asked
