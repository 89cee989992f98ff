"""Plugins: found, loaded, checked and notified.

The only package that imports pluggy. To add a hook, begin in specs.py.
"""

from .background import BackgroundPlugin
from .discovery import PluginInfo
from .manager import Hooks, Listeners, list_plugins
from .request import Request
from .results import StoredConversation
from .specs import HOOKS, hookimpl
from .stream_local import StreamLocal

__all__ = [
    "HOOKS",
    "BackgroundPlugin",
    "Hooks",
    "Listeners",
    "PluginInfo",
    "Request",
    "StoredConversation",
    "StreamLocal",
    "hookimpl",
    "list_plugins",
]
