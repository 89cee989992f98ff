"""The plugins of one client: loaded, checked, and told of each hook.

pluggy keeps the plugins, checks their signatures and orders them; the calling is done here, one
plugin at a time, because pluggy's own loop stops at the first exception, and a plugin that raises
must keep neither the stream from going on nor another plugin from being told. Knows nothing of
what happens in a stream, only what to tell of it.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pluggy

from ..errors import PluginError
from .discovery import PluginInfo, installed_plugins, look_anew
from .loading import Loader
from .specs import HOOKS, argument_names

_log = logging.getLogger("websopy_sync.plugins")

Tell = Callable[..., None]


class Hooks:
    """The plugins of one client, and the telling of them.

    plugins: None for every installed one that WEBSOPY_PLUGINS names (all when it is unset), or
    the ones to use: objects, classes, or names of installed ones.
    strict: raise PluginError where otherwise a failure is logged and counted.

    An installed plugin that cannot be loaded is warned of and left out. A class is instantiated,
    so that each client has a plugin of its own.
    """

    def __init__(self, plugins: Iterable[object] | None = None, *, strict: bool = False) -> None:
        self._strict = strict
        self._told: set[tuple[str, str]] = set()
        self.failures: dict[tuple[str, str], int] = {}
        """(plugin's name, hook) → how often it raised."""
        loader = Loader(strict=strict)
        self._backgrounds, self._made = loader.backgrounds, loader.made
        try:
            loader.load(plugins)
        except BaseException:
            self._close_made()
            raise
        self._found, self._looked = loader.found, loader.looked
        self._tells = {hook: self._tell_of(hook, loader.implementations(hook)) for hook in HOOKS}

    @property
    def plugins(self) -> list[PluginInfo]:
        """Every plugin that was installed or passed, in the order of loading."""
        off = [] if self._looked else [plugin.off for plugin in installed_plugins()]
        return off + self._found

    def teller(self, hook: str) -> Tell | None:
        """What tells the plugins of a hook, by position; None when nobody listens."""
        return self._tells[hook]

    def close(self) -> None:
        """Let background plugins finish what waits, and close the plugins made from a class."""
        for background in self._backgrounds:
            background.close()
        self._close_made()

    def _close_made(self) -> None:
        for plugin in self._made:
            if callable(getattr(plugin, "close", None)):
                try:
                    plugin.close()
                except Exception as error:  # noqa: BLE001  # a plugin's own
                    self._failed(type(plugin).__name__, "close", error, strict=False)

    def _tell_of(self, hook: str, implementations: Sequence[pluggy.HookImpl]) -> Tell | None:
        calls = [self._call_of(hook, impl) for impl in implementations]
        if len(calls) < 2:
            return calls[0] if calls else None

        def tell(*arguments: Any) -> None:
            for call in calls:
                call(*arguments)

        return tell

    def _call_of(self, hook: str, impl: pluggy.HookImpl) -> Tell:
        """A call of one implementation that isolates it: by position, in the background or not."""
        function = _by_position(impl, argument_names(hook))
        name = impl.plugin_name

        def call(*arguments: Any) -> None:
            try:
                result = function(*arguments)
                if result is not None:
                    _refuse_to_run(result)
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


def _by_position(impl: pluggy.HookImpl, names: Sequence[str]) -> Callable[..., object]:
    """The implementation as a function of all the hook's arguments, in their order."""
    function: Callable[..., object] = impl.function
    if tuple(impl.argnames) == tuple(names):
        return function
    positions = [names.index(name) for name in impl.argnames]
    return lambda *arguments: function(*(arguments[position] for position in positions))


def _refuse_to_run(result: object) -> None:
    """Raise TypeError for what a hook returned that somebody would have to run."""
    if inspect.isawaitable(result) or inspect.isgenerator(result) or inspect.isasyncgen(result):
        if inspect.iscoroutine(result):
            result.close()  # else Python warns that nobody awaited it
        raise TypeError(f"expected None from a hook, got a {type(result).__name__} nobody runs")


def list_plugins(plugins: Iterable[object] | None = None) -> list[PluginInfo]:
    """The installed plugins as a client would load them now, failures included.

    What was installed since the program began is seen, by this call and by later clients.
    """
    look_anew()
    logger_was_disabled, _log.disabled = _log.disabled, True
    try:
        return Hooks(plugins).plugins
    finally:
        _log.disabled = logger_was_disabled
