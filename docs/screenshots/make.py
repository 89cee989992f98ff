"""Makes the pictures in this folder: the chat page in Chromium, over the server of its tests.

    python docs/screenshots/make.py

needs Chromium with its driver, Selenium, attrs, pytest and the built page (see
examples/chat/README.md); on Debian also `fonts-inter fonts-noto-cjk fonts-noto-color-emoji
fonts-dejavu-core`, or other fonts are drawn.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
from selenium import webdriver
from selenium.webdriver.remote.webdriver import WebDriver

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from chat_page import KeptPage  # noqa: E402
from page_server import PageServer, Refusal  # noqa: E402

FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run")

MOUSE = "--blink-settings=primaryHoverType=2,availableHoverTypes=2"
"""Without it nothing hovers, as on a phone."""

SCALE = 1.5
"""Pixels of the picture for each of the page."""

WIDE, NARROW = (1100, 760), (390, 780)

CHINESE = """AI 正在改变世界，而且是以一种安静的方式：它先学会了**等待**，然后学会了边想边说。

### 一、从提交到对话

过去，我们提交一个问题，然后面对空白的屏幕。现在，第一个字在几百毫秒内就到了，等待变成了阅读。

### 二、从答案到过程

- 文字一段一段地出现，读者可以随时打断、追问、换一个方向 🌱
- 回答不再是一件成品，而是一次共同的"""

CODE = """Give the question to `chat_stream`, and loop over the chunks:

```python
from websopy_sync import WebsopyClient

with WebsopyClient() as client:
    # One chunk after the other, as they come.
    for chunk in client.ai.chat_stream("Why is the sky blue?"):
        if chunk.type == "content":
            print(chunk.content, end="", flush=True)
```

Leaving the loop early cancels the answer at the service, so nothing runs on unseen.
"""

TABLE = """All three bring news to a page. They differ in who may speak, and what a lost line costs:

| Transport | Direction | Reconnects | Bytes an event |
|---|---|---|--:|
| Server-sent events | server → page | by itself | 8 |
| WebSocket | both | by hand | 2–14 |
| Long polling | server → page | by itself | 300–800 |

For an answer that is only read, **server-sent events** are enough.

> The simplest thing that works is also the one that proxies understand.
"""

WEATHER = '{"city": "Hangzhou", "days": 2}'
THOUGHT = """The visitor asks for a haiku, so: five, seven and five syllables.

