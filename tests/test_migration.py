"""The examples of docs/how-to/migrate.md: what other SDKs print, this package prints too."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from documents import ROOT, blocks

from websopy_sync.sandbox import Sandbox

PAGE = "docs/how-to/migrate.md"
SDKS = {"openai": "OPENAI", "anthropic": "ANTHROPIC"}
"""The SDKs that the page comes from, and how their variables begin."""


def sides(sdk: str) -> tuple[str, str]:
    """The code before and after, which are two columns of one block."""
    for _, _, lines in blocks(PAGE):
        if lines[1].startswith(f"import {sdk} "):
            column = lines[0].index("# after")
            before = "\n".join(line[:column].rstrip() for line in lines)
            return before, "\n".join(line[column:] for line in lines)
    raise AssertionError(f"{PAGE}: no example comes from {sdk}")


def printed_by(code: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Run an example that is given `messages`, and return its output."""
    names: dict[str, Any] = {"messages": [{"role": "user", "content": "Name a river."}]}
    try:
        exec(code, names)
    finally:
        names["client"].close()
    return capsys.readouterr().out


@pytest.fixture(params=SDKS)
def sdk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An SDK, and a service that both sides find by their variables."""
    name = str(request.param)
    with Sandbox(wire=name, pause=0) as service:
        theirs = service.url if name == "openai" else service.url.removesuffix("/v1")
        for prefix, url in ((SDKS[name], theirs), ("WEBSOPY", service.url)):
            monkeypatch.setenv(f"{prefix}_API_KEY", "key")
            monkeypatch.setenv(f"{prefix}_BASE_URL", url)
        yield name


def test_the_side_of_this_package(sdk: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The right column runs as it stands."""
    assert "sandbox" in printed_by(sides(sdk)[1], capsys)


@pytest.mark.slow
def test_both_sides(sdk: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The left column runs with the SDK, and prints the same."""
    pytest.importorskip(sdk)
    before, after = (printed_by(side, capsys) for side in sides(sdk))
    assert before == after


def test_what_the_loop_gains() -> None:
    """Each test that the page names is there."""
    named = re.findall(r"`(\w+)::(\w+)`", (ROOT / PAGE).read_text("utf-8"))
    assert len(named) > 5
    for file, test in named:
        assert f"def {test}(" in (ROOT / f"tests/test_{file}.py").read_text("utf-8")
