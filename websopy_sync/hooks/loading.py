"""Loads the plugins of one client, and has pluggy check them. Calls none of their hooks.

A plugin is registered whole or not at all. pluggy checks names and signatures. What pluggy ignores
is refused here: a hook that could never run, and a `hookimpl` that pluggy does not see.
"""

from __future__ import annotations

import contextlib
import inspect
import logging
from collections.abc import Iterable
from typing import Any

import attrs
import pluggy

from ..errors import ConfigError, PluginError, described
from ..interrupts import is_interrupt, raised_by_signal_handler
from .arguments import argument_names, required_keywords
from .background import BackgroundPlugin
from .discovery import InstalledPlugin, PluginInfo, chosen_by_environment, installed_plugins
from .nesting import run_as, running_plugins
from .specs import GROUP, HOOKS, Specification

_log = logging.getLogger("websopy_sync.plugins")


class Loader:
    """Loads plugins; afterwards `implementations` returns their hooks.

    Args:
        strict: Raise PluginError for an installed plugin that fails to load, instead of a warning.
        lists: Only list the plugins: raise nothing for a setting that an installed one refuses.
    """

    def __init__(self, *, strict: bool, lists: bool) -> None:
        self._strict = strict
        self._lists = lists
        self.backgrounds: list[BackgroundPlugin] = []
        self.made: list[Any] = []
        """Instances made here from a class; the client closes them."""
        self.found: list[PluginInfo] = []
        """Each plugin that was considered, with its state, in the order of loading."""
        self.looked: bool = False
        """Whether the installed plugins were considered."""
        self._managers: list[_Manager] = []
        self._names: list[str] = []

    def implementations(self, hook: str) -> list[pluggy.HookImpl]:
        """The implementations of a hook, in the order in which they are called."""
        found = [impl for manager in self._managers for impl in manager.implementations(hook)]
        return sorted(found, key=self._rank)[::-1]

    def release(self) -> None:
        """Forget the plugins: pluggy's objects form reference cycles that would keep them alive."""
        for manager in self._managers:
            for name, _ in manager.list_name_plugin():
                manager.unregister(name=name)

    def _rank(self, impl: pluggy.HookImpl) -> tuple[int, int]:
        """pluggy's order of implementations; the last one is called first."""
        number = self._names.index(impl.plugin_name)
        return (-1, -number) if impl.trylast else (int(impl.tryfirst), number)

    def load(self, plugins: Iterable[object] | None) -> None:
        """Load the given plugins; with None, those that the environment chooses."""
        given = list(plugins or ())
        wanted: set[str] | None = {plugin for plugin in given if isinstance(plugin, str)}
        if plugins is None:
            wanted = _chosen()
        if wanted is None or wanted:
            self._load_installed(wanted, strict_names=plugins is not None)
        for plugin in given:
            if not isinstance(plugin, str) and not _is_being_made(plugin):
                self._load_given(plugin)

    def _load_installed(self, wanted: set[str] | None, *, strict_names: bool) -> None:
        self.looked = True
        installed = installed_plugins()
        for plugin in installed:
            on = wanted is None or plugin.name in wanted
            on = on and not _is_being_made(plugin.name)
            self._note(self._loaded(plugin) if on else plugin.off)
        names = [plugin.name for plugin in installed]  # a distribution often has a longer one
        problem = f"no installed plugin has this name; there are: {', '.join(names) or 'none'}"
        for name in sorted((wanted or set()) - set(names)):
            if strict_names:
                raise ConfigError(f"plugins: {name!r:.200}: {problem}")
            self._note(PluginInfo(name, state="failed", problem=problem))

    def _loaded(self, plugin: InstalledPlugin) -> PluginInfo:
        try:
            hooks = run_as(plugin.name, lambda: self._register(plugin.load(), plugin.name))
        except (Exception, SystemExit) as error:  # a plugin's import can raise anything
            # A plugin's module that calls sys.exit() must not end the program.
            if is_interrupt(error) and (
                not isinstance(error, SystemExit) or raised_by_signal_handler(error)
            ):
                raise
            if isinstance(error, ConfigError) and not self._lists:
                raise ConfigError(f"plugin {plugin.name}: {error.message}") from None
            return attrs.evolve(plugin.off, state="failed", problem=described(error))
        return attrs.evolve(plugin.off, hooks=hooks, state="loaded")

    def _note(self, info: PluginInfo) -> None:
        self.found.append(info)
        if info.state == "failed":
            if self._strict:
                raise PluginError(f"plugin {info.name}: {info.problem}", plugin=info.name)
            _log.warning("plugin %s is left out: %s", info.name, info.problem)

    def _load_given(self, plugin: object) -> None:
        """Load a plugin that the caller passed. One that is no plugin raises: it is a mistake."""
        inner = plugin.plugin if isinstance(plugin, BackgroundPlugin) else plugin
        name = getattr(inner, "__name__", None) or type(inner).__name__
        while name in self._names:
            name += "+"
        hooks = run_as(plugin, self._register, plugin, name)
        self.found.append(PluginInfo(name, hooks=hooks))

    def _register(self, plugin: Any, name: str) -> tuple[str, ...]:
        """Register one plugin, whole or not at all, and return the names of its hooks."""
        if inspect.isclass(plugin):
            plugin = plugin()
            self.made.append(plugin)
        inner = plugin.plugin if isinstance(plugin, BackgroundPlugin) else plugin
        manager = self._manager_for(inner, name)
        try:
            manager.register(inner, name=name)
            manager.check_pending()
            problem = manager.problem_of(inner)
        except (pluggy.PluginValidationError, ValueError) as error:
            problem = f"{' '.join(str(error).split())}; {_hooks()}"
        if problem:
            with contextlib.suppress(AssertionError, ValueError):
                manager.unregister(name=name)
            raise PluginError(f"plugin {name}: {problem}", plugin=name)
        for hook in manager.unmarked(inner):
            _log.warning(
                "plugin %s: %s is not called, as it is not marked with hookimpl", name, hook
            )
        self._names.append(name)
        if isinstance(plugin, BackgroundPlugin):
            self.backgrounds.append(plugin)
        return tuple(sorted({hook for hook, _ in manager.implemented_by(inner)}))

    def _manager_for(self, plugin: object, name: str) -> _Manager:
        """A manager without a plugin that equals this one: pluggy would take the two for one."""
        for manager in self._managers:
            others = manager.list_name_plugin()
            for other_name, other in others:
                if other is plugin:
                    message = f"plugin {name}: it was passed before, as {other_name}"
                    raise PluginError(message, plugin=name)
            if all(other != plugin for _, other in others):
                return manager
        self._managers.append(_Manager(GROUP))
        return self._managers[-1]


