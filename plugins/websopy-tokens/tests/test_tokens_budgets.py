"""Budgets: an answer that passes one is cancelled, at the chunk that passes it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

import pytest
from websopy_tokens import (
    Budget,
    Price,
    PuretiktokenCounter,
    Report,
    RoughCounter,
    TokensPlugin,
)
from websopy_tokens.answers import Answer

from websopy_sync import (
    BackgroundPlugin,
    ConfigError,
    StreamCancelledError,
    WebsopyClient,
)
from websopy_sync.sandbox import Sandbox, done, pause, say, silence, think

Oracle = Callable[[str, str], int]

QUESTION = "Hello"
CHINESE = "人工智能正在改变世界。从搜索引擎到自动驾驶,它已经走进了我们的日常生活!" * 4
PIECES = [say(CHINESE[start : start + 2]) for start in range(0, len(CHINESE), 2)]


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox([*PIECES, silence()]) as running:
        yield running


def client_of(sandbox: Sandbox, plugin: object) -> WebsopyClient:
    return WebsopyClient(
        api_key="test", base_url=sandbox.url, plugins=[plugin], strict_plugins=True
    )


def read_until_cancelled(client: WebsopyClient, **params: object) -> str:
    """The text of an answer that somebody cancels."""
    text = ""
    with pytest.raises(StreamCancelledError) as caught:
        for chunk in client.ai.chat_stream(QUESTION, **params):  # type: ignore[arg-type]
            text += chunk.content  # type: ignore[union-attr]
    assert caught.value.reason == "cancelled"
    return text


def test_reasoning_counts_for_a_budget(sandbox: Sandbox, oracle: Oracle) -> None:
    """A model that thinks without end is stopped before it has written a word."""
    plugin = TokensPlugin(budget=Budget(answer_tokens=10))
    pieces = [CHINESE[start : start + 2] for start in range(0, len(CHINESE), 2)]
    sandbox.play([*map(think, pieces), silence()])
    with client_of(sandbox, plugin) as client, pytest.raises(StreamCancelledError) as caught:
        client.ai.chat(QUESTION)
    text = caught.value.partial.reasoning
    assert oracle("o200k_base", text) > 10 >= oracle("o200k_base", text[:-2])


@pytest.mark.parametrize("limit", [1, 10, 57])
def test_budget_of_an_answer(sandbox: Sandbox, oracle: Oracle, limit: int) -> None:
    """The chunk that passes the budget is the last one; the one before did not."""
    plugin = TokensPlugin(budget=Budget(answer_tokens=limit))
    with client_of(sandbox, plugin) as client:
        text = read_until_cancelled(client)
    assert oracle("o200k_base", text) > limit >= oracle("o200k_base", text[:-2])
    assert sandbox.wait_disconnect()


def test_budget_that_is_met_is_not_passed(sandbox: Sandbox, oracle: Oracle) -> None:
    """An answer of exactly the budget is complete."""
    sandbox.play([*PIECES, done()])
    plugin = TokensPlugin(budget=Budget(answer_tokens=oracle("o200k_base", CHINESE)))
    with client_of(sandbox, plugin) as client:
        assert client.ai.chat(QUESTION).content == CHINESE


BYTES = len((CHINESE + QUESTION).encode())


@pytest.mark.parametrize(
    "budget", [Budget(answer_tokens=BYTES), Budget(total_tokens=BYTES), Budget(total_cost=BYTES)]
)
def test_a_budget_far_away_reads_no_vocabulary(sandbox: Sandbox, budget: Budget) -> None:
    """While the bytes are fewer than the budget's tokens, there is nothing to count."""
    counter = PuretiktokenCounter()
    sandbox.play([*PIECES, done(1, 1)])
    prices = {"": Price(1_000_000, 1_000_000)}
    plugin = TokensPlugin(counter=counter, budget=budget, prices=prices)
    with client_of(sandbox, plugin) as client:
        client.ai.chat(QUESTION)
    assert not counter.loaded


def test_budget_of_all_answers(sandbox: Sandbox, oracle: Oracle) -> None:
    """What earlier answers took, prompts included, is no longer there for the next."""
    plugin = TokensPlugin(budget=Budget(total_tokens=200))
    sandbox.play([say("x"), done(100, 70)])
    with client_of(sandbox, plugin) as client:
        client.ai.chat(QUESTION)
        text = read_until_cancelled(client)
        tokens = oracle("o200k_base", QUESTION) + oracle("o200k_base", text)
        before = oracle("o200k_base", QUESTION) + oracle("o200k_base", text[:-2])
        assert before <= 30 < tokens
        assert plugin.totals.total_tokens == 170 + tokens


