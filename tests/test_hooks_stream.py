"""on_request has the stream, and a plugin's values go with it: `StreamLocal`."""

from __future__ import annotations

import copy
import gc
import json
import os
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from websopy_sync import (
    ChatStream,
    Message,
    StreamCancelledError,
    StreamError,
    StreamLocal,
    WebsopyClient,
    hookimpl,
)
from websopy_sync.request_body import copied_body
from websopy_sync.sandbox import Sandbox, done, say, silence

Make = Callable[..., WebsopyClient]


class Names:
    """Writes down each hook's name, as (plugin, hook)."""

    def __init__(self, name: str, told: list[tuple[str, str]]) -> None:
        self.name, self.told = name, told

    @hookimpl
    def on_request(self) -> None:
        self.told.append((self.name, "on_request"))

    @hookimpl
    def on_error(self) -> None:
        self.told.append((self.name, "on_error"))


# --- on_request(request, stream) -----------------------------------------------------------------


def test_on_request_is_given_the_stream(make: Make, sandbox: Sandbox) -> None:
    """The object that the user and every later hook get, with nothing in it yet."""
    seen: list[Any] = []

    class Look:
        @hookimpl
        def on_request(self, request: Any, stream: ChatStream) -> None:
            assert stream.state == "open"
            assert (stream.status_code, stream.headers, stream.request_id) == (0, {}, None)
            assert (stream.last_event_id, stream.retries_taken) == ("", 0)
            assert stream.current_message == Message("")
            assert stream.idempotency_key == request.idempotency_key
            assert repr(stream) == "<ChatStream open>"
            assert hash(stream) == hash(stream) and weakref.ref(stream)() is stream
            seen.append(stream)

        @hookimpl
        def on_done(self, stream: ChatStream) -> None:
            seen.append(stream)

    sandbox.play([say("a"), done()])
    stream = make(Look(), strict_plugins=True).ai.chat_stream("x").until_done()
    assert [one is stream for one in seen] == [True, True]


@pytest.mark.parametrize(
    "read",
    [iter, next, lambda s: next(s.text_stream), ChatStream.until_done, ChatStream.get_final_text],
    ids=["iter", "next", "text_stream", "until_done", "get_final_text"],
)
def test_a_stream_cannot_be_read_in_on_request(
    make: Make, sandbox: Sandbox, read: Callable[[ChatStream], object]
) -> None:
    """It has not been sent: StreamError, and the answer comes whole all the same."""
    problems = []

    class Reader:
        @hookimpl
        def on_request(self, stream: ChatStream) -> None:
            try:
                read(stream)
            except StreamError as problem:
                problems.append(str(problem))

    sandbox.play([say("a"), done()])
    assert make(Reader()).ai.chat("x").content == "a"
    assert problems == ["the stream cannot be read yet: its request has not been sent"]


@pytest.mark.parametrize("way", ["cancel", "close", "both", "another thread"])
def test_a_stream_left_in_on_request_is_not_sent(make: Make, sandbox: Sandbox, way: str) -> None:
    """Every plugin is told of the question first, then once of its end."""

    class Leaver:
        @hookimpl
        def on_request(self, stream: ChatStream) -> None:
            if way == "another thread":
                thread = threading.Thread(target=stream.close)
                thread.start()
                thread.join()
            else:
                for name in ("cancel", "close") if way == "both" else (way,):
                    getattr(stream, name)()

    told: list[tuple[str, str]] = []
    client = make(Names("after", told), Leaver(), Names("before", told))
    with pytest.raises(StreamCancelledError) as caught:
        client.ai.chat("x")
    assert caught.value.reason == ("cancelled" if way in ("cancel", "both") else "closed")
    assert told == [
        ("before", "on_request"),
        ("after", "on_request"),
        ("before", "on_error"),
        ("after", "on_error"),
    ]
    assert sandbox.requests == []


# --- what on_request edits -----------------------------------------------------------------------


class Edits:
    """Changes every dict and list that it can reach in a request's body, however deep."""

    @hookimpl
    def on_request(self, request: Any) -> None:
        pending = [request.body]
        while pending:
            value = pending.pop()
            pending += value.values() if isinstance(value, dict) else value
            pending = [one for one in pending if isinstance(one, dict | list)]
            if isinstance(value, dict):
                value["edited"] = True
            elif value is not request.body["messages"]:  # the sandbox wants messages in there
                value.append({"edited": True})


