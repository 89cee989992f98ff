"""The values that a user holds: chunks, tool calls, usage, messages."""

from __future__ import annotations

import copy
import json
import pickle
from collections import UserDict
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tables import each

from websopy_sync.chunks import (
    ContentChunk,
    DoneChunk,
    ErrorChunk,
    ReasoningChunk,
    StreamChunk,
    ToolCall,
    ToolCallChunk,
    UnknownChunk,
    Usage,
    from_dict,
    plain_text,
)
from websopy_sync.errors import ConfigError, ToolArgumentsError
from websopy_sync.message import Message

HUGE = -(10**5000)
"""An int that repr() refuses to write: it has more than 4,300 digits."""

KNOWN = ("content", "reasoning", "tool_call", "done", "error")

_counts = st.integers(0, 2**62 - 1)  # so that two of them are a count still
_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
_fields = st.dictionaries(st.text(), _json, max_size=3)
_texts = st.none() | st.text(min_size=1)
_states = st.none() | st.dictionaries(st.text(), _json, min_size=1, max_size=3)
usages = st.builds(Usage, _counts, _counts) | st.builds(
    Usage,
    _counts,
    _counts,
    _counts,
    cached_tokens=_counts,
    reasoning_tokens=_counts,
    details=_fields,
)
tool_calls = st.builds(ToolCall, st.text(), st.text(), st.none() | st.text())
chunks = st.one_of(
    st.builds(ContentChunk, st.text(), extra=_fields),
    st.builds(ReasoningChunk, st.text(), extra=_fields),
    st.builds(ToolCallChunk, tool_calls, extra=_fields),
    st.builds(DoneChunk, st.none() | usages, _texts, _texts, _texts, state=_states, extra=_fields),
    st.builds(ErrorChunk, st.text(), st.none() | st.text(), extra=_fields),
    st.builds(
        UnknownChunk,
        st.text().filter(lambda kind: kind not in KNOWN),
        st.dictionaries(st.text(), _json, max_size=4),
    ),
)
messages = st.builds(
    Message,
    st.text(),
    st.lists(tool_calls, max_size=3).map(tuple),
    st.none() | usages,
    _texts,
    _texts,
    _texts,
    st.text(),
    state=_states,
)

EXAMPLES: list[Any] = [
    ContentChunk("世界..."),
    ToolCallChunk(ToolCall("weather", '{"city": "上海"}', "call-1")),
    ToolCallChunk(ToolCall("f", "")),
    DoneChunk(Usage(20, 150)),
    DoneChunk(),
    DoneChunk(Usage(20, 150), "length", "m-1", "a-1"),
    DoneChunk(state={"w": {"signature": "x"}}),
    ReasoningChunk("two and two"),
    ErrorChunk("overloaded", "503"),
    ErrorChunk("no code"),
    UnknownChunk("thinking", {"type": "thinking", "steps": [1, {"a": None}]}),
    Usage(1, 2, 4),
    Usage(1, 2, 4, cached_tokens=1),
    ToolCall("f", "{}"),
    Message(),
    Message("a", (ToolCall("f", "{}"),), Usage(1, 1)),
    Message("a", state={"w": [1]}),
    Message("a", (ToolCall("f", "{}"),), Usage(1, 1), "stop", "m-1", "a-1", "hm"),
]
every_value = each("value", EXAMPLES)


@given(chunks | messages | usages | tool_calls)
def test_pickle_is_the_identity(value: Any) -> None:
    """Chunks cross processes, queues and caches whole."""
    again = pickle.loads(pickle.dumps(value))
    assert again == value and type(again) is type(value)
    assert hash(again) == hash(value)


