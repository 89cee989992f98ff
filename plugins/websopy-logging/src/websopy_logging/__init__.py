"""websopy-logging: what a websopy-sync client does, through the standard library's logging."""

from .formatters import JsonFormatter, RedactingFormatter
from .plugin import LoggingPlugin
from .setup import configure

__all__ = ["JsonFormatter", "LoggingPlugin", "RedactingFormatter", "configure"]

__version__ = "0.1.0"
