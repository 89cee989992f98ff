"""Streams of a sandbox's response, and what a browser reads of their bodies."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from websopy_sync.cancel import CancelToken
from websopy_sync.chunks import StreamChunk
from websopy_sync.client import WebsopyClient
from websopy_sync.hooks import hookimpl
from websopy_sync.sandbox import Sandbox, Steps, say, silence
from websopy_sync.sse import Decoder, ServerSentEvent
from websopy_sync.stream import ChatStream
from websopy_sync.wires.websopy import parse_chunk

KEY = "sk-secret-key"


QUESTION = "the question nobody else may see"


Opens = Callable[[CancelToken], ChatStream]


class Ends:
    """A plugin that writes down how answers end."""

    def __init__(self) -> None:
        self.ends: list[str] = []
        self.happened = threading.Event()

    @hookimpl
    def on_done(self, message: object, stream: ChatStream) -> None:
        self.ends.append(f"done: {stream.current_message.content}")
        self.happened.set()

    @hookimpl
    def on_error(self, error: Exception, stream: ChatStream) -> None:
        self.ends.append(type(error).__name__)
        self.happened.set()


class Said:
    """A feed that says what it was made with."""

    def __init__(self, *said: bytes) -> None:
        self.said = list(said)
        self.left = False

    def take(self) -> bytes | None:
        return self.said.pop(0) if self.said else None

    def leave(self) -> None:
        self.left = True

    def join(self, seconds: float) -> None:
        assert self.left


@contextmanager
def asked(*script: Steps | object, plugin: object = None) -> Iterator[tuple[ChatStream, Sandbox]]:
    """A stream of the sandbox's answer by this script.

    It is not resumed: a chunk that was held back in vain must not come late all the same.
    """
    with (
        Sandbox(list(script)) as sandbox,  # type: ignore[arg-type]  # steps, nested or not
        WebsopyClient(
            api_key=KEY, base_url=sandbox.url, max_retries=0, plugins=[plugin] if plugin else []
        ) as client,
    ):
        yield client.ai.chat_stream(QUESTION, resume=False), sandbox


@contextmanager
def opener(*script: Steps | object, plugin: object = None) -> Iterator[tuple[Opens, Sandbox]]:
    """A function that opens such a stream with a cancel token."""
    with (
        Sandbox(list(script)) as sandbox,  # type: ignore[arg-type]  # steps, nested or not
        WebsopyClient(
            api_key=KEY, base_url=sandbox.url, max_retries=0, plugins=[plugin] if plugin else []
        ) as client,
    ):
        yield (
            lambda cancel: client.ai.chat_stream(QUESTION, resume=False, cancel_token=cancel),
            sandbox,
        )


def events_of(pieces: Iterable[bytes]) -> list[ServerSentEvent]:
    """What a strict parser makes of the body."""
    decoder = Decoder()
    return [event for piece in pieces for event in decoder.feed(piece)]


def chunks_of(pieces: Iterable[bytes]) -> list[StreamChunk]:
    return [parse_chunk(event.data) for event in events_of(pieces)]


def until(condition: Callable[[], object], *, seconds: float = 5.0) -> bool:
    """Whether it came true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def can_import(name: str) -> bool:
    try:
        __import__(name)
    except ImportError:
        return False
    return True


def ends_when_dropped(respond: Callable[..., object]) -> bool:
    """Whether an answer ends with its response, which nobody holds, and without the collector.

    Args:
        respond: Makes a framework's response.
    """
    with opener(say("AI"), silence()) as (source, sandbox):
        gc.disable()
        try:
            respond(source, wait_for_status=2.0)
            return sandbox.wait_disconnect(timeout=1.0)
        finally:
            gc.enable()
