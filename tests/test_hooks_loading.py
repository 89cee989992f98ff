"""What is no hook is refused when the client is made: async, generators, and marks unseen."""

from __future__ import annotations

import contextlib
import functools
import types
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from websopy_sync import BackgroundPlugin, PluginError, WebsopyClient, hookimpl
from websopy_sync.sandbox import Sandbox


def sync(function: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator as most are: a plain function around another."""

    @functools.wraps(function)
    def inner(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return inner


async def an_async(chunk: object) -> None:
    pass


def a_generator(chunk: object) -> Iterator[None]:
    yield


async def an_async_generator(chunk: object) -> AsyncIterator[None]:
    yield


class _Async:
    @hookimpl
    async def on_chunk(self, chunk: object) -> None:
        pass


class _Generator:
    @hookimpl
    def on_chunk(self, chunk: object) -> Iterator[None]:
        yield


class _AsyncGenerator:
    @hookimpl
    async def on_chunk(self, chunk: object) -> AsyncIterator[None]:
        yield


class _OneOfTwo:
    """A good hook beside the bad one does not hide it."""

    @hookimpl
    def on_chunk(self) -> None:
        pass

    @hookimpl
    async def on_done(self) -> None:
        pass


class _StaticAsync:
    @staticmethod
    @hookimpl
    async def on_chunk(chunk: object) -> None:
        pass


class _ClassAsync:
    @classmethod
    @hookimpl
    async def on_chunk(cls, chunk: object) -> None:
        pass


class _NamedAsync:
    @hookimpl
    def on_chunk(self, chunk: object) -> None:
        pass

    @hookimpl(specname="on_done")
    async def end(self) -> None:
        pass


class _DecoratedAsync:
    @hookimpl
    @sync
    async def on_chunk(self, chunk: object) -> None:
        pass


class _DecoratedTwice:
    @sync
    @hookimpl
    @sync
    async def on_chunk(self, chunk: object) -> None:
        pass


class _DecoratedGenerator:
    @hookimpl
    @sync
    def on_chunk(self, chunk: object) -> Iterator[None]:
        yield


class _ContextManager:
    @hookimpl
    @contextlib.contextmanager
    def on_chunk(self, chunk: object) -> Iterator[None]:
        yield


class _Command:
    @hookimpl
    async def register_commands(self, subparsers: object) -> None:
        pass


class _OnTheObject:
    """A hook that is put on the object, and not into its class."""

    def __init__(self, hook: object) -> None:
        self.on_chunk = hook


NEVER_RUN = {
    "async": (_Async(), "on_chunk: an async function"),
    "generator": (_Generator(), "on_chunk: a generator"),
    "async generator": (_AsyncGenerator(), "on_chunk: an async generator"),
    "class": (_Async, "on_chunk: an async function"),
    "one of two": (_OneOfTwo(), "on_done: an async function"),
    "staticmethod": (_StaticAsync(), "on_chunk: an async function"),
    "classmethod": (_ClassAsync(), "on_chunk: an async function"),
    "named in the mark": (_NamedAsync(), "on_done: an async function"),
    "decorated": (_DecoratedAsync(), "on_chunk: an async function"),
    "decorated twice": (_DecoratedTwice(), "on_chunk: an async function"),
    "decorated generator": (_DecoratedGenerator(), "on_chunk: a generator"),
    "context manager": (_ContextManager(), "on_chunk: a generator"),
    "command": (_Command(), "register_commands: an async function"),
    "on the object": (_OnTheObject(hookimpl(an_async)), "on_chunk: an async function"),
    "generator on it": (_OnTheObject(hookimpl(a_generator)), "on_chunk: a generator"),
    "module": (types.SimpleNamespace(on_chunk=hookimpl(an_async_generator)), "an async generator"),
    "background": (BackgroundPlugin(_Async()), "on_chunk: an async function"),
}


@pytest.mark.parametrize("kind", NEVER_RUN)
def test_a_hook_that_would_never_run_is_refused(kind: str) -> None:
    """Async functions and generators only begin to run when somebody drives them; nobody does."""
    plugin, says = NEVER_RUN[kind]
    with pytest.raises(PluginError, match=says) as caught:
        WebsopyClient("k", plugins=[plugin])
    assert "expected a plain function" in str(caught.value)


class _Callable:
    def __call__(self, chunk: object) -> None:
        pass


class _AsyncCallable:
    async def __call__(self, chunk: object) -> None:
        pass


class _StaticInside:
    @hookimpl
    @staticmethod
    def on_chunk(chunk: object) -> None:
        pass


class _ClassInside:
    @hookimpl
    @classmethod
    def on_chunk(cls, chunk: object) -> None:
        pass


def _two(self: object, chunk: object) -> None:
    pass


class _PartialMethod:
    on_chunk = hookimpl(functools.partialmethod(_two))


class _Nested:
    """A class in the place of a hook, as functools.cached_property and others leave it."""

    on_chunk = hookimpl(functools.partial(_two, None))

    @hookimpl
    def on_done(self) -> None:
        pass


UNSEEN = {
    "partial": (_OnTheObject(hookimpl(functools.partial(_two, None))), "partial"),
    "partial of async": (_OnTheObject(hookimpl(functools.partial(an_async))), "partial"),
    "partialmethod": (_PartialMethod(), "partialmethod"),
    "callable": (_OnTheObject(hookimpl(_Callable())), "_Callable"),
    "async callable": (_OnTheObject(hookimpl(_AsyncCallable())), "_AsyncCallable"),
    "beside a good one": (_Nested(), "partial"),
}


@pytest.mark.parametrize("kind", UNSEEN)
def test_a_mark_that_pluggy_does_not_see_is_refused(kind: str) -> None:
    """hookimpl on what is no function would be passed over in silence."""
    plugin, says = UNSEEN[kind]
    with pytest.raises(PluginError, match=f"on_chunk: expected .*function.*got a.* {says}"):
        WebsopyClient("k", plugins=[plugin])


class _Static:
    @staticmethod
    @hookimpl
    def on_chunk(chunk: object) -> None:
        pass


class _Class:
    @classmethod
    @hookimpl
    def on_chunk(cls, chunk: object) -> None:
        pass


class _Decorated:
    @hookimpl
    @sync
    def on_chunk(self, chunk: object) -> None:
        pass


class _Named:
    """The hook's name is in the mark, and the function has another."""

    @hookimpl(specname="on_chunk")
    def look(self, chunk: object) -> None:
        pass


class _WithAny:
    """Attributes that answer to every name are no marks."""

    anything = types.SimpleNamespace(websopy_sync_impl="no dict")

    @property
    def broken(self) -> None:
        raise AttributeError

    def helper(self) -> Iterator[None]:
        yield

    @hookimpl
    def on_chunk(self, chunk: object) -> None:
        pass


DRESSES = [
    _Static,
    _StaticInside,
    _Class,
    _ClassInside,
    _Decorated,
    _Named,
    _WithAny,
    BackgroundPlugin,
]


@pytest.mark.parametrize("plugin", DRESSES)
def test_plain_functions_in_every_dress_are_hooks(plugin: Any) -> None:
    """What does run is not refused."""
    made = BackgroundPlugin(_Static()) if plugin is BackgroundPlugin else plugin()
    with WebsopyClient("k", plugins=[made]) as client:
        assert client.plugins[-1].hooks == ("on_chunk",)


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("made", [an_async, a_generator, an_async_generator])
def test_a_hook_that_returns_what_nobody_runs_has_failed(
    made: Callable[..., Any], strict: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """A plain function that calls an async one is found when it runs, and not passed over."""

    class Hides:
        @hookimpl
        def on_done(self, message: object) -> object:
            return made(message)

    with Sandbox(pause=0) as sandbox:
        client = WebsopyClient("k", base_url=sandbox.url, plugins=[Hides()], strict_plugins=strict)
        with client:
            if strict:
                with pytest.raises(PluginError, match="Hides failed in on_done: TypeError"):
                    client.ai.chat("x")
            else:
                client.ai.chat("x")
                (record,) = caplog.records
                assert "Hides failed in on_done" in record.getMessage()
                assert record.exc_info and "expected None" in str(record.exc_info[1])


def test_what_was_made_is_closed_when_another_cannot_be_loaded() -> None:
    """No client, so nobody else could close the plugins that were made for it."""
    closed = []

    class Made:
        @hookimpl
        def on_done(self) -> None:
            pass

        def close(self) -> None:
            closed.append(self)

    with pytest.raises(PluginError):
        WebsopyClient("k", plugins=[Made, _Async])
    assert len(closed) == 1
