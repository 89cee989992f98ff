"""Plugins: found, checked, told. The only file that imports pluggy.

pluggy keeps the plugins, checks their signatures and orders them; the calling is done here, one
plugin at a time, because pluggy's own loop stops at the first exception, and a plugin that raises
must keep neither the stream from going on nor another plugin from being told. Knows nothing of
what happens in a stream, only what to tell of it.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib.metadata
import inspect
import logging
import os
import queue
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal

import attrs
import pluggy

from .errors import ConfigError, PluginError

__all__ = ["BackgroundPlugin", "Hooks", "PluginInfo", "hookimpl", "list_plugins"]

GROUP = "websopy_sync"
"""pluggy's project name, and the entry-point group of installed plugins."""

hookimpl = pluggy.HookimplMarker(GROUP)
"""Marks a plugin's function or method as the implementation of the hook of its name."""

_hookspec = pluggy.HookspecMarker(GROUP)
_log = logging.getLogger("websopy_sync.plugins")

Tell = Callable[..., None]


class _Specification:
    """The hooks. An implementation takes those of the arguments that it needs, by name."""

    @_hookspec
    def on_request(self, request: Any) -> None:
        """A question is about to be sent; `request.headers` and `request.body` may be edited."""

    @_hookspec
    def on_chunk(self, chunk: Any, stream: Any) -> None:
        """A chunk has come; the user gets it next. `stream.current_message` holds it already."""

    @_hookspec
    def on_retry(self, error: Any, delay: Any, stream: Any) -> None:
        """The question is asked again, or resumed, after `delay` seconds, because of `error`."""

    @_hookspec
    def on_done(self, message: Any, stream: Any) -> None:
        """The answer is complete."""

    @_hookspec
    def on_error(self, error: Any, stream: Any) -> None:
        """The answer ended in any other way; cancelled and closed streams come here too."""

    @_hookspec
    def register_commands(self, subparsers: Any) -> None:
        """The command line is being built: add commands to argparse's `subparsers`.

        A command's parser sets the default `run`, a function of the parsed arguments that
        returns the exit code.
        """


HOOKS = tuple(name for name in vars(_Specification) if not name.startswith("_"))


@attrs.frozen
class PluginInfo:
    """A plugin as `websopy-sync plugins` shows it.

    state: "loaded", "off" (not chosen) or "failed"; `problem` says why it failed.
    """

    name: str
    distribution: str = ""
    version: str = ""
    hooks: tuple[str, ...] = ()
    state: Literal["loaded", "off", "failed"] = "loaded"
    problem: str = ""


class BackgroundPlugin:
    """Runs another plugin's hooks in a thread of its own, so that it delays no stream.

    plugin: the plugin; its on_request still runs in the stream's thread, as it may edit.
    queue_size: how many calls may wait. when_full: "block" the stream until there is room,
    "drop" the call and count it in `dropped`, or "error": raise in the stream's thread, which
    counts as the plugin's failure.

    The calls are made one at a time and in order. The end of a stream does not wait for them, as
    that would delay it; what waits is done at the client's close() and at exit, each for at most
    `exit_seconds`. A forked child starts with an empty queue and a thread of its own.
    """

    def __init__(
        self,
        plugin: object,
        *,
        queue_size: int = 1000,
        when_full: Literal["block", "drop", "error"] = "block",
        exit_seconds: float = 5.0,
    ) -> None:
        if when_full not in ("block", "drop", "error"):
            raise ConfigError(f"when_full: expected block, drop or error, got {when_full!r:.200}")
        _check_number("queue_size", queue_size, int, at_least=1)
        _check_number("exit_seconds", exit_seconds, (int, float), at_least=0)
        self.plugin = plugin
        self.dropped = 0
        """Calls that were dropped because the queue was full."""
        self._queue_size = queue_size
        self._when_full = when_full
        self._exit_seconds = exit_seconds
        self._start_over()
        atexit.register(_flush_at_exit, weakref.ref(self))

    def _start_over(self) -> None:
        # A stream's ending may be told out of a destructor, in the middle of any line here in the
        # same thread: so only what is reentrant is used, RLock and SimpleQueue.
        self._pid = os.getpid()
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._room: queue.SimpleQueue[None] = queue.SimpleQueue()  # a place for each call to wait
        for _ in range(self._queue_size):
            self._room.put(None)
        self._lock = threading.RLock()
        self._thread: threading.Thread | None = None

    def submit(self, call: Callable[[], None]) -> None:
        """Have a call made in the background; what happens when the queue is full is the policy."""
        if self._pid != os.getpid():
            self._start_over()
        with self._lock:
            if self._thread is None:
                work = (self._calls, self._room)
                self._thread = threading.Thread(
                    target=_work, args=work, name="websopy-plugin", daemon=True
                )
                self._thread.start()
        try:
            self._room.get(block=self._when_full == "block")
            self._calls.put(call)
        except queue.Empty:
            self.dropped += 1
            if self._when_full == "error":
                raise PluginError(
                    f"background queue: {self._queue_size} calls wait, one more was refused"
                ) from None

    def flush(self, seconds: float | None = None) -> bool:
        """Wait until all calls so far are made, at most so many seconds; whether they were."""
        if self._thread is None or self._pid != os.getpid():
            return True
        limit = self._exit_seconds if seconds is None else seconds
        begun = time.monotonic()
        done = threading.Event()
        try:
            self._room.get(timeout=limit)
        except queue.Empty:
            return False
        self._calls.put(done.set)
        return done.wait(max(limit - (time.monotonic() - begun), 0.0))

    def close(self) -> None:
        """Flush and end the thread; the next call starts another."""
        if self._pid != os.getpid():
            return
        self.flush()
        with self._lock:
            thread, self._thread = self._thread, None
            if thread is not None:
                self._calls.put(None)
        if thread is not None and thread is not threading.current_thread():
            thread.join(self._exit_seconds)