**First byte** has two syllables; *waiting* has two. The last line should turn."""
HAIKU = "A cursor that blinks —\nsomewhere a model draws breath.\nThe first byte: a leaf."
EVENTS = (
    "A server-sent event is a few lines of text that end with a blank one. The server keeps the "
    "response open and writes an event whenever it has something to say, so the reader sees each "
    "word as soon as it exists. If the connection drops, the reader comes back with the id of the "
    "last event"
)


@attrs.frozen
class Scene:
    """One picture: how the page is set up, and what happens before it is taken."""

    name: str
    play: Callable[[KeptPage], None]
    size: tuple[int, int] = WIDE
    dark: bool = False
    language: str = "en-US"


def ask(page: KeptPage, question: str, *texts: str) -> None:
    """Send a question, and begin its answer."""
    asked = len(page.server.methods)
    page.send(question)
    page.until(lambda: len(page.server.methods) > asked)
    if texts:
        page.server.text(*texts)
        page.until(lambda: page.writing)


def answered(page: KeptPage, question: str, *texts: str) -> None:
    """Send a question, and answer it."""
    ask(page, question, *texts)
    page.server.say({"type": "done", "finishReason": "stop"}, end=True)
    page.until(lambda: not page.all("[data-test=current]"))


def streaming(page: KeptPage) -> None:
    answered(page, "你好！", "你好！想写点什么？")
    ask(page, "写一篇关于 AI 的文章", CHINESE)


def code(page: KeptPage) -> None:
    answered(page, "How do I stream an answer in Python?", CODE)
    page.until(lambda: page.all(".hljs-keyword"))


def table(page: KeptPage) -> None:
    answered(page, "Compare SSE, WebSocket and long polling", TABLE)


def tools(page: KeptPage) -> None:
    ask(page, "Do I need an umbrella in Hangzhou tomorrow?")
    call = {"name": "forecast", "arguments": WEATHER, "id": "1"}
    page.server.say({"type": "tool_call", "tool": call})
    page.server.text("Yes: light rain from ten in the morning, **18 °C** at most. It clears up by ")
    page.until(lambda: page.writing)
    page.one(".tool summary").click()


def reasoning(page: KeptPage) -> None:
    ask(page, "A haiku about waiting for the first byte")
    page.server.say({"type": "reasoning", "content": THOUGHT})
    page.until(lambda: page.all("summary"))
    page.one("summary").click()
    time.sleep(1.6)
    page.server.text(HAIKU)
    page.server.done()
    page.until(lambda: page.all(".actions [data-test=retry]"))


def stopped(page: KeptPage) -> None:
    ask(page, "Explain server-sent events in five sentences", EVENTS)
    page.act.click()
    page.until(lambda: page.notes == ["Stopped"])


def refused(page: KeptPage, question: str) -> None:
    """Send a question that is one too many."""
    page.server.refusals.append(Refusal(429, {"Retry-After": "30"}, "rate_limited"))
    page.send(question)
    page.until(lambda: page.failures)


def failed(page: KeptPage) -> None:
    answered(page, "Explain server-sent events in five sentences", f"{EVENTS} it has seen.")
    refused(page, "And how does a WebSocket differ?")


def failed_in_chinese(page: KeptPage) -> None:
    answered(page, "写一篇关于 AI 的文章", CHINESE.partition("\n\n### 二")[0])
    refused(page, "再写一段")


def resumed(page: KeptPage) -> None:
    ask(page, "Explain server-sent events in five sentences", EVENTS)
    time.sleep(1.2)  # it is saved every second
    page.server.refusals += [Refusal(503)] * 9
    page.driver.refresh()
    page.until(lambda: page.notes)


def drawer(page: KeptPage) -> None:
    for question in ("写一篇关于 AI 的文章", "用五句话解释服务器推送事件"):
        answered(page, question, CHINESE)
        page.driver.get(page.url + "/?new")
    answered(page, "你好！", "你好！想写点什么？")
    page.one("[data-test=show-chats]").click()


SCENES = (
    Scene("light", streaming, language="zh-CN"),
    Scene("dark", code, dark=True),
    Scene("narrow", failed_in_chinese, NARROW, language="zh-CN"),
    Scene("empty", lambda page: None),
    Scene("empty-dark", lambda page: None, dark=True, language="zh-CN"),
    Scene("code", code),
    Scene("table", table),
    Scene("tools", tools),
    Scene("reasoning", reasoning, dark=True),
    Scene("stopped", stopped),
    Scene("error", failed),
    Scene("resumed", resumed),
    Scene("narrow-code", code, NARROW, dark=True),
    Scene("narrow-table", table, NARROW),
    Scene("narrow-chats", drawer, NARROW, language="zh-CN"),
)


def main() -> None:
    """Make them all, or those that the command line names."""
    for scene in SCENES:
        if len(sys.argv) > 1 and scene.name not in sys.argv:
            continue
        server = PageServer(ROOT / "examples" / "chat" / "dist")
        with server.running(), browser(scene) as driver:
            driver.get(server.url)
            scene.play(KeptPage(driver, server.url, server))
            away = {"type": "mouseMoved", "x": 1, "y": 1}
            driver.execute_cdp_cmd("Input.dispatchMouseEvent", away)
            driver.execute_script("scrollTo(0, document.documentElement.scrollHeight)")
            time.sleep(0.4)  # for the last frame
            driver.save_screenshot(str(HERE / f"{scene.name}.png"))
        print(HERE / f"{scene.name}.png")


@contextmanager
def browser(scene: Scene) -> Iterator[WebDriver]:
    """Chromium, set up for a scene."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or "chromium"
    service = webdriver.ChromeService(shutil.which("chromedriver"))
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        for flag in (*FLAGS, f"--accept-lang={scene.language}", f"--user-data-dir={profile}"):
            options.add_argument(flag)
        if scene.size == WIDE:
            options.add_argument(MOUSE)
        with webdriver.Chrome(options=options, service=service) as driver:
            width, height = scene.size
            screen = {"width": width, "height": height, "deviceScaleFactor": SCALE}
            metrics = {**screen, "mobile": False}
            driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
            colours = {"name": "prefers-color-scheme", "value": "dark" if scene.dark else "light"}
            still = {"name": "prefers-reduced-motion", "value": "reduce"}
            media = {"features": [colours, still]}
            driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
            yield driver


if __name__ == "__main__":
    main()
