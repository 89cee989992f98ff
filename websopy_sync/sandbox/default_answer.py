"""The sandbox's own answers, for requests that no test gives a script for.

Requests in, steps out. No model is behind them: texts, pieces and counts are made by rules.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from .examples import example_of
from .recorded_request import RecordedRequest
from .script import done, pause, say, tool
from .service import body_of, turns_of
from .steps import Step
from .turn_check import Turn, calls_of, results_in, text_of
from .wires import Service

__all__ = ["default_script"]

GUIDE_QUESTION = "写一篇关于 AI 的文章"
GUIDE_PIECES = ("AI", " 正在", "改变", "世界...")
GUIDE_USAGE = (20, 150)

QUOTED = 200
"""Most characters of the prompt, of a tool's result and of a file's name that are repeated."""

LISTED = 10
"""Most images, files, tool results and tool calls in one answer."""

FILE_TOKENS = 100
"""What an image or a file counts for."""


@attrs.frozen
class Words:
    """The texts of one language. `pieces` is the pattern that cuts an answer."""

    answer: str
    asked: str
    sent: str
    result: str
    pieces: str


CHINESE = Words(
    answer="""\
## 这里是 websopy-sync 的沙盒

它是一个在这台机器上扮演服务的小程序,**不是模型**,也没有谁思考过你的问题。

- 真正的回答也会这样一段一段地到来。
- 最后一个事件说明回答已经完整,以及用了多少 token。

这里的 token 按规则计算:

| 什么 | 一个 token |
|---|---|
| 提问 | 消息里的每个字符 |
| 回答 | 每个片段 |

```python
for chunk in client.ai.chat_stream("你好"):
    if chunk.type == "content":
        print(chunk.content, end="", flush=True)
```

""",
    asked="你问的是:「{}」。",
    sent="同时收到:{}。",
    result="工具 {} 的结果是:{}。",
    pieces=r"\s*[!-~]{1,12}|.{1,2}",
)
ENGLISH = Words(
    answer="""\
## This is the websopy-sync sandbox

It is a small program that plays the service on this machine. It is **no model**, and nobody has \
thought about your question.

- A real answer comes piece by piece, too.
- The last event says that the answer is complete, and how many tokens it took.

Here a rule counts the tokens:

| what | one token |
|---|---|
| prompt | each character of your messages |
| completion | each piece |

```python
for chunk in client.ai.chat_stream("Hello"):
    if chunk.type == "content":
        print(chunk.content, end="", flush=True)
```

""",
    asked="You asked: “{}”",
    sent="It came with {}.",
    result="The tool {} gave: {}",
    pieces=r"\s*\S{1,12}|.+",
)


def default_script(request: RecordedRequest, service: Service, *, seconds: float) -> list[Step]:
    """The script when a test gives none.

    The question of the service's guide gets the guide's answer. Any other gets a text, in the
    question's language, which says that this is the sandbox and how it counts tokens. A question
    that has the name of a tool gets a call of it, and tool results are repeated. A request for JSON
    of a schema gets an example. A limit for the length of the answer counts pieces.

    Args:
        request: The request.
        service: The service that is played.
        seconds: The pause between two pieces.
    """
    body, turns = body_of(request), turns_of(request, service)
    model, question = body.get("model"), _question(turns)
    calls = _calls(service.tools_in(body), turns, question)
    if calls:
        usage = _tokens(turns), len(calls)
        return [*calls, done(*usage, finish_reason="tool_calls", model=model)]
    schema = service.output_schema_in(body)
    guide = question == GUIDE_QUESTION and turns[-1]["role"] == "user" and schema is None
    whole = GUIDE_PIECES if guide else _pieces(turns, question, schema)
    pieces = whole[: service.max_tokens_in(body)]
    cut = len(pieces) < len(whole)
    usage = GUIDE_USAGE if guide and not cut else (_tokens(turns), len(pieces))
    reason = "length" if cut else None if guide else "stop"
    steps = [step for piece in pieces for step in (say(piece), pause(seconds))]
    return [*steps, done(*usage, finish_reason=reason, model=model)]


def _question(turns: Sequence[Turn]) -> str:
    """The text of the user's latest turn."""
    return text_of(next((turn for turn in reversed(turns) if turn["role"] == "user"), turns[-1]))


def _pieces(turns: Sequence[Turn], question: str, schema: object) -> tuple[str, ...]:
    words = CHINESE if re.search(r"[\u3400-\u9fff]", question) else ENGLISH
    if schema is not None:
        return _in_pieces(json.dumps(example_of(schema), ensure_ascii=False), words)
    # The texts of others come last: they may begin a block of code and never end it.
    said = [
        words.result.format(_shortened(name), _shortened(text))
        for name, text in results_in(turns)[-LISTED:]
    ]
    if not said:
        sent = ", ".join(_things_in(turns[-1])[:LISTED])
        said = [
            words.asked.format(_shortened(question)),
            *([words.sent.format(sent)] if sent else ()),
        ]
    return _in_pieces(words.answer + "\n\n".join(said), words)


def _in_pieces(text: str, words: Words) -> tuple[str, ...]:
    return tuple(re.findall(words.pieces, text, re.DOTALL))


def _shortened(text: str) -> str:
    return text if len(text) <= QUOTED else text[:QUOTED] + "…"


def _parts_in(turn: Turn) -> list[Mapping[str, Any]]:
    content = turn.get("content")
    return content if isinstance(content, list) else []


def _things_in(turn: Turn) -> list[str]:
    """The images and files of a turn, in words."""
    things = [part for part in _parts_in(turn) if part["type"] != "text"]
    shown = (part.get("name") or part.get("media_type") or part["type"] for part in things)
    return [_shortened(str(thing)) for thing in shown]


def _tokens(turns: Sequence[Turn]) -> int:
    """The prompt tokens: one for each character, also of tool calls; images and files count 100."""
    texts = sum(len(text_of(turn)) for turn in turns)
    calls = [call for turn in turns for call in calls_of(turn)]
    asked = sum(len(call["name"]) + len(str(call.get("arguments", ""))) for call in calls)
    return texts + asked + FILE_TOKENS * sum(len(_things_in(turn)) for turn in turns)


def _names(question: str, each: object) -> bool:
    """Whether a question has the name of a tool in it."""
    name = each.get("name") if isinstance(each, dict) else None
    return isinstance(name, str) and name != "" and name in question


def _calls(tools: Any, turns: Sequence[Turn], question: str) -> list[Step]:
    """A call of each tool that the question names, unless tools have answered it already."""
    if turns[-1]["role"] == "tool":
        return []
    named = [each for each in tools or () if _names(question, each)][:LISTED]
    first = 1 + sum(len(calls_of(turn)) for turn in turns)
    examples = [example_of(each.get("parameters") or {"type": "object"}) for each in named]
    return [
        tool(each["name"], json.dumps(example, ensure_ascii=False), f"call-{number}")
        for number, (each, example) in enumerate(zip(named, examples, strict=True), first)
    ]
