"""The Flask view of a document for the AI SDK, and the pages that use it."""

from __future__ import annotations

import importlib
import os

from flask import Response, send_from_directory

app = importlib.import_module(os.environ["VIEW"]).app  # the file that the document says to save


@app.get("/pages/<path:name>")
def page(name: str) -> Response:
    return send_from_directory(os.environ["PAGES"], name)


@app.get("/ping")
def ping() -> str:
    return "pong"