def _work(
    calls: queue.SimpleQueue[Callable[[], None] | None], room: queue.SimpleQueue[None]
) -> None:
    """Make calls until told to stop. They were isolated by whoever submitted them."""
    while True:
        call = calls.get()
        if call is None:
            return
        try:
            call()
        except BaseException:  # noqa: BLE001  # a plugin's SystemExit: no use for it here
            _log.debug("a background call ended its thread's work", exc_info=True)
        room.put(None)
        del call  # it may hold the last reference to a stream


def _flush_at_exit(plugin: weakref.ref[BackgroundPlugin]) -> None:
    background = plugin()
    if background is not None:
        background.flush()


class Hooks:
    """The plugins of one client, and the telling of them.

    plugins: None for every installed one that WEBSOPY_PLUGINS names (all when it is unset), or
    the ones to use: objects, classes, or names of installed ones.
    strict: raise PluginError where otherwise a failure is logged and counted.

    An installed plugin that cannot be loaded is warned of and left out. A class is instantiated,
    so that each client has a plugin of its own.
    """

    def __init__(self, plugins: Iterable[object] | None = None, *, strict: bool = False) -> None:
        self._manager = pluggy.PluginManager(GROUP)
        self._manager.add_hookspecs(_Specification)
        self._strict = strict
        self._backgrounds: list[BackgroundPlugin] = []
        self._made: list[Any] = []  # instantiated here, so closed here
        self._told: set[tuple[str, str]] = set()
        self.failures: dict[tuple[str, str], int] = {}
        """(plugin's name, hook) → how often it raised."""
        self.plugins: list[PluginInfo] = []
        """Every plugin that was installed or passed, in the order of loading."""
        self._load(plugins)
        self._tells = {hook: self._tell_of(hook) for hook in HOOKS}

    def teller(self, hook: str) -> Tell | None:
        """What tells the plugins of a hook, by position; None when nobody listens."""
        return self._tells[hook]

    def close(self) -> None:
        """Let background plugins finish what waits, and close the plugins made from a class."""
        for background in self._backgrounds:
            background.close()
        for plugin in self._made:
            if callable(getattr(plugin, "close", None)):
                try:
                    plugin.close()
                except Exception as error:  # noqa: BLE001  # a plugin's own
                    self._failed(type(plugin).__name__, "close", error, strict=False)

    def _load(self, plugins: Iterable[object] | None) -> None:
        chosen = _chosen_by_environment() if plugins is None else None
        given = list(plugins or ())
        wanted = {plugin for plugin in given if isinstance(plugin, str)}
        known = set()
        for entry_point in _entry_points():
            known.add(entry_point.name)
            by_default = plugins is None and (chosen is None or entry_point.name in chosen)
            self._load_installed(entry_point, on=by_default or entry_point.name in wanted)
        for name in sorted((wanted | (chosen or set())) - known):
            problem = "no installed plugin has this name"
            if plugins is not None:
                raise ConfigError(f"plugins: {name!r:.200}: {problem}")
            self._note(PluginInfo(name, state="failed", problem=problem))
        for plugin in given:
            if not isinstance(plugin, str):
                self._load_given(plugin)

    def _load_installed(self, entry_point: importlib.metadata.EntryPoint, *, on: bool) -> None:
        distribution = entry_point.dist
        info = PluginInfo(
            entry_point.name,
            distribution.name if distribution else "",
            distribution.version if distribution else "",
            state="off",
        )
        if on:
            try:
                hooks = self._register(entry_point.load(), entry_point.name)
                info = attrs.evolve(info, hooks=hooks, state="loaded")
            except Exception as error:  # noqa: BLE001  # a plugin's import can raise anything
                problem = f"{type(error).__name__}: {error}"
                info = attrs.evolve(info, state="failed", problem=problem)
        self._note(info)

    def _note(self, info: PluginInfo) -> None:
        self.plugins.append(info)
        if info.state == "failed":
            if self._strict:
                raise PluginError(f"plugin {info.name}: {info.problem}", plugin=info.name)
            _log.warning("plugin %s is left out: %s", info.name, info.problem)

    def _load_given(self, plugin: object) -> None:
        """A plugin that somebody passed is a mistake to be told of at once if it is none."""
        inner = plugin.plugin if isinstance(plugin, BackgroundPlugin) else plugin
        name = getattr(inner, "__name__", None) or type(inner).__name__
        while self._manager.has_plugin(name):
            name += "+"
        self.plugins.append(PluginInfo(name, hooks=self._register(plugin, name)))

    def _register(self, plugin: Any, name: str) -> tuple[str, ...]:
        """Register one plugin, whole or not at all; the hooks it implements."""
        if inspect.isclass(plugin):
            plugin = plugin()
            self._made.append(plugin)
        inner = plugin.plugin if isinstance(plugin, BackgroundPlugin) else plugin
        try:
            self._manager.register(inner, name=name)
            self._manager.check_pending()
            problem = self._problem_of(inner)
        except (pluggy.PluginValidationError, ValueError) as error:
            problem = " ".join(str(error).split())
        if problem:
            with contextlib.suppress(AssertionError, ValueError):
                self._manager.unregister(inner)
            raise PluginError(f"plugin {name}: {problem}", plugin=name)
        if isinstance(plugin, BackgroundPlugin):
            self._backgrounds.append(plugin)
        return tuple(caller.name for caller in self._manager.get_hookcallers(inner) or ())

    def _problem_of(self, plugin: object) -> str:
        callers = self._manager.get_hookcallers(plugin) or []
        if not callers:
            return f"it implements none of the hooks {', '.join(HOOKS)}"
        for caller in callers:
            for impl in caller.get_hookimpls():
                if impl.plugin is plugin and (impl.wrapper or impl.hookwrapper):
                    return f"{caller.name}: a hook of this project cannot be wrapped"
        return ""

    def _tell_of(self, hook: str) -> Tell | None:
        caller = getattr(self._manager.hook, hook)
        calls = [self._call_of(hook, impl) for impl in reversed(caller.get_hookimpls())]
        if len(calls) < 2:
            return calls[0] if calls else None

        def tell(*arguments: Any) -> None:
            for call in calls:
                call(*arguments)

        return tell

    def _call_of(self, hook: str, impl: pluggy.HookImpl) -> Tell:
        """A call of one implementation that isolates it: by position, in the background or not."""
        function = _by_position(impl, _argument_names(hook))
        name = impl.plugin_name

        def call(*arguments: Any) -> None:
            try:
                function(*arguments)
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException as error:  # noqa: BLE001  # it must not reach the stream
                # In the background there is nobody who could catch it.
                self._failed(name, hook, error, strict=self._strict and not in_background)

        background = next((b for b in self._backgrounds if b.plugin is impl.plugin), None)
        in_background = background is not None and hook not in ("on_request", "register_commands")
        if background is None or not in_background:
            return call

        def submit(*arguments: Any) -> None:
            try:
                background.submit(lambda: call(*arguments))
            except PluginError as error:
                self._failed(name, hook, error, strict=self._strict)

        return submit

    def _failed(self, plugin: str, hook: str, error: BaseException, *, strict: bool) -> None:
        key = (plugin, hook)
        self.failures[key] = self.failures.get(key, 0) + 1
        if strict:
            raise PluginError(
                f"plugin {plugin} failed in {hook}: {type(error).__name__}: {error}",
                plugin=plugin,
                hook=hook,
            ) from error
        if key not in self._told:
            self._told.add(key)
            _log.error(
                "plugin %s failed in %s; the stream goes on, and further failures there are "
                "only counted",
                plugin,
                hook,
                exc_info=error,
            )


