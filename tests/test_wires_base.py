"""The seam between the package and a service."""

from __future__ import annotations

import pytest

from websopy_sync.chunks import ContentChunk, DoneChunk, UnknownChunk
from websopy_sync.wires import ChatRequest, Wire
from websopy_sync.wires.base import chunks_of


@pytest.mark.parametrize(
    ("result", "chunks"),
    [
        (None, []),
        ((), []),
        ([], []),
        (ContentChunk("a"), [ContentChunk("a")]),
        (UnknownChunk("x", {}), [UnknownChunk("x", {})]),
        ((ContentChunk("a"), DoneChunk()), [ContentChunk("a"), DoneChunk()]),
        ([DoneChunk()], [DoneChunk()]),
    ],
    ids=range(7),
)
def test_a_result_is_a_sequence_of_chunks(result: object, chunks: list[object]) -> None:
    """A reader may return one chunk, several or none."""
    assert list(chunks_of(result)) == chunks  # type: ignore[arg-type]  # any form of a result


def test_a_request_shows_nothing_of_the_prompt() -> None:
    """Error reporters show it among the local variables."""
    request = ChatRequest([{"role": "user", "content": "s3cret"}], params={"note": "s3cret"})
    assert "s3cret" not in repr(request)


def test_a_wire_says_what_is_missing() -> None:
    """A wire that lacks a method fails where it is used."""
    for use in (lambda: Wire().body(ChatRequest([])), Wire().reader, lambda: Wire().text_of("")):
        with pytest.raises(NotImplementedError):
            use()
