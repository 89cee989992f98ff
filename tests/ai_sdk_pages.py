"""The AI SDK's pages of a document, as a browser shows them."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
from ai_sdk import run
from documents import blocks
from web_apps.running import Server

from websopy_sync.sandbox import RecordedRequest, Sandbox

if importlib.util.find_spec("selenium"):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.remote.webdriver import WebDriver
    from selenium.webdriver.support.wait import WebDriverWait

MAINS = {
    "vue": """import { createApp } from 'vue'
import App from './App.vue'
createApp(App).mount('#app')
""",
    "react": """import { createElement } from 'react'
import { createRoot } from 'react-dom/client'
import App from './App.jsx'
createRoot(document.querySelector('#app')).render(createElement(App))
""",
}
"""What a new project has in `src/main.js`."""

HTML = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Chat</title>
<link rel="icon" href="data:,"><div id="app"></div>
<script type="module" src="{name}.bundle.js"></script></html>"""


def build(document: str, folder: Path, *names: str) -> None:
    """Write the components of a document into a folder, and each of these pages as a bundle."""
    for language, _, lines in blocks(document):
        if language in ("vue", "jsx"):
            (folder / f"App.{language}").write_text("\n".join(lines), "utf-8")
    for name in names:
        (folder / f"{name}.js").write_text(MAINS[name], "utf-8")
        (folder / f"{name}.html").write_text(HTML.format(name=name), "utf-8")
    run("build_pages.mjs", *(str(folder / f"{name}.js") for name in names))


@attrs.frozen
class Page:
    """A page of the document in the browser, and the service behind its view."""

    driver: WebDriver
    sandbox: Sandbox
    server: Server

    def ask(self, question: str, *script: Any) -> None:
        """Type a question and press Enter; the service answers by the script."""
        self.sandbox.play(list(script))
        self.driver.find_element(By.CSS_SELECTOR, "form input").send_keys(question, Keys.ENTER)

    def texts(self, selector: str) -> list[str]:
        """Text exactly as it is in the document."""
        script = "return [...document.querySelectorAll(arguments[0])].map(e => e.textContent)"
        return list(self.driver.execute_script(script, selector))

    @property
    def turns(self) -> list[str]:
        """The texts of the chat."""
        return self.texts("article > p")

    @property
    def button(self) -> str:
        return self.texts("form button")[0]

    def press(self, words: str) -> None:
        self.driver.find_element(By.XPATH, f"//button[normalize-space()='{words}']").click()

    def until(self, condition: Callable[[], Any], *, seconds: float = 5.0) -> None:
        """Wait for what the page is to show."""
        WebDriverWait(self.driver, seconds, poll_frequency=0.02).until(lambda _: condition())

    def until_answered(self, *turns: str) -> None:
        """Wait for a chat of these texts, at rest and without a fault."""
        self.until(lambda: self.turns == list(turns) and self.button == "Send")
        assert self.texts("[role=alert], [role=status]") == []

    def until_told(self, words: str) -> None:
        self.until(lambda: [words in text for text in self.texts("[role=alert]")] == [True])

    def asked(self) -> list[dict[str, Any]]:
        """The turns that the service was sent last, without the view's own."""
        request: RecordedRequest = self.sandbox.requests[-1]
        first, *rest = request.json["messages"]
        assert first["role"] == "system"
        return list(rest)
