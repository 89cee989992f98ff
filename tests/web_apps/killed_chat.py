"""The chat example on Flask for a test that kills workers: it writes who serves each request."""

from __future__ import annotations

import os
import sys

import attrs
from chat import Chat
from flask import Flask, request
from flask_app import create_app
from settings import Settings

LEASE = 1.0
"""Seconds; a test waits for it to run out."""


def wsgi() -> Flask:
    """The application, made in each worker."""
    settings = attrs.evolve(Settings.from_environment(), lease=LEASE, heartbeat=LEASE)
    app = create_app(Chat(settings), settings)

    @app.before_request
    def note() -> None:
        sys.stdout.write(f"{os.getpid()} {request.method} {request.path}\n")
        sys.stdout.flush()

    return app
