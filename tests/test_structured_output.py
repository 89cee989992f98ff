"""Answers as values of a type: what is sent, what is read, and what cannot be."""

from __future__ import annotations

import dataclasses
import json
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any, Literal, TypedDict

import attrs
import msgspec
import pydantic
import pytest
from discretion import KEY, PROMPT, frames
from hypothesis import given
from hypothesis import strategies as st
from tables import each
from test_json_schema import TYPES, as_json

from websopy_sync import (
    ChatStream,
    ConfigError,
    Message,
    ParsedMessage,
    ResponseParseError,
    StreamProtocolError,
    Usage,
    WebsopyClient,
    hookimpl,
)
from websopy_sync.json_schema import schema_of
from websopy_sync.sandbox import Sandbox, done, say, status, tool
from websopy_sync.sandbox.examples import example_of
from websopy_sync.sandbox.wires.registry import SERVICES
from websopy_sync.structured_output import Output


@dataclasses.dataclass
class Weather:
    """The weather of a city.

    Attributes:
        city: The city that was asked for.
        temperature_celsius: How warm it is.
    """

    city: str
    temperature_celsius: float = 0


@attrs.frozen
class Frozen:
    city: str
    temperature_celsius: float = 0


class Typed(TypedDict, total=False):
    city: str
    temperature_celsius: float


class Model(pydantic.BaseModel):
    city: str
    temperature_celsius: float = 0


class Struct(msgspec.Struct):
    city: str
    temperature_celsius: float = 0


GOOD = '{"city": "Paris", "temperature_celsius": 21.5}'
VALUES: list[tuple[Any, str, Any]] = [
    (Weather, GOOD, Weather("Paris", 21.5)),
    (Frozen, GOOD, Frozen("Paris", 21.5)),
    (Typed, GOOD, {"city": "Paris", "temperature_celsius": 21.5}),
    (Model, GOOD, Model(city="Paris", temperature_celsius=21.5)),
    (Struct, GOOD, Struct("Paris", 21.5)),
    (list[Weather], f"[{GOOD}]", [Weather("Paris", 21.5)]),
    (list[Model], f"[{GOOD}]", [Model(city="Paris", temperature_celsius=21.5)]),
    (dict[str, int], '{"a": 1}', {"a": 1}),
    (Weather | None, "null", None),
    (str, '"text"', "text"),
    (int, "3.0", 3),
    (bool, "false", False),
    (Literal["yes", "no"], '"no"', "no"),
    (type(None), "null", None),
]


@each(("kind", "text", "value"), VALUES)
def test_parsed(
    client: WebsopyClient, sandbox: Sandbox, kind: Any, text: str, value: object
) -> None:
    """The value of each kind of type, and all else that a message has."""
    sandbox.play([say(text), done(3, 4, finish_reason="stop", model="m-1", answer_id="a-1")])
    message = client.ai.chat("Paris?", response_type=kind)
    assert message.parsed == value
    assert type(message.parsed) is type(value)
    assert message == ParsedMessage(text, (), Usage(3, 4), "stop", "m-1", "a-1", parsed=value)


def test_what_is_sent(client: WebsopyClient, sandbox: Sandbox) -> None:
    """The schema, after the system turns of the user's; nothing without a type."""
    sandbox.play([say(GOOD), done(1, 1)])
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Paris?"}]
    client.ai.chat(turns, response_type=Weather, model="m")
    body = sandbox.requests[-1].json
    added = body["messages"].pop(1)
    assert body == {"messages": turns, "model": "m"}
    assert added["role"] == "system"
    assert json.loads(added["content"].partition(": ")[2]) == schema_of(Weather)
    client.ai.chat(turns, response_type=None)
    assert sandbox.requests[-1].json == {"messages": turns}


@dataclasses.dataclass
class Report:
    """Of every kind of field."""

    weather: list[Weather]
    unit: Literal["c", "f"]
    model: Model
    struct: Struct | None
    others: dict[str, int]
    pair: tuple[float, bool]
    deeper: Report | None = None


