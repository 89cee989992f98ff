"""Tool calls that come in pieces, and what tells them apart."""

from __future__ import annotations

import time

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
        # interleaved, told apart by their ids alone
        (
            [(0, "a", "f", "1"), (0, "b", "g", "2"), (0, "a", "", "3"), (0, "b", "", "4")],
            [("f", "13", "a"), ("g", "24", "b")],
        ),
        (
            [(None, "a", "f", "1"), (None, "b", "f", "2"), (None, "a", "", "3")],
            [("f", "13", "a"), ("f", "2", "b")],
        ),
        # one id for two calls
        (
            [(0, "a", "f", "1"), (1, "a", "g", "2"), (0, "a", "", "3")],
            [("f", "13", "a"), ("g", "2", "a")],
        ),
        # a new id in each piece: the first one stays
        ([(0, "a", "f", "{"), (0, "b", "", "1"), (0, "c", "", "}")], [("f", "{1}", "a")]),
        # the index is in the first piece only
        ([(0, "a", "f", "{"), (None, "", "", "}")], [("f", "{}", "a")]),
        (
            [(0, "a", "f", "{"), (1, "b", "g", "["), (None, "a", "", "}")],
            [("f", "{}", "a"), ("g", "[", "b")],
        ),
        # a call's first piece under one index, and the others under another
        (
            [(0, "a", "f", "1"), (0, "b", "g", "2"), (1, "", "", "3"), (1, "", "", "4")],
            [("f", "1", "a"), ("g", "234", "b")],
        ),
        (
            [(0, "a", "f", "1"), (0, "b", "g", "2"), (1, "a", "", "3"), (2, "c", "h", "4")],
            [("f", "13", "a"), ("g", "2", "b"), ("h", "4", "c")],
        ),
        # then a call under that index
        (
            [(0, "a", "f", "1"), (1, "", "", "2"), (1, "b", "g", "3"), (1, "", "", "4")],
            [("f", "12", "a"), ("g", "34", "b")],
        ),
        # the name comes late, and another call is there
        (
            [(0, "a", "f", "1"), (1, "b", "", "2"), (1, "", "g", "3")],
            [("f", "1", "a"), ("g", "23", "b")],
        ),
        # an empty object, and then the arguments
        ([(0, "a", "f", "{}"), (0, "", "", '{"a'), (0, "", "", '":1}')], [("f", '{"a":1}', "a")]),
        ([(0, "a", "f", "{}"), (0, "a", "f", '{"a":1}')], [("f", '{"a":1}', "a")]),
        ([(0, "a", "f", "{}"), (0, "", "", "{}")], [("f", "{}", "a")]),
        ([(0, "a", "f", "{}"), (0, "", "", "\n")], [("f", "{}\n", "a")]),
        (
            [(0, "a", "f", '{"a":"'), (0, "", "", "{}"), (0, "", "", '"}')],
            [("f", '{"a":"{}"}', "a")],
        ),
        # all of the arguments so far in each piece, or once more at the end
        (
            [(0, "a", "f", ""), (0, "", "", '{"a'), (0, "", "", '{"a":'), (0, "", "", '{"a":1}')],
            [("f", '{"a":1}', "a")],
        ),
        ([(0, "a", "f", '{"a":1}'), (0, "a", "f", '{"a":1}')], [("f", '{"a":1}', "a")]),
        (
            [(0, "a", "f", '{"a'), (0, "", "", '":1}'), (0, "", "", '{"a":1}')],
            [("f", '{"a":1}', "a")],
        ),
        # pieces that only look so
        (
            [(0, "a", "f", '{"a":"'), (0, "", "", '{"a":"'), (0, "", "", '"}')],
            [("f", '{"a":"{"a":""}', "a")],
        ),
        # an index of an odd type
        (
            [([0], "a", "f", "{"), ([1], "b", "g", "["), ([0], "", "", "}")],
            [("f", "{}", "a"), ("g", "[", "b")],
        ),
        # two calls of one tool under one index: an object follows another
        (
            [(0, "", "f", '{"a":1}'), (0, "", "f", '{"a":2}')],
            [("f", '{"a":1}', None), ("f", '{"a":2}', None)],
        ),
        (
            [(0, "a", "f", '{"a":1} '), (0, "", "", ' {"a":2}')],
            [("f", '{"a":1}', "a"), ("f", '{"a":2}', None)],
        ),
        (
            [(0, "a", "f", '{"a":{}}\n{}{"b":"}{"}')],
            [("f", '{"a":{}}', "a"), ("f", "{}", None), ("f", '{"b":"}{"}', None)],
        ),
        # what is no row of objects stays as the model wrote it
        ([(0, "a", "f", '{"a":"}{"}')], [("f", '{"a":"}{"}', "a")]),
        ([(0, "a", "f", '{"a":1}{"a":')], [("f", '{"a":1}{"a":', "a")]),
        ([(0, "a", "f", "[{}{}]")], [("f", "[{}{}]", "a")]),
        ([(0, "a", "f", '{"a":1}{"b":1} x')], [("f", '{"a":1}{"b":1} x', "a")]),
        ([(0, "a", "f", "1{}{}")], [("f", "1{}{}", "a")]),
        ([(0, "a", "f", "[" * 100_000 + "}{")], [("f", "[" * 100_000 + "}{", "a")]),
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


def test_many_indexes_of_one_call_count() -> None:
    """PROMISE 16: each is kept until the call is whole, though its piece may be empty."""
    holder = ToolCallPieces()
    for number in range(1_000):
        holder.add(number, id="", name="" if number else "f", arguments="")
    assert holder.size >= 64_000 and len(holder.take()) == 1


@each("first", ["", '{"b"', "{"])
def test_a_second_call_without_a_name(first: str) -> None:
    """It is no more of the one before, whose arguments are whole."""
    holder = ToolCallPieces()
    for key, id, name, arguments in (
        (0, "a", "f", '{"a":'),
        (0, "", "", "1}"),
        (1, "", "", first),
        (1, "", "", '{"b":2}'.removeprefix(first)),
    ):
        holder.add(key, id=id, name=name, arguments=arguments)
    with pytest.raises(StreamProtocolError, match="name"):
        holder.take()


@pytest.mark.timing
def test_many_calls_in_linear_time() -> None:
    """PROMISE 16: each piece finds its call at once, however many there are."""
    holder = ToolCallPieces()
    began = time.process_time()
    for number in range(50_000):
        holder.add(number, id=f"call_{number}", name="f", arguments="{}")
    assert len(holder.take()) == 50_000 and time.process_time() - began < 5
