"""Calls the hooks of one client's plugins, and isolates their failures.

Loading is done in loading.py. Knows nothing of streams, only the hooks to call for them.

pluggy finds and orders the implementations, but does not call them: its loop stops at the first
exception. A plugin that raises must neither stop the stream nor hide the event from another plugin.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import attrs
import pluggy

from ..errors import PluginError, described
from ..interrupts import find_interrupt, run_all
from .arguments import argument_names, by_position
from .background import BackgroundPlugin
from .discovery import PluginInfo, installed_plugins, scan_again
from .loading import Loader
from .nesting import note_hook_call, run_as, running_plugins
from .results import StoredConversation, checked_conversation, refuse_to_run
from .specs import HOOKS

_log = logging.getLogger("websopy_sync.plugins")

Notify = Callable[..., Any]

ENDS = ("on_done", "on_error")

WHOLE = ("on_request", *ENDS)
"""Every plugin is notified of these, even if another one raises: what began also ends."""

FOREGROUND = ("on_request", "register_commands", "load_conversation")
"""The caller needs what these do, so they never run in the background."""


@attrs.frozen
class Listener:
    """One implementation of a hook, and the isolated call of it."""

    plugin: object
    name: str
    notify: Notify


class Listeners:
    """The plugins that are notified of one request."""

    def __init__(
        self, of_hook: Mapping[str, Sequence[Listener]], backgrounds: Sequence[BackgroundPlugin]
    ) -> None:
        self._of_hook = of_hook
        self._backgrounds = backgrounds
        self._notifiers = {
            hook: _caller(hook, [listener.notify for listener in listeners])
            for hook, listeners in of_hook.items()
        }

    def __iter__(self) -> Iterator[Listener]:
        return itertools.chain.from_iterable(self._of_hook.values())

    def notifier(self, hook: str) -> Notify | None:
        """Calls a hook of every plugin, arguments by position; None when no plugin has it."""
        return self._notifiers[hook]

    def wait_for_room(self, wanted: Callable[[], bool]) -> None:
        """Delay a new request while a queue is full; the ends of streams do not wait for room.

        Args:
            wanted: Whether the request is still wanted.
        """
        for background in self._backgrounds:
            background.wait_for_room(wanted)

    def without(self, names: Collection[str]) -> Listeners:
        """The same without the plugins of these names."""
        of_hook = {
            hook: [listener for listener in listeners if listener.name not in names]
            for hook, listeners in self._of_hook.items()
        }
        notified = [listener.plugin for listeners in of_hook.values() for listener in listeners]
        backgrounds = [one for one in self._backgrounds if any(one.plugin is p for p in notified)]
        return Listeners(of_hook, backgrounds)


class Failures:
    """Counts what plugins raise, and logs the first of a kind.

    It refers neither to the plugins nor to the client. Else each call of a plugin would refer back
    to the client, and only the garbage collector would free it and its background threads.
    """

    def __init__(self) -> None:
        self._logged: set[tuple[str, str]] = set()
        self.counts: dict[tuple[str, str], int] = {}
        """(plugin's name, hook) → how often it raised."""

    def note(self, plugin: str, hook: str, error: BaseException, *, strict: bool) -> None:
        """Count a failure and log the first of its kind; raise PluginError when strict."""
        key = (plugin, hook)
        self.counts[key] = self.counts.get(key, 0) + 1
        if strict:
            raise PluginError(
                f"plugin {plugin} failed in {hook}: {described(error)}",
                plugin=plugin,
                hook=hook,
            ) from error
        if key not in self._logged:
            self._logged.add(key)
            _log.error(
                "plugin %s failed in %s; all else goes on, and further failures there are "
                "only counted",
                plugin,
                hook,
                exc_info=error,
            )


class Hooks:
    """The plugins of one client, and the calls of their hooks.

    An installed plugin that cannot be loaded is left out with a warning; one that refuses its own
    settings is not: a budget that cannot be read is none. A class is instantiated, so that each
    client has its own plugin.

    Args:
        plugins: None for every installed one that WEBSOPY_PLUGINS names (all when it is unset), or
            the ones to use: objects, classes, or names of installed ones.
        strict: Raise PluginError for a failure, instead of logging and counting it.
        lists: Raise nothing for the settings of an installed plugin, which is left out then: no
            question is sent.

    Raises:
        PluginError: An object that was passed is no plugin, or with `strict`, an installed plugin
            fails to load.
        ConfigError: No installed plugin has a name that was passed, or one refuses its settings.
    """

    def __init__(
        self,
        plugins: Iterable[object] | None = None,
        *,
        strict: bool = False,
        lists: bool = False,
    ) -> None:
        self._strict = strict
        self._failures = Failures()
        loader = Loader(strict=strict, lists=lists)
        self._backgrounds, self._made = loader.backgrounds, loader.made
        try:
            loader.load(plugins)
        except BaseException as error:
            run_all(*self._closers(strict=False), error=error)
            raise
        self._found, self._looked = loader.found, loader.looked
        of_hook = {
            hook: [self._listener(hook, impl) for impl in loader.implementations(hook)]
            for hook in HOOKS
        }
        loader.release()
        self._everybody = Listeners(of_hook, self._backgrounds)
        self._warned_of: set[str] = set()

    @property
    def failures(self) -> Mapping[tuple[str, str], int]:
        """(plugin's name, hook) → how often it raised."""
        return self._failures.counts

    @property
    def plugins(self) -> list[PluginInfo]:
        """Every plugin that was installed or passed, in the order of loading."""
        off = [] if self._looked else [plugin.off for plugin in installed_plugins()]
        return off + self._found

    def notifier(self, hook: str) -> Notify | None:
        """Calls a hook of every plugin, arguments by position; None when no plugin has it."""
        return self._everybody.notifier(hook)

    def load_conversation(self, conversation_id: str | None) -> StoredConversation | None:
        """The stored conversation of the first plugin that has it; None when none has.

        Args:
            conversation_id: Its id; None for the latest conversation.
        """
        load = self.notifier("load_conversation")
        found: StoredConversation | None = load(conversation_id) if load else None
        return found

    def listeners(self) -> Listeners:
        """The plugins to notify of a request that is sent here and now.

        A plugin that sends a request in a hook is not notified of it: it would send one for that
        as well, and so on. The other plugins are notified. If one of them sends a request in turn,
        no plugin is notified of that one.
        """
        running = running_plugins() if any(self._everybody) else ()
        if not running:
            return self._everybody
        silent = {
            listener.name
            for listener in self._everybody
            if len(running) > 1 or listener.plugin is running[0]
        }
        for name in sorted(silent - self._warned_of):
            _log.warning("plugin %s is not notified of requests that its own hooks send", name)
        self._warned_of |= silent
        return self._everybody.without(silent)

    def close(self) -> None:
        """Let background plugins finish their queues, and close the plugins made from a class."""
        backgrounds = [background.close for background in self._backgrounds]
        run_all(*backgrounds, *self._closers(strict=self._strict))

    def _closers(self, *, strict: bool) -> Iterator[Callable[[], None]]:
        """The functions that close the plugins made from a class."""
        while self._made:  # pop(): each is closed once, whoever calls close()
            yield functools.partial(self._close, self._made.pop(0), strict=strict)

    def _close(self, plugin: Any, *, strict: bool) -> None:
        try:
            close = getattr(plugin, "close", None)
            if callable(close):
                close()
        except Exception as error:  # noqa: BLE001  # a plugin's own
            interrupt = find_interrupt(error)
            if interrupt is None:
                self._failures.note(type(plugin).__name__, "close", error, strict=strict)
        else:
            return
        if interrupt is not None:
            raise interrupt

    def _listener(self, hook: str, impl: pluggy.HookImpl) -> Listener:
        return Listener(impl.plugin, impl.plugin_name, self._call_of(hook, impl))

    def _call_of(self, hook: str, impl: pluggy.HookImpl) -> Notify:
        """A function that calls one implementation, isolated, here or in the background."""
        background = next((b for b in self._backgrounds if b.plugin is impl.plugin), None)
        if background is None or hook in FOREGROUND:
            return _isolated(hook, impl, self._failures, strict=self._strict)
        # In the background nobody could catch a PluginError.
        call = _isolated(hook, impl, self._failures, strict=False)
        return _submitted(hook, impl, background, call, self._failures, strict=self._strict)


def _isolated(hook: str, impl: pluggy.HookImpl, failures: Failures, *, strict: bool) -> Notify:
    """A call of an implementation that lets interrupts through to the stream, but no failure."""
    function = by_position(impl.function, impl.argnames, argument_names(hook))
    if hook == "load_conversation":
        function = checked_conversation(function)
    if hook != "on_chunk":
        function = functools.partial(run_as, impl.plugin, function)

    def call(*arguments: Any) -> object:
        try:
            result = function(*arguments)
            if result is not None:
                refuse_to_run(result)
        except (Exception, GeneratorExit) as error:  # noqa: BLE001  # a plugin can raise anything
            interrupt = find_interrupt(error)
            if interrupt is None:
                failures.note(impl.plugin_name, hook, error, strict=strict)
        else:
            return result
        if interrupt is not None:
            raise interrupt
        return None

    note_hook_call(call.__code__)
    return call


def _submitted(
    hook: str,
    impl: pluggy.HookImpl,
    background: BackgroundPlugin,
    call: Notify,
    failures: Failures,
    *,
    strict: bool,
) -> Notify:
    """A function that queues the call for the background thread."""

    def submit(*arguments: Any) -> None:
        try:
            made = functools.partial(call, *arguments)
            if hook in ENDS:
                background.submit_end(made)
            else:
                stream = arguments[-1]
                # Private: no user has to ask a stream whether it is worth waiting for.
                background.submit(made, wanted=stream._is_wanted)
        except PluginError as error:
            failures.note(impl.plugin_name, hook, error, strict=strict)

    return submit


def _caller(hook: str, calls: Sequence[Notify]) -> Notify | None:
    """Calls the implementations of one hook, in order; None when there are none."""
    if len(calls) < 2:
        return calls[0] if calls else None

    def notify(*arguments: Any) -> None:
        for call in calls:
            call(*arguments)

    def notify_each(*arguments: Any) -> None:
        run_all(*(functools.partial(call, *arguments) for call in calls))

    def first_result(*arguments: Any) -> object:
        results = (call(*arguments) for call in calls)
        return next((result for result in results if result is not None), None)

    if hook == "load_conversation":
        return first_result
    return notify_each if hook in WHOLE else notify


def list_plugins(plugins: Iterable[object] | None = None) -> list[PluginInfo]:
    """The installed plugins as a client would load them now, failures included.

    This call and later clients also see plugins that were installed since the program began.

    Args:
        plugins: As `WebsopyClient` takes it.
    """
    scan_again()
    logger_was_disabled, _log.disabled = _log.disabled, True
    try:
        with contextlib.closing(Hooks(plugins, lists=True)) as hooks:
            return hooks.plugins
    finally:
        _log.disabled = logger_was_disabled
