"""What reaches a terminal: no control character of a model or a server."""

from __future__ import annotations

import pytest
from command_line import Run

from websopy_sync.cli import visible
from websopy_sync.sandbox import Steps, done, error, raw, say, status, tool

FORBIDDEN = {
    *(chr(code) for code in range(0x20) if chr(code) not in "\n\t"),
    *(chr(code) for code in range(0x7F, 0xA0)),
    *"\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069",
}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\n\tb", "a\n\tb"),
        ("a\r\nb", "a\nb"),
        ("safe\rspoof", "safespoof"),
        ("\x1b[2J\x07\x00", "␛[2J␇␀"),
        ("\x7f", "␡"),
        ("\x9b2J\x85", "\ufffd2J\ufffd"),
        ("\u202eevil\u2069", "\ufffdevil\ufffd"),
        ("正在 é 😀 👩\u200d💻 \u200f", "正在 é 😀 👩\u200d💻 \u200f"),
        ("".join(sorted(FORBIDDEN)), None),
    ],
)
def test_visible(text: str, shown: str | None) -> None:
    """Only LF and TAB keep their power; letters of every script stay as they are."""
    assert not FORBIDDEN & set(visible(text))
    assert shown is None or visible(text) == shown


@pytest.mark.parametrize(
    "script",
    [
        [say("".join(FORBIDDEN)), done()],
        [*(say(character) for character in sorted(FORBIDDEN)), done()],
        [tool("".join(FORBIDDEN), "".join(FORBIDDEN)), done()],
        [error("".join(FORBIDDEN), "".join(FORBIDDEN))],
        [status(401, "".join(FORBIDDEN))],
        [status(500, "".join(FORBIDDEN), retry_after=9999)],
        [status(200, "".join(FORBIDDEN), headers={"Content-Type": "text/html"})],
        [raw(b"data: {" + "".join(FORBIDDEN - {"\r"}).encode() + b"}\n\n")],
    ],
)
def test_nothing_sent_rules_the_terminal(chat: Run, script: Steps) -> None:
    """No control character of a model or server comes out, on stdout or on stderr."""
    answer = chat(script)
    assert not FORBIDDEN & set(answer.stdout + answer.stderr)
    assert answer.stderr.count("\n") <= 1
