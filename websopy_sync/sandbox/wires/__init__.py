"""The services that the sandbox plays: each one's own side of its wire.

`Service` is the seam. A service is imported only when it is chosen.
"""

from .base import Service, Writer, WrittenEvent
from .registry import find_service

__all__ = ["Service", "Writer", "WrittenEvent", "find_service"]
