"""How services are spoken to: `Wire` is the seam, and each service has its file.

`docs/how-to/write-a-wire.md` says how to write another one. A wire is imported only when it is
chosen.
"""

from .base import ChatRequest, Reader, ReadResult, Wire
from .fast_path import FastReader
from .registry import find_wire, wire_names

__all__ = ["ChatRequest", "FastReader", "ReadResult", "Reader", "Wire", "find_wire", "wire_names"]