@every_value
@each("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_pickle_protocol(value: Any, protocol: int) -> None:
    """Also with the protocols that old caches use."""
    assert pickle.loads(pickle.dumps(value, protocol)) == value


@every_value
def test_copies_are_equal(value: Any) -> None:
    """copy and deepcopy work on values with slots too."""
    assert copy.copy(value) == copy.deepcopy(value) == value


@every_value
def test_values_are_frozen(value: Any) -> None:
    """PROMISE 33: no plugin changes what another sees; nor can a field be added."""
    for name in [*(field.name for field in value.__attrs_attrs__), "type", "new"]:
        with pytest.raises(AttributeError):
            setattr(value, name, "changed")


@every_value
def test_values_compare_and_hash(value: Any) -> None:
    """Equal values are one in a set; values of different kinds are never equal."""
    assert len({value, copy.copy(value)}) == 1
    assert all(value != other for other in EXAMPLES if other is not value)
    assert value != "x"


@every_value
def test_repr_names_kind_and_content(value: Any) -> None:
    """What is printed says what it is."""
    assert repr(value).startswith(type(value).__name__ + "(")


def test_unknown_data_cannot_be_changed_by_who_sees_it() -> None:
    """PROMISE 33 holds for what we do not know as well."""
    chunk = UnknownChunk("x", {"type": "x", "list": [1], "dict": {"a": 1}})
    seen = copy.deepcopy(chunk.to_dict())
    attempts = (
        lambda: chunk.data.__setitem__("type", "changed"),  # type: ignore[attr-defined]
        lambda: chunk.data["list"].append(2),
        lambda: chunk.data["dict"].update(a=2),
    )
    for attempt in attempts:
        try:
            attempt()
        except (TypeError, AttributeError):
            pass
    assert chunk.to_dict() == seen


WITH_EXTRA: list[Any] = [
    ContentChunk("x", extra={"index": [0]}),
    ReasoningChunk("x", extra={"index": [0]}),
    ToolCallChunk(ToolCall("f", "{}"), extra={"tool": {"index": [0]}}),
    DoneChunk(extra={"timings": [1.5]}),
    ErrorChunk("m", extra={"error": {"param": [None]}}),
]


@each("chunk", WITH_EXTRA)
def test_unknown_fields_stay_as_they_came(chunk: Any) -> None:
    """PROMISE 47: they cross pickle, copy and dict, and no reader can change them."""
    seen = copy.deepcopy(chunk.extra)
    assert seen
    next(iter(chunk.extra.values())).clear()
    for again in (
        pickle.loads(pickle.dumps(chunk)),
        copy.deepcopy(chunk),
        from_dict(json.loads(json.dumps(chunk.to_dict()))),
    ):
        assert again.extra == chunk.extra == seen
    assert again == chunk == type(chunk)(**{**_known(chunk), "extra": None})
    assert hash(again) == hash(chunk)


def _known(chunk: Any) -> dict[str, Any]:
    return {field.alias: getattr(chunk, field.name) for field in chunk.__attrs_attrs__}


@each("chunk", [example for example in EXAMPLES if hasattr(example, "type")])
def test_no_unknown_fields_is_an_empty_dict(chunk: Any) -> None:
    """Every chunk may be asked, also one of an unknown type, whose data has all."""
    assert chunk.extra == {} and "extra" not in chunk.to_dict()


def test_usage_details_stay_as_they_came() -> None:
    """Counts that have no name here are kept under the service's own."""
    usage = Usage(1, 2, cached_tokens=1, details={"audioTokens": [7]})
    usage.details["audioTokens"].clear()
    again = Usage.from_dict(json.loads(json.dumps(usage.to_dict())))
    assert again.details == usage.details == {"audioTokens": [7]}
    assert again == usage and usage != Usage(1, 2)


def test_plain_text_is_a_content_chunk() -> None:
    """The fast way makes what the constructor makes."""
    chunk = plain_text("x")
    assert chunk == ContentChunk("x") and chunk.extra == {}
    assert pickle.loads(pickle.dumps(chunk)) == chunk and repr(chunk) == repr(ContentChunk("x"))


def test_to_dict_gives_a_dict_of_its_own() -> None:
    """What is done to the dict is not done to the chunk."""
    chunk = UnknownChunk("x", {"type": "x", "list": [1]})
    chunk.to_dict()["data"]["list"].append(2)
    assert chunk == UnknownChunk("x", {"type": "x", "list": [1]})


# --- dict and back -------------------------------------------------------------------------------


@given(chunks)
def test_dict_and_back_is_the_identity(chunk: StreamChunk) -> None:
    """from_dict gives the chunk whose to_dict it gets, also through JSON."""
    assert from_dict(chunk.to_dict()) == chunk
    assert from_dict(json.loads(json.dumps(chunk.to_dict()))) == chunk


@given(usages)
def test_usage_dict_and_back(usage: Usage) -> None:
    """Usage likewise."""
    assert Usage.from_dict(usage.to_dict()) == usage


@given(tool_calls)
def test_tool_call_dict_and_back(tool: ToolCall) -> None:
    """ToolCall likewise."""
    assert ToolCall.from_dict(tool.to_dict()) == tool


@each(
    ("chunk", "fields"),
    [
        (ContentChunk("AI"), {"type": "content", "content": "AI"}),
        (
            ToolCallChunk(ToolCall("f", "{}", "1")),
            {"type": "tool_call", "tool": {"name": "f", "arguments": "{}", "id": "1"}},
        ),
        (DoneChunk(), {"type": "done", "usage": None}),
        (
            DoneChunk(Usage(20, 150)),
            {
                "type": "done",
                "usage": {"prompt_tokens": 20, "completion_tokens": 150, "total_tokens": 170},
            },
        ),
        (
            DoneChunk(Usage(1, 2, cached_tokens=1), "stop", "m-1", "a-1"),
            {
                "type": "done",
                "usage": {
                    "prompt_tokens": 1,
                    "completion_tokens": 2,
                    "total_tokens": 3,
                    "cached_tokens": 1,
                },
                "finish_reason": "stop",
                "model": "m-1",
                "id": "a-1",
            },
        ),
        (ReasoningChunk("hm"), {"type": "reasoning", "text": "hm"}),
        (ErrorChunk("m", "c"), {"type": "error", "message": "m", "code": "c"}),
        (
            ErrorChunk("m", extra={"a": 1}),
            {"type": "error", "message": "m", "code": None, "extra": {"a": 1}},
        ),
        (UnknownChunk("x", {"a": 1}), {"type": "x", "data": {"a": 1}}),
    ],
)
def test_form_of_the_dict(chunk: StreamChunk, fields: dict[str, Any]) -> None:
    """The dict is Python's, not the wire's: snake_case; what was not said is left out."""
    assert chunk.to_dict() == fields
    assert from_dict(fields) == from_dict(UserDict(fields)) == chunk
    assert from_dict(MappingProxyType(fields)) == chunk


BAD_DICTS: list[Any] = [
    {},
    None,
    [],
    "content",
    7,
    {"type": None},
    {"type": 7, "content": "x"},
    {"type": ["content"]},
    {"type": 7, "data": {}},
    {"type": None, "data": {}},
    {"data": {}},
    {"content": "x"},
    {"type": "content"},
    {"type": "content", "content": None},
    {"type": "content", "content": 7},
    {"type": "content", "content": b"x"},
    {"type": "tool_call"},
    {"type": "tool_call", "tool": None},
    {"type": "tool_call", "tool": "f"},
    {"type": "tool_call", "tool": []},
    {"type": "tool_call", "tool": {}},
    {"type": "tool_call", "tool": {"name": "f"}},
    {"type": "tool_call", "tool": {"name": "f", "arguments": {}}},
    {"type": "tool_call", "tool": {"name": 1, "arguments": ""}},
    {"type": "tool_call", "tool": {"name": "f", "arguments": "", "id": 1}},
    {"type": "tool_call", "tool": {"name": "f", "arguments": "", "extra": 1}},
    {"type": "tool_call", "tool": {1: "f"}},
    {"type": "done", "usage": {}},
    {"type": "done", "usage": 7},
    {"type": "done", "usage": {"prompt_tokens": 1}},
    {"type": "done", "usage": {"prompt_tokens": -1, "completion_tokens": 1}},
    {"type": "done", "usage": {"prompt_tokens": True, "completion_tokens": 1}},
    {"type": "done", "usage": {"prompt_tokens": 1.0, "completion_tokens": 1}},
    {"type": "done", "usage": {"prompt_tokens": "1", "completion_tokens": 1}},
    {"type": "done", "usage": {"prompt_tokens": HUGE, "completion_tokens": 1}},
    {"type": "done", "usage": {"promptTokens": 1, "completionTokens": 1}},
    {"type": "done", "finish_reason": 7},
    {"type": "done", "usage": None, "id": 7},
    {"type": "content", "content": "x", "extra": 7},
    {"type": "reasoning"},
    {"type": "reasoning", "text": None},
    {"type": "error"},
    {"type": "error", "message": None},
    {"type": "error", "message": "m", "code": 7},
    {"type": "unknown"},
    {"type": "unknown", "data": None},
    {"type": "unknown", "data": [1]},
]


@each("fields", BAD_DICTS)
def test_bad_dicts_are_config_errors(fields: Any) -> None:
    """What is no chunk's dict is refused, with no foreign exception beneath."""
    with pytest.raises(ConfigError) as caught:
        from_dict(fields)
    assert type(caught.value) is ConfigError
    assert caught.value.__cause__ is None and caught.value.__context__ is None
    assert len(str(caught.value)) < 600


@each("fields", [None, {}, [], "x", {"x": 1}, {1: 2}])
@each("kind", [Usage, ToolCall])
def test_bad_dicts_of_parts_are_config_errors(kind: Any, fields: Any) -> None:
    """Usage and tool calls are read back by themselves, too."""
    with pytest.raises(ConfigError, match=kind.__name__) as caught:
        kind.from_dict(fields)
    assert caught.value.__cause__ is None and caught.value.__context__ is None


@given(st.dictionaries(st.sampled_from(["type", "content", "tool", "usage", "data"]), _json))
def test_any_dict_is_a_chunk_or_a_config_error(fields: dict[str, Any]) -> None:
    """Whatever a cache or a queue hands back."""
    try:
        chunk = from_dict(fields)
    except ConfigError:
        return
    assert from_dict(chunk.to_dict()) == chunk


# --- their parts ---------------------------------------------------------------------------------


@each("bad", [-1, 1.5, "7", None, True, HUGE])
@each("name", ["prompt_tokens", "completion_tokens", "total_tokens"])
def test_usage_takes_counts_only(name: str, bad: Any) -> None:
    """A count is an int of 0 or more; the error names the field."""
    fields = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 1, name: bad}
    with pytest.raises(TypeError, match=name):
        Usage(**fields)