def test_an_edit_of_a_request_never_changes_the_callers_objects(
    make: Make, sandbox: Sandbox
) -> None:
    """Messages, parts of messages, parameters and extra_body, to any depth; the edit is sent."""
    part = {"type": "text", "text": "hi", "tags": [["deep"], ({"in": "a tuple"},)]}
    # The sandbox takes only a text as content, so the parts are beside it.
    messages = [{"role": "user", "content": "hi", "parts": [part]}]
    tools = [{"function": {"parameters": {"required": ["a"]}}}]
    extra_body = {"metadata": {"user": {"id": 1}}}
    before = copy.deepcopy((messages, tools, extra_body))
    sandbox.play([say("a"), done()])
    make(Edits()).ai.chat(messages, tools=tools, extra_body=extra_body)
    assert (messages, tools, extra_body) == before
    (request,) = sandbox.requests
    body = json.loads(request.body)
    assert body["edited"] and body["messages"][0]["parts"][0]["tags"][1][0]["edited"]
    assert body["tools"][0]["function"]["parameters"]["required"] == ["a", {"edited": True}]
    assert body["metadata"]["user"] == {"id": 1, "edited": True}


def test_an_edit_of_a_request_never_changes_a_conversation(make: Make, sandbox: Sandbox) -> None:
    """Its turns are the caller's, and go out again with the next question."""
    conversation = make(Edits()).ai.conversation(system="s")
    for _ in range(2):
        sandbox.play([say("a"), done()])
        conversation.send("hi").until_done()
    assert not [turn for turn in conversation.messages if "edited" in turn]


def test_a_body_as_deep_as_json_allows_is_copied() -> None:
    """What the encoder takes, the copy takes."""
    deepest: list[Any] = []
    for _ in range(50_000):
        deepest = [deepest]
    body = {"x": deepest}
    copied = copied_body(body)
    assert copied["x"] is not deepest
    while deepest:  # taken apart by hand: to free it at once would recurse
        (deepest,) = deepest
        (copied["x"],) = copied["x"]
    assert copied == {"x": []}


def test_a_large_text_is_not_copied(make: Make, sandbox: Sandbox) -> None:
    """The request holds the caller's own str."""
    seen = []

    class Look:
        @hookimpl
        def on_request(self, request: Any) -> None:
            seen.append(request.body["messages"][0]["parts"][0]["text"])

    text = "x" * 100_000
    sandbox.play([say("a"), done()])
    make(Look()).ai.chat([{"role": "user", "content": "hi", "parts": [{"text": text}]}])
    assert seen[0] is text


Edit = Callable[[dict[str, Any]], object]

EDITS: dict[str, Edit] = {
    "a field": lambda body: body.update(note="edited"),
    "a turn": lambda body: body["messages"].append({"role": "user", "content": "edited"}),
    "a text": lambda body: body["messages"][0].update(content="edited"),
    "a nested list": lambda body: body["tags"][0]["deep"].append("edited"),
    "a nested value": lambda body: body["tags"][0].update(number=True),
    "an order": lambda body: body.update(messages=body.pop("messages")),
}


