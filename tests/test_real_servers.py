"""A real model under llama.cpp, over each wire that this server speaks."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from llama import KEY, MODEL, CannotRun, LlamaServer, llama_server, model_file, server_file

from websopy_sync import (
    AuthenticationError,
    BadRequestError,
    CancelToken,
    StreamCancelledError,
    StreamInterruptedError,
    WebsopyClient,
)

pytestmark = pytest.mark.slow

WIRES = ["openai", "anthropic", "responses"]
"""The wires that llama.cpp speaks, of those that this package has."""

QUESTION = "Say hello in five words."


@pytest.fixture(scope="module")
def llama(request: pytest.FixtureRequest) -> Iterator[LlamaServer]:
    """The server, one for all tests."""
    if not (server_file() and model_file()):
        pytest.skip("needs requirements-models.txt")
    try:
        with llama_server() as server:
            yield server
    except CannotRun as error:  # the wheels are pinned; another machine may have another CPU
        pytest.xfail(str(error))


@pytest.fixture(params=WIRES)
def client(request: pytest.FixtureRequest, llama: LlamaServer) -> Iterator[WebsopyClient]:
    """A client of the server, over each wire."""
    with WebsopyClient(
        KEY, base_url=llama.url, wire=request.param, model=MODEL, plugins=[]
    ) as client:
        yield client


def test_an_answer(client: WebsopyClient) -> None:
    """Text, tokens, the model and why it stopped."""
    message = client.ai.chat(QUESTION, temperature=0, max_tokens=40)
    assert message.content and message.model == MODEL and message.id
    assert message.usage and message.usage.completion_tokens > 1
    assert (message.finish_reason, message.truncated) == ("stop", False)


def test_the_list_of_models(client: WebsopyClient) -> None:
    """The server has one, by the name that it was given."""
    assert client.models() == [MODEL]


def test_a_truncated_answer(client: WebsopyClient, request: pytest.FixtureRequest) -> None:
    """PROMISE 47: three tokens are no story, and the message says so, if the server does.

    llama.cpp says "completed" of a response that it cut, when it speaks Responses.
    """
    message = client.ai.chat("Write a long story.", temperature=0, max_tokens=3)
    told = "responses" not in request.node.name
    assert message.truncated is told and message.finish_reason == ("length" if told else "stop")
    assert message.usage and message.usage.completion_tokens == 3


def test_the_same_as_the_openai_sdk(llama: LlamaServer) -> None:
    """At temperature 0 the text and the tokens are those that the service's own SDK gets."""
    openai = pytest.importorskip("openai")
    with openai.OpenAI(api_key=KEY, base_url=llama.url) as sdk:
        theirs = sdk.chat.completions.create(
            model=MODEL,
            messages=[{"role": "user", "content": QUESTION}],
            temperature=0,
            max_tokens=40,
        )
    with WebsopyClient(KEY, base_url=llama.url, wire="openai", model=MODEL, plugins=[]) as client:
        ours = client.ai.chat(QUESTION, temperature=0, max_tokens=40)
    assert ours.content == theirs.choices[0].message.content
    assert ours.finish_reason == theirs.choices[0].finish_reason
    assert ours.usage and ours.usage.total_tokens == theirs.usage.total_tokens


def test_the_same_as_the_anthropic_sdk(llama: LlamaServer) -> None:
    """So it is with Anthropic's, also for what the server had in its cache."""
    anthropic = pytest.importorskip("anthropic")
    asked: dict[str, Any] = {"temperature": 0, "max_tokens": 40}
    url = llama.url.removesuffix("/v1")
    with WebsopyClient(
        KEY, base_url=llama.url, wire="anthropic", model=MODEL, plugins=[]
    ) as client:
        client.ai.chat(QUESTION, **asked)  # so that both find it in the cache
        ours = client.ai.chat(QUESTION, **asked)
    with anthropic.Anthropic(api_key=KEY, base_url=url) as sdk:
        messages = [{"role": "user", "content": QUESTION}]
        asked = {"max_tokens": 40, "extra_body": {"temperature": 0}}
        with sdk.messages.stream(model=MODEL, messages=messages, **asked) as stream:
            theirs = stream.get_final_message()
    assert ours.content == theirs.content[0].text
    assert (ours.finish_reason, theirs.stop_reason) == ("stop", "end_turn")
    usage = theirs.usage
    assert ours.usage and ours.usage.completion_tokens == usage.output_tokens
    assert ours.usage.cached_tokens == usage.cache_read_input_tokens
    assert ours.usage.prompt_tokens == usage.input_tokens + usage.cache_read_input_tokens


def test_a_conversation(client: WebsopyClient) -> None:
    """Each turn is sent with those before it, which the server has in its cache."""
    conversation = client.ai.conversation("You are brief.", temperature=0, max_tokens=20)
    prompts = []
    for question in ("Name a color.", "Another one?"):
        conversation.send(question).until_done()
        message = conversation.last_message
        assert message and message.content and message.usage
        prompts.append(message.usage.prompt_tokens)
    assert prompts[1] > prompts[0] and len(conversation.messages) == 5


def _leave(client: WebsopyClient) -> None:
    for chunk in client.ai.chat_stream("Write a long story.", max_tokens=1000):
        if chunk.type == "content":
            break


def _cancel(client: WebsopyClient) -> None:
    token = CancelToken()
    stream = client.ai.chat_stream("Write a long story.", max_tokens=1000, cancel_token=token)
    threading.Timer(0.1, token.cancel).start()
    with pytest.raises(StreamCancelledError):
        stream.until_done()


@pytest.mark.timing
@pytest.mark.parametrize("end", [_leave, _cancel])
def test_the_server_stops_writing(
    end: Callable[[WebsopyClient], None], client: WebsopyClient, llama: LlamaServer
) -> None:
    """PROMISE 25: leaving the loop and cancelling free the server's slot at once."""
    end(client)
    assert llama.seconds_until_idle() < 1


def test_a_server_that_is_killed(request: pytest.FixtureRequest, llama: LlamaServer) -> None:
    """PROMISE 11: what had come is there, and is not taken for the whole."""
    for wire in WIRES:
        with llama_server() as server:
            client = WebsopyClient(
                KEY, base_url=server.url, wire=wire, model=MODEL, plugins=[], max_retries=0
            )
            stream = client.ai.chat_stream("Write a long story.", max_tokens=1000)
            while len(stream.current_message.content) < 20:
                next(stream)
            started = time.monotonic()
            server.kill()
            with pytest.raises(StreamInterruptedError) as caught:
                stream.until_done()
            assert time.monotonic() - started < 5
            assert caught.value.partial and len(caught.value.partial.content) >= 20
            client.close()


def test_refusals(client: WebsopyClient, llama: LlamaServer) -> None:
    """A wrong key and a wrong question are typed errors, with the server's text."""
    with pytest.raises(BadRequestError) as caught:
        client.ai.chat(QUESTION, temperature="hot")
    assert caught.value.body
    with WebsopyClient("sk-wrong", base_url=llama.url, wire="openai", model=MODEL) as other:
        with pytest.raises(AuthenticationError, match="401"):
            other.ai.chat(QUESTION)