def _check_number(
    name: str, value: object, kinds: type | tuple[type, ...], *, at_least: int
) -> None:
    if not isinstance(value, kinds) or not value >= at_least:  # type: ignore[operator]
        raise ConfigError(f"{name}: expected a number of {at_least} or more")


def _argument_names(hook: str) -> tuple[str, ...]:
    return tuple(inspect.signature(getattr(_Specification, hook)).parameters)[1:]


def _by_position(impl: pluggy.HookImpl, names: Sequence[str]) -> Tell:
    """The implementation as a function of all the hook's arguments, in their order."""
    function: Callable[..., Any] = impl.function
    if tuple(impl.argnames) == tuple(names):
        return function
    positions = [names.index(name) for name in impl.argnames]
    return lambda *arguments: function(*(arguments[position] for position in positions))


def _chosen_by_environment() -> set[str] | None:
    """The names in WEBSOPY_PLUGINS; None when it is unset."""
    names = os.environ.get("WEBSOPY_PLUGINS")
    return None if names is None else {name.strip() for name in names.split(",") if name.strip()}


def _entry_points() -> Iterator[importlib.metadata.EntryPoint]:
    """The installed plugins, each name once: a later one on the path is hidden, as on import."""
    seen = set()
    for entry_point in importlib.metadata.entry_points(group=GROUP):
        if entry_point.name not in seen:
            seen.add(entry_point.name)
            yield entry_point


def list_plugins(plugins: Iterable[object] | None = None) -> list[PluginInfo]:
    """The installed plugins as a client would load them now, failures included."""
    logger_was_disabled, _log.disabled = _log.disabled, True
    try:
        return Hooks(plugins).plugins
    finally:
        _log.disabled = logger_was_disabled
