"""Copying to the clipboard: by a program that is there, or by the terminal."""

from __future__ import annotations

import base64
import contextlib
import io
from collections.abc import Callable
from pathlib import Path

import pytest

from websopy_sync.cli.clipboard import MOST_ENCODED, copy

ANSWER = "尼罗河 \x1b]0;title\x07\n"


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Installs programs that write their input to the file that is returned."""
    folder, copied = tmp_path / "bin", tmp_path / "copied"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))

    def install(**scripts: str) -> Path:
        for name, script in scripts.items():
            path = folder / name.replace("_", "-")
            path.write_text(f"#!/bin/sh\n{script or f'/bin/cat > {copied}'}\n")
            path.chmod(0o700)
        return copied

    return install


class ATerminal(io.StringIO):
    """A standard output that is a terminal."""

    def isatty(self) -> bool:
        """It is one."""
        return True


def copied_on(terminal: ATerminal, text: str, environ: dict[str, str]) -> str:
    """What the user is told where standard output is this terminal."""
    with contextlib.redirect_stdout(terminal):
        return copy(text, environ)


@pytest.mark.parametrize(
    ("variable", "program"),
    [("WAYLAND_DISPLAY", "wl_copy"), ("DISPLAY", "xclip"), ("DISPLAY", "xsel"), ("", "pbcopy")],
)
def test_by_a_program(programs: Callable[..., Path], variable: str, program: str) -> None:
    """The text as it is, and the line says by which."""
    copied = programs(**{program: ""})
    told = copy(ANSWER, {variable: ":0"})
    assert told == f"copied {len(ANSWER)} characters with {program.replace('_', '-')}"
    assert copied.read_text() == ANSWER


def test_by_the_terminal(programs: Callable[..., Path]) -> None:
    """OSC 52, where no program works: none, one without its display, one that fails."""
    copied = programs(xclip="", wl_copy="exit 1")
    terminal = ATerminal()
    told = copied_on(terminal, ANSWER, {"TERM": "xterm", "WAYLAND_DISPLAY": "x"})
    assert told.startswith(f"asked the terminal to copy {len(ANSWER)} characters (OSC 52)")
    encoded = base64.b64encode(ANSWER.encode()).decode()
    assert terminal.getvalue() == f"\x1b]52;c;{encoded}\a"
    assert not copied.exists()


def test_too_much_for_a_terminal(programs: Callable[..., Path]) -> None:
    """It would drop a part of it, or all."""
    programs()
    terminal, most = ATerminal(), MOST_ENCODED // 4 * 3
    assert copied_on(terminal, "x" * most, {"TERM": "xterm"}).startswith("asked the terminal")
    written = len(terminal.getvalue())
    told = copied_on(terminal, "x" * (most + 1), {"TERM": "xterm"})
    assert told == f"not copied: expected at most {most} bytes, got {most + 1}; /save keeps it"
    assert len(terminal.getvalue()) == written


@pytest.mark.parametrize("environ", [{}, {"TERM": "dumb"}], ids=["none", "dumb"])
def test_no_clipboard(programs: Callable[..., Path], environ: dict[str, str]) -> None:
    """The line says what was looked for."""
    programs()
    terminal = ATerminal()
    told = copied_on(terminal, "x", environ)
    assert told.startswith("not copied: expected wl-copy, xclip, xsel or pbcopy")
    assert terminal.getvalue() == ""
