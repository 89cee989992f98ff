"""Plugins: found, checked, told. The only package that imports pluggy."""

from .background import BackgroundPlugin
from .discovery import PluginInfo
from .manager import Hooks, list_plugins
from .specs import HOOKS, hookimpl

__all__ = ["HOOKS", "BackgroundPlugin", "Hooks", "PluginInfo", "hookimpl", "list_plugins"]
