"""Calls: keys, retries and limits of one, and connections that many share."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from discretion import GUIDE_QUESTION
from faults import body, event, play, reset

from websopy_sync import ConfigError, InternalServerError, RateLimitError, Timeouts, WebsopyClient
from websopy_sync.sandbox import Sandbox, done, say, silence, status


def test_each_request_has_its_own_key(client: WebsopyClient, sandbox: Sandbox) -> None:
    """Two requests are never taken for one."""
    for _ in range(2):
        client.ai.chat("x")
    assert len({request.idempotency_key for request in sandbox.requests}) == 2


def test_repeats_carry_the_same_key_and_body(client: WebsopyClient, sandbox: Sandbox) -> None:
    """PROMISE 2: a server that has seen the request recognises it."""
    for _ in range(3):
        sandbox.play(status(503, retry_after=0))
    client.ai.chat("x")
    requests_ = sandbox.requests
    assert len(requests_) == 4
    assert len({request.idempotency_key for request in requests_}) == 1
    assert len({request.body for request in requests_}) == 1


def test_own_idempotency_key(client: WebsopyClient, sandbox: Sandbox) -> None:
    """Sent as given, and known to the stream."""
    stream = client.ai.chat_stream("x", idempotency_key="order-7")
    assert stream.idempotency_key == sandbox.requests[0].idempotency_key == "order-7"
    stream.close()


def test_no_header_speaks_for_the_idempotency_key(
    make: Callable[..., WebsopyClient], sandbox: Sandbox
) -> None:
    """One key for all requests would make them one; and the stream shows the key that was sent."""
    header = {"idempotency-key": "mine"}
    try:
        client = make(default_headers=header)
        client.ai.chat("x"), client.ai.chat("y")
    except ConfigError:
        pass
    else:
        assert len({request.idempotency_key for request in sandbox.requests}) == 2
    try:
        stream = make().ai.chat_stream("x", extra_headers=header)
    except ConfigError:
        return
    stream.close()
    assert sandbox.requests[-1].idempotency_key == stream.idempotency_key


@pytest.mark.parametrize(("retries", "sent"), [(0, 1), (1, 2), (3, 4)])
def test_max_retries_of_client_and_call(
    make: Callable[..., WebsopyClient], sandbox: Sandbox, retries: int, sent: int
) -> None:
    """The call's beats the client's; an error says how often the request was sent."""
    for client, options in ((make(max_retries=retries), {}), (make(), {"max_retries": retries})):
        before = len(sandbox.requests)
        for _ in range(sent):
            sandbox.play(status(500, retry_after=0))
        with pytest.raises(InternalServerError) as caught:
            client.ai.chat("x", **options)
        assert len(sandbox.requests) - before == caught.value.attempts == sent


def test_long_retry_after_is_for_the_caller(client: WebsopyClient, sandbox: Sandbox) -> None:
    """PROMISE 4: over 60 s the error comes at once, and says how long."""
    sandbox.play(status(429, retry_after=61))
    with pytest.raises(RateLimitError) as caught:
        client.ai.chat("x")
    assert caught.value.retry_after == 61 and caught.value.retryable
    assert len(sandbox.requests) == 1


def test_retry_after_beyond_the_deadline_is_not_waited_for(
    client: WebsopyClient, sandbox: Sandbox
) -> None:
    """No use in waiting for what cannot be used any more."""
    sandbox.play(status(429, retry_after=30))
    with pytest.raises(RateLimitError):
        client.ai.chat("x", timeout=10)
    assert len(sandbox.requests) == 1


def test_timeouts_of_client_and_call(make: Callable[..., WebsopyClient], sandbox: Sandbox) -> None:
    """A number is the total; the call's beats the client's whole."""
    sandbox.play([say("a"), silence()])
    stream = make(timeout=0.1).ai.chat_stream("x", timeout=Timeouts(idle=0.05))
    next(stream)
    with pytest.raises(TimeoutError, match="idle"):
        next(stream)


def test_calls_in_a_row_share_one_connection(client: WebsopyClient, sandbox: Sandbox) -> None:
    """PROMISE 28: a finished answer gives its connection back."""
    for _ in range(5):
        client.ai.chat(GUIDE_QUESTION)
    assert sandbox.connections == 1


def test_one_client_serves_many_threads(client: WebsopyClient, sandbox: Sandbox) -> None:
    """PROMISE 27: each thread gets its own answer."""
    answers: dict[int, str] = {}

    def ask(number: int) -> None:
        answers[number] = client.ai.chat(f"<{number}>").content

    threads = [threading.Thread(target=ask, args=[number]) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 12
    assert all(f"<{number}>" in answer for number, answer in answers.items())


def test_a_native_get_is_repeated_without_a_key(make: Callable[..., WebsopyClient]) -> None:
    """PROMISE 2: it changes nothing, so no service needs to know a key."""
    with play(reset, body(event("x"))) as server:
        client = make(base_url=server.url, wire="openai")
        assert [each.data for each in client.events("GET", "/events")] == ["x"]
        assert len(server.requests) == 2


def test_native_post_is_repeated_only_with_a_key(client: WebsopyClient, sandbox: Sandbox) -> None:
    """PROMISE 2 holds for the native layer: a POST that may have been seen."""
    sandbox.play(status(503, retry_after=0))
    sandbox.play([say("x"), done()])
    asked = {"messages": [{"role": "user", "content": "x"}]}
    try:
        list(client.events("POST", "/ai/chat", json=asked))
    except InternalServerError:
        pass
    keys = {request.idempotency_key for request in sandbox.requests}
    assert len(sandbox.requests) == 1 or (len(keys) == 1 and "" not in keys)
