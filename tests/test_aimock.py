"""Five services as a mock that nobody here wrote plays them, over each wire that speaks to one.

It proves the shape, not the truth: where the mock differs from the service, the test says so.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from aimock import PROGRAM, aimock, node
from tables import each

from websopy_sync import Message, NotFoundError, RateLimitError, WebsopyClient

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not node(), reason="needs node"),
    pytest.mark.skipif(not PROGRAM.exists(), reason="needs `npm --prefix tests/node ci`"),
]

PATHS = {
    "openai": "/v1",
    "responses": "/v1",
    "anthropic": "/v1",
    "ollama": "",
    "gemini": "/v1beta",
}
"""Each wire that the mock can play, and where its API begins there."""

TEXT = "Hello from the mock, 世界 😀. It comes in pieces."
THOUGHT = "Two and two are four."
CALL = {"name": "weather", "arguments": {"city": "Zürich"}, "id": "call_mock_1"}
PROBLEM = {"message": "slow down", "type": "rate_limit_error"}
REFUSED = {"error": PROBLEM, "status": 429, "retryAfter": 7}

ANSWERS: list[dict[str, Any]] = [
    {"match": {"hasToolResult": True}, "response": {"content": "It is sunny in Zürich."}},
    {"match": {"userMessage": "hello"}, "response": {"content": TEXT}},
    {"match": {"userMessage": "2 + 2"}, "response": {"content": "4", "reasoning": THOUGHT}},
    {"match": {"userMessage": "weather"}, "response": {"toolCalls": [CALL]}},
    {"match": {"userMessage": "too much"}, "response": REFUSED},
]


@pytest.fixture(scope="module")
def mock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The mock, one for all tests."""
    with aimock(tmp_path_factory.mktemp("aimock"), ANSWERS) as url:
        yield url


@pytest.fixture(params=PATHS)
def wire(request: pytest.FixtureRequest) -> str:
    """Each wire by its name."""
    return str(request.param)


@pytest.fixture
def client(mock: str, wire: str) -> Iterator[WebsopyClient]:
    """A client of the service that the mock plays."""
    url = mock + PATHS[wire]
    with WebsopyClient(
        "k", base_url=url, wire=wire, model="m", plugins=[], max_retries=0
    ) as client:
        yield client


def test_plain(wire: str, client: WebsopyClient) -> None:
    """Text comes in pieces, and the answer is complete."""
    stream = client.ai.chat_stream("hello")
    pieces = [chunk.content for chunk in stream if chunk.type == "content"]
    assert "".join(pieces) == TEXT and len(pieces) > 1
    message = stream.current_message
    assert (message.finish_reason, message.tool_calls, stream.state) == ("stop", (), "done")
    # The mock counts tokens for Chat Completions only.
    assert message.usage is not None and bool(message.usage.total_tokens) == (wire == "openai")


def test_the_list_of_models(wire: str, client: WebsopyClient) -> None:
    """It plays the same list for all services but Gemini, where it has none."""
    if wire == "gemini":
        with pytest.raises(NotFoundError):
            client.models()
        return
    assert {"gpt-4o", "gemini-2.0-flash"} < set(client.models())


def test_reasoning(wire: str, client: WebsopyClient) -> None:
    """What the model thought stands apart from what it said."""
    message = client.ai.chat("2 + 2")
    assert message.content == "4"
    # Ollama calls this field `thinking`; the mock sends another service's `reasoning_content`.
    assert message.reasoning == ("" if wire == "ollama" else THOUGHT)


def test_tool_call(wire: str, client: WebsopyClient) -> None:
    """A tool call comes whole; its result goes back, and the answer follows."""

    def weather(city: str) -> str:
        """The weather in a city."""
        return f"sunny in {city}"

    run = client.ai.run("weather?", tools=[weather])
    chunks = list(run)
    (call,) = [chunk.tool for chunk in chunks if chunk.type == "tool_call"]
    assert (call.name, call.parse_arguments()) == ("weather", {"city": "Zürich"})
    assert "".join(c.content for c in chunks if c.type == "content") == "It is sunny in Zürich."
    _, _, result, last = run.messages
    assert (result["role"], result["content"]) == ("tool", "sunny in Zürich")
    assert last["content"] == "It is sunny in Zürich."


@each("wires", zip(PATHS, [*PATHS][1:] + [*PATHS][:1], strict=True))
def test_a_conversation_goes_on_with_another_service(mock: str, wires: tuple[str, str]) -> None:
    """The turns of one service, its reasoning and its state among them, are taken by the next."""
    turns: list[Any] = [{"role": "user", "content": "2 + 2"}]
    for wire, question in zip(wires, ("hello", "hello"), strict=True):
        url = mock + PATHS[wire]
        with WebsopyClient("k", base_url=url, wire=wire, model="m", plugins=[]) as client:
            answer = client.ai.chat(turns)
        assert isinstance(answer, Message) and answer.content
        turns += [answer, {"role": "user", "content": question}]


def test_too_many_requests(client: WebsopyClient) -> None:
    """The status, the message and the wait, whatever the shape of the body."""
    with pytest.raises(RateLimitError, match="slow down") as caught:
        client.ai.chat("too much")
    assert (caught.value.status_code, caught.value.retry_after) == (429, 7)
