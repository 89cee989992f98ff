"""A test that hangs fails alone, however it hangs, and in the background as well."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent

pytestmark = pytest.mark.slow

HANGING = """
import signal, socket, threading, time
import pytest

def test_before(): pass

def test_lock():
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()

def test_receive():
    one, other = socket.socketpair()
    with one, other:
        one.recv(1)

def test_loop():
    while True: pass

def test_that_catches_errors():
    while True:
        try: time.sleep(1)
        except Exception: pass

def test_that_hangs_again():
    try: threading.Event().wait()
    finally: threading.Event().wait()

def test_with_an_alarm_of_its_own():
    former = signal.signal(signal.SIGALRM, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, 0.01)
    time.sleep(0.1)
    signal.signal(signal.SIGALRM, former)
    threading.Event().wait()

@pytest.fixture
def setup_hangs(): threading.Event().wait()

def test_setup(setup_hangs): pass

@pytest.fixture
def teardown_hangs():
    yield
    threading.Event().wait()

def test_teardown(teardown_hangs): pass

def test_teardown_after_a_failure(teardown_hangs): assert False

def test_thread():
    thread = threading.Thread(target=threading.Event().wait)
    thread.start()
    thread.join()

def test_after(): pass
"""

SETTINGS = """
[pytest]
pythonpath = {tests}
timeout = 0.3
"""


TEST = re.compile(r"def (test_\w+)")


def run(folder: Path, code: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run `code` as a test file with the project's time limit."""
    (folder / "pytest.ini").write_text(SETTINGS.format(tests=TESTS), "utf-8")
    (folder / "conftest.py").write_text('pytest_plugins = ["time_limit"]\n', "utf-8")
    (folder / "test_it.py").write_text(code, "utf-8")
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rA", *options],
        cwd=folder,
        env={name: value for name, value in os.environ.items() if not name.startswith("PYTEST")},
        capture_output=True,
        text=True,
        timeout=50,
    )


def test_one_that_hangs_fails_alone(tmp_path: Path) -> None:
    """In a lock, a receive, a loop, a fixture or a thread: each fails, and the others run."""
    output = run(tmp_path, HANGING)
    lines = re.findall(r"^(PASSED|FAILED|ERROR) test_it.py::(.*)", output.stdout, re.M)
    passed = {name for outcome, name in lines if outcome == "PASSED"}
    assert passed == {"test_before", "test_after", "test_teardown"}, output.stdout
    failed = [name.partition(" - ") for outcome, name in lines if outcome != "PASSED"]
    assert {test for test, _, _ in failed} == set(TEST.findall(HANGING)) - {
        "test_before",
        "test_after",
    }
    assert {why for _, _, why in failed} == {"Failed: ran longer than 0.3 s", "assert False"}


def test_the_stacks_of_all_threads_are_shown(tmp_path: Path) -> None:
    """A reader that hangs is the failure this project is about: the report says where."""
    output = run(tmp_path, HANGING, "-k", "test_thread")
    assert "in test_thread" in output.stdout and "in _bootstrap" in output.stdout
    assert "threads that hang" in output.stderr


def test_with_interrupts_ignored() -> None:
    """`nohup pytest &` in a script ignores SIGINT; tests of Ctrl-C pass all the same."""
    test = f"{TESTS}/test_cli_main.py::test_ctrl_c_in_an_answer"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", test]
    done = subprocess.run(
        command,
        cwd=TESTS.parent,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert done.returncode == 0, done.stdout