@each("wire", SERVICES)
@each("kind", [Weather, Frozen, Typed, Model, Struct, Report, list[Report]])
def test_other_services(make: Callable[..., WebsopyClient], wire: str, kind: Any) -> None:
    """Each gets the schema in its own way, and an example of it is an answer."""
    with Sandbox(pause=0, wire=wire) as service:
        service.play([say(json.dumps(example_of(schema_of(kind)))), done(1, 1)])
        client = make(base_url=service.url, wire=wire, model="m")
        message = client.ai.chat("Report.", response_type=kind)
        sent = service.requests[-1].json
    value = message.parsed[0] if kind == list[Report] else message.parsed
    assert isinstance(value, dict if kind is Typed else Report if kind == list[Report] else kind)
    name = next(iter(schema_of(kind).get("properties", {"weather": 0})))
    assert f'\\"{name}\\"' in json.dumps(sent) or f'"{name}"' in json.dumps(sent)


@each(
    "text",
    [
        f"\n {GOOD}\t\n",
        f"```json\n{GOOD}\n```",
        f"\n```JSON\r\n{GOOD}\r\n```\n",
        f"```\n{GOOD}\n```",
        f"```{GOOD}```",
        f"```json{GOOD}```",
        f"``` {GOOD}\n\n ```",
    ],
)
def test_a_fence_around_the_json(text: str) -> None:
    """Many models put one there, whatever they are asked for."""
    assert Output.of(Weather).message(Message(text)).parsed == Weather("Paris", 21.5)


@each(
    "text",
    [
        f"Here you are: {GOOD}",
        f"{GOOD} I hope this helps.",
        f"```json\n{GOOD}",
        f"{GOOD}\n```",
        f"```python\n{GOOD}\n```",
        f"```json\n{GOOD}\n```\nDone.",
        f"````\n{GOOD}\n````",
        f"{GOOD}{GOOD}",
        "```",
        "`````",
        "``````",
        "",
        "\ufeff" + GOOD,
    ],
)
def test_nothing_else_around_the_json(text: str) -> None:
    """It is not guessed which part of a text was meant."""
    with pytest.raises(ResponseParseError, match="expected JSON for Weather, got "):
        Output.of(Weather).message(Message(text))


@each("text", ["```json\n123456", "123456\n```"])
def test_half_a_fence(text: str) -> None:
    """The answer was cut, and its number may be half of one."""
    with pytest.raises(ResponseParseError):
        Output.of(int).message(Message(text))


FAILURES: list[tuple[Any, str, str]] = [
    (Weather, "Rain.", "expected JSON for Weather, got 'Rain.': Expecting value: line 1 column 1"),
    (Weather, "[]", "expected JSON for Weather, got '[]': answer: expected Weather, got list"),
    (Weather, "{}", "expected JSON for Weather, got '{}': answer.city: expected str, got nothing"),
    (Weather, "NaN", "expected JSON for Weather, got 'NaN': NaN is not JSON"),
    (list[int], "[1, 1e999]", "expected JSON for list, got '[1, 1e999]': answer[1]: expected int"),
    (int, "1" * 5000, f"expected JSON for int, got '{'1' * 100}'…: Exceeds the limit"),
    (
        Any,
        "[" * 100_000,
        f"expected JSON for any JSON value, got '{'[' * 100}'…: nested too deeply",
    ),
    (list, "[" * 500 + "]" * 500, f"expected JSON for list, got '{'[' * 100}'…: answer[0][0]"),
    (Model, '{"city": 1}', """got '{"city": 1}': answer.city: Input should be a valid string"""),
    (Struct, "{}", "got '{}': answer: refused by Struct: ValidationError: Object missing required"),
]


