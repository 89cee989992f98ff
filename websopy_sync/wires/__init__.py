"""How services are spoken to: a file each, behind the seam of `base`.

A service's paths, header names and field names stand only in its file.
"""

from .base import ChatRequest, Reader, Wire

__all__ = ["ChatRequest", "Reader", "Wire"]
