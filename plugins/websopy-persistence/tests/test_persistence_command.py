"""`websopy-sync history`: what it shows, draws, removes, and never lets through to a terminal."""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import io
import json
import os
import pty
import re
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy
from websopy_persistence import History, HistoryError, UnknownStreamError
from websopy_persistence.command import add_parser
from websopy_persistence.plot import draw
from websopy_persistence.terminal import column

from websopy_sync.chunks import ReasoningChunk, ToolCall, ToolCallChunk, Usage
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


@pytest.fixture
def chats(keep, ask, history_file: Path) -> Sequence[str]:
    """The ids of three streams, the newest first: two of a conversation, and one of none."""
    plugin = keep(history_file)
    ask(plugin, "first", conversation="3fa9c0de-1").tell("one").done(finish_reason="stop")
    answer = ask(plugin, "second", conversation="3fa9c0de-1", model="w-1")
    answer.tell(ReasoningChunk(f"think\nthen{EVIL}"), "cut o")
    usage = Usage(20, 150, cached_tokens=5, reasoning_tokens=100)
    answer.done(usage, finish_reason="length", model=f"w-2{EVIL}", id=f"a-1{EVIL}")
    ask(plugin, "third").tell("whole").done(finish_reason="content_filter")
    assert plugin.flush()
    with History(history_file) as history:
        return [stream.id for stream in history.list()]


def test_why_it_ended_is_shown(show: Show, chats: Sequence[str], monkeypatch) -> None:
    """A cut answer can be seen in the list; of one stream all is shown."""
    monkeypatch.setenv("COLUMNS", "100")
    header, *lines = show().splitlines()
    assert header.split()[-2:] == ["chat", "question"]
    assert [re.split(r"\s\s+", line)[2] for line in lines] == ["done, cut", "done, cut", "done"]
    assert ["3fa9c0de" in line for line in lines] == [False, True, True]
    assert all(len(line) <= 100 for line in lines)
    text = show(chats[1])
    for line in (
        "finish   length: the answer is cut",
        "model    w-1, answered by w-2",
        "chat     3fa9c0de-1",
        "answer   a-1",
        "tokens   20 + 150 (5 cached, 100 of reasoning)",
    ):
        assert line in text
    assert "\n| think\n| then" in text
    assert "\ncut o\n" in text
    assert "finish   stop\n" in show(chats[2])
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", text)


@pytest.mark.parametrize(
    ("columns", "names"),
    [(80, "id started status tokens chat question"), (40, "id status question")],
)
def test_narrow_terminals(
    show: Show, chats: Sequence[str], monkeypatch, columns: int, names: str
) -> None:
    """Columns are left out, so that a stream still takes one line."""
    monkeypatch.setenv("COLUMNS", str(columns))
    header, *lines = show().splitlines()
    assert header.split() == names.split()
    assert [line.split()[-1] for line in lines] == ["third", "second", "first"]
    assert all(len(line) <= columns for line in lines)


def test_one_conversation(show: Show, chats: Sequence[str]) -> None:
    """By its id or the first characters of it; the other filters go with it."""
    for id in ("3fa9c0de-1", "3fa"):
        found = [
            json.loads(line)["id"] for line in show("--conversation", id, "--json").splitlines()
        ]
        assert found == chats[1:]
    assert "no streams found" in show("--conversation", "3FA9")
    assert len(show("--conversation", "3fa", "--search", "first").splitlines()) == 2


def test_json_has_the_whole_answer(show: Show, chats: Sequence[str]) -> None:
    """Each new field, in the list and for one stream."""
    for line in (show("--json").splitlines()[1], show("--json", chats[1])):
        fields = json.loads(line)
        assert (fields["finish_reason"], fields["truncated"]) == ("length", True)
        assert fields["usage"]["cached_tokens"] == 5
        assert fields["usage"]["reasoning_tokens"] == 100
        assert (fields["conversation"], fields["model"]) == ("3fa9c0de-1", "w-1")
        assert fields["answer_model"].startswith("w-2")
        assert fields["answer_id"].startswith("a-1")
        assert fields["reasoning"].startswith("think\n")


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


