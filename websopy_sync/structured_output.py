"""Answers as values of a type: what is asked of the service, and its text read.

Knows nothing of streams and requests.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Generic, NoReturn, TypeVar

import attrs

from .errors import ResponseParseError
from .interrupts import is_interrupt
from .json_schema import shape_of
from .json_shapes import Redact, Shape, read, written
from .message import Message

__all__ = ["Output", "ParsedMessage"]

Parsed = TypeVar("Parsed")

MAX_TEXT = 100
"""Characters of an answer that an error quotes."""


@attrs.frozen
class ParsedMessage(Message, Generic[Parsed]):
    """A message whose text is JSON, and the value that it stands for.

    Attributes:
        parsed: The value, of the type that was passed as `response_type`.
    """

    parsed: Parsed = attrs.field(kw_only=True, hash=False)

    @classmethod
    def from_dict(cls, turn: Mapping[str, Any]) -> Message:
        """The message of a turn that `to_dict` made. A turn holds the text, and no value.

        Args:
            turn: What `to_dict` returned.

        Raises:
            ConfigError: It is no assistant's turn.
        """
        return Message.from_dict(turn)


@attrs.frozen(repr=False, eq=False)
class Output(Generic[Parsed]):
    """What an answer has to be.

    Attributes:
        name: What an error calls the type.
        schema: Its JSON Schema.
    """

    name: str
    schema: Mapping[str, Any]
    _shape: Shape
    _names: frozenset[str]

    @classmethod
    def of(cls, response_type: Any) -> Output[Any]:
        """What a type asks for.

        Raises:
            ConfigError: JSON cannot hold a value of this type.
        """
        shape = shape_of(response_type, "response_type")
        schema = written(shape)
        return cls(shape.name, schema, shape, frozenset(_names_in(schema)))

    def message(
        self, answer: Message, redact: Redact = str, **fields: Any
    ) -> ParsedMessage[Parsed]:
        """The answer with its value.

        Args:
            answer: The whole answer.
            redact: Takes secrets out of a text.
            **fields: For the error.

        Raises:
            ResponseParseError: It has none.
        """
        try:
            if answer.truncated and answer.content[-1:].isdigit():
                raise ValueError("its last digits may be missing")
            parsed = self._value(answer.content, redact)
        except ValueError as error:
            if is_interrupt(error):
                raise
            problem = str(error)
        else:
            names = [field.alias or field.name for field in attrs.fields(Message)]
            given = {name: getattr(answer, name) for name in names}
            return ParsedMessage(**given, parsed=parsed)
        text = redact(answer.content)  # before it is cut: half of a secret would not be found
        quoted = repr(text[:MAX_TEXT]) + "…" * (len(text) > MAX_TEXT)
        calls = " and tool calls" if answer.tool_calls else ""
        cut = f"the answer was cut ({answer.finish_reason}): " if answer.truncated else ""
        raise ResponseParseError(
            f"{cut}expected JSON for {self.name:.100}, got {quoted}{calls}: {problem}",
            text=answer.content,
            partial=answer,
            **fields,
        )

    def _value(self, text: str, redact: Redact) -> Parsed:
        """The value that a text stands for. ValueError says why it stands for none."""
        try:
            value = json.loads(_without_fence(text), parse_constant=_refuse_constant)
        except RecursionError as error:
            if is_interrupt(error):
                raise
            value = None
        else:
            parsed: Parsed = read(
                self._shape,
                value,
                "answer",
                # Names of the schema are no secrets, although they were sent.
                lambda told: told if told in self._names else redact(told),
            )
            return parsed
        raise ValueError("nested too deeply")


def _names_in(schema: Any) -> Iterator[str]:
    """The names of the fields in a JSON Schema."""
    if isinstance(schema, dict):
        properties = schema.get("properties")
        yield from properties if isinstance(properties, dict) else ()
        for inner in schema.values():
            yield from _names_in(inner)
    elif isinstance(schema, list):
        for inner in schema:
            yield from _names_in(inner)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _without_fence(text: str) -> str:
    """The text without the Markdown fence that many models put around JSON, ```` ```json ````."""
    text = text.strip()
    if len(text) < 6 or not (text.startswith("```") and text.endswith("```")):
        return text
    text = text[3:-3]
    return text[4:] if text[:4].lower() == "json" else text
