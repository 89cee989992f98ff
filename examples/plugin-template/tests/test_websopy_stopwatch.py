"""The stopwatch, held against every kind of end, with the service played on this machine."""

import pytest
from websopy_stopwatch import Stopwatch

from websopy_sync import StreamServerError, WebsopyClient
from websopy_sync.sandbox import Sandbox, done, error, say, silence


def test_one_line_for_each_answer(capsys: pytest.CaptureFixture[str]) -> None:
    """Complete, failed, left, or two at once under one key: each answer is stopped once."""
    stopwatch = Stopwatch()
    with (
        Sandbox() as sandbox,
        WebsopyClient("test", base_url=sandbox.url, plugins=[stopwatch]) as client,
    ):
        sandbox.play([say("Hello"), done()])
        client.ai.chat("Hi")
        sandbox.play([say("Hel"), error("overloaded")])
        with pytest.raises(StreamServerError):
            client.ai.chat("Hi")
        sandbox.play([say("Hel"), silence()])
        for _ in client.ai.chat_stream("Hi"):
            break
        sandbox.play([say("Hello"), done()])
        sandbox.play([say("Hello"), done()])
        streams = [client.ai.chat_stream("Hi", idempotency_key="same") for _ in range(2)]
        for stream in streams:
            stream.until_done()
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(" after ")[0] for line in lines] == [
        "stopwatch: done",
        "stopwatch: error",
        "stopwatch: closed",
        "stopwatch: done",
        "stopwatch: done",
    ]
    assert stopwatch.started == {}