def ids(history_file: Path) -> list[str]:
    with History(history_file) as history:
        return [stream.id for stream in history.list(limit=None)]


def test_pruning(show: Show, filled: Sequence[str]) -> None:
    """By age in days."""
    assert show("--prune", "1", "--yes") == "removed 0 streams\n"
    assert show("--prune", "0", "--yes") == "removed 3 streams\n"
    assert "no streams found" in show()


def test_deleting_by_id(show: Show, filled: Sequence[str], history_file: Path) -> None:
    """Those that are named, each once, and no other."""
    assert show("--delete", filled[1][:12], "--yes") == "removed 1 stream\n"
    assert ids(history_file) == [filled[0], filled[2]]
    named = [filled[0], filled[0][:20], filled[2]]
    assert show("--delete", *named, "--yes") == "removed 2 streams\n"
    assert ids(history_file) == []


@pytest.mark.parametrize("wrong", ["f" * 32, "", "%", "0x", "open"])
def test_a_wrong_id_deletes_nothing(wrong, filled, history_file, keep, ask) -> None:
    """Neither one that is nobody's, nor one of several streams, nor one that is still open."""
    plugin = keep(history_file)
    for _ in range(17):  # two of them begin with the same digit
        ask(plugin).done()
    ask(plugin, "open")
    assert plugin.flush()
    before = ids(history_file)
    if wrong == "open":
        with History(history_file) as history:
            wrong = history.list(status="open")[0].id
    digits = [id[0] for id in before]
    ambiguous = next(digit for digit in digits if digits.count(digit) > 1)
    for named in ([filled[0], wrong], [wrong, filled[0]], [filled[0], ambiguous]):
        with pytest.raises(HistoryError):
            run("--url", f"sqlite:///{history_file}", "--delete", *named, "--yes")
    assert ids(history_file) == before


REFUSED = [
    "{id} --status done --search text --prune 0",
    "{id} --prune 0",
    "{id} --delete {id}",
    "--prune 0 --delete {id}",
    *(f"--prune 0 {option}" for option in ("--limit 1", "--status done", "--search x", "--json")),
    "{id} --conversation x",
    "--prune 0 --conversation x",
    "--delete {id} --conversation x",
    *(f"--prune 0 --{name} 2001-01-01" for name in ("since", "until")),
    "--prune 0 --plot x.png",
    *(f"--delete {{id}} {option}" for option in ("--limit 1", "--status done", "--search x")),
    *(f"--delete {{id}} {option}" for option in ("--json", "--until 2001-01-01", "--plot x.png")),
    *(f"{{id}} {option}" for option in ("--limit 1", "--status done", "--search x", "--yes")),
    *(f"{{id}} {option}" for option in ("--since 2001-01-01", "--plot x.png", "--dry-run")),
    "--plot x.png --json",
    "--yes",
    "--dry-run --search x",
]


@pytest.mark.parametrize("line", REFUSED)
def test_combinations_are_refused(line: str, filled, history_file, monkeypatch, capsys) -> None:
    """An argument that would be left out of account is an error, and deletes nothing."""
    monkeypatch.setenv("WEBSOPY_PERSISTENCE_URL", f"sqlite:///{history_file}")
    monkeypatch.setenv("WEBSOPY_PLUGINS", "persistence")
    for sure in ("", " --yes"):
        assert main(["history", *(line + sure).format(id=filled[0]).split()]) == 2
        assert "error: history: " in capsys.readouterr().err
    assert ids(history_file) == list(filled)


@pytest.mark.parametrize("option", ["--pru", "--del", "--d", "--y", "--dry"])
def test_what_deletes_is_written_out(option: str, filled: Sequence[str]) -> None:
    """argparse would take the beginning of an option for the whole."""
    with pytest.raises(SystemExit) as caught:
        run(option, "0")
    assert caught.value.code == 2


