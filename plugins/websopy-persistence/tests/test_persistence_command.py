"""`websopy-sync history`: what it shows, draws, removes, and never lets through to a terminal."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy
from websopy_persistence import History, HistoryError, UnknownStreamError
from websopy_persistence.command import add_parser
from websopy_persistence.plot import draw
from websopy_persistence.terminal import column

from websopy_sync.chunks import ToolCall, ToolCallChunk, Usage
from websopy_sync.cli import main
from websopy_sync.errors import ConfigError, StreamServerError

EVIL = "\x1b]0;owned\x07\x1b[2J\r\x9b31m\u202e\x00"

Show = Callable[..., str]


def run(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers())
    parsed = parser.parse_args(["history", *arguments])
    return int(parsed.run(parsed))


@pytest.fixture
def show(history_file: Path, capsys: pytest.CaptureFixture[str]) -> Show:
    """What the command prints."""

    def shown(*arguments: str) -> str:
        assert run("--url", f"sqlite:///{history_file}", *arguments) == 0
        return capsys.readouterr().out

    return shown


@pytest.fixture
def filled(keep, ask, history_file: Path) -> Sequence[str]:
    """The ids of three stored streams, the newest first."""
    plugin = keep(history_file)
    ask(plugin, "写一篇关于 AI 的文章").tell("改变世界").done(Usage(20, 150))
    ask(plugin, "second\nline" + EVIL).tell(EVIL + "text\n\tmore").done()
    answer = ask(plugin, "third").tell("so far")
    answer.tell(ToolCallChunk(ToolCall(EVIL, "{}")))
    answer.fail(StreamServerError(EVIL, code=EVIL))
    assert plugin.flush()
    with History(history_file) as history:
        return [stream.id for stream in history.list()]


def test_the_last_streams(show: Show, filled: Sequence[str], monkeypatch) -> None:
    """A line for each, no longer than the terminal, whatever it holds."""
    monkeypatch.setenv("COLUMNS", "100")
    header, *lines = show().splitlines()
    assert header.split()[:3] == ["id", "started", "status"]
    assert [line[:8] for line in lines] == [id[:8] for id in filled]
    assert [line.split()[3] for line in lines] == ["error", "done", "done"]
    assert "写一篇关于 AI 的文章" in lines[2]
    assert "170" in lines[2]
    assert all(len(line) <= 100 for line in lines)
    assert len(show("--limit", "1").splitlines()) == 2


def test_one_stream(show: Show, filled: Sequence[str]) -> None:
    """All that is known of it, by the first digits of its id."""
    text = show(filled[2][:8])
    assert "> 写一篇关于 AI 的文章" in text
    assert "\n改变世界\n" in text
    assert "20 + 150" in text
    failed = show(filled[0])
    assert "StreamServerError" in failed
    assert "so far" in failed


def test_no_stream_by_that_id(filled: Sequence[str], history_file: Path) -> None:
    """An error for the command line to tell."""
    with pytest.raises(UnknownStreamError):
        run("--url", f"sqlite:///{history_file}", "ffffffffff")


def test_nothing_reaches_the_terminal(show: Show, filled: Sequence[str]) -> None:
    """No control character but line feed and tab, and no mark that turns the direction."""
    for arguments in ([], ["--json"], *([id] for id in filled), *([id, "--json"] for id in filled)):
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", show(*arguments))
    assert "text\n\tmore" in show(filled[1])


def test_json(show: Show, filled: Sequence[str]) -> None:
    """One object a line; of one stream its chunks too."""
    objects = [json.loads(line) for line in show("--json").splitlines()]
    assert [each["id"] for each in objects] == list(filled)
    assert objects[2]["usage"]["completion_tokens"] == 150
    assert datetime.fromisoformat(objects[2]["started"]).tzinfo is not None
    one = json.loads(show("--json", filled[1]))
    assert one["stored_chunks"][0]["chunk"] == {"type": "content", "content": EVIL + "text\n\tmore"}


def test_finding(show: Show, filled: Sequence[str]) -> None:
    """By text, status and time."""

    def found(*arguments: str) -> list[str]:
        return [json.loads(line)["id"] for line in show("--json", *arguments).splitlines()]

    assert found("--search", "世界") == [filled[2]]
    assert found("--status", "error") == [filled[0]]
    assert found("--since", "2001-01-01") == list(filled)
    assert found("--until", "2001-01-01") == []
    assert "no streams found" in show("--search", "nowhere")


@pytest.mark.parametrize(
    "arguments",
    [["--status", "lost"], ["--since", "yesterday"], ["--prune", "-1"], ["--limit", "x"]],
)
def test_usage(arguments: list[str]) -> None:
    """What is no value is wrong usage."""
    with pytest.raises(SystemExit) as caught:
        run(*arguments)
    assert caught.value.code == 2


def test_pruning(show: Show, filled: Sequence[str]) -> None:
    """By age in days."""
    assert show("--prune", "1") == "removed 0 streams\n"
    assert show("--prune", "0") == "removed 3 streams\n"
    assert "no streams found" in show()


def fill_a_week(file: Path, keep, ask) -> None:
    """Streams of some days, with all that is drawn of them."""
    plugin = keep(file)
    for _ in range(40):
        ask(plugin).done(Usage(10, 100))
    assert plugin.flush()
    engine = sqlalchemy.create_engine(f"sqlite:///{file}", poolclass=sqlalchemy.NullPool)
    with History(file) as history, engine.begin() as connection:
        for number, stream in enumerate(history.list(limit=None)):
            started = datetime(2026, 11, 1) + timedelta(hours=number * 4)
            connection.execute(
                sqlalchemy.text(
                    "UPDATE streams SET started = :started, first_chunk_seconds = :first, "
                    "seconds = :seconds WHERE id = :id"
                ),
                {
                    "started": str(started) + ".000000",
                    "first": 0.3 + number % 7 / 10,
                    "seconds": 3.0 + number % 5,
                    "id": stream.id,
                },
            )


@pytest.mark.slow
@pytest.mark.parametrize(("name", "magic"), [("x.png", b"\x89PNG"), ("X.SVG", b"<?xml")])
def test_drawing(show: Show, history_file: Path, keep, ask, name: str, magic: bytes) -> None:
    """Both kinds of picture; by the filters, and without a limit unless there is one."""
    fill_a_week(history_file, keep, ask)
    picture = history_file.with_name(name)
    assert show("--plot", str(picture)).startswith("drew 40 streams")
    assert picture.read_bytes().startswith(magic)
    assert show("--plot", str(picture), "--limit", "5").startswith("drew 5 streams")


@pytest.mark.slow
def test_the_same_drawing_twice(history_file: Path, keep, ask, tmp_path: Path) -> None:
    """It has no date of its own, and shows each stream once."""
    fill_a_week(history_file, keep, ask)
    pictures = [tmp_path / "a.svg", tmp_path / "b.svg"]
    with History(history_file) as history:
        for picture in pictures:
            draw(history.list(limit=None), picture, zone=UTC)
    first, second = (picture.read_text() for picture in pictures)
    assert first == second
    assert "seconds to first chunk" in first
    assert "tokens a second" in first


@pytest.mark.parametrize("name", ["x.pdf", "x", "folder/x.png"])
def test_pictures_that_cannot_be(show: Show, filled: Sequence[str], name: str, tmp_path) -> None:
    """Another kind of file, or a place that is not there."""
    with pytest.raises(ConfigError, match="plot"):
        show("--plot", str(tmp_path / name))


def test_nothing_to_draw(show: Show, keep, ask, history_file: Path) -> None:
    """An empty picture would look like an answer."""
    with pytest.raises(HistoryError, match="no stored stream"):
        show("--plot", "x.png")


@pytest.mark.parametrize(
    ("text", "width", "shown"),
    [
        ("short", 8, "short   "),
        ("exactly8", 8, "exactly8"),
        ("longer than that", 8, "longer …"),
        ("中文字符很宽", 8, "中文字… "),
        ("中文字符", 8, "中文字符"),
        ("e\u0301" * 8, 8, "e\u0301" * 8),
        ("a\nb\tc", 8, "a b c   "),
        ("x" * 10**6, 3, "xx…"),
    ],
)
def test_columns(text: str, width: int, shown: str) -> None:
    """As wide as a terminal shows it, where Chinese takes two columns."""
    assert column(text, width) == shown


def test_from_the_command_line(filled: Sequence[str], history_file, monkeypatch, capsys) -> None:
    """`websopy-sync history`, found by the plugin's entry point."""
    monkeypatch.setenv("WEBSOPY_PERSISTENCE_URL", f"sqlite:///{history_file}")
    monkeypatch.setenv("WEBSOPY_PLUGINS", "persistence")
    assert main(["history", "--json"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3
    assert main(["history", "ffffffff"]) == 1
    assert "no stream" in capsys.readouterr().err
    monkeypatch.setenv("WEBSOPY_PERSISTENCE_URL", "nonsense://user:pa55@host")
    assert main(["history"]) == 2
    assert "pa55" not in "".join(capsys.readouterr())
