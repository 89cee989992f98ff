"""The sandbox's own behaviour: which requests it refuses, and its script when a test gives none.

Requests in, scripts out. Knows nothing of sockets or of queued scripts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

import attrs

from ..wires.websopy import Websopy
from ..wires.websopy_writer import asks_for_tools, turns_in
from .script import Step, Steps, done, pause, problem, say, status

__all__ = ["RecordedRequest", "default_script", "refusal"]

PREFIX = "/v1"
"""What the sandbox's URL ends with, and each path begins with."""

PATH = PREFIX + Websopy.path

GUIDE_QUESTION = "写一篇关于 AI 的文章"
GUIDE_PIECES = ("AI", " 正在", "改变", "世界...")
GUIDE_USAGE = (20, 150)

CHINESE = (
    "这里是 websopy-sync 的沙盒:一个在这台机器上扮演服务的小程序,不是模型,也没有谁思考过你的问题。"
    "你问的是:「{question}」。真正的回答会像这样一段一段地到来:先是几个字,再是几个字,"
    "最后一个事件说明回答已经完整,以及用了多少 token。这里的片段按规则切开,用量也按规则计算:"
    "消息里的每个字符算一个输入 token,每个片段算一个输出 token。"
)
ENGLISH = (
    "This is the websopy-sync sandbox: a small program that plays the service on this machine. "
    "It is no model, and nobody has thought about your question. You asked: “{question}”. "
    "A real answer would come piece by piece like this one: a few words, then a few more, until "
    "a last event says that the answer is complete and how many tokens it took. Here the pieces "
    "are cut by a rule, and the tokens are counted by a rule too: one prompt token for each "
    "character of your messages, one completion token for each piece."
)

QUOTED = 200
"""Most characters of the prompt that the response repeats."""


@attrs.frozen
class RecordedRequest:
    """One request as it came.

    Attributes:
        number: From 1, in order of arrival.
        connection: The number of its connection, from 1.
        method: Its method.
        target: Path and query as sent.
        headers: Its headers, names in lower case.
        body: Its body.
    """

    number: int
    connection: int
    method: str
    target: str
    headers: Mapping[str, str] = attrs.field(hash=False)
    body: bytes = b""

    @property
    def request_id(self) -> str:
        """The `X-Request-Id` of the response."""
        return f"sandbox-{self.number}"

    @property
    def size(self) -> int:
        """Its memory in bytes, about."""
        headers = sum(len(name) + len(value) + 200 for name, value in self.headers.items())
        return 1000 + len(self.target) + headers + len(self.body)

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]

    @property
    def query(self) -> dict[str, str]:
        """The query's names, each with its last value."""
        return dict(parse_qsl(self.target.partition("?")[2], keep_blank_values=True))

    @property
    def json(self) -> Any:
        """The body as JSON.

        Raises:
            ValueError: It is no JSON.
        """
        return json.loads(self.body)

    @property
    def idempotency_key(self) -> str:
        """The `Idempotency-Key`, "" without one."""
        return self.headers.get("idempotency-key", "")

    @property
    def last_event_id(self) -> str:
        """The `Last-Event-ID`, "" without one. UTF-8 on the wire."""
        sent = self.headers.get("last-event-id", "")
        return sent.encode("latin-1", "replace").decode("utf-8", "replace")


def messages_of(request: RecordedRequest) -> list[dict[str, Any]]:
    """The messages of a GET or POST request.

    Raises:
        ValueError: It has none. The text is for the client.
    """
    if request.method == "GET":
        return [{"role": "user", "content": _given(request.query.get("message"))}]
    try:
        body = request.json
    except (ValueError, RecursionError):
        raise ValueError("the body is not JSON") from None
    messages = turns_in(body)
    if not isinstance(messages, list) or not messages:
        raise ValueError("messages: expected a list of at least one message")
    if not all(_is_message(message) for message in messages):
        raise ValueError(
            "messages: expected objects with a role and a content, strings or a list of parts"
        )
    return messages


def _given(message: str | None) -> str:
    if not message:
        raise ValueError("message: expected ?message= with the question")
    return message


def _is_message(message: object) -> bool:
    if not isinstance(message, dict) or not isinstance(message.get("role"), str):
        return False
    content = message.get("content")
    if isinstance(content, list):
        return bool(content) and all(isinstance(part, dict) for part in content)
    return isinstance(content, str) or (content is None and asks_for_tools(message))


def _text_of(message: Mapping[str, Any]) -> str:
    """The text of a message, without images and files."""
    content = message["content"] or ""
    parts = content if isinstance(content, list) else [{"text": content}]
    return " ".join(part["text"] for part in parts if isinstance(part.get("text"), str))


def refusal(request: RecordedRequest, *, api_key: str | None) -> Steps | None:
    """The script that refuses a request; None when it is accepted.

    Args:
        request: The request.
        api_key: The only valid key; None accepts any key, but not a request without one.
    """
    if request.path != PATH:
        return _refuse(404, "not_found", f"the sandbox answers at {PATH} only")
    if request.method not in ("GET", "POST"):
        return _refuse(405, "method_not_allowed", "use GET or POST", {"Allow": "GET, POST"})
    key = _key_of(request)
    if not key or api_key not in (None, key):
        return _refuse(401, "invalid_api_key", "the API key is missing or wrong")
    try:
        messages_of(request)
    except ValueError as trouble:
        return _refuse(400, "bad_request", str(trouble))
    return None


def _key_of(request: RecordedRequest) -> str:
    """The API key of a request, "" when it has none."""
    name, scheme = Websopy.key_header
    sent = request.headers.get(name.lower(), "")
    return sent[len(scheme) :].strip() if sent.lower().startswith(scheme.lower()) else ""


def _refuse(
    code: int, name: str, message: str, headers: Mapping[str, str] | None = None
) -> tuple[Step, ...]:
    return status(code, problem(message, name), headers=headers)


def default_script(request: RecordedRequest, *, seconds: float) -> list[Step]:
    """The script when a test gives none.

    The question of the service's guide gets the guide's answer. Any other gets a text, in the
    question's language, which says that this is the sandbox and how it counts tokens.

    Args:
        request: The request.
        seconds: The pause between two pieces.
    """
    messages = messages_of(request)
    question = _text_of(messages[-1])
    if question == GUIDE_QUESTION:
        return _piecewise(GUIDE_PIECES, GUIDE_USAGE, seconds)
    pieces = _pieces(question)
    tokens = sum(len(_text_of(message)) for message in messages)
    return _piecewise(pieces, (tokens, len(pieces)), seconds)


def _pieces(question: str) -> tuple[str, ...]:
    quoted = question if len(question) <= QUOTED else question[:QUOTED] + "…"
    if re.search(r"[\u3400-\u9fff]", question):
        text, piece = CHINESE, r"\s*[!-~]{1,12}|.{1,2}"
    else:
        text, piece = ENGLISH, r"\s*\S{1,12}|.+"
    return tuple(re.findall(piece, text.format(question=quoted), re.DOTALL))


def _piecewise(pieces: tuple[str, ...], usage: tuple[int, int], seconds: float) -> list[Step]:
    steps = [step for piece in pieces for step in (say(piece), pause(seconds))]
    return [*steps, done(*usage)]
