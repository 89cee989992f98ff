"""The formatters: no secret gets out, by whatever way it came into the record."""

from __future__ import annotations

import io
import json
import logging
import time
from collections.abc import Iterator

import pytest
from websopy_logging import JsonFormatter, RedactingFormatter

SECRET = "Zm9vYmFy-0123.4567_89~x"

LINES = [
    f"Authorization: Bearer {SECRET}",
    f"authorization: basic {SECRET}",
    f"Authorization={SECRET}",
    f"{{'Authorization': 'Bearer {SECRET}'}}",
    f"sent bearer  {SECRET} to the service",
    f"x-api-key: {SECRET}",
    f"WEBSOPY_API_KEY={SECRET}",
    f'{{"api_key": "{SECRET}", "model": "m"}}',
    f"{{'apiKey': '{SECRET}'}}",
    f"GET /v1?api_key={SECRET}&q=1",
    f"access_token={SECRET}",
    f"token: {SECRET}",
    f"client_secret = '{SECRET}'",
    f"password='{SECRET} with a space'",
    f"the key is sk-{SECRET}",
    f"https://user:{SECRET}@proxy.example:8080/",
    json.dumps({"inner": json.dumps({"api_key": SECRET})}),
]


@pytest.fixture
def written() -> io.StringIO:
    return io.StringIO()


@pytest.fixture(params=["text", "json"])
def logger(request: pytest.FixtureRequest, written: io.StringIO) -> Iterator[logging.Logger]:
    """A logger whose handler redacts, in either style."""
    handler = logging.StreamHandler(written)
    handler.setFormatter(RedactingFormatter(JsonFormatter() if request.param == "json" else None))
    logger = logging.getLogger(f"{__name__}.{request.param}")
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield logger
    logger.removeHandler(handler)


@pytest.mark.parametrize("line", LINES)
def test_secrets_are_hidden(logger: logging.Logger, written: io.StringIO, line: str) -> None:
    """Every way a key is usually written is known."""
    logger.info(line)
    assert SECRET not in written.getvalue() and "foo" not in written.getvalue()
    assert "***" in written.getvalue()


@pytest.mark.parametrize("line", LINES)
def test_by_every_way_into_a_record(
    logger: logging.Logger, written: io.StringIO, line: str
) -> None:
    """As an argument, in a traceback, in a child's record, in a stack: the line has none."""
    logger.info("%s", line)
    logger.getChild("child").info("%(it)s", {"it": line})
    try:
        raise ValueError(line) from RuntimeError(line)
    except ValueError:
        logger.exception("failed")
    assert SECRET not in written.getvalue()
    assert "ValueError" in written.getvalue()


@pytest.mark.parametrize("line", LINES)
def test_json_stays_json(line: str, written: io.StringIO) -> None:
    """Hiding something never breaks the line it stands in."""
    handler = logging.StreamHandler(written)
    handler.setFormatter(RedactingFormatter(JsonFormatter()))
    for message in (line, f'"{line}"', f"{line}\\"):
        handler.emit(logging.makeLogRecord({"msg": message}))
    for row in written.getvalue().splitlines():
        assert "***" in json.loads(row)["message"]


@pytest.mark.parametrize(
    "line",
    [
        "end outcome=done prompt_tokens=20 completion_tokens=150 chunks=3",
        "the secret of a good token is in its key",
        "asking again in 0.250 s: RateLimitError",
        "GET http://127.0.0.1:8899/v1/ai/chat 200",
        "the bearing task-force asked about tokenizers: 3",
    ],
)
def test_what_is_no_secret_stays(line: str) -> None:
    """A log that hides everything tells nothing."""
    assert RedactingFormatter(logging.Formatter("%(message)s")).redact(line) == line


def test_known_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Secrets that are named, and the one in WEBSOPY_API_KEY, are hidden wherever they stand."""
    monkeypatch.setenv("WEBSOPY_API_KEY", "key+of(the)environment")
    formatter = RedactingFormatter(secrets=["hunter22", "hunter22-long"], patterns=[r"\d{16}"])
    line = "it was key+of(the)environment, hunter22-long, hunter22 or 4111111111111111"
    assert formatter.redact(line) == "it was ***, ***, *** or ***"


def test_short_secrets_are_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key such as "test" would take pieces out of every line."""
    monkeypatch.setenv("WEBSOPY_API_KEY", "test")
    assert RedactingFormatter(secrets=[""]).redact("a test line") == "a test line"


def test_inner_formatter() -> None:
    """Any formatter can be made to redact."""
    formatter = RedactingFormatter(logging.Formatter("%(levelname)s|%(message)s"))
    record = logging.makeLogRecord({"msg": "token=abc", "levelname": "INFO"})
    assert formatter.format(record) == "INFO|token=***"


@pytest.mark.timing
def test_long_lines_take_linear_time() -> None:
    """A model's whole answer in a line does not hold up the program."""
    formatter = RedactingFormatter()
    for piece in ("a", "a.", "a-", "token ", "https", "bearer ", "api_", "://", "=", '"', " "):
        started = time.perf_counter()
        formatter.redact(piece * (100_000 // len(piece)))
        assert time.perf_counter() - started < 2


def test_json_fields() -> None:
    """A record of the plugin becomes its fields; any other has a message; tracebacks are kept."""
    formatter = JsonFormatter()
    record = logging.LogRecord("websopy_sync.chat", logging.WARNING, "", 0, "end x=%s", (1,), None)
    record.created = 1763824502.25
    assert json.loads(formatter.format(record)) == {
        "time": "2025-11-22T15:15:02.250+00:00",
        "level": "warning",
        "logger": "websopy_sync.chat",
        "message": "end x=1",
    }
    record.websopy = {"event": "end", "model": "你好", "content": "half \ud83d\nline"}
    text = formatter.format(record)
    assert text.splitlines() == [text] and "你好" in text and text.encode()
    line = json.loads(text)
    assert line["event"] == "end" and "message" not in line and line["content"] == "half ?\nline"
    try:
        raise ValueError("oops")
    except ValueError as error:
        record.exc_info = (ValueError, error, error.__traceback__)
    assert "ValueError: oops" in json.loads(formatter.format(record))["traceback"]
