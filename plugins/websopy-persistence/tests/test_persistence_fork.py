"""Forked processes: each stores what it streams, whatever its parent's writer was doing."""

from __future__ import annotations

import contextlib
import gc
import http.client
import importlib.util
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from websopy_persistence import History, PersistencePlugin
from websopy_persistence.forks import connected

from websopy_sync import WebsopyClient, hookimpl

pytestmark = pytest.mark.slow

LOCKER = """
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
time.sleep(60)
"""

SERVICE = """
import time
from websopy_sync.sandbox import Sandbox, done, say
with Sandbox(lambda request: [*(say(f"{n} ") for n in range(100)), done(1, 1)], pause=0) as sandbox:
    print(sandbox.url, flush=True)
    time.sleep(60)
"""


def fork(work: Callable[[], object]) -> int:
    """A child that does the work and ends; its exit code is 0 if that went well."""
    pid = os.fork()
    if pid:
        return pid
    try:
        signal.alarm(30)  # a child that hangs fails alone
        work()
        os._exit(0)
    except BaseException:  # noqa: BLE001 - it must not go on as a second pytest
        traceback.print_exc()
    finally:
        os._exit(1)


def wait_for_all(pids: list[int]) -> None:
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    assert codes == [0] * len(pids)


@contextlib.contextmanager
def another_process(script: str, *arguments: str) -> Iterator[str]:
    """A script that runs until it is left; its first line."""
    with subprocess.Popen(
        [sys.executable, "-c", script, *arguments], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


@pytest.fixture
def store_one(ask) -> Callable[[PersistencePlugin, str], None]:
    """`store_one(plugin, question)` in a child: it streams and is stored."""

    def store(plugin: PersistencePlugin, question: str) -> None:
        ask(plugin, question).tell(*["text"] * 60).done()
        assert plugin.flush(20), plugin.problem
        assert (plugin.problem, plugin.lost_chunks, plugin.lost_streams) == ("", 0, 0)

    return store


def stored(file: str | Path) -> dict[str, tuple[str, str | None]]:
    with History(file) as history:
        streams = history.list(limit=None)
    assert len({stream.question for stream in streams}) == len(streams)
    return {str(stream.question): (stream.status, stream.answer) for stream in streams}


@pytest.mark.timing
@pytest.mark.parametrize("pause", [0.0, 0.0005, 0.001, 0.002, 0.004])
def test_forked_in_a_transaction(history_file, keep, ask, store_one, pause: float, caplog) -> None:
    """A child forked while its parent writes stores all of its own, and harms nothing."""
    plugin = keep(history_file)
    for turn in range(6):
        ask(plugin, f"parent's {turn}").tell(*["text"] * 200).done()
        time.sleep(pause)
        wait_for_all([fork(lambda turn=turn: store_one(plugin, f"child's {turn}"))])
    assert plugin.flush()
    found = stored(history_file)
    assert {found[f"child's {turn}"] for turn in range(6)} == {("done", "text" * 60)}
    assert {found[f"parent's {turn}"] for turn in range(6)} == {("done", "text" * 200)}
    assert caplog.records == []


def test_many_children_at_once(history_file, keep, ask, store_one) -> None:
    """They wait for each other's locks, and none is left out."""
    plugin = keep(history_file)
    answer = ask(plugin, "parent's").tell("one ")
    pids = [fork(lambda n=n: [store_one(plugin, f"{n}/{m}") for m in range(5)]) for n in range(8)]
    answer.tell("two").done()
    wait_for_all(pids)
    assert plugin.flush()
    found = stored(history_file)
    assert found.pop("parent's") == ("done", "one two")
    assert len(found) == 40
    assert set(found.values()) == {("done", "text" * 60)}


@pytest.mark.timing
def test_forked_while_the_writer_waits_for_a_lock(history_file, keep, ask, store_one) -> None:
    """The fork does not wait with it, and the parent's writer goes on afterwards."""
    plugin = keep(history_file)
    ask(plugin, "before").done()
    assert plugin.flush()
    with another_process(LOCKER, str(history_file)):
        ask(plugin, "parent's").tell("text").done()
        time.sleep(0.05)
        begun = time.monotonic()
        pid = fork(lambda: store_one(plugin, "child's"))
        took = time.monotonic() - begun
    wait_for_all([pid])
    assert plugin.flush()
    assert took < 2, "busy_timeout is 5 s"
    assert set(stored(history_file)) == {"before", "parent's", "child's"}
    assert plugin.problem == ""


def test_several_plugins_on_one_file(history_file, keep, ask, store_one) -> None:
    """SQLite counts locks by process, so all connections must be closed, not only the own one."""
    plugins = [keep(history_file) for _ in range(4)]
    for turn in range(5):
        for number, plugin in enumerate(plugins):
            ask(plugin, f"parent's {turn}/{number}").tell("text").done()
        wait_for_all([fork(lambda turn=turn: store_one(plugins[0], f"child's {turn}"))])
    assert all(plugin.flush() for plugin in plugins)
    assert len(stored(history_file)) == 25


def test_a_plugin_that_is_garbage(history_file, keep, ask, store_one) -> None:
    """Its connection is still there until its thread goes."""
    plugin = PersistencePlugin(history_file)
    ask(plugin, "parent's").tell("text").done()
    writer = plugin._writer
    del plugin
    gc.collect()
    wait_for_all([fork(lambda: store_one(PersistencePlugin(history_file), "child's"))])
    writer.close()
    assert set(stored(history_file)) == {"parent's", "child's"}


def test_a_history_that_is_read_meanwhile(history_file, keep, ask, store_one) -> None:
    """A look at the history in another thread is a connection too."""
    plugin = keep(history_file)
    ask(plugin, "parent's").done()
    assert plugin.flush()
    over = threading.Event()

    def look() -> None:
        with History(history_file) as history:
            while not over.is_set():
                history.list()

    looking = threading.Thread(target=look)
    looking.start()
    try:
        pids = [fork(lambda n=n: store_one(plugin, f"child's {n}")) for n in range(5)]
    finally:
        over.set()
        looking.join()
    wait_for_all(pids)
    assert len(stored(history_file)) == 6


def test_a_fork_never_hangs(history_file, keep, ask) -> None:
    """A connection that is used for ever is waited for only so long."""
    inside, over = threading.Event(), threading.Event()

    def use() -> None:
        with connected(0.2):
            inside.set()
            over.wait(20)

    using = threading.Thread(target=use)
    using.start()
    assert inside.wait(10)
    begun = time.monotonic()
    wait_for_all([fork(lambda: None)])
    assert time.monotonic() - begun < 5
    over.set()
    using.join()
    plugin = keep(history_file)
    ask(plugin).done()
    assert plugin.flush()


def test_a_fork_inside_a_use(history_file, keep, store_one) -> None:
    """A thread that forks while it uses a connection does not wait for itself."""
    plugin = keep(history_file)
    with connected(20):
        begun = time.monotonic()
        pid = fork(lambda: store_one(plugin, "child's"))
        assert time.monotonic() - begun < 5
    wait_for_all([pid])
    assert set(stored(history_file)) == {"child's"}


def test_children_of_children(history_file, keep, store_one) -> None:
    """A child's writer is closed for its own forks too."""
    plugin = keep(history_file)
    store_one(plugin, "first")

    def child() -> None:
        store_one(plugin, "second")
        wait_for_all([fork(lambda: store_one(plugin, "third"))])
        store_one(plugin, "fourth")

    wait_for_all([fork(child)])
    assert set(stored(history_file)) == {"first", "second", "third", "fourth"}


@pytest.mark.parametrize("kind", ["postgres", "mariadb"])
def test_servers(kind: str, request, keep, ask, store_one, caplog) -> None:
    """A child's end does not end its parent's connection to a server."""
    database = request.getfixturevalue(kind)
    url = database if isinstance(database, str) else database.url
    plugin = keep(url)
    for turn in range(4):
        answer = ask(plugin, f"parent's {turn}").tell("one ")
        script = multiprocessing.get_context("fork").Process(
            target=store_one, args=(plugin, f"child's {turn}")
        )
        script.start()
        script.join()
        assert script.exitcode == 0
        script.close()
        answer.tell("two").done()
        assert plugin.flush()
    found = stored(url)
    assert len(found) == 8
    assert caplog.records == []


def test_multiprocessing_without_a_close(history_file, keep, ask) -> None:
    """Such a child runs no atexit function; what it streamed last is stored all the same."""
    plugin = keep(history_file)
    ask(plugin, "parent's").done()

    def work(question: str) -> None:
        ask(plugin, question).tell("text").done()

    children = [
        multiprocessing.get_context("fork").Process(target=work, args=(f"child's {n}",))
        for n in range(4)
    ]
    for child in children:
        child.start()
    for child in children:
        child.join()
        assert child.exitcode == 0
        child.close()
    assert plugin.flush()
    assert len(stored(history_file)) == 5


class Forks:
    """A plugin that forks in the middle of an answer."""

    def __init__(self, work: Callable[[], object]) -> None:
        self._work = work
        self.pids: list[int] = []

    @hookimpl
    def on_chunk(self, chunk: Any, stream: Any) -> None:
        if chunk.type == "content" and chunk.content in ("0 ", "50 ", "99 "):
            self.pids.append(fork(self._work))


def test_forked_out_of_a_hook_and_by_a_client(history_file, keep) -> None:
    """With a client that was used before, as a preloaded app has it: each child's answers."""
    plugin = keep(history_file)
    with another_process(SERVICE) as url:
        client = WebsopyClient("key", base_url=url, plugins=[plugin])

        def ask_some() -> None:
            for number in range(4):
                client.ai.chat(f"{os.getpid()}/{number}")
            assert plugin.flush(20)

        forking = Forks(ask_some)
        with client, WebsopyClient("key", base_url=url, plugins=[plugin, forking]) as other:
            client.ai.chat("parent's")
            pids = [fork(ask_some) for _ in range(4)]
            other.ai.chat("parent's, in which it forks")
            wait_for_all(pids + forking.pids)
            assert len(forking.pids) == 3
    assert plugin.flush(20)
    found = stored(history_file)
    assert len(found) == 2 + 4 * 7
    assert set(found.values()) == {("done", "".join(f"{n} " for n in range(100)))}


APP = """
from websopy_sync import WebsopyClient

client = WebsopyClient()
client.ai.chat("asked while it is loaded")  # and forked at once

def app(environ, start_response):
    client.ai.chat(environ["QUERY_STRING"])
    start_response("200 OK", [("Content-Length", "0")])
    return []
"""


def ask_all(address: str, count: int) -> list[int]:
    """Ask an app on this machine so many questions, some at once; the statuses."""

    def one(number: int) -> int:
        with contextlib.closing(http.client.HTTPConnection(address, timeout=20)) as connection:
            connection.request("GET", f"/?{number}")
            return connection.getresponse().status

    with ThreadPoolExecutor(6) as pool:
        return list(pool.map(one, range(count)))


@contextlib.contextmanager
def gunicorn(folder: Path, **environment: str) -> Iterator[str]:
    """The app in a folder, preloaded, with four workers; where it listens."""
    command = [sys.executable, "-m", "gunicorn", "--preload", "--workers", "4", "app:app"]
    with subprocess.Popen(
        [*command, "--bind", "127.0.0.1:0"],
        cwd=folder,
        env={**os.environ, **environment},
        stderr=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stderr is not None
        said = ""
        for line in server.stderr:
            said += line
            if found := re.search("Listening at: http://([0-9.:]+)", line):
                break
        else:
            raise AssertionError(said)
        draining = threading.Thread(target=server.stderr.read)
        draining.start()
        try:
            yield found[1]
        finally:
            server.terminate()
            draining.join()


@pytest.mark.slow
def test_gunicorn_preload(tmp_path: Path, needs) -> None:
    """Workers of an app that was preloaded, and used while it was, keep every question."""
    needs(importlib.util.find_spec("gunicorn"), "gunicorn")
    (tmp_path / "app.py").write_text(APP)
    file = tmp_path / "history.db"
    with another_process(SERVICE) as url:
        known = {
            "WEBSOPY_API_KEY": "key",
            "WEBSOPY_BASE_URL": url,
            "WEBSOPY_PLUGINS": "persistence",
            "WEBSOPY_PERSISTENCE_URL": f"sqlite:///{file}",
        }
        with gunicorn(tmp_path, **known) as address:
            assert ask_all(address, 133) == [200] * 133
    found = stored(file)
    assert len(found) == 134
    assert {status for status, _ in found.values()} == {"done"}
