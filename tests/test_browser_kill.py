"""The chat page in Chromium, while the workers under it are killed."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from chat_page import CHAT, ChatPage, needs_the_page
from web_apps.running import Server, running

from websopy_sync.sandbox import Sandbox, done, say, wait

if TYPE_CHECKING:
    from selenium.webdriver.remote.webdriver import WebDriver

pytestmark = pytest.mark.slow

WORDS = [f"w{number} " for number in range(20)]

# Without keep-alive each request may reach another worker.
GUNICORN = (
    *("-m", "gunicorn", "--bind", "127.0.0.1:{port}", "--chdir", str(CHAT), "--workers=2"),
    *("--worker-class=gthread", "--threads=8", "--keep-alive=0", "web_apps.killed_chat:wsgi()"),
)


@contextmanager
def serving(folder: Path, sandbox: Sandbox) -> Iterator[Server]:
    """Two workers, which share answers in SQLite."""
    pytest.importorskip("gunicorn")
    pytest.importorskip("flask")
    needs_the_page()
    environment = {
        "CHAT_SECRET_KEY": "of this test",
        "CHAT_HOSTS": "127.0.0.1",
        "CHAT_FOLDER": str(folder),
        "CHAT_BEHIND_TLS": "0",
        "WEBSOPY_API_KEY": "test",
        "WEBSOPY_BASE_URL": sandbox.url,
    }
    log = folder / "log"
    command = (sys.executable, *GUNICORN)
    with running(command, log, ready="/", environment=environment) as server:
        yield server


def who_got(request: str, server: Server) -> list[int]:
    """The process ids of the workers that got the requests of this kind."""
    lines = [line.partition(" ") for line in server.log.read_text("utf-8").splitlines()]
    return [int(pid) for pid, _, what in lines if what.startswith(request)]


def workers_of(server: Server) -> list[int]:
    found = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text()
    return list(map(int, found.split()))


def text(count: int) -> str:
    return "".join(WORDS[:count]).strip()


def test_workers_killed_under_the_page(driver: WebDriver, tmp_path: Path) -> None:
    """First the one that serves the page: the answer goes on. Then all: it breaks off, once."""
    gates = [threading.Event(), threading.Event()]
    words = [say(word) for word in WORDS]
    script = [words[:5], wait(gates[0]), words[5:10], wait(gates[1]), words[10:], done()]
    with Sandbox(script, pause=0, framing="close") as sandbox, serving(tmp_path, sandbox) as server:
        driver.get(server.url)
        page = ChatPage(driver, server.url)
        page.send("hello")
        page.until(lambda: page.writing == [text(5)])
        page.until(lambda: page.texts(".chats-list a"))  # a reload finds it from now on
        (producer,) = who_got("POST /api/chat", server)
        followers = [producer]
        while followers[-1] == producer:  # until a reload reaches the other worker
            driver.refresh()
            asked = len(followers)
            page.until(lambda asked=asked: len(who_got("GET /api/chat/", server)) == asked)
            followers = [producer, *who_got("GET /api/chat/", server)]

        os.kill(followers[-1], signal.SIGKILL)
        gates[0].set()
        page.until(lambda: page.writing == [text(10)])
        assert page.failures == [] and producer in workers_of(server)

        for worker in workers_of(server):
            os.kill(worker, signal.SIGKILL)
        page.until(lambda: page.failures, seconds=10)
        assert page.turns == ["hello", text(10)]
        assert len(page.failures) == 1 and "broke off" in page.failures[0]
        driver.refresh()
        page.until_turns("hello", text(10))
        assert len(page.failures) == 1 and not page.stopping
        gates[1].set()