@pytest.mark.parametrize("named", ["--prune 0", "--delete {id}"])
def test_without_a_terminal(named: str, filled, history_file, monkeypatch, capsys) -> None:
    """There is nobody to ask, so nothing is deleted without --yes; --dry-run only shows."""
    monkeypatch.setenv("WEBSOPY_PERSISTENCE_URL", f"sqlite:///{history_file}")
    monkeypatch.setenv("WEBSOPY_PLUGINS", "persistence")
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    arguments = named.format(id=filled[0]).split()
    assert main(["history", *arguments]) == 2
    assert "--yes" in capsys.readouterr().err
    assert main(["history", *arguments, "--dry-run", "--yes"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[-1] == "would remove " + ("1 stream" if "{id}" in named else "3 streams")
    assert filled[0][:8] in shown[1]
    assert ids(history_file) == list(filled)


def test_nothing_to_show_in_a_dry_run(show: Show, filled: Sequence[str]) -> None:
    """No empty table."""
    assert show("--prune", "1", "--dry-run") == "would remove 0 streams\n"


@contextlib.contextmanager
def at_a_terminal(*arguments: str, file: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """The command in a process that has a terminal; that terminal's other end."""
    ours, its = pty.openpty()
    known = {"WEBSOPY_PERSISTENCE_URL": f"sqlite:///{file}", "WEBSOPY_PLUGINS": "persistence"}
    process = subprocess.Popen(
        [sys.executable, "-m", "websopy_sync", "history", *arguments],
        stdin=its, stdout=its, stderr=its, env={**os.environ, **known}, start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )  # fmt: skip
    os.close(its)
    try:
        yield process, ours
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def read_until(terminal: int, end: bytes) -> str:
    said = b""
    while not said.endswith(end):
        said += os.read(terminal, 1024)
    return said.decode()


ANSWERS = {
    "y": (b"y\n", 0, 0),
    "yes": (b"  YES \n", 0, 0),
    "n": (b"n\n", 1, 3),
    "nothing": (b"\n", 1, 3),
    "something else": (b"yesterday\n", 1, 3),
    "no text": (b"\xff\xfe\n", 1, 3),
    "end of input": (b"\x04", 1, 3),
    "ctrl-c": (b"\x03", 130, 3),
}


@pytest.mark.slow
@pytest.mark.parametrize(("typed", "code", "left"), ANSWERS.values(), ids=ANSWERS)
def test_asked_at_a_terminal(typed: bytes, code: int, left: int, filled, history_file) -> None:
    """What would go is said first, and only a yes deletes."""
    with at_a_terminal("--prune", "0", file=history_file) as (process, terminal):
        asked = read_until(terminal, b"[y/N] ")
        assert "Remove 3 streams begun before 2" in asked
        os.write(terminal, typed)
        assert process.wait(20) == code
    assert len(ids(history_file)) == left


@pytest.mark.slow
def test_asked_for_the_streams_that_are_named(filled, history_file) -> None:
    """Each is shown, as few digits may be a slip."""
    with at_a_terminal("--delete", filled[2][:8], file=history_file) as (process, terminal):
        asked = read_until(terminal, b"[y/N] ")
        assert "写一篇关于" in asked
        assert "Remove 1 stream?" in asked
        os.write(terminal, b"y\n")
        assert process.wait(20) == 0
    assert ids(history_file) == list(filled[:2])


def test_an_open_stream_is_not_deleted(history_file, keep, ask) -> None:
    """From a program too; it would be written again."""
    plugin = keep(history_file)
    ask(plugin)
    assert plugin.flush()
    with History(history_file) as history:
        (stream,) = history.list()
        with pytest.raises(HistoryError, match="still open"):
            history.delete(stream.id)
        assert len(history.list()) == 1


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
