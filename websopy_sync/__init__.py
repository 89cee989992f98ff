"""websopy_sync: blocking streaming of Websopy AI answers."""

__version__ = "0.1.0"
