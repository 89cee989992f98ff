"""The command line `websopy-sync`: chat, sandbox, plugins, and the commands that plugins add."""

from .main import main
from .terminal import visible

__all__ = ["main", "visible"]
