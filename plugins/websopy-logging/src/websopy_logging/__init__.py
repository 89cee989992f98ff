"""websopy-logging: logs the requests of a websopy-sync client with the standard library."""

from .formatters import JsonFormatter, RedactingFormatter
from .plugin import LoggingPlugin
from .setup import configure

__all__ = ["JsonFormatter", "LoggingPlugin", "RedactingFormatter", "configure"]

__version__ = "0.1.0"
