"""What several test files do with a stream."""

from __future__ import annotations

from typing import Any

import pytest

from websopy_sync import APIError, ChatStream


def read_until_error(stream: ChatStream) -> tuple[list[Any], BaseException]:
    """The chunks, and what the loop ended with."""
    chunks: list[Any] = []
    try:
        for each in stream:
            chunks.append(each)  # extend() drops what came before an error
    except APIError as failure:
        return chunks, failure
    pytest.fail("the stream ended well")