@each(("kind", "text", "says"), FAILURES)
def test_failure(client: WebsopyClient, sandbox: Sandbox, kind: Any, text: str, says: str) -> None:
    """One error for all of them, with the text and the message."""
    sandbox.play([say(text), done(3, 4, finish_reason="stop")])
    with pytest.raises(ResponseParseError) as caught:
        client.ai.chat("Paris?", response_type=kind)
    error = caught.value
    assert error.request_id == sandbox.requests[-1].request_id
    assert says in str(error)
    assert len(str(error)) < 400
    assert isinstance(error, StreamProtocolError) and isinstance(error, ValueError)
    assert error.text == text
    assert error.partial == Message(text, (), Usage(3, 4), "stop")
    assert (error.attempts, error.retryable) == (1, False)
    assert error.__cause__ is error.__context__ is None
    assert pickle.loads(pickle.dumps(error)) == error


@each("reason", ["length", "content_filter"])
def test_an_answer_that_was_cut(client: WebsopyClient, sandbox: Sandbox, reason: str) -> None:
    """The usual reason for half a JSON text is said first."""
    sandbox.play([say(GOOD[:20]), done(3, 4, finish_reason=reason)])
    with pytest.raises(ResponseParseError, match=rf"^the answer was cut \({reason}\): expected"):
        client.ai.chat("Paris?", response_type=Weather)


@each(
    ("kind", "text", "parsed"),
    [(int, "12", None), (Literal[1, 12], "1", None), (int, "12\n", 12), (list[int], "[12]", [12])],
)
def test_a_number_that_was_cut(kind: Any, text: str, parsed: object) -> None:
    """It may be a part of a longer one."""
    answer = Message(text, finish_reason="length")
    if parsed is not None:
        assert Output.of(kind).message(answer).parsed == parsed
        return
    with pytest.raises(ResponseParseError, match="its last digits may be missing"):
        Output.of(kind).message(answer)


def test_an_answer_of_tool_calls(client: WebsopyClient, sandbox: Sandbox) -> None:
    """It has no JSON; the calls are in the message of the error."""
    sandbox.play([tool("f", {}), done(1, 1)])
    with pytest.raises(ResponseParseError, match="got '' and tool calls: ") as caught:
        client.ai.chat("Paris?", response_type=Weather)
    assert caught.value.partial is not None
    assert [call.name for call in caught.value.partial.tool_calls] == ["f"]


def echo(kind: Any, text: str, make: Callable[..., WebsopyClient], sandbox: Sandbox) -> str:
    """The message of the failure, in which no key and no prompt may be."""
    sandbox.play([say(text), done(1, 1)])
    with pytest.raises(ResponseParseError) as caught:
        make(api_key=KEY).ai.chat(PROMPT, response_type=kind)
    for secret in (KEY, PROMPT, KEY[:12], PROMPT[:12]):
        assert secret not in str(caught.value)
        assert not [text for text in frames(caught.value.__traceback__) if secret in text]
    return str(caught.value)


@dataclasses.dataclass
class Talkative:
    city: str

    def __post_init__(self) -> None:
        raise ValueError(f"bad city: {self.city}")


class Validated(pydantic.BaseModel):
    city: str

    @pydantic.field_validator("city")
    @classmethod
    def never(cls, city: str) -> str:
        raise ValueError(f"bad city: {city}")


@each(
    ("kind", "value"),
    [
        (Weather, f"{PROMPT} and {KEY}"),
        (Weather, {PROMPT: 1, "city": "a"}),
        (Weather, {"city": [PROMPT, KEY]}),
        (dict[str, int], {KEY: PROMPT}),
        (dict[str, int], {PROMPT: KEY}),
        (Literal["a"], f"{KEY} {PROMPT}"),
        (Literal["a"], "x" * 140 + PROMPT),
        (Literal["a"], "x" * 90 + KEY),
        (Talkative, {"city": PROMPT}),
        (Talkative, {"city": "x" * 120 + KEY}),
        (Validated, {"city": PROMPT + KEY}),
        (dict[str, Validated], {PROMPT: {"city": KEY}}),
    ],
)
def test_an_echo_is_not_quoted(
    make: Callable[..., WebsopyClient], sandbox: Sandbox, kind: Any, value: object
) -> None:
    """PROMISE 21: whatever part of the answer repeats the key or the prompt, and wherever."""
    echo(kind, json.dumps(value), make, sandbox)