@pytest.mark.parametrize("count", [2**63 - 1, 2**63])
def test_counts_are_what_64_bits_hold(count: int) -> None:
    """Above that they are refused; a database could not keep them."""
    if count < 2**63:
        assert Usage(count, 0).total_tokens == count
    else:
        with pytest.raises(TypeError, match="prompt_tokens"):
            Usage(count, 0, 0)


def test_total_is_the_sum_unless_told() -> None:
    """The guide's usage has no total; a service that sends one is believed."""
    assert Usage(20, 150).total_tokens == 170
    assert Usage(20, 150, 999).total_tokens == 999
    assert Usage(0, 0) == Usage(0, 0, 0)


@each("name", ["name", "arguments", "id"])
@each("bad", [7, b"x", {}, ["f"]])
def test_tool_call_takes_str_only(name: str, bad: Any) -> None:
    """A dict for arguments would be parsed again and fail late; it is refused here."""
    with pytest.raises(TypeError, match=name):
        ToolCall(**{"name": "f", "arguments": "{}", "id": "1", name: bad})


@pytest.mark.parametrize(
    ("arguments", "parsed"),
    [
        ("{}", {}),
        (' {"city": "上海", "n": 1.5}\n', {"city": "上海", "n": 1.5}),
        ('{"a": {"b": [null, true]}}', {"a": {"b": [None, True]}}),
        ('{"a": 1, "a": 2}', {"a": 2}),
    ],
)
def test_arguments_are_parsed(arguments: str, parsed: dict[str, Any]) -> None:
    """A JSON object becomes a dict."""
    assert ToolCall("f", arguments).parse_arguments() == parsed


