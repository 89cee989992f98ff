"""The hook that gives a result: the first plugin with a good one wins, the rest are skipped."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest
from tables import each

from websopy_sync import (
    BackgroundPlugin,
    ConfigError,
    PluginError,
    WebsopyClient,
    hookimpl,
)

Make = Callable[..., WebsopyClient]

PROMPT = "a prompt that nobody must see"
TURNS = [{"role": "user", "content": PROMPT}, {"role": "assistant", "content": "Hello"}]


class Archive:
    """Returns or raises the same at each call, and notes the ids that it is called with."""

    def __init__(self, result: object = None, name: str = "archive") -> None:
        self.result = result
        self.name = name
        self.asked: list[Any] = []
        self.thread: threading.Thread | None = None

    @hookimpl
    def load_conversation(self, conversation_id: str | None) -> Any:
        self.asked.append(conversation_id)
        self.thread = threading.current_thread()
        if isinstance(self.result, BaseException):
            raise self.result
        return self.result


class First(Archive):
    """Is called before the others."""

    @hookimpl(tryfirst=True)
    def load_conversation(self, conversation_id: str | None) -> Any:
        return super().load_conversation(conversation_id)


def stored(id: str) -> dict[str, Any]:
    return {"id": id, "messages": TURNS}


def test_no_plugin_has_it(make: Make) -> None:
    """None, whether no plugin has the hook or each returns None."""
    assert make().load_conversation() is None
    assert make(Archive(), Archive()).load_conversation("x") is None


def test_the_first_result_wins(make: Make) -> None:
    """The plugin loaded last is called first, and after a result no other one is called."""
    plugins = [Archive(stored("a")), Archive(stored("b")), Archive(None)]
    assert make(*plugins).load_conversation("x") == {"id": "b", "messages": TURNS}
    assert [plugin.asked for plugin in plugins] == [[], ["x"], ["x"]]


def test_tryfirst(make: Make) -> None:
    """The mark changes the order."""
    first = First(stored("first"))
    found = make(first, Archive(stored("last"))).load_conversation()
    assert found == {"id": "first", "messages": TURNS}
    assert first.asked == [None]


BAD = [
    ValueError("plugin's own"),
    SystemError("plugin's own"),
    42,
    [],
    {},
    {"id": "x"},
    {"messages": TURNS},
    {"id": 1, "messages": TURNS},
    {"id": "x", "messages": []},
    {"id": "x", "messages": [PROMPT]},
    {"id": "x", "messages": [{"role": PROMPT}]},
    (part for part in [PROMPT]),
]


@each("bad", BAD)
def test_a_plugin_that_fails_is_skipped(
    make: Make, caplog: pytest.LogCaptureFixture, bad: object
) -> None:
    """Whether it raises or returns nonsense: it is logged once, counted, and the next is called."""
    caplog.clear()
    client = make(Archive(stored("good")), Archive(bad))
    for _ in range(2):
        assert client.load_conversation("x") == {"id": "good", "messages": TURNS}
    (record,) = caplog.records
    assert (record.levelno, record.name) == (logging.ERROR, "websopy_sync.plugins")
    assert "load_conversation" in record.getMessage()
    assert PROMPT not in caplog.text
    assert make(Archive(bad)).load_conversation() is None


def locals_below(error: BaseException) -> str:
    """The local variables of the package's frames in a traceback, as a crash reporter has them."""
    frames, trace = [], error.__traceback__
    while trace is not None:
        if "websopy_sync" in trace.tb_frame.f_globals["__name__"]:
            frames.append(repr(trace.tb_frame.f_locals))
        trace = trace.tb_next
    return "\n".join(frames)


def test_strict(make: Make) -> None:
    """With strict_plugins a bad result raises; no frame of ours keeps the prompts."""
    client = make(Archive({"id": 1, "messages": TURNS}), strict_plugins=True)
    with pytest.raises(PluginError, match="id: expected str, got int") as caught:
        client.load_conversation()
    assert caught.value.hook == "load_conversation"
    cause = caught.value.__cause__
    assert cause is not None
    assert PROMPT not in locals_below(cause) + locals_below(caught.value)


@each("interrupt", [KeyboardInterrupt(), SystemExit(3)])
def test_an_interrupt_comes_out(make: Make, interrupt: BaseException) -> None:
    """Ctrl-C is not the plugin's failure, and no other plugin is called after it."""
    other = Archive(stored("other"))
    with pytest.raises(type(interrupt)):
        make(other, Archive(interrupt)).load_conversation()
    assert other.asked == []


def test_a_background_plugin(make: Make, background: Callable[..., BackgroundPlugin]) -> None:
    """The hook runs in the caller's thread: the caller waits for the result."""
    archive = Archive(stored("a"))
    assert make(background(archive)).load_conversation() == {"id": "a", "messages": TURNS}
    assert archive.thread is threading.current_thread()


def test_the_result_is_a_copy(make: Make) -> None:
    """A turn that is added, or a field that is changed, stays out of the plugin's own objects."""
    turns = [dict(turn) for turn in TURNS]
    found = make(Archive({"id": "a", "messages": turns})).load_conversation()
    assert found is not None
    found["messages"][0]["content"] = "changed"
    found["messages"].clear()
    assert turns == TURNS


@each("bad", [1, b"id", ["id"]])
def test_an_id_that_is_none(make: Make, bad: Any) -> None:
    """It is refused before any plugin is called."""
    archive = Archive(stored("a"))
    with pytest.raises(ConfigError, match="conversation_id: expected str or None"):
        make(archive).load_conversation(bad)
    assert archive.asked == []


def test_the_command_line_can_tell_whether_there_is_a_history(make: Make) -> None:
    """By the hooks of the loaded plugins."""
    for plugins, there_is_one in (([Archive()], True), ([], False)):
        found = make(*plugins).plugins
        assert any("load_conversation" in plugin.hooks for plugin in found) == there_is_one
