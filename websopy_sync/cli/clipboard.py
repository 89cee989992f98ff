"""Copies a text to the user's clipboard: by a program of the desktop, or by the terminal.

Knows nothing of conversations.
"""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping

PROGRAMS = (
    ("WAYLAND_DISPLAY", ("wl-copy",)),
    ("DISPLAY", ("xclip", "-selection", "clipboard")),
    ("DISPLAY", ("xsel", "--clipboard", "--input")),
    ("", ("pbcopy",)),
)
"""Programs that set a clipboard, and the variable without which they cannot."""

PATIENCE = 3.0
"""Seconds that a program may take: one that waits for a display that is gone never ends."""

MOST_ENCODED = 100_000
"""Most bytes that are written to a terminal as base64; xterm and others drop more than this."""


def copy(text: str, environ: Mapping[str, str] = os.environ) -> str:
    """Copy a text.

    Args:
        text: The text.
        environ: The environment variables.

    Returns:
        What was done, for the user: "copied …" or "not copied: …".
    """
    size = f"{len(text)} characters"
    for variable, command in PROGRAMS:
        if (not variable or environ.get(variable)) and _done_by(command, text):
            return f"copied {size} with {command[0]}"
    if not (sys.stdout and sys.stdout.isatty()) or environ.get("TERM", "dumb") == "dumb":
        return "not copied: expected wl-copy, xclip, xsel or pbcopy, or a terminal with a clipboard"
    data, most = text.encode(), MOST_ENCODED // 4 * 3
    if len(data) > most:
        return f"not copied: expected at most {most} bytes, got {len(data)}; /save keeps it"
    # OSC 52: the terminal sets the clipboard of the machine that it runs on, through ssh too.
    print(f"\x1b]52;c;{base64.b64encode(data).decode()}\a", end="", flush=True)
    return f"asked the terminal to copy {size} (OSC 52); some terminals must be told to allow it"


def _done_by(command: tuple[str, ...], text: str) -> bool:
    program = shutil.which(command[0])
    if program is None:
        return False
    try:
        # xclip and wl-copy stay in the background: they must not hold our output open.
        done = subprocess.run(
            [program, *command[1:]],
            input=text.encode(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=PATIENCE,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
