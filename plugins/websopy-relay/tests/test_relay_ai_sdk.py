"""Answers for `useChat` of the AI SDK: each part once and in order, and ends that it can read."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

import pytest
from relay_browser import events_of, ids_of, until
from websopy_relay import Log, Relay, Terms, Write
from websopy_relay.identity import key_of, owner_digest
from websopy_relay.page_events import PAGES, numbered

from websopy_sync import ConfigError, WebsopyClient
from websopy_sync.sandbox import Sandbox, cut, done, pause, say, silence, status, tool, wait
from websopy_sync.sse import ServerSentEvent
from websopy_sync.web import EventStreamBody

Asking = Callable[..., Any]
Read = list[ServerSentEvent]

WORDS = [f"word {number} " for number in range(30)]
ID = "a" * 32
HEADER = "X-Vercel-AI-UI-Message-Stream"


def parts_of(events: Read) -> list[dict[str, Any]]:
    """The parts of a stream that has its end, or of one that was cut."""
    *parts, last = [event.data for event in events]
    if last != "[DONE]":
        parts.append(last)
    return [json.loads(part) for part in parts]


def text_of(events: Read) -> str:
    return "".join(part.get("delta", "") for part in parts_of(events))


def read_until(body: EventStreamBody, text: str) -> list[bytes]:
    """Read pieces until all of this text is there."""
    pieces: list[bytes] = []
    while not (events := events_of(pieces)) or text not in text_of(events):
        pieces.append(next(body))
    return pieces


def test_an_answer_from_its_first_part_to_its_end(relay: Relay, asking: Asking) -> None:
    """The message has the answer's id; every event has a number."""
    source = asking([say(word) for word in WORDS], done(3, 5, finish_reason="stop"))
    body = relay.start(source, owner="me", id=ID, format="ai-sdk")
    assert body.status == 200 and body.headers[HEADER] == "v1"
    events = events_of(body)
    assert ids_of(events) == list(range(1, len(events) + 1))
    parts = parts_of(events)
    assert [part["type"] for part in parts if part["type"] != "text-delta"] == [
        *("start", "start-step", "text-start", "text-end", "finish-step", "finish")
    ]
    assert parts[0]["messageId"] == ID and parts[-1]["finishReason"] == "stop"
    assert text_of(events) == "".join(WORDS) and events[-1].data == "[DONE]"


def test_following_elsewhere(relay: Relay, other: Relay, asking: Asking) -> None:
    """From the first part, as the AI SDK asks, or after any other; once it has ended, too."""
    gate = threading.Event()
    half, rest = [say(word) for word in WORDS[:15]], [say(word) for word in WORDS[15:]]
    source = asking(half, wait(gate), tool("now", {}), rest, done(finish_reason="stop"))
    body = relay.start(source, owner="me", id=ID, format="ai-sdk")
    read = events_of(read_until(body, WORDS[14]))
    body.close()
    again = other.follow(ID, owner="me")
    assert again.status == 200 and again.headers[HEADER] == "v1"
    gate.set()
    whole = events_of(again)
    assert whole[: len(read)] == read and whole[-1].data == "[DONE]"
    assert text_of(whole) == "".join(WORDS)
    for number in range(0, len(whole), 3):
        after = events_of(other.follow(ID, owner="me", last_event_id=number))
        assert after == whole[number:], number
    assert other.follow(ID, owner="me", last_event_id=len(whole)).status == 204
    assert other.follow(ID, owner="another").status == 404


@pytest.mark.parametrize("stopped_by", ["here", "elsewhere"])
def test_a_stop(relay: Relay, other: Relay, asking: Asking, stopped_by: str) -> None:
    """In every tab an answer that was stopped is not taken for a whole one."""
    source = asking([say("half"), silence()])
    body = relay.start(source, owner="me", id=ID, format="ai-sdk")
    pieces = read_until(body, "half")
    assert (relay if stopped_by == "here" else other).stop(ID, owner="me")
    events = events_of([*pieces, *body])
    assert [part["type"] for part in parts_of(events)][-2:] == ["text-delta", "error"]
    assert parts_of(events)[-1]["errorText"] == "The answer was stopped."
    assert events[-1].data == "[DONE]"
    assert events_of(other.follow(ID, owner="me")) == events