@pytest.mark.parametrize(
    "budget", [Budget(total_tokens=170), Budget(total_cost=1.0)], ids=["tokens", "money"]
)
def test_a_total_that_is_used_up_refuses(
    sandbox: Sandbox, budget: Budget, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is sent, so a prompt costs nothing; no report is made of it."""
    reports: list[Report] = []
    prices = {"": Price(prompt=0, completion=100_000)}
    plugin = TokensPlugin(budget=budget, prices=prices, on_report=reports.append)
    sandbox.play([done(100, 70)])
    with client_of(sandbox, plugin) as client:
        client.ai.chat(QUESTION)
        assert read_until_cancelled(client) == ""
    assert len(sandbox.requests) == len(reports) == 1
    assert warnings_in(caplog)[-1].endswith("is used up: the question is not sent")


def test_a_prompt_can_use_it_up(sandbox: Sandbox, oracle: Oracle) -> None:
    """The prompt counts before its answer's first chunk is handed over."""
    prompt = "Sum up. " * 20
    plugin = TokensPlugin(budget=Budget(total_tokens=oracle("o200k_base", prompt) - 1))
    with client_of(sandbox, plugin) as client, pytest.raises(StreamCancelledError) as caught:
        client.ai.chat(prompt)
    assert caught.value.partial is not None and caught.value.partial.content == CHINESE[:2]


def test_answers_at_once_share_the_budget() -> None:
    """Answers that stream side by side are held to one budget."""
    paced = [step for piece in PIECES for step in (piece, pause(0.01))]
    plugin = TokensPlugin(budget=Budget(total_tokens=60))
    texts: list[str] = []
    with Sandbox([*paced, silence()]) as sandbox, client_of(sandbox, plugin) as client:
        threads = [
            threading.Thread(target=lambda: texts.append(read_until_cancelled(client)))
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(texts) == 4
    # Each may be a chunk late in seeing the others': two or three tokens.
    assert 60 < plugin.totals.total_tokens <= 60 + 4 * 4


def test_budget_in_money(sandbox: Sandbox, oracle: Oracle) -> None:
    """Money is held to the model's price; a model without one costs nothing."""
    prices = {"dear": Price(prompt=0, completion=1_000_000)}
    plugin = TokensPlugin(prices=prices, budget=Budget(total_cost=12.5))
    sandbox.play([*PIECES, done()])
    with client_of(sandbox, plugin) as client:
        assert client.ai.chat(QUESTION, model="free").content == CHINESE
        text = read_until_cancelled(client, model="dear")
    assert oracle("o200k_base", text) > 12.5 >= oracle("o200k_base", text[:-2])


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [one.getMessage() for one in caplog.records if one.name == "websopy_sync.tokens"]


def test_passing_is_said_once_in_the_background(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """Chunks that were on their way when the budget was passed are not warned of again."""
    plugin = BackgroundPlugin(TokensPlugin(budget=Budget(answer_tokens=3)))
    sandbox.play([*PIECES, done()])
    with client_of(sandbox, plugin) as client, contextlib.suppress(StreamCancelledError):
        client.ai.chat(QUESTION)
    assert len(warnings_in(caplog)) == 1


def test_passing_is_said_once(sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    """A warning says which budget ended the answer."""
    plugin = TokensPlugin(budget=Budget(answer_tokens=3))
    with client_of(sandbox, plugin) as client:
        read_until_cancelled(client)
    assert warnings_in(caplog) == [
        "the budget of 3 tokens for one answer is passed: the answer is cancelled"
    ]


def test_budget_from_the_environment(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """WEBSOPY_TOKENS_BUDGET is a budget for a script that says nothing itself."""
    monkeypatch.setenv("WEBSOPY_TOKENS_BUDGET", "20")
    with client_of(sandbox, TokensPlugin()) as client:
        read_until_cancelled(client)
    sandbox.play([*PIECES, done()])
    with client_of(sandbox, TokensPlugin(budget=Budget())) as client:  # code has the last word
        assert client.ai.chat(QUESTION).content == CHINESE


def test_bad_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A budget that cannot be read is an error where the plugin is made, not silence."""
    monkeypatch.setenv("WEBSOPY_TOKENS_BUDGET", "1k")
    with pytest.raises(ConfigError, match="WEBSOPY_TOKENS_BUDGET: expected a number"):
        TokensPlugin()
    with pytest.raises(ConfigError, match="plugin tokens: WEBSOPY_TOKENS_BUDGET"):
        WebsopyClient(api_key="test", plugins=["tokens"])


@pytest.mark.parametrize("value", [-1, float("nan")])
def test_a_budget_or_price_is_not_negative(value: float) -> None:
    """What cannot be meant is refused."""
    with pytest.raises(ValueError, match="expected 0 or more"):
        Budget(total_cost=value)
    with pytest.raises(ValueError, match="expected 0 or more"):
        Price(1, value)


def test_counting_keeps_the_mark_of_a_cancelled_answer() -> None:
    """An answer that was cancelled for a budget is not checked, and not cancelled, again."""
    answer = Answer(model="", prompt=["p"], counter=RoughCounter)
    answer.over_budget = True
    answer.note()
    assert answer.over_budget
