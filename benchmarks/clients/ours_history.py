"""websopy-sync with websopy-persistence, which keeps every chunk in an SQLite file.

What the plugin does behind the loop counts too: the function returns when all is in the file.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from websopy_persistence import PersistencePlugin

from websopy_sync import WebsopyClient

from . import Read, Seen


def reader(base: str) -> Read:
    folder = tempfile.TemporaryDirectory()
    plugin = PersistencePlugin(Path(folder.name) / "history.db")
    client = WebsopyClient(api_key="test", base_url=base + "/v1", plugins=[plugin])

    def read(seen: Seen) -> None:
        for chunk in client.ai.chat_stream("Hello"):
            if chunk.type == "content":
                seen(chunk.content)
        if not plugin.flush(30) or plugin.lost_chunks:
            raise RuntimeError(f"the history lost {plugin.lost_chunks} chunks: {plugin.problem}")

    read.folder = folder  # type: ignore[attr-defined]  # removed with the function
    return read
