"""How services are spoken to: `Wire` is the seam, and each service has its file or folder.

`base` is the seam, `registry` finds a wire by its name, `fast_path` stands around each reader. A
service's folder has its `reader` of responses and its `turns` as a request says them. What readers
share is in `pieces`, `tool_pieces` and `lenient_json`, what turns share in `turn_fields`, what is
OpenAI's form in `openai_form`.

`docs/how-to/write-a-wire.md` says how to write another one. A wire is imported only when it is
chosen.
"""

from .base import ChatRequest, Reader, ReadResult, Wire
from .fast_path import FastReader
from .registry import find_wire, wire_names

__all__ = ["ChatRequest", "FastReader", "ReadResult", "Reader", "Wire", "find_wire", "wire_names"]
