"""Makes the pictures in this folder: the chat example in Chromium, against the sandbox.

    python docs/screenshots/make.py

needs Chromium with its driver, Selenium, Flask and the built page (see examples/chat/README.md);
on Debian also `fonts-inter fonts-noto-cjk fonts-noto-color-emoji`, or other fonts are drawn.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from os import environ
from pathlib import Path

import attrs
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.support.wait import WebDriverWait

from websopy_sync.sandbox import Sandbox, Steps, done, error, say, silence

HERE = Path(__file__).resolve().parent
APP = HERE.parent.parent / "examples" / "chat" / "flask_app.py"

FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run")

SCALE = 1.5
"""Pixels of the picture for each of the page."""

CHINESE = """AI 正在改变世界，而且是以一种安静的方式：它先学会了等待，然后学会了边想边说。

一、从提交到对话
过去，我们提交一个问题，然后面对空白的屏幕。现在，第一个字在几百毫秒内就到了，等待变成了阅读。

二、从答案到过程
文字一段一段地出现，读者可以随时打断、追问、换一个方向 🌱。回答不再是一件成品，而是一次共同的"""

ENGLISH = (
    "A server-sent event is a few lines of text that end with a blank one. The server keeps the "
    "response open and writes an event whenever it has something to say, so the reader sees each "
    "word as soon as it exists. If the connection drops, the reader comes back with the id of the "
    "last event"
)

QUESTION = "写一篇关于 AI 的文章"


@attrs.frozen
class Scene:
    """One picture: how the page is set up, what is asked, and what shows that it is ready."""

    name: str
    size: tuple[int, int]
    dark: bool
    language: str
    turns: tuple[tuple[str, Steps], ...]
    ready: str
    stop: bool = False


SCENES = (
    Scene(
        "light",
        (1100, 760),
        dark=False,
        language="zh-CN",
        turns=(
            ("你好！", [say("你好！想写点什么？"), done(4, 9)]),
            (QUESTION, [say(CHINESE), silence()]),
        ),
        ready="共同的",
    ),
    Scene(
        "dark",
        (1100, 760),
        dark=True,
        language="en-US",
        turns=(
            ("Name one good idea of HTTP", [say("A response may take its time."), done(26, 7)]),
            ("Explain server-sent events in five sentences", [say(ENGLISH), silence()]),
        ),
        ready="last event",
        stop=True,
    ),
    Scene(
        "narrow",
        (390, 780),
        dark=False,
        language="zh-CN",
        turns=(
            (QUESTION, [say(CHINESE.partition("\n\n二")[0]), done(20, 150)]),
            ("再写一段", [error("overloaded")]),
        ),
        ready="服务未能作答",
    ),
)


def main() -> None:
    """Make them all."""
    with ExitStack() as stack:
        sandbox = stack.enter_context(Sandbox())
        url = stack.enter_context(served(sandbox))
        for scene in SCENES:
            with browser(scene) as driver:
                take(scene, driver, sandbox, url)
            print(HERE / f"{scene.name}.png")


@contextmanager
def served(sandbox: Sandbox) -> Iterator[str]:
    """The example on Flask, asking this sandbox."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, str(APP), "--port", str(port), "--heartbeat", "1"],
        env={**environ, "WEBSOPY_API_KEY": "sandbox", "WEBSOPY_BASE_URL": sandbox.url},
    )
    try:
        url = f"http://127.0.0.1:{port}"
        until(lambda: answers(url) or process.poll() is not None)
        yield url
    finally:
        process.terminate()
        process.wait()


def answers(url: str) -> bool:
    """Whether the page is there."""
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except OSError:
        return False


def until(condition: Callable[[], bool]) -> None:
    """Wait for it, at most 20 seconds."""
    deadline = time.monotonic() + 20
    while not condition():
        if time.monotonic() > deadline:
            sys.exit("the example did not start")
        time.sleep(0.05)


@contextmanager
def browser(scene: Scene) -> Iterator[WebDriver]:
    """Chromium, set up for a scene."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or "chromium"
    service = webdriver.ChromeService(shutil.which("chromedriver"))
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        for flag in (*FLAGS, f"--accept-lang={scene.language}", f"--user-data-dir={profile}"):
            options.add_argument(flag)
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


def take(scene: Scene, driver: WebDriver, sandbox: Sandbox, url: str) -> None:
    """Play a scene and take its picture."""
    driver.get(url)
    wait = WebDriverWait(driver, 10)
    for number, (question, script) in enumerate(scene.turns, 1):
        sandbox.play(script)
        driver.find_element(By.ID, "draft").send_keys(question, Keys.ENTER)
        if number < len(scene.turns):
            wait.until(lambda _, n=number: len(whole(driver)) == 2 * n)
    wait.until(lambda _: scene.ready in driver.find_element(By.TAG_NAME, "main").text)
    if scene.stop:
        driver.find_element(By.CSS_SELECTOR, "[data-test=act]").click()
        wait.until(lambda _: len(whole(driver)) == 2 * len(scene.turns))
    driver.execute_script("scrollTo(0, document.documentElement.scrollHeight)")
    time.sleep(0.3)  # for the last frame
    driver.save_screenshot(str(HERE / f"{scene.name}.png"))


def whole(driver: WebDriver) -> list[object]:
    """The turns that are in the conversation."""
    return list(driver.find_elements(By.CSS_SELECTOR, "[role=log] .turn"))


if __name__ == "__main__":
    main()
