"""Tool calls that come in pieces, and what tells them apart."""

from __future__ import annotations

import pytest
from tables import each

from websopy_sync.chunks import ToolCall
from websopy_sync.errors import StreamProtocolError
from websopy_sync.wires.tool_pieces import ToolCallPieces

Piece = tuple[object, str, str, str]


@each(
    ("pieces", "calls"),
    [
        ([], []),
        ([(0, "a", "f", ""), (0, "", "", "{"), (0, "", "", "}")], [("f", "{}", "a")]),
        # all with the index 0, and different ids
        ([(0, "a", "f", "{}"), (0, "b", "g", "[]")], [("f", "{}", "a"), ("g", "[]", "b")]),
        # id and name in each piece
        ([(0, "a", "f", "{"), (0, "a", "f", "}")], [("f", "{}", "a")]),
        # no index and no ids: each name begins a call
        ([(None, "", "f", "{}"), (None, "", "f", "{}")], [("f", "{}", None), ("f", "{}", None)]),
        ([(None, "", "f", "{"), (None, "", "", "}")], [("f", "{}", None)]),
        # no index, and ids: a call goes on under its id
        ([(None, "a", "f", "{"), (None, "a", "", "}")], [("f", "{}", "a")]),
        # interleaved
        (
            [(0, "a", "f", "1"), (1, "b", "g", "2"), (0, "", "", "3"), (1, "", "", "4")],
            [("f", "13", "a"), ("g", "24", "b")],
        ),
        # the id comes late
        ([(0, "", "f", ""), (0, "a", "", "{}")], [("f", "{}", "a")]),
        # the same index with another name and no ids
        ([(0, "", "f", "{}"), (0, "", "g", "[]")], [("f", "{}", None), ("g", "[]", None)]),
        # a pair that is cut between two pieces
        ([(0, "a", "f", '"\ud83d'), (0, "", "", '\ude00"')], [("f", '"😀"', "a")]),
    ],
)
def test_tool_calls_in_pieces(
    pieces: list[Piece], calls: list[tuple[str, str, str | None]]
) -> None:
    """In the order in which they began, each once, and no more after that."""
    holder = ToolCallPieces()
    for key, id, name, arguments in pieces:
        holder.add(key, id=id, name=name, arguments=arguments)
    assert [chunk.tool for chunk in holder.take()] == [ToolCall(*call) for call in calls]
    assert holder.take() == []


def test_a_call_without_a_name() -> None:
    """Nothing could be called."""
    holder = ToolCallPieces()
    holder.add(0, id="a", name="", arguments="{}")
    with pytest.raises(StreamProtocolError, match="name"):
        holder.take()
