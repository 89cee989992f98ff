"""The tree of errors: what each is, carries, says, and keeps through pickle."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
from tables import each

from websopy_sync import errors, status_errors, tool_errors
from websopy_sync.chunks import ToolCall, Usage
from websopy_sync.errors import (
    APIConnectionError,
    APIError,
    APIStatusError,
    APITimeoutError,
    ConfigError,
    FileError,
    PluginError,
    ResponseParseError,
    StreamCancelledError,
    StreamError,
    StreamInterruptedError,
    StreamProtocolError,
    StreamServerError,
    ToolArgumentsError,
    WebsopyError,
)
from websopy_sync.message import Message
from websopy_sync.status_errors import (
    AuthenticationError,
    BadRequestError,
    ConflictError,
    InternalServerError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
    UnprocessableEntityError,
    status_error_class,
)
from websopy_sync.tool_errors import MaxTurnsError, ToolError

TREE: dict[type[WebsopyError], tuple[type[BaseException], ...]] = {
    WebsopyError: (Exception,),
    ConfigError: (WebsopyError, ValueError),
    FileError: (ConfigError, OSError),
    APIError: (WebsopyError,),
    APIConnectionError: (APIError,),
    APITimeoutError: (APIConnectionError, TimeoutError),
    APIStatusError: (APIError,),
    BadRequestError: (APIStatusError,),
    AuthenticationError: (APIStatusError,),
    PermissionDeniedError: (APIStatusError,),
    NotFoundError: (APIStatusError,),
    ConflictError: (APIStatusError,),
    UnprocessableEntityError: (APIStatusError,),
    RateLimitError: (APIStatusError,),
    InternalServerError: (APIStatusError,),
    StreamError: (APIError,),
    StreamInterruptedError: (StreamError,),
    StreamProtocolError: (StreamError,),
    ResponseParseError: (StreamProtocolError, ValueError),
    ToolArgumentsError: (StreamProtocolError, ValueError),
    StreamServerError: (StreamError,),
    StreamCancelledError: (StreamError,),
    ToolError: (WebsopyError,),
    MaxTurnsError: (WebsopyError,),
    PluginError: (WebsopyError,),
}

PARTIAL = Message("已经", (ToolCall("f", "{}", "t1"),), Usage(1, 2, 3))

COMMON: dict[str, Any] = {
    "request_id": "req-1",
    "partial": PARTIAL,
    "retryable": True,
    "attempts": 3,
}
OWN: dict[type[WebsopyError], dict[str, Any]] = {
    APIConnectionError: {"sent": True},
    FileError: {"errno": 28},
    APITimeoutError: {"sent": True, "phase": "idle"},
    ResponseParseError: {"text": "not JSON"},
    StreamInterruptedError: {"last_event_id": "41"},
    StreamServerError: {"code": "overloaded"},
    StreamCancelledError: {"reason": "closed"},
    ToolError: {"call": ToolCall("f", "{}")},
    MaxTurnsError: {"messages": [{"role": "user", "content": "x"}], "turns": 3},
    PluginError: {"plugin": "p", "hook": "on_chunk"},
}
STATUS: dict[str, Any] = {
    "status_code": 429,
    "body": '{"error": "slow"}',
    "headers": {"retry-after": "7"},
    "retry_after": 7.0,
}


def fields_of(kind: type[WebsopyError]) -> dict[str, Any]:
    """A value other than the default for each field of a class."""
    fields = dict(COMMON) if issubclass(kind, APIError) else {}
    if issubclass(kind, APIStatusError):
        fields |= STATUS
    if issubclass(kind, APIConnectionError | StreamInterruptedError):
        fields["retryable"] = False
    return fields | OWN.get(kind, {})


every_class = each("kind", TREE)


def test_tree_is_complete() -> None:
    """The table above names every error of the modules, and these export each."""
    modules = (errors, status_errors, tool_errors)
    public = {
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, WebsopyError)
    }
    assert public == set(TREE)
    exported = {name for module in modules for name in module.__all__}
    assert {kind.__name__ for kind in TREE} <= exported


@every_class
def test_place_in_the_tree(kind: type[WebsopyError]) -> None:
    """Who catches a class catches what is below it; nothing else."""
    assert kind.__bases__ == TREE[kind]


@every_class
@each("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickle_keeps_every_field(kind: type[WebsopyError], protocol: int) -> None:
    """An error that crosses a process arrives whole (anthropic's does not unpickle)."""
    fields = fields_of(kind)
    error = kind("what happened", **fields)
    again = pickle.loads(pickle.dumps(error, protocol))
    assert type(again) is kind
    assert str(again) == again.message == "what happened"
    assert again.args == error.args == ("what happened",)
    assert {name: getattr(again, name) for name in fields} == fields
    assert vars(again) == vars(error)
    assert again == error and hash(again) == hash(error)


@every_class
def test_copies_are_whole(kind: type[WebsopyError]) -> None:
    """copy and deepcopy go the way of pickle."""
    error = kind("m", **fields_of(kind))
    assert copy.copy(error) == copy.deepcopy(error) == error


@every_class
def test_each_field_counts_in_a_comparison(kind: type[WebsopyError]) -> None:
    """Errors are equal when class, message and all fields are."""
    fields = fields_of(kind)
    assert kind("m", **fields) == kind("m", **fields)
    assert kind("m", **fields) != kind("other", **fields)
    for name in fields:
        rest = {key: value for key, value in fields.items() if key != name}
        assert kind("m", **fields) != kind("m", **rest), name


@every_class
def test_unequal_to_its_relatives(kind: type[WebsopyError]) -> None:
    """The same fields in another class are another error."""
    assert kind("m") != Exception("m")
    others = [other("m") for other in TREE if other is not kind]
    assert all(kind("m") != other for other in others)


@every_class
def test_is_made_without_arguments(kind: type[WebsopyError]) -> None:
    """Every field has a default, so a test double is one call."""
    error = kind()
    assert (error.message, str(error)) == ("", "")


@every_class
def test_repr_shows_the_message_only(kind: type[WebsopyError]) -> None:
    """Nothing that a server or a user sent comes into a traceback's last line by a field."""
    error = kind("what happened", **fields_of(kind))
    assert repr(error) == f"{kind.__name__}('what happened')"


@every_class
def test_notes_survive(kind: type[WebsopyError]) -> None:
    """A note added on the way stays through pickle."""
    error = kind("m")
    error.add_note("while testing")
    assert pickle.loads(pickle.dumps(error)).__notes__ == ["while testing"]


def test_pickle_leaves_causes_behind() -> None:
    """A cause may hold what nobody should see, or what cannot be pickled."""
    error = APIConnectionError("m")
    error.__cause__ = OSError(lambda: None)
    again = pickle.loads(pickle.dumps(error))
    assert again.__cause__ is None and again.__context__ is None


def test_a_subclass_of_a_user_pickles() -> None:
    """An application may add its own below ours, attributes and all."""
    error = UserError("m", status_code=418)
    error.note = "tea"
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), again.status_code, again.note) == (UserError, 418, "tea")


