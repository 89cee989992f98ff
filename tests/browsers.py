"""A real browser: Chromium, driven by Selenium."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from selenium.webdriver.remote.webdriver import WebDriver

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--lang=en-US",
    "--accept-lang=en-US",
    "--window-size=1100,800",
)


@contextmanager
def chromium(profile: Path, *flags: str) -> Iterator[WebDriver]:
    """One Chromium, until left; the test is skipped where there is none.

    Args:
        profile: An empty folder for its profile.
        flags: Further ones of its command line.
    """
    if not importlib.util.find_spec("selenium"):
        pytest.skip("needs selenium")
    from selenium import webdriver  # noqa: PLC0415  conftest.py imports this file; most tests need none

    browser, chromedriver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (browser and chromedriver):
        pytest.skip("needs chromium and chromedriver")
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for flag in (*FLAGS, *flags, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    with webdriver.Chrome(options=options, service=webdriver.ChromeService(chromedriver)) as driver:
        yield driver
