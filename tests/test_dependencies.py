"""Promise 42: what is installed beside this package is supported, or refused in one sentence."""

from __future__ import annotations

import http.client
import os
import re
import subprocess
import venv
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests
import urllib3

import websopy_sync
from websopy_sync.transport.dependencies import LOWEST, dependency_problem

ROOT = Path(websopy_sync.__file__).parents[1]


def module(version: str, connection: type = http.client.HTTPConnection) -> Any:
    """What stands in for a library that is not installed here."""
    return SimpleNamespace(
        __version__=version, connection=SimpleNamespace(HTTPConnection=connection)
    )


def test_what_is_installed_here() -> None:
    """The tests' own environment has no problem."""
    assert dependency_problem() == ""


@pytest.mark.parametrize("version", ["1.26.0", "1.26.20", "2.0.7", "2.6.9", "2.6"])
def test_urllib3_below_the_lowest(version: str) -> None:
    """A urllib3 that is too old is named, with the version that is needed."""
    problem = dependency_problem(requests, module(version))
    assert problem.startswith(f"urllib3: expected version 2.7.0 or newer, got {version}: ")


@pytest.mark.parametrize("version", ["2.7.0", "2.7.0rc1", "2.10.1", "3.0", "2.8.0.post1"])
def test_urllib3_that_is_new_enough(version: str) -> None:
    """A newer one is taken."""
    assert dependency_problem(requests, module(version)) == ""


def test_requests_below_the_lowest() -> None:
    """So is a requests that is too old."""
    problem = dependency_problem(module("2.31.0"), urllib3)
    assert problem.startswith("requests: expected version 2.32.2 or newer, got 2.31.0: ")


def test_fork_in_the_place_of_urllib3() -> None:
    """A urllib3 whose connections are not http.client's is urllib3-future, whatever its version."""
    problem = dependency_problem(requests, module("2.25.904", object))
    assert "urllib3-future" in problem
    assert "niquests" in problem


def test_lowest_are_those_of_the_metadata() -> None:
    """The bounds are the ones that pip holds to."""
    metadata = (ROOT / "setup.cfg").read_text("utf-8")
    for name, version in LOWEST.items():
        (declared,) = re.findall(rf"^ +{name}>=([\d.]+)$", metadata, re.MULTILINE)
        assert declared == ".".join(map(str, version))


ASK = """
from websopy_sync import ConfigError, WebsopyClient
from websopy_sync.sandbox import Sandbox

with Sandbox(pause=0.001) as sandbox:
    try:
        with WebsopyClient("key", base_url=sandbox.url, plugins=[]) as client:
            print(bool(client.ai.chat("hi").content))
    except ConfigError as error:
        print(error)
"""

BESIDE = {
    "niquests": (["niquests"], {}, "urllib3: .*urllib3-future"),
    "niquests kept apart": (
        ["niquests", "--no-binary", "urllib3-future"], {"URLLIB3_NO_OVERRIDE": "1"}, "True"
    ),
    "urllib3 1.26": (["urllib3==1.26.20"], {}, r"urllib3: expected version .* got 1\.26\.20"),
    "urllib3 2.0": (["urllib3==2.0.7"], {}, r"urllib3: expected version .* got 2\.0\.7"),
    "an old requests": (["requests==2.31.0"], {}, r"requests: expected version .* got 2\.31\.0"),
    "nothing else": ([], {}, "True"),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("case", BESIDE)
def test_installed_beside(case: str, tmp_path: Path, needs: Callable[[object, str], None]) -> None:
    """In an environment with another package beside it, a client works or says what is wrong."""
    packages, settings, expected = BESIDE[case]
    venv.create(tmp_path, with_pip=True)
    python = str(tmp_path / "bin" / "python")
    around = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    wanted = ["requests", "urllib3", "pluggy", "attrs", *packages]
    wanted = list({re.split("[=<>]", name)[0]: name for name in wanted}.values())
    installed = subprocess.run(
        [python, "-m", "pip", "install", "--quiet", "--no-compile", *wanted],
        env={**around, **settings},
        capture_output=True,
        encoding="utf-8",
    )
    needs(installed.returncode == 0, f"a package index: {installed.stderr[-300:]}")
    asked = subprocess.run(
        [python, "-c", ASK],
        env={**around, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        encoding="utf-8",
    )
    assert asked.returncode == 0, asked.stderr
    (line,) = asked.stdout.splitlines()
    assert re.match(expected, line), line
