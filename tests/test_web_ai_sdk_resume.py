"""The page and the view of docs/how-to/resume-with-the-ai-sdk.md, in a real browser."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from ai_sdk import INSTALLED
from ai_sdk_pages import Page, build
from browsers import chromium
from documents import saved_files
from web_apps.running import Server, free_port, running

from websopy_sync.sandbox import Sandbox, before_headers, done, say, silence, wait

pytest.importorskip("flask")
pytest.importorskip("websopy_relay")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not INSTALLED, reason="needs `npm --prefix tests/node ci`"),
]

DOCUMENT = "docs/how-to/resume-with-the-ai-sdk.md"

LEASE = 1.0
"""Seconds; the view's relay is given it, so that a dead worker shows soon."""

WHOLE = done(finish_reason="stop")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that the document says to save, and the page as a bundle."""
    folder = tmp_path_factory.mktemp("ai-sdk-resume")
    for name, code in saved_files(DOCUMENT).values():
        served = code.replace('"answers.db")))', f'"answers.db")), lease={LEASE})')
        assert served != code
        (folder / name).write_text(served, "utf-8")
    build(DOCUMENT, folder, "vue")
    return folder


def serving(folder: Path, sandbox: Sandbox, port: int) -> contextlib.AbstractContextManager[Server]:
    """The view of the document. Started again, it has the same sessions and answers."""
    paths = [folder, Path(__file__).parent, Path(__file__).parent.parent]
    environment = {
        "WEBSOPY_API_KEY": "test",
        "WEBSOPY_BASE_URL": sandbox.url,
        "PAGES": str(folder),
        "VIEW": "ai_resume",
        "ANSWERS": str(folder / "answers.db"),
        "SECRET_KEY": "of the tests",
        "PYTHONPATH": os.pathsep.join(map(str, paths)),
    }
    command = (
        *(sys.executable, "-m", "flask", "--app", "web_apps.ai_sdk_flask"),
        *("run", "--port", str(port)),
    )
    log = folder / "flask.log"
    return running(command, log, port=port, cwd=folder, environment=environment)


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def page(folder: Path, port: int, tmp_path: Path) -> Iterator[Page]:
    """The page, freshly opened, in a browser of its own: it keeps its chat."""
    with (
        Sandbox(framing="close") as sandbox,  # so that no connection outlives its test
        serving(folder, sandbox, port) as server,
        chromium(tmp_path) as driver,
    ):
        driver.get(f"{server.url}/pages/vue.html")
        yield Page(driver, sandbox, server)


def test_a_reload_in_the_middle_and_after_the_end(page: Page) -> None:
    """One message, whole, at rest; a whole answer stays as it is, and the chat goes on."""
    more, end = threading.Event(), threading.Event()
    page.ask("Hi", say("one "), wait(more), say("two "), wait(end), say("three"), WHOLE)
    page.until(lambda: page.turns == ["Hi", "one "])
    page.driver.refresh()
    page.until(lambda: page.turns == ["Hi", "one "] and page.button == "Stop")
    more.set()
    page.until(lambda: page.turns == ["Hi", "one two "])
    page.driver.refresh()
    page.until(lambda: page.turns == ["Hi", "one two "] and page.button == "Stop")
    end.set()
    page.until_answered("Hi", "one two three")
    page.driver.refresh()
    page.until_answered("Hi", "one two three")
    page.ask("And?", say("four"), WHOLE)
    page.until_answered("Hi", "one two three", "And?", "four")
    assert len(page.sandbox.requests) == 2


def test_a_reload_before_the_first_word(page: Page) -> None:
    """The answer goes on, and is asked for once."""
    more = threading.Event()
    page.ask("Hi", before_headers(wait(more)), say("hello"), WHOLE)
    page.until(lambda: len(page.sandbox.requests) == 1)
    page.driver.refresh()
    page.until(lambda: page.turns == ["Hi"] and page.button == "Stop")
    more.set()
    page.until_answered("Hi", "hello")
    assert len(page.sandbox.requests) == 1


def test_a_reload_once_the_answer_has_ended(page: Page) -> None:
    """What came while the page was away is there."""
    more = threading.Event()
    page.ask("Hi", say("one "), wait(more), say("two"), WHOLE)
    page.until(lambda: page.turns == ["Hi", "one "])
    url = page.driver.current_url
    page.driver.get("about:blank")
    more.set()
    assert page.sandbox.wait_closed(timeout=5)
    page.driver.get(url)
    page.until_answered("Hi", "one two")


def test_a_stop(page: Page) -> None:
    """It ends the answer at the service, and a reload does not bring it back."""
    page.ask("Hi", say("half"), silence())
    page.until(lambda: page.turns == ["Hi", "half"])
    page.press("Stop")
    page.until_answered("Hi", "half")
    assert page.sandbox.wait_disconnect(1, timeout=5)
    page.driver.refresh()
    page.until_answered("Hi", "half")


@contextlib.contextmanager
def refusing(port: int) -> Iterator[list[str]]:
    """What stands before a server that restarts: 503 for everything. Yields the paths asked for."""
    asked: list[str] = []

    class Refuse(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(503)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", port), Refuse) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield asked
        finally:
            server.shutdown()
            thread.join()


def test_an_answer_that_the_server_does_not_have(page: Page) -> None:
    """A cut answer is not shown as a whole one, also after the next reload."""
    more = threading.Event()
    page.ask("Hi", say("half"), wait(more))
    page.until(lambda: page.turns == ["Hi", "half"])
    page.driver.delete_all_cookies()
    for _ in range(2):
        page.driver.refresh()
        page.until_told("The server does not have the answer.")
        assert page.turns == ["Hi", "half"] and page.button == "Send"
    more.set()


def test_a_question_that_never_reached_the_server(folder: Path, tmp_path: Path, port: int) -> None:
    """It does not get the answer before it."""
    with Sandbox(framing="close") as sandbox, chromium(tmp_path) as driver:
        with serving(folder, sandbox, port) as server:
            driver.get(f"{server.url}/pages/vue.html")
            page = Page(driver, sandbox, server)
            page.ask("Hi", say("one"), WHOLE)
            page.until_answered("Hi", "one")
        page.ask("And?", say("two"), WHOLE)
        page.until(lambda: page.turns == ["Hi", "one", "And?"])
        with serving(folder, sandbox, port):
            page.until_told("The server does not have the answer.")
            assert page.turns == ["Hi", "one", "And?"]
            page.press("Try again")
            page.until_answered("Hi", "one", "And?", "two")


def test_enter_while_an_answer_comes(page: Page) -> None:
    """It asks nothing: two answers at once would be written into one chat."""
    more = threading.Event()
    page.ask("Hi", say("one "), wait(more), say("two"), WHOLE)
    page.until(lambda: page.turns == ["Hi", "one "])
    page.driver.find_element("css selector", "form input").send_keys("And?\n")
    more.set()
    page.until_answered("Hi", "one two")
    assert len(page.sandbox.requests) == 1


FIREFOX = """
const asked = window.fetch
window.fetch = async (...args) => {
  const response = await asked(...args)
  const reader = response.body?.getReader()
  if (!reader) return response
  const told = new ReadableStream({
    async pull(controller) {
      try {
        const { done, value } = await reader.read()
        done ? controller.close() : controller.enqueue(value)
      } catch {
        controller.error(new TypeError('Error in input stream'))
      }
    },
  })
  return new Response(told, response)
}
"""
"""Words a lost connection as Firefox does, which is no disconnect to the AI SDK."""


@pytest.mark.parametrize("script", ["", FIREFOX], ids=["chromium", "as firefox"])
def test_a_server_that_dies_and_comes_back(
    folder: Path, tmp_path: Path, port: int, script: str
) -> None:
    """The page waits for the next one, which ends the answer; a new try works."""
    with Sandbox(framing="close") as sandbox, chromium(tmp_path) as driver:
        with serving(folder, sandbox, port) as server:
            command = "Page.addScriptToEvaluateOnNewDocument"
            driver.execute_cdp_cmd(command, {"source": script})
            driver.get(f"{server.url}/pages/vue.html")
            page = Page(driver, sandbox, server)
            page.ask("Hi", say("half"), silence())
            page.until(lambda: page.turns == ["Hi", "half"])
            os.kill(server.pid, signal.SIGKILL)
        with refusing(port) as asked:
            page.until(lambda: len(asked) > 1)
            assert page.button == "Stop" and page.texts("[role=alert]") == []
        with serving(folder, sandbox, port):
            page.until(lambda: page.texts("[role=alert]") != [], seconds=15)
            page.until_told("The answer broke off.")
            assert page.turns == ["Hi", "half"]
            page.driver.refresh()
            page.until_told("The answer broke off.")
            page.sandbox.play([say("whole"), WHOLE])
            page.press("Try again")
            page.until_answered("Hi", "whole")
