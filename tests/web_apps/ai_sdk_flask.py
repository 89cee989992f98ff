"""The Flask view of docs/how-to/use-the-ai-sdk.md, and the pages that use it."""

from __future__ import annotations

import os

from ai_chat import app  # the file that the document says to save
from flask import Response, send_from_directory


@app.get("/pages/<path:name>")
def page(name: str) -> Response:
    return send_from_directory(os.environ["PAGES"], name)


@app.get("/ping")
def ping() -> str:
    return "pong"
