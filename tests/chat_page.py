"""The chat example's page in Chromium: what the files test_browser*.py share.

Knows no test. Fixtures are in conftest.py by import; Selenium is imported when one of them runs.
"""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from browsers import chromium
from page_server import PageServer
from web_apps.running import running

from websopy_sync.sandbox import Sandbox

if TYPE_CHECKING:
    from selenium.webdriver.remote.webdriver import WebDriver
    from selenium.webdriver.remote.webelement import WebElement

CHAT = Path(__file__).parent.parent / "examples" / "chat"
AXE = CHAT / "node_modules" / "axe-core" / "axe.min.js"

HEARTBEAT, GRACE = 1.0, 0.5
"""Seconds; the back ends are started with them."""

ENTER = "\ue007"
ESCAPE = "\ue00c"
NULL = "\ue000"
SHIFT = "\ue008"
SPACE = "\ue00d"
TAB = "\ue004"
"""As WebDriver writes keys."""


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebDriver]:
    """One Chromium for all tests of a file, with a profile of its own."""
    with chromium(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


@attrs.frozen
class ChatPage:
    """The chat page in the browser."""

    driver: WebDriver
    url: str

    def send(self, question: str) -> None:
        """Type a question and press Enter."""
        self.field.send_keys(question, ENTER)

    @property
    def field(self) -> WebElement:
        return self.one("#draft")

    @property
    def act(self) -> WebElement:
        """The button that sends or stops."""
        return self.one("[data-test=act]")

    def one(self, selector: str) -> WebElement:
        return self.driver.find_element("css selector", selector)

    def all(self, selector: str) -> list[WebElement]:
        return self.driver.find_elements("css selector", selector)

    def texts(self, selector: str) -> list[str]:
        """Text exactly as it is in the document."""
        script = "return [...document.querySelectorAll(arguments[0])].map(e => e.textContent)"
        return list(self.driver.execute_script(script, selector))

    def copied(self, button: WebElement) -> str:
        """What a copy button puts on the clipboard."""
        write = "window.copied = null; navigator.clipboard.writeText = async (t) => { copied = t }"
        self.driver.execute_script(write)
        self.driver.execute_script("arguments[0].click()", button)
        self.until(lambda: self.driver.execute_script("return copied !== null"))
        return str(self.driver.execute_script("return copied"))

    @property
    def writing(self) -> list[str]:
        """The answer that is being written."""
        return self.texts("[data-test=current] .text")

    @property
    def turns(self) -> list[str]:
        """The conversation so far, without the answer that is being written."""
        return self.texts("[role=log] .turn:not([data-test=current]) .text")

    @property
    def notes(self) -> list[str]:
        """The plain lines under the answers."""
        return self.texts("[role=log] .note")

    @property
    def failures(self) -> list[str]:
        """What the page says went wrong."""
        return self.texts("[role=alert]")

    @property
    def stopping(self) -> bool:
        """Whether the button stops."""
        return self.act.get_attribute("aria-label") == "Stop"

    def until(self, condition: Callable[[], Any], *, seconds: float = 5.0) -> None:
        """Wait for what the page is to show."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"not within {seconds} s: {self.one('main').text}"
            time.sleep(0.02)

    def until_turns(self, *turns: str) -> None:
        """Wait for the conversation."""
        self.until(lambda: self.turns == list(turns))

    def complaints(self) -> list[str]:
        """What the browser has logged since the last look, a violated policy for one."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def violations(self) -> list[str]:
        """The rules of axe-core that the page breaks, and where."""
        self.driver.execute_script(AXE.read_text("utf-8"))
        run = """
            axe.run({ runOnly: ['wcag2a', 'wcag2aa', 'wcag21aa', 'wcag22aa', 'best-practice'] })
                .then((result) => arguments[0](result.violations.map(
                    (broken) => broken.id + ': ' + broken.nodes.map((n) => n.html).join(' '))))
        """
        return list(self.driver.execute_async_script(run))


@attrs.frozen
class Page(ChatPage):
    """The page over a back end, and the service behind that."""

    sandbox: Sandbox

    def ask(self, question: str, *script: Any) -> None:
        """Send a question; the service answers by the script."""
        self.sandbox.play(script)
        self.send(question)


@attrs.frozen
class KeptPage(ChatPage):
    """The page over a server that keeps its answers."""

    server: PageServer


def needs_the_page() -> None:
    """Skip a test when the page has not been built."""
    if not (CHAT / "dist" / "index.html").exists():
        pytest.skip("needs the page: npm --prefix examples/chat ci && … run build")


@pytest.fixture(scope="module", params=["flask", "django"])
def back_end(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Sandbox]]:
    """The example, as its users start it, with the sandbox as its service."""
    if importlib.util.find_spec(request.param) is None:
        pytest.skip(f"needs {request.param}")
    needs_the_page()
    program = (sys.executable, str(CHAT / f"{request.param}_app.py"))
    log = tmp_path_factory.mktemp(request.param) / "log"
    with Sandbox(framing="close") as sandbox:  # so that no connection outlives its test
        environment = {"WEBSOPY_API_KEY": "test", "WEBSOPY_BASE_URL": sandbox.url}
        times = ("--heartbeat", str(HEARTBEAT), "--grace", str(GRACE))
        options = ("--port", "{port}", *times)
        with running((*program, *options), log, ready="/", environment=environment) as server:
            yield server.url, sandbox


@pytest.fixture
def page(driver: WebDriver, back_end: tuple[str, Sandbox]) -> Iterator[Page]:
    """The page, freshly opened; whatever it asked is over when the test is."""
    url, sandbox = back_end
    driver.get(url)
    page = Page(driver, url, sandbox)
    page.complaints()
    yield page
    driver.execute_script("localStorage.clear()")  # a draft is kept otherwise
    driver.get("about:blank")
    assert sandbox.wait_closed(timeout=2 * HEARTBEAT + GRACE)


@pytest.fixture
def kept(driver: WebDriver) -> Iterator[KeptPage]:
    """The page, freshly opened, over a server that keeps its answers; no chat is there yet."""
    needs_the_page()
    with PageServer(CHAT / "dist").running() as server:
        driver.get(server.url)
        page = KeptPage(driver, server.url, server)
        page.complaints()
        yield page
        driver.get("about:blank")