class UserError(APIStatusError):
    note: str = ""


@each(
    ("kind", "name", "value"),
    [
        (APIError, "request_id", None),
        (APIError, "partial", None),
        (APIError, "retryable", False),
        (APIError, "attempts", 1),
        (APIConnectionError, "sent", False),
        (APIConnectionError, "retryable", True),
        (APIStatusError, "retry_after", None),
        (APIStatusError, "headers", {}),
        (StreamInterruptedError, "last_event_id", ""),
        (StreamInterruptedError, "retryable", True),
        (StreamProtocolError, "retryable", False),
        (StreamServerError, "code", None),
        (ResponseParseError, "text", ""),
        (StreamCancelledError, "reason", "cancelled"),
        (PluginError, "plugin", ""),
        (PluginError, "hook", ""),
    ],
)
def test_defaults(kind: type[WebsopyError], name: str, value: object) -> None:
    """What an error says of what nobody told it."""
    assert getattr(kind("m"), name) == value


def test_headers_are_the_errors_own() -> None:
    """Changing the dict that an error was made from does not change the error."""
    headers = {"a": "1"}
    error = APIStatusError(headers=headers)
    headers["a"] = "2"
    assert error.headers == {"a": "1"}


def test_timeout_is_a_timeout_for_everybody() -> None:
    """`except TimeoutError` and `except OSError` meet it, and it prints its message."""
    error = APITimeoutError("no chunk", phase="first_chunk")
    assert isinstance(error, OSError)
    assert (str(error), error.errno) == ("no chunk", None)


@each(
    ("status", "kind"),
    [
        (400, BadRequestError),
        (401, AuthenticationError),
        (403, PermissionDeniedError),
        (404, NotFoundError),
        (409, ConflictError),
        (422, UnprocessableEntityError),
        (429, RateLimitError),
        (500, InternalServerError),
        (503, InternalServerError),
        (529, InternalServerError),
        (599, InternalServerError),
        (999, InternalServerError),
        (301, APIStatusError),
        (402, APIStatusError),
        (408, APIStatusError),
        (418, APIStatusError),
        (499, APIStatusError),
    ],
)
def test_class_of_a_status(status: int, kind: type[APIStatusError]) -> None:
    """Each status has its class; those without one of their own are APIStatusError itself."""
    assert status_error_class(status) is kind


def test_unknown_field_is_refused() -> None:
    """A misspelt field is a mistake in our own code, and seen at once."""
    with pytest.raises(TypeError):
        APIError("m", requestid="x")  # type: ignore[call-arg]  # that is the test