def test_names_of_the_type_are_no_secrets(
    make: Callable[..., WebsopyClient], sandbox: Sandbox
) -> None:
    """The schema is a part of what was sent, but a message without the names says nothing."""
    text = '{"city": "Paris", "temperature_celsius": "warm"}'
    for kind in (Weather, Model, list[Weather], tuple[int, Weather] | list[Model]):
        shown = echo(kind, text if kind in (Weather, Model) else f"[{text}]", make, sandbox)
        assert ".temperature_celsius: " in shown


def test_attempts_are_counted(make: Callable[..., WebsopyClient], sandbox: Sandbox) -> None:
    """As in the errors of reading."""
    sandbox.play(status(503, retry_after=0))
    sandbox.play([say("Rain."), done(1, 1)])
    with pytest.raises(ResponseParseError) as caught:
        make().ai.chat("Paris?", response_type=Weather)
    assert caught.value.attempts == 2


def test_a_failure_comes_after_the_end(
    make: Callable[..., WebsopyClient], sandbox: Sandbox
) -> None:
    """The stream is done, and plugins are told so once; its connection is kept."""

    class Ends:
        def __init__(self) -> None:
            self.ends: list[object] = []

        @hookimpl
        def on_done(self, message: Message, stream: ChatStream) -> None:
            self.ends.append(stream.state)

        @hookimpl
        def on_error(self, error: Exception) -> None:
            self.ends.append(error)

    plugin = Ends()
    client = make(plugin)
    for _ in range(3):
        sandbox.play([say("Rain."), done(1, 1)])
        with pytest.raises(ResponseParseError):
            client.ai.chat("Paris?", response_type=Weather)
    assert plugin.ends == ["done"] * 3


# --- exceptions of the user's classes ------------------------------------------------------------


def refusing(error: BaseException) -> Any:
    """A dataclass and a pydantic model that raise this."""

    @dataclasses.dataclass
    class Refusing:
        city: str

        def __post_init__(self) -> None:
            raise error

    class RefusingModel(pydantic.BaseModel):
        city: str

        @pydantic.field_validator("city")
        @classmethod
        def never(cls, city: str) -> str:
            raise error

    return Refusing, RefusingModel


@each("error", [ValueError("no"), AssertionError("no"), KeyError("no"), RecursionError("no")])
def test_a_validator_that_raises(error: Exception) -> None:
    """Whatever it raises, it is one error."""
    for kind in refusing(error):
        with pytest.raises(ResponseParseError, match="no"):
            Output.of(kind).message(Message(GOOD[:16] + "}"))


@each("error", [KeyboardInterrupt(), SystemExit(3), GeneratorExit()])
def test_an_interrupt_comes_out(
    client: WebsopyClient, sandbox: Sandbox, error: BaseException
) -> None:
    """PROMISE 43: as it is."""
    for kind in refusing(error):
        sandbox.play([say('{"city": "Paris"}'), done(1, 1)])
        with pytest.raises(type(error)) as caught:
            client.ai.chat("Paris?", response_type=kind)
        assert caught.value is error


def test_a_time_limit_comes_out(client: WebsopyClient, sandbox: Sandbox) -> None:
    """A ValueError of a signal handler is no failure of the validator that it came into."""

    class Limit(ValueError):
        pass

    def handler(number: int, frame: object) -> None:
        raise Limit

    @dataclasses.dataclass
    class Slow:
        city: str

        def __post_init__(self) -> None:
            signal.raise_signal(signal.SIGUSR1)

    sandbox.play([say('{"city": "Paris"}'), done(1, 1)])
    before = signal.signal(signal.SIGUSR1, handler)
    try:
        with pytest.raises(Limit):
            client.ai.chat("Paris?", response_type=Slow)
    finally:
        signal.signal(signal.SIGUSR1, before)


# --- what is refused before anything is sent -----------------------------------------------------