@each(
    "arguments",
    [
        "",
        " ",
        "{",
        '{"a": 1',
        "[]",
        "null",
        '"text"',
        "7",
        "{'a': 1}",
        "{}{}",
        '{"a": ' + "9" * 5000 + "}",
        "[" * 100_000,
        '{"a":' * 100_000,
        "\ufeff{}",
    ],
)
def test_bad_arguments_are_one_kind_of_error(arguments: str) -> None:
    """A model can write anything: no RecursionError, no JSONDecodeError, and `arguments` stays."""
    tool = ToolCall("f", arguments)
    with pytest.raises(ToolArgumentsError) as caught:
        tool.parse_arguments()
    assert isinstance(caught.value, ValueError)
    assert caught.value.__cause__ is None and caught.value.__context__ is None
    assert "'f'" in str(caught.value) and len(str(caught.value)) < 600
    assert tool.arguments == arguments


@given(st.text())
def test_any_arguments_parse_or_fail_alike(arguments: str) -> None:
    """A dict or ToolArgumentsError, nothing else."""
    try:
        assert isinstance(ToolCall("f", arguments).parse_arguments(), dict)
    except ToolArgumentsError:
        pass


@pytest.mark.parametrize(
    ("chunk", "kind"),
    [
        (ContentChunk("x"), "content"),
        (ToolCallChunk(ToolCall("f", "{}")), "tool_call"),
        (ReasoningChunk("x"), "reasoning"),
        (DoneChunk(), "done"),
        (ErrorChunk("m"), "error"),
        (UnknownChunk("later", {}), "later"),
    ],
)
def test_type_says_the_kind(chunk: StreamChunk, kind: str) -> None:
    """The service's own word, on the instance and, for the known ones, on the class."""
    assert chunk.type == kind
    if kind in KNOWN:
        assert type(chunk).type == kind  # type: ignore[misc]


def test_chunks_match_by_pattern() -> None:
    """`match` statements take them apart by position and by name."""
    match ToolCallChunk(ToolCall("f", "{}", "1")):
        case ToolCallChunk(tool=ToolCall("f", arguments, id="1")):
            assert arguments == "{}"
        case _:
            pytest.fail("no match")


def test_from_dict_of_what_is_nested_without_end() -> None:
    """Data too deep to copy is a ConfigError like any other that is no chunk."""
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(ConfigError, match="nested"):
        from_dict({"type": "later", "data": {"a": deep}})
    while deep:  # freed level by level: some Pythons cannot free so deep a value at once
        deep = deep.pop()
