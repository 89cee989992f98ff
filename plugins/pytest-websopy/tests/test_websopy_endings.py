"""The ready endings: each ends as it says, for the client and for an app."""

from __future__ import annotations

import pytest
from pytest_websopy import ENDINGS, Ending
from pytest_websopy.endings import TEXT

from websopy_sync import WebsopyClient, WebsopyError
from websopy_sync.sandbox import Sandbox


def test_ending(websopy_client: WebsopyClient, websopy_ending: Ending) -> None:
    """The text that came and the error are those that the ending names."""
    text, raised = "", None
    try:
        for chunk in websopy_client.ai.chat_stream("写一篇关于 AI 的文章"):
            text += chunk.content if chunk.type == "content" else ""
    except WebsopyError as error:
        raised = type(error)
    assert (text, raised) == (websopy_ending.text, websopy_ending.raises)


def test_every_question_ends_so(
    websopy_client: WebsopyClient, websopy_sandbox: Sandbox, websopy_ending: Ending
) -> None:
    """An app that asks again meets the same end again."""
    for _ in range(2):
        if websopy_ending.raises is None:
            assert websopy_client.ai.chat("Hello").content == websopy_ending.text
        else:
            with pytest.raises(websopy_ending.raises):
                websopy_client.ai.chat("Hello")
    assert websopy_sandbox.wait_request(2)


def test_a_cut_answer_can_be_seen(websopy_client: WebsopyClient, websopy_sandbox: Sandbox) -> None:
    """An app that looks at `truncated` sees two of the complete answers as cut."""
    complete = [ending for ending in ENDINGS if ending.raises is None]
    truncated = set()
    for ending in complete:
        websopy_sandbox.play(ending.script)
        if websopy_client.ai.chat("Hello").truncated:
            truncated.add(ending.name)
    assert truncated == {"done-at-the-limit", "done-filtered"}


def test_list_is_whole() -> None:
    """Names are there once, and every class of end is among them."""
    assert len({ending.name for ending in ENDINGS}) == len(ENDINGS)
    raised = {ending.raises.__name__ for ending in ENDINGS if ending.raises}
    assert raised >= {
        "APIConnectionError",
        "APIStatusError",
        "APITimeoutError",
        "AuthenticationError",
        "RateLimitError",
        "StreamInterruptedError",
        "StreamProtocolError",
        "StreamServerError",
    }
    assert {ending.text for ending in ENDINGS} == {"", TEXT}
