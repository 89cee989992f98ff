"""A plugin that makes clients and asks questions itself: it is cut at the first level."""

from __future__ import annotations

import contextvars
import logging
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from websopy_sync import APIError, BackgroundPlugin, WebsopyClient, hookimpl
from websopy_sync.sandbox import Sandbox, Steps, done, say, status

LOG = "websopy_sync.plugins"
HOOKS = ("on_request", "on_chunk", "on_retry", "on_done", "on_error")

Make = Callable[..., WebsopyClient]


@pytest.fixture(autouse=True)
def environment(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clients that plugins make ask the sandbox as well."""
    monkeypatch.setenv("WEBSOPY_API_KEY", "test")
    monkeypatch.setenv("WEBSOPY_BASE_URL", sandbox.url)


class Asks:
    """Asks a question of its own in one hook, over a client that it is given later."""

    def __init__(self, hook: str = "on_done") -> None:
        self.hook = hook
        self.client: WebsopyClient | None = None
        self.told: list[str] = []

    def ask(self) -> None:
        assert self.client is not None
        self.client.ai.chat("a title for that")

    def hear(self, hook: str) -> None:
        self.told.append(hook)
        if hook == self.hook:
            try:
                self.ask()
            except APIError:  # as the user's question may fail here, so may its own
                pass

    @hookimpl
    def on_request(self) -> None:
        self.hear("on_request")

    @hookimpl
    def on_chunk(self) -> None:
        self.hear("on_chunk")

    @hookimpl
    def on_retry(self) -> None:
        self.hear("on_retry")

    @hookimpl
    def on_done(self) -> None:
        self.hear("on_done")

    @hookimpl
    def on_error(self) -> None:
        self.hear("on_error")


class Hears:
    """Counts the questions that it is told of."""

    def __init__(self) -> None:
        self.requests = 0

    @hookimpl
    def on_request(self) -> None:
        self.requests += 1


# --- questions -----------------------------------------------------------------------------------

SCRIPTS: dict[str, list[Steps]] = {
    "on_request": [[say("a"), done()]] * 2,
    "on_chunk": [[say("a"), done()]] * 3,  # two chunks, so two questions about one
    "on_retry": [status(503), [say("a"), done()], [say("a"), done()]],
    "on_done": [[say("a"), done()]] * 2,
    "on_error": [status(400), [say("a"), done()]],
}


@pytest.mark.parametrize("hook", HOOKS)
def test_a_plugin_that_asks_is_not_told_of_its_own_question(
    make: Make, sandbox: Sandbox, hook: str
) -> None:
    """Whatever hook it asks in; the others are told of both questions."""
    asks, hears = Asks(hook), Hears()
    asks.client = make(asks, hears)
    for script in SCRIPTS[hook]:
        sandbox.play(script)
    try:
        asks.client.ai.chat("hi")
    except APIError:
        assert hook == "on_error"
    assert len(sandbox.requests) == len(SCRIPTS[hook])
    assert asks.told.count("on_request") == 1
    assert hears.requests == (3 if hook == "on_chunk" else 2)


def test_it_is_told_of_the_users_next_question(make: Make, sandbox: Sandbox) -> None:
    """The hook is over then, however it ended."""

    class Raises(Asks):
        def ask(self) -> None:
            super().ask()
            raise ValueError

    for asks in (Asks(), Raises()):
        asks.client = make(asks)
        for _ in range(2):
            asks.client.ai.chat("hi")
        assert asks.told.count("on_done") == 2


def test_plugins_that_ask_about_each_others_questions_come_to_an_end(
    make: Make, sandbox: Sandbox
) -> None:
    """Of a question that was asked about a plugin's question, nobody is told."""
    plugins = [Asks() for _ in range(3)]
    client = make(*plugins)
    for plugin in plugins:
        plugin.client = client
    client.ai.chat("hi")
    assert len(sandbox.requests) == 1 + 3 + 3 * 2
    assert [plugin.told.count("on_request") for plugin in plugins] == [3, 3, 3]


def test_the_question_of_a_plugin_may_be_read_later(make: Make, sandbox: Sandbox) -> None:
    """Whom it is told to is settled when it is asked."""
    streams: list[Any] = []

    class AsksOnly(Asks):
        def ask(self) -> None:
            assert self.client is not None
            streams.append(self.client.ai.chat_stream("later"))

    asks = AsksOnly()
    asks.client = make(asks)
    asks.client.ai.chat("hi")
    before = list(asks.told)
    streams[0].until_done()
    assert asks.told == before and len(sandbox.requests) == 2


def test_a_plugin_in_the_background_that_asks(make: Make, sandbox: Sandbox) -> None:
    """In its own thread it is cut as well."""
    asks = Asks()
    background = BackgroundPlugin(asks)
    asks.client = make(background)
    asks.client.ai.chat("hi")
    for _ in range(3):
        assert background.flush(5.0)
    assert len(sandbox.requests) == 2


def test_a_thread_that_is_given_the_hooks_context_counts_as_the_plugin(
    make: Make, sandbox: Sandbox
) -> None:
    """contextvars carry it there; a bare thread has no context, so it cannot be known."""

    class AsksInThread(Asks):
        def ask(self) -> None:
            context = contextvars.copy_context()
            with ThreadPoolExecutor(1) as pool:
                pool.submit(context.run, super().ask).result()

    asks = AsksInThread()
    asks.client = make(asks)
    asks.client.ai.chat("hi")
    assert len(sandbox.requests) == 2


def test_another_threads_question_is_told_while_a_hook_runs(make: Make, sandbox: Sandbox) -> None:
    """Only what is asked in the hook is the plugin's own."""
    hook_runs, asked = threading.Event(), threading.Event()

    class Slow(Hears):
        @hookimpl
        def on_done(self) -> None:
            hook_runs.set()
            asked.wait(5)

    slow = Slow()
    client = make(slow)
    thread = threading.Thread(target=client.ai.chat, args=("hi",))
    thread.start()
    assert hook_runs.wait(5)
    stream = client.ai.chat_stream("another")
    asked.set()
    stream.until_done()
    thread.join()
    assert slow.requests == 2


def test_a_plugin_that_asks_is_warned_of_once(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    """So that its author knows why the hook is not called."""
    asks = Asks()
    asks.client = make(asks, Hears())
    for _ in range(3):
        asks.client.ai.chat("hi")
    (message,) = [record.getMessage() for record in caplog.records if record.name == LOG]
    assert message == "plugin Asks is not notified of requests that its own hooks send"


# --- clients -------------------------------------------------------------------------------------

INSTALLED = """
from websopy_sync import WebsopyClient, hookimpl
made = []
class Asker:
    def __init__(self):
        made.append(self)
        self.client = WebsopyClient({arguments})
    @hookimpl
    def on_done(self, message):
        {hook}
    def close(self):
        self.client.close()
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Installs a plugin `asker` of this source, and one more that does nothing."""
    monkeypatch.setenv("WEBSOPY_PLUGINS", "asker,quiet")
    monkeypatch.syspath_prepend(str(tmp_path))

    def install(source: str) -> None:
        (tmp_path / "asker_plugin.py").write_text(source, "utf-8")
        quiet = "from websopy_sync import hookimpl\n@hookimpl\ndef on_done(): pass\n"
        (tmp_path / "quiet_plugin.py").write_text(quiet, "utf-8")
        info = tmp_path / "asker-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: asker\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(
            "[websopy_sync]\nasker = asker_plugin:Asker\nquiet = quiet_plugin\n"
        )

    yield install
    for name in ("asker_plugin", "quiet_plugin"):
        sys.modules.pop(name, None)


def states(client: WebsopyClient) -> dict[str, str]:
    return {info.name: info.state for info in client.plugins if info.name in ("asker", "quiet")}


def test_a_plugin_that_makes_a_client_is_made_once(
    make: Make, install: Callable[[str], None], caplog: pytest.LogCaptureFixture
) -> None:
    """Its client has no installed plugins, so it does not make the plugin again; a warning says."""
    install(INSTALLED.format(arguments="", hook="pass"))
    with WebsopyClient() as client:
        made = sys.modules["asker_plugin"].made
        assert states(client) == {"asker": "loaded", "quiet": "loaded"}
        assert len(made) == 1 and states(made[0].client) == {"asker": "off", "quiet": "off"}
    (message,) = [record.getMessage() for record in caplog.records]
    assert message == "a client that a plugin makes has no installed plugins but those it names"


def test_a_plugin_that_makes_a_client_and_wants_none_is_not_warned_of(
    make: Make, install: Callable[[str], None], caplog: pytest.LogCaptureFixture
) -> None:
    """plugins=[] is how a plugin says that it knows."""
    install(INSTALLED.format(arguments="plugins=[]", hook="self.client.ai.chat('title')"))
    with WebsopyClient() as client:
        client.ai.chat("hi")
    assert len(sys.modules["asker_plugin"].made) == 1
    assert caplog.records == []


def test_a_plugin_that_names_itself_for_its_client_is_made_once(
    make: Make, install: Callable[[str], None], caplog: pytest.LogCaptureFixture
) -> None:
    """The others that it names are loaded."""
    install(INSTALLED.format(arguments="plugins=['asker', 'quiet']", hook="pass"))
    with WebsopyClient() as client:
        made = sys.modules["asker_plugin"].made
        assert states(client) == {"asker": "loaded", "quiet": "loaded"}
        assert len(made) == 1 and states(made[0].client) == {"asker": "off", "quiet": "loaded"}
    assert "plugin asker is left out of a client that it makes" in caplog.text


def test_a_class_that_passes_itself_to_its_client_is_made_once(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """Passed as a class it is cut as one that is installed is."""
    made = []

    class Itself(Hears):
        def __init__(self) -> None:
            super().__init__()
            made.append(self)
            self.client = make(Itself, Hears)

    make(Itself)
    assert len(made) == 1
    assert [info.name for info in made[0].client.plugins if info.state == "loaded"] == ["Hears"]
    assert "is left out of a client that it makes" in caplog.text


@pytest.mark.parametrize("where", ["a hook", "the module"])
def test_a_client_made_in_a_hook_or_a_plugins_module_has_no_installed_plugins(
    make: Make, install: Callable[[str], None], sandbox: Sandbox, where: str
) -> None:
    """Wherever the plugin makes it."""
    hook = "self.__init__(); self.client.ai.chat('title')" if where == "a hook" else "pass"
    source = INSTALLED.format(arguments="", hook=hook)
    install(source + ("\nat_import = WebsopyClient()" if where == "the module" else ""))
    with WebsopyClient() as client:
        assert states(client)["asker"] == "loaded"
        client.ai.chat("hi")
    made = sys.modules["asker_plugin"].made
    assert len(made) == (2 if where == "a hook" else 1)
    assert {states(one.client)["asker"] for one in made} == {"off"}
    assert len(sandbox.requests) == (2 if where == "a hook" else 1)


def test_a_client_made_after_a_plugin_failed_to_load_has_its_plugins(
    make: Make, install: Callable[[str], None], caplog: pytest.LogCaptureFixture
) -> None:
    """The mark is taken back, however the making ended."""
    install("raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        WebsopyClient()
    sys.modules.pop("asker_plugin", None)
    with caplog.at_level(logging.WARNING, LOG), WebsopyClient(plugins=["quiet"]) as client:
        assert states(client) == {"asker": "off", "quiet": "loaded"}
    assert caplog.records == []
