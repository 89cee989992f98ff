"""The plugins of one client: loaded, checked, and told of each hook.

pluggy keeps the plugins, checks their signatures and orders them; the calling is done here, one
plugin at a time, because pluggy's own loop stops at the first exception, and a plugin that raises
must keep neither the stream from going on nor another plugin from being told. Knows nothing of
what happens in a stream, only what to tell of it.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import inspect
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import attrs
import pluggy

from ..errors import ConfigError, PluginError
from .background import BackgroundPlugin
from .discovery import PluginInfo, chosen_by_environment, entry_points
from .specs import GROUP, HOOKS, Specification, argument_names

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
        self._manager = pluggy.PluginManager(GROUP)
        self._manager.add_hookspecs(Specification)
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
        chosen = chosen_by_environment() if plugins is None else None
        given = list(plugins or ())
        wanted = {plugin for plugin in given if isinstance(plugin, str)}
        known = set()
        for entry_point in entry_points():
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
        function = _by_position(impl, argument_names(hook))
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


def _by_position(impl: pluggy.HookImpl, names: Sequence[str]) -> Tell:
    """The implementation as a function of all the hook's arguments, in their order."""
    function: Callable[..., Any] = impl.function
    if tuple(impl.argnames) == tuple(names):
        return function
    positions = [names.index(name) for name in impl.argnames]
    return lambda *arguments: function(*(arguments[position] for position in positions))


def list_plugins(plugins: Iterable[object] | None = None) -> list[PluginInfo]:
    """The installed plugins as a client would load them now, failures included."""
    logger_was_disabled, _log.disabled = _log.disabled, True
    try:
        return Hooks(plugins).plugins
    finally:
        _log.disabled = logger_was_disabled