@each(
    ("options", "says"),
    [
        ({"response_type": bytes}, "response_type: expected a type that JSON can hold"),
        ({"response_type": list["Weather"]}, "response_type: expected a type that JSON can hold"),
        ({"response_type": 7}, "response_type: expected a type that JSON can hold"),
        (
            {"response_type": {"type": "object"}},
            "response_type: expected a type that JSON can hold",
        ),
        ({"response_type": Weather, "keep_message": False}, "keep_message: an answer of a type"),
    ],
)
def test_refused(
    client: WebsopyClient, sandbox: Sandbox, options: dict[str, Any], says: str
) -> None:
    """A ConfigError, and no request."""
    with pytest.raises(ConfigError) as caught:
        client.ai.chat("Paris?", **options)
    assert str(caught.value).startswith(says)
    assert not sandbox.requests


def test_no_stream_takes_a_type(client: WebsopyClient, sandbox: Sandbox) -> None:
    """The text of a stream has to be whole before it can be read."""
    options: Any = {"response_type": Weather}
    for call in (
        lambda: client.ai.chat_stream("Paris?", **options),
        lambda: client.ai.conversation().send("Paris?", **options),
        lambda: client.ai.run("Paris?", tools=[], **options),
        lambda: client.ai.conversation(**options),
    ):
        with pytest.raises(ConfigError, match="response_type: only chat and map take it"):
            call()
    assert not sandbox.requests


# --- the message as a value ----------------------------------------------------------------------


def test_a_parsed_message_is_a_turn(client: WebsopyClient, sandbox: Sandbox) -> None:
    """Its text is sent back, not its value."""
    sandbox.play([say(GOOD), done(1, 1)])
    message = client.ai.chat("Paris?", response_type=Weather)
    client.ai.chat([{"role": "user", "content": "Paris?"}, message])
    assert sandbox.requests[-1].json["messages"][1] == {"role": "assistant", "content": GOOD}
    again = ParsedMessage.from_dict(message.to_dict())
    assert again == Message(GOOD)


def test_a_parsed_message_is_a_value() -> None:
    """It compares with its value, pickles, hashes, and can be evolved."""
    message = ParsedMessage("[1]", parsed=[1])
    assert message == pickle.loads(pickle.dumps(message))
    assert message != ParsedMessage("[1]", parsed=[2])
    assert message != Message("[1]")
    assert len({message, ParsedMessage("[1]", parsed=[1])}) == 1
    assert attrs.evolve(message, parsed="x").parsed == "x"
    assert isinstance(message, Message)


def test_neither_pydantic_nor_msgspec_is_loaded() -> None:
    """They are used when a program passes one of their classes, and then it has loaded them."""
    code = """
import sys
from websopy_sync import Message
from websopy_sync.sandbox.examples import example_of
from websopy_sync.sandbox.wires.registry import SERVICES
from websopy_sync.structured_output import Output
assert Output.of(list[int]).message(Message("[1]")).parsed == [1]
print({"pydantic", "msgspec"} & set(sys.modules))
"""
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30
    )
    assert answer.stdout.strip() == "set()", answer.stderr


# --- any type, any text --------------------------------------------------------------------------


@given(st.data(), st.sampled_from(["{}", "```json\n{}\n```", " \n{}"]))
def test_any_value_of_any_type(data: st.DataObject, around: str) -> None:
    """What a model writes for a value is read as this value."""
    kind, values = data.draw(TYPES)
    value = data.draw(values)
    text = around.replace("{}", json.dumps(as_json(value)))
    assert Output.of(kind).message(Message(text)).parsed == value


@given(TYPES, st.text(alphabet='{}[]",:0123 \\`naeu\ud800', max_size=40))
def test_any_text(typed: Any, text: str) -> None:
    """It is read, or it is a ResponseParseError; nothing else comes out."""
    answer = Message(text)
    try:
        answer = Output.of(typed[0]).message(answer)
    except ResponseParseError as error:
        answer = Message(error.text)
    assert answer.content == text
