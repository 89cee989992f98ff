"""Has the examples of README.md run as tests, against a sandbox that any client finds."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser

from websopy_sync.sandbox import Sandbox, done, error, no_ids, say


def answers(request: object) -> list[object]:
    """The README's answer; without usage where it says that the service tells none."""
    text = [say("AI"), say(" 正在"), say("改变"), say("世界...")]
    body = request.json  # type: ignore[attr-defined]
    if body.get("model") == "silent-about-usage":
        return [*text, done()]
    if body.get("model") == "breaks":
        return [no_ids(), *text, error("overloaded")]
    return [*text, done(20, 150)]


@pytest.fixture(scope="module")
def service() -> Iterator[Sandbox]:
    """A sandbox that `WebsopyClient()` finds by itself."""
    with Sandbox(answers) as sandbox, pytest.MonkeyPatch.context() as environment:  # type: ignore[arg-type]
        environment.setenv("WEBSOPY_API_KEY", "test")
        environment.setenv("WEBSOPY_BASE_URL", sandbox.url)
        environment.setenv("WEBSOPY_PLUGINS", "tokens")
        yield sandbox


pytest_collect_file = Sybil(
    parsers=[PythonCodeBlockParser(), SkipParser()], patterns=["README.md"], fixtures=["service"]
).pytest()