class _Manager(pluggy.PluginManager):
    """pluggy's manager with our hooks, which also finds the mistakes that pluggy ignores."""

    def __init__(self, project_name: str) -> None:
        super().__init__(project_name)
        self.add_hookspecs(Specification)

    def parse_hookimpl_opts(self, plugin: object, name: str) -> pluggy.HookimplOpts | None:
        """Skip `__init__` and its like, which are most of a plugin's names."""
        return None if name.startswith("__") else super().parse_hookimpl_opts(plugin, name)

    def parse_hookspec_opts(self, namespace: Any, name: str) -> pluggy.HookspecOpts | None:
        """Skip the same names of the specification."""
        return None if name.startswith("__") else super().parse_hookspec_opts(namespace, name)

    def implementations(self, hook: str) -> list[pluggy.HookImpl]:
        """The implementations of a hook, the first to be called last."""
        caller: pluggy.HookCaller = getattr(self.hook, hook)
        return caller.get_hookimpls()

    def implemented_by(self, plugin: object) -> list[tuple[str, pluggy.HookImpl]]:
        """The names of one plugin's hooks, each with its implementation."""
        impls = [(hook, impl) for hook in HOOKS for impl in self.implementations(hook)]
        return [(hook, impl) for hook, impl in impls if impl.plugin is plugin]

    def unmarked(self, plugin: object) -> list[str]:
        """Its functions with a hook's name that are no hook: an override inherits no mark."""
        hooks = set(HOOKS) - {hook for hook, _ in self.implemented_by(plugin)}
        static = inspect.getattr_static
        return [hook for hook in sorted(hooks) if inspect.isroutine(static(plugin, hook, None))]

    def problem_of(self, plugin: object) -> str:
        """Why a registered plugin cannot be used; "" when it can."""
        problems = [self._unseen_mark(plugin)]
        implemented = self.implemented_by(plugin)
        problems += [_problem_of(hook, impl) for hook, impl in implemented]
        if not implemented:
            problem = "it implements none of the hooks: nothing is marked with hookimpl"
            problems.append(f"{problem}; {_hooks()}")
        return next(filter(None, problems), "")

    def _unseen_mark(self, plugin: object) -> str:
        """Why a `hookimpl` is ignored: it marks something that is no function; "" for none."""
        for name in dir(plugin):
            attribute = (
                None if name.startswith("__") else inspect.getattr_static(plugin, name, None)
            )
            if _is_marked(attribute) and self.parse_hookimpl_opts(plugin, name) is None:
                kind = type(attribute).__name__
                return f"{name}: expected hookimpl directly on a function, got a marked {kind}"
        return ""


def _hooks() -> str:
    """The hooks and their arguments, for a message about a plugin that missed them."""
    hooks = (f"{hook}({', '.join(argument_names(hook))})" for hook in HOOKS)
    return f"the hooks are {', '.join(hooks)}"


def _problem_of(hook: str, impl: pluggy.HookImpl) -> str:
    """Why an implementation cannot be called; "" when it can."""
    if impl.wrapper or impl.hookwrapper:
        return f"{hook}: a hook of this project cannot be wrapped"
    if kind := _never_runs(impl.function):
        return f"{hook}: {kind} never runs here, expected a plain function"
    unknown = required_keywords(impl.function) - set(argument_names(hook))
    return f"{hook}: it has no argument {min(unknown)}; {_hooks()}" if unknown else ""


def _is_marked(attribute: object) -> bool:
    """Whether this is marked with `hookimpl` and is no plain function."""
    if attribute is None or inspect.isfunction(attribute):
        return False
    return isinstance(inspect.getattr_static(attribute, f"{GROUP}_impl", None), dict)


def _chosen() -> set[str] | None:
    """The names of installed plugins for a client that names none; None for all."""
    chosen = chosen_by_environment()
    if chosen != set() and running_plugins():
        # Else this client would load the plugin that makes it, which would make another client.
        _log.warning("a client that a plugin makes has no installed plugins but those it names")
        return set()
    return chosen


def _is_being_made(plugin: object) -> bool:
    """Whether a plugin of this name or class makes this client in its own constructor."""
    if not isinstance(plugin, str | type) or plugin not in running_plugins():
        return False
    _log.warning("plugin %s is left out of a client that it makes itself", plugin)
    return True


def _never_runs(function: Any) -> str:
    """What kind of function this is, if a call does not run it; "" for a plain function.

    Looks below decorators too: from outside, nobody sees whether one drives what it wraps.
    """
    while function is not None:
        if inspect.iscoroutinefunction(function):
            return "an async function"
        if inspect.isasyncgenfunction(function):
            return "an async generator"
        if inspect.isgeneratorfunction(function):
            return "a generator"
        function = getattr(function, "__wrapped__", None)
    return ""