@pytest.mark.parametrize("edit", [None, *EDITS.values()], ids=["nothing", *EDITS])
@pytest.mark.parametrize("listens", [True, False])
def test_a_body_is_encoded_once_unless_it_was_edited(
    edit: Edit | None,
    listens: bool,
    make: Make,
    sandbox: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A plugin that only looks costs no second encoding; what is changed, however deep, is sent."""
    encoded: list[Any] = []
    dumps = json.dumps

    def counting(value: Any, **options: Any) -> str:
        encoded.append(value)
        return dumps(value, **options)

    class Editor:
        @hookimpl
        def on_request(self, request: Any) -> None:
            if edit is not None:
                edit(request.body)

    sandbox.play([say("a"), done()])
    asker = make(*[Editor()] * listens)
    with monkeypatch.context() as patch:
        patch.setattr(json, "dumps", counting)
        asker.ai.chat_stream("hi", tags=[{"deep": [], "number": 1}])
        patch.undo()
    changed = listens and edit is not None
    expected = {
        "messages": [{"role": "user", "content": "hi"}],
        "tags": [{"deep": [], "number": 1}],
    }
    if changed:
        edit(expected)  # type: ignore[misc]  # it is an edit then
    assert sandbox.requests[-1].body.decode() == dumps(expected, separators=(",", ":"))
    assert encoded.count("messages") == 1 + changed


# --- StreamLocal ---------------------------------------------------------------------------------


class Count:
    """Counts the chunks of each stream, as plugins do."""

    def __init__(self) -> None:
        self.chunks: StreamLocal[int] = StreamLocal()
        self.ends: list[int] = []

    @hookimpl
    def on_request(self, stream: ChatStream) -> None:
        self.chunks[stream] = 0

    @hookimpl
    def on_chunk(self, stream: ChatStream) -> None:
        self.chunks[stream] += 1

    @hookimpl
    def on_done(self, stream: ChatStream) -> None:
        self.ends.append(self.chunks.pop(stream))

    @hookimpl
    def on_error(self, stream: ChatStream) -> None:
        self.ends.append(self.chunks.pop(stream))


def test_two_open_streams_under_one_key_have_a_value_each(make: Make, sandbox: Sandbox) -> None:
    """An idempotency key may be given twice; a stream is itself."""
    sandbox.play([say("a"), done()])
    sandbox.play([say("a"), say("b"), done()])
    count = Count()
    client = make(count, strict_plugins=True)
    first = client.ai.chat_stream("x", idempotency_key="same")
    second = client.ai.chat_stream("x", idempotency_key="same")
    assert set(count.chunks) == {first, second}
    first.until_done()
    second.until_done()
    assert count.ends == [2, 3] and count.chunks == {}


def test_a_value_is_there_when_a_stream_ends_in_the_garbage_collector(
    make: Make, sandbox: Sandbox
) -> None:
    """In a reference cycle too, whose weak references are cleared before on_error is told."""
    sandbox.play([say("a"), silence()])
    count = Count()
    stream: Any = make(count, strict_plugins=True).ai.chat_stream("x")
    next(stream)
    stream.itself = stream
    del stream
    gc.collect()
    assert count.ends == [1] and count.chunks == {}


class Held:
    """A stream by hand: what StreamLocal asks for is a plain object."""


def test_a_stream_that_never_ended_leaves_nothing() -> None:
    """Its values go with it."""
    local: StreamLocal[Held] = StreamLocal()
    stream = Held()
    value = weakref.ref(local.setdefault(stream, Held()))
    assert len(local) == 1 and value() is not None
    del stream
    assert len(local) == 0 and value() is None


def test_two_plugins_keep_their_values_apart() -> None:
    """Each StreamLocal is a dict of its own."""
    one, other = StreamLocal[int](), StreamLocal[int]()
    stream = Held()
    one[stream] = 1
    assert stream in one and stream not in other
    assert other.get(stream) is None and other.pop(stream, 2) == 2
    for take in (other.__getitem__, other.__delitem__, other.pop):
        with pytest.raises(KeyError):
            take(stream)
    assert one.items() == {(stream, 1)} and dict(one) == {stream: 1}
    one.clear()
    assert one == {}


def test_threads_may_share_one() -> None:
    """Streams come and go in many threads while one looks at all of them."""
    local: StreamLocal[int] = StreamLocal()
    over = threading.Event()

    def work() -> None:
        while not over.is_set():
            streams = [Held() for _ in range(20)]
            for number, stream in enumerate(streams):
                local[stream] = number
            for stream in streams[::2]:
                del local[stream]

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(300):
            assert all(isinstance(stream, Held) for stream in local)
            len(local)
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert len(local) == 0


def test_a_forked_child_that_is_told_of_no_end_keeps_no_value(make: Make, sandbox: Sandbox) -> None:
    """The parent's streams end in the parent; their copies take the plugin's values along."""
    sandbox.play([say("a"), silence()])
    count = Count()
    stream = make(count).ai.chat_stream("x")
    child = os.fork()
    if child == 0:
        del stream
        gc.collect()
        os._exit(0 if len(count.chunks) == 0 and count.ends == [] else 1)
    assert os.waitpid(child, 0)[1] == 0
    stream.close()
    assert count.ends == [0]