@pytest.mark.parametrize(
    ("script", "options", "told"),
    [
        ([status(401)], {}, "did not accept"),
        ([say("half"), cut()], {}, "broke off"),
        ([[say("long "), pause(0.002)] for _ in range(200)], {"max_events": 50}, "too long"),
    ],
    ids=["refused", "cut", "too long"],
)
def test_a_failure(
    make_relay: Callable[..., Relay],
    asking: Asking,
    script: list[Any],
    options: dict[str, Any],
    told: str,
) -> None:
    """An `error` part with a fixed text, and the end."""
    relay = make_relay(**options)
    events = events_of(relay.start(asking(*script), owner="me", id=ID, format="ai-sdk"))
    *_, last = parts_of(events)
    assert last["type"] == "error" and told in last["errorText"]
    assert events[-1].data == "[DONE]"
    assert [part["type"] for part in parts_of(events)].count("error") == 1


@pytest.mark.parametrize("is_refused", [False, True])
def test_a_run_has_the_results_of_its_tools(relay: Relay, other: Relay, is_refused: bool) -> None:
    """Also when its next answer fails: a page would wait for them for ever."""

    def look(what: str) -> str:
        """Look something up."""
        return f"{what}: 7"

    last = [status(500)] if is_refused else [say("seven"), done(finish_reason="stop")]
    with (
        Sandbox() as sandbox,
        WebsopyClient(api_key="test", base_url=sandbox.url, max_retries=0, plugins=[]) as client,
    ):
        sandbox.play([say("wait"), tool("look", {"what": "x"}), done(finish_reason="tool_calls")])
        sandbox.play(last)
        body = relay.start(
            lambda cancel: client.ai.run("Hi", tools=[look], cancel_token=cancel),
            owner="me",
            id=ID,
            format="ai-sdk",
        )
        events = events_of(body)
    kinds = [part["type"] for part in parts_of(events)]
    result = kinds.index("tool-output-available")
    assert kinds[result - 1] == "tool-input-available"
    assert kinds[result + 1] == ("error" if is_refused else "finish-step")
    assert parts_of(events)[result]["output"] == "x: 7"
    assert events_of(other.follow(ID, owner="me")) == events


def test_a_worker_that_dies(make_log: Callable[[], Log], relay: Relay, other: Relay) -> None:
    """Whoever notices ends the answer for its page, once, and all others read the same."""
    page = PAGES["ai-sdk"]
    first = numbered(page.naming(ID), 1)
    write = Write(key_of(ID), owner_digest("me"), 1, tuple(first), "")
    make_log().append([write], Terms("the dead worker", lease=0.6, keep=60.0))
    bodies = [one.follow(ID, owner="me") for one in (relay, other, relay)]
    seen = [events_of(body) for body in bodies]
    assert [part["type"] for part in parts_of(seen[0])] == ["start", "error"]
    assert ids_of(seen[0]) == [1, 2, 3] and seen[0][-1].data == "[DONE]"
    assert seen[1] == seen[2] == seen[0]
    assert bodies[0].headers[HEADER] == "v1"


def test_draining(relay: Relay, other: Relay, asking: Asking) -> None:
    """The body is cut, without a part that ends the answer; another worker has all of it."""
    gate = threading.Event()
    source = asking([say("half"), wait(gate), say(" and half"), done(finish_reason="stop")])
    body = relay.start(source, owner="me", id=ID, format="ai-sdk")
    pieces = read_until(body, "half")
    relay.drain()
    events = events_of([*pieces, *body])
    assert [part["type"] for part in parts_of(events)][-1] == "text-delta"
    again = other.follow(ID, owner="me")
    gate.set()
    assert text_of(events_of(again)) == "half and half"


def test_both_formats_beside_each_other(relay: Relay, other: Relay, asking: Asking) -> None:
    """Each answer keeps its own, however it is followed."""
    source = asking(say("a"), done())
    for number, name in enumerate(("websopy", "ai-sdk")):
        id = str(number) * 32
        body = relay.start(source, owner="me", id=id, format=name)
        events = events_of(body)
        again = other.follow(id, owner="me")
        assert events_of(again) == events
        assert (HEADER in body.headers, HEADER in again.headers) == (name == "ai-sdk",) * 2


def test_what_is_no_format(relay: Relay, asking: Asking) -> None:
    """Refused before anything is asked."""
    with pytest.raises(ConfigError, match="format: expected websopy or ai-sdk, got 'vercel'"):
        relay.start(asking(done()), owner="me", format="vercel")  # type: ignore[arg-type]
    assert until(lambda: not relay._engine.answers.all())
