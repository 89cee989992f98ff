"""What the flags of `chat` add to a request: parameters, files, stored conversations."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_line import Run
from tables import each

from websopy_sync import ConfigError, WebsopyClient, hookimpl
from websopy_sync.cli.request_flags import (
    keeps_history,
    parameters_of,
    parts_of,
    stored_conversation,
)
from websopy_sync.sandbox import Sandbox

PNG = b"\x89PNG\r\n\x1a\n, a cat"


@each(
    ("pair", "name", "value"),
    [
        ("temperature=0.2", "temperature", 0.2),
        ("stream=true", "stream", True),
        ("stop=null", "stop", None),
        ('stop=["a", "b"]', "stop", ["a", "b"]),
        ('user="7"', "user", "7"),
        ("user=me", "user", "me"),
        ("user=", "user", ""),
        ("a=b=c", "a", "b=c"),
        (" a = 1 ", "a", 1),
        ("a=NaN", "a", "NaN"),
        ("a=-Infinity", "a", "-Infinity"),
        ("a=" + "1" * 5000, "a", "1" * 5000),
        ("a={'b': 1}", "a", "{'b': 1}"),
        ("名=一", "名", "一"),
    ],
)
def test_parameters(pair: str, name: str, value: object) -> None:
    """A value is JSON, or else the text itself."""
    assert parameters_of([pair]) == {name: value}


def test_the_last_of_a_name_counts() -> None:
    """As a user expects who adds to a command."""
    assert parameters_of(["a=1", "b=2", "a=3"]) == {"a": 3, "b": 2}


@each(
    ("pair", "reason"),
    [
        ("temperature", "-o: expected NAME=VALUE, got 'temperature'"),
        ("=1", "-o: expected NAME=VALUE, got '=1'"),
        ("", "-o: expected NAME=VALUE, got ''"),
        ("messages=[]", "-o: expected the name of a parameter, got 'messages'"),
        ("a=" + "[" * 100_000, "-o 'a': expected a value, got JSON nested too deeply"),
        ("\udcff=1", "-o: expected UTF-8 text, got something else at byte 0"),
        ("x" * 1000, "-o: expected NAME=VALUE, got '" + "x" * 199),
    ],
)
def test_no_parameters(pair: str, reason: str) -> None:
    """The error says what was expected and what came, and nothing lies behind it."""
    with pytest.raises(ConfigError) as caught:
        parameters_of([pair])
    assert str(caught.value) == reason
    assert caught.value.__context__ is None


@each(
    ("data", "part"),
    [
        (PNG, {"type": "image", "media_type": "image/png"}),
        ("一, 二\n".encode(), {"type": "text", "text": "一, 二\n"}),
        ("\ufeff一".encode(), {"type": "text", "text": "一"}),
        (b"%PDF\xff", {"type": "file", "name": "notes", "media_type": "application/octet-stream"}),
        (b"a\0b", {"type": "file", "name": "notes", "media_type": "application/octet-stream"}),
    ],
)
def test_parts(tmp_path: Path, data: bytes, part: dict[str, str]) -> None:
    """An image is one by its bytes; UTF-8 is a text; the rest goes as a file, with its name."""
    path = tmp_path / "notes"
    path.write_bytes(data)
    (found,) = parts_of([str(path)])
    fields = found.to_dict()
    encoded = fields.pop("data", None)
    assert fields == part
    assert encoded in (None, base64.b64encode(data).decode())


def test_files_that_cannot_be_sent(tmp_path: Path) -> None:
    """The line names the flag."""
    (tmp_path / "empty").touch()
    for path, reason in (
        ("-", "-f: expected a file, got '-'"),
        (str(tmp_path / "none"), "-f: cannot read"),
        (str(tmp_path), "-f: "),
        (str(tmp_path / "empty"), "-f: expected a file with content, got an empty one"),
        ("/dev/zero", "-f: expected a regular file"),
    ):
        with pytest.raises(ConfigError) as caught:
            parts_of([path])
        assert str(caught.value).startswith(reason)


class History:
    """A plugin that stores one conversation."""

    @hookimpl
    def load_conversation(self, conversation_id: str | None) -> Any:
        """Return it, if it is meant."""
        turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
        known = conversation_id in (None, "monday")
        return {"id": "monday", "messages": turns} if known else None


class NoHistory:
    """A plugin that stores nothing."""

    @hookimpl
    def load_conversation(self, conversation_id: str | None) -> None:
        """Find nothing."""


def test_stored_conversation(make: Callable[..., WebsopyClient]) -> None:
    """By its id, or the latest one."""
    client = make(History())
    assert keeps_history(client)
    for wanted in (None, "monday"):
        assert stored_conversation(client, wanted)["id"] == "monday"


def test_no_stored_conversation(make: Callable[..., WebsopyClient]) -> None:
    """The line says which flag, and what to do."""
    for plugins, wanted, reason in (
        ([], None, "--continue: expected a plugin that keeps a history, got none; install "),
        ([], "x", "--conversation: expected a plugin that keeps a history, got none; install "),
        ([NoHistory()], None, "--continue: there is no conversation in the history yet"),
        ([History()], "x", "--conversation: expected the id of a conversation in the history, got"),
        ([History()], "", "--conversation: expected an id, got an empty text"),
    ):
        client = make(*plugins)
        with pytest.raises(ConfigError) as caught:
            stored_conversation(client, wanted)
        assert str(caught.value).startswith(reason)
    assert not keeps_history(make())


def test_flags_in_a_request(here: Run, tmp_path: Path) -> None:
    """Files go before the question, parameters into the body; a piped text is none here."""
    (tmp_path / "cat.png").write_bytes(PNG)
    (tmp_path / "notes.txt").write_text("four legs")
    files = ["-f", str(tmp_path / "cat.png"), "-f", str(tmp_path / "notes.txt")]
    with Sandbox(pause=0) as sandbox:
        options = ["-m", "large", "-o", "temperature=0.2", "-o", "user=me", "-s", "Be short."]
        answer = here("chat", "--base-url", sandbox.url, *options, *files, "What is it?")
    assert (answer.returncode, answer.stderr) == (0, "")
    (request,) = sandbox.requests
    system, user = request.json["messages"]
    assert system == {"role": "system", "content": "Be short."}
    assert [part["type"] for part in user["content"]] == ["image", "text", "text"]
    assert [part.get("text") for part in user["content"]] == [None, "four legs", "What is it?"]
    body = {name: value for name, value in request.json.items() if name != "messages"}
    assert body == {"model": "large", "temperature": 0.2, "user": "me"}


def test_files_alone(here: Run, tmp_path: Path) -> None:
    """They need no question."""
    (tmp_path / "question.txt").write_text("Name a river")
    with Sandbox(pause=0) as sandbox:
        flags = [
            "--base-url",
            sandbox.url,
            "-o",
            "model=small",
            "-f",
            str(tmp_path / "question.txt"),
        ]
        answer = here("chat", *flags)
    assert answer.returncode == 0
    (request,) = sandbox.requests
    assert request.json["messages"][0]["content"] == [{"type": "text", "text": "Name a river"}]
    assert request.json["model"] == "small"


@each(
    ("flags", "reason"),
    [
        (["-o", "temperature"], "-o: expected NAME=VALUE, got 'temperature'"),
        (["-m", " "], "--model: expected a name, got an empty text"),
        (["-m", "a", "-o", "model=b"], "model: expected it from --model or from -o, got both"),
        (["-f", "-"], "-f: expected a file, got '-'"),
        (["--timeout", "soon"], "--timeout: expected seconds, got 'soon'"),
        (["--continue"], "--continue: expected a plugin that keeps a history"),
        (["--conversation", "x"], "--conversation: expected a plugin that keeps a history"),
        (["--load", "/no/such"], "conversation file: cannot read"),
    ],
)
def test_wrong_values(here: Run, flags: list[str], reason: str) -> None:
    """Exit code 2, and one line."""
    answer = here("chat", "--base-url", "http://127.0.0.1:9/v1", "Hi", *flags)
    assert (answer.returncode, answer.stdout) == (2, "")
    assert answer.stderr.startswith(f"websopy-sync: error: {reason}")
    assert answer.stderr.count("\n") == 1
