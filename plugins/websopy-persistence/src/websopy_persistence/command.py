"""The command `websopy-sync history`: its flags, and its output for people and for programs.

Knows how things are shown and nothing of how they are found. Removing asks, and removes what was
named: an argument that would have no effect beside another is refused.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from websopy_sync.chunks import Usage
from websopy_sync.cli import visible
from websopy_sync.errors import ConfigError

from .errors import HistoryError
from .history import STATUSES, History, StoredStream
from .plot import draw
from .terminal import column, one_line

__all__ = ["add_parser", "run"]

_TABLE = (
    *(("id", 8), ("started", 19), ("status", 11)),
    *(("first", 7), ("took", 7), ("tokens", 7), ("chat", 8)),
)

_ROOM = 16
"""Columns that the question has at least, if the terminal has so many."""


def add_parser(subparsers: Any) -> None:
    """Add the command to argparse's subparsers."""
    parser = subparsers.add_parser(
        "history",
        help="show stored answers",
        description="Show the last stored streams, or one of them whole, or remove some.",
        allow_abbrev=False,  # a flag that removes must be written out
    )
    parser.add_argument("id", nargs="?", metavar="ID", help="first digits of a stream's id")
    parser.add_argument("--limit", type=int, metavar="N", help="how many streams (default: 20)")
    parser.add_argument("--search", metavar="TEXT", help="only with this in question or answer")
    parser.add_argument(
        "--conversation", metavar="ID", help="only of this one; its first characters are enough"
    )
    parser.add_argument("--status", choices=STATUSES, help="only those that ended so")
    parser.add_argument("--since", type=_moment, metavar="DATE", help="begun then or later")
    parser.add_argument("--until", type=_moment, metavar="DATE", help="begun before then")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument(
        "--plot",
        type=Path,
        metavar="FILE",
        help="draw seconds to first chunk and tokens a second into a .png or .svg file",
    )
    parser.add_argument(
        "--delete", nargs="+", metavar="ID", help="remove these streams, by the first digits of ids"
    )
    parser.add_argument(
        "--prune", type=_days, metavar="DAYS", help="remove streams older than so many days"
    )
    parser.add_argument("--yes", action="store_true", help="remove without asking")
    parser.add_argument("--dry-run", action="store_true", help="only show what would be removed")
    parser.add_argument("--url", help="the database, instead of WEBSOPY_PERSISTENCE_URL")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command.

    Args:
        arguments: The parsed arguments.

    Returns:
        The exit code.

    Raises:
        WebsopyError: Wrong arguments, or the history cannot be read or written.
    """
    _check(arguments)
    with History(arguments.url) as history:
        if arguments.delete is not None:
            return _delete(history, arguments)
        if arguments.prune is not None:
            return _prune(history, arguments)
        if arguments.id is not None:
            return _show_one(history, arguments)
        if arguments.plot is not None:
            return _plot(history, arguments)
        return _show_list(_found(history, arguments, 20), arguments, history)


def _check(arguments: argparse.Namespace) -> None:
    """Raise ConfigError for arguments that cannot be combined."""
    values = {name: getattr(arguments, name) for name in _GOES_WITH}
    given = [name for name, value in values.items() if value is not None and value is not False]
    for name, others in _GOES_WITH.items():
        if name in given:
            wrong = [_option(other) for other in given if other not in (name, *others)]
            if wrong:
                raise ConfigError(f"history: {_option(name)} does not go with {', '.join(wrong)}")
    if (arguments.yes or arguments.dry_run) and not {"delete", "prune"} & set(given):
        raise ConfigError("history: --yes and --dry-run go with --delete and --prune")


_FILTERS = ("limit", "search", "status", "since", "until", "conversation")

# For each argument, the others that it can be combined with. --url goes with all.
_GOES_WITH = {
    "delete": ("yes", "dry_run"),
    "prune": ("yes", "dry_run"),
    "id": ("json",),
    "plot": _FILTERS,
    "json": ("id", *_FILTERS),
    **dict.fromkeys(_FILTERS, ("json", "plot", *_FILTERS)),
    "yes": ("delete", "prune", "dry_run"),
    "dry_run": ("delete", "prune", "yes"),
}


def _option(name: str) -> str:
    return "an ID" if name == "id" else f"--{name.replace('_', '-')}"


def _found(
    history: History, arguments: argparse.Namespace, limit: int | None
) -> Sequence[StoredStream]:
    return history.list(
        limit=limit if arguments.limit is None else arguments.limit,
        status=arguments.status,
        since=arguments.since,
        until=arguments.until,
        search=arguments.search,
        conversation=arguments.conversation,
    )


def _delete(history: History, arguments: argparse.Namespace) -> int:
    # Find all first: when one id is wrong, nothing is removed.
    named = {stream.id: stream for stream in map(history.get, arguments.delete)}
    for stream in named.values():
        if stream.status == "open":
            raise HistoryError(f"stream {stream.id} is still open: nothing was removed")
    if arguments.dry_run:
        return _show_doomed(list(named.values()))
    if not arguments.yes:
        _show_table(list(named.values()))
        if not _agreed(f"Remove {_counted(len(named))}?"):
            return 1
    for id in named:
        history.delete(id)
    _say(f"removed {_counted(len(named))}")
    return 0


def _prune(history: History, arguments: argparse.Namespace) -> int:
    before = datetime.now().astimezone() - timedelta(days=arguments.prune)
    if not arguments.yes or arguments.dry_run:
        streams = history.list(limit=None, until=before)
        ended = [stream for stream in streams if stream.status != "open"]
        if arguments.dry_run:
            return _show_doomed(ended)
        if not _agreed(f"Remove {_counted(len(ended))} begun before {_local(before)}?"):
            return 1
    _say(f"removed {_counted(history.prune(before))}")
    return 0


def _show_doomed(streams: Sequence[StoredStream]) -> int:
    if streams:
        _show_table(streams)
    _say(f"would remove {_counted(len(streams))}")
    return 0


def _counted(count: int) -> str:
    return f"{count} stream" + ("" if count == 1 else "s")


def _agreed(question: str) -> bool:
    """Ask for confirmation at the terminal; the end of the input means no.

    Raises:
        ConfigError: There is no terminal.
        KeyboardInterrupt: Ctrl-C.
    """
    if not (sys.stdin and sys.stdin.isatty()):
        raise ConfigError("history: no terminal to ask at: --yes removes, --dry-run only shows")
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    try:
        answer = sys.stdin.readline()
    except UnicodeDecodeError:
        answer = ""
    if answer.strip().lower() in ("y", "yes"):
        return True
    sys.stderr.write("nothing was removed\n")
    return False


def _plot(history: History, arguments: argparse.Namespace) -> int:
    streams = _found(history, arguments, None)
    drawn = [stream for stream in streams if stream.first_chunk_seconds is not None]
    if not drawn:
        raise HistoryError("plot: no stored stream to draw")
    draw(drawn, arguments.plot, zone=_local_zone())
    _say(f"drew {len(drawn)} streams into {arguments.plot}")
    return 0


def _show_list(
    streams: Sequence[StoredStream], arguments: argparse.Namespace, history: History
) -> int:
    if arguments.json:
        for stream in streams:
            _say_json(stream.to_dict())
        return 0
    if not streams:
        _say(f"no streams found in {history.database.description}")
        return 0
    _show_table(streams)
    return 0


def _show_table(streams: Sequence[StoredStream]) -> None:
    # No column of blanks where no program names conversations.
    has_chats = any(stream.conversation for stream in streams)
    table, room = _fitting(_TABLE if has_chats else _TABLE[:-1])
    _say("  ".join([*(column(name, width) for name, width in table), "question"]))
    for stream in streams:
        cells = dict(zip(dict(_TABLE), _cells(stream), strict=True))
        text = stream.question or stream.answer or ""
        line = [*(column(cells[name], width) for name, width in table), column(text, room)]
        _say("  ".join(line).rstrip())


def _fitting(table: Sequence[tuple[str, int]]) -> tuple[Sequence[tuple[str, int]], int]:
    """The columns that the terminal has room for, and the room that they leave the question."""
    columns = shutil.get_terminal_size((0, 0)).columns
    if not columns:  # no terminal
        return table, 20
    room = columns - sum(width + 2 for _, width in table)
    for name in ("first", "took", "tokens", "started", "chat"):
        if room < _ROOM and name in dict(table):
            room += dict(table)[name] + 2
            table = [column for column in table if column[0] != name]
    return table, max(room, _ROOM)


def _cells(stream: StoredStream) -> Sequence[str]:
    return (
        stream.id[:8],
        _local(stream.started),
        f"{stream.status}, cut" if stream.truncated else stream.status,
        _seconds(stream.first_chunk_seconds),
        _seconds(stream.seconds),
        "" if stream.usage is None else str(stream.usage.total_tokens),
        (stream.conversation or "")[:8],
    )


def _show_one(history: History, arguments: argparse.Namespace) -> int:
    stream = history.get(arguments.id)
    if arguments.json:
        pieces = history.chunks(stream.id)
        chunks = [
            {"seq": piece.seq, "seconds": piece.seconds, "chunk": piece.chunk.to_dict()}
            for piece in pieces
        ]
        _say_json(stream.to_dict() | {"stored_chunks": chunks})
        return 0
    for name, value in _facts(stream):
        _say(f"{name:<9}{one_line(value)}")
    message = history.message(stream.id)
    if stream.question is not None:
        _say("")
        for line in stream.question.splitlines():
            _say(f"> {line}")
    if message.reasoning:
        _say("")
        for line in message.reasoning.splitlines():
            _say(f"| {line}")
    _say(f"\n{message.content}")
    for call in message.tool_calls:
        _say(f"\n[tool {call.name}: {call.arguments}]")
    return 0


def _facts(stream: StoredStream) -> Sequence[tuple[str, str]]:
    usage, speed, error = stream.usage, stream.tokens_per_second, stream.error
    facts = [
        ("id", stream.id),
        ("started", _local(stream.started)),
        ("status", stream.status),
        ("finish", _finish(stream)),
        ("model", _model(stream)),
        ("chat", stream.conversation or ""),
        ("error", "" if error is None else f"{error.type}: {error.message}"),
        ("request", stream.request_id or ""),
        ("first", _seconds(stream.first_chunk_seconds)),
        ("took", _seconds(stream.seconds)),
        ("answer", stream.answer_id or ""),
        ("tokens", "" if usage is None else _tokens(usage)),
        ("speed", "" if speed is None else f"{speed:.1f} tokens a second"),
        ("chunks", f"{stream.chunks} stored" + (f", {stream.lost} lost" if stream.lost else "")),
    ]
    return [(name, value) for name, value in facts if value]


def _finish(stream: StoredStream) -> str:
    return (stream.finish_reason or "") + (": the answer is cut" if stream.truncated else "")


def _model(stream: StoredStream) -> str:
    asked, answered = stream.model or "", stream.answer_model or ""
    return (
        f"{asked}, answered by {answered}"
        if asked and answered not in ("", asked)
        else (asked or answered)
    )


def _tokens(usage: Usage) -> str:
    parts = ((usage.cached_tokens, "cached"), (usage.reasoning_tokens, "of reasoning"))
    named = ", ".join(f"{count} {name}" for count, name in parts if count)
    return f"{usage.prompt_tokens} + {usage.completion_tokens}" + (f" ({named})" if named else "")


def _local(moment: datetime) -> str:
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _local_zone() -> Any:
    return datetime.now().astimezone().tzinfo


def _seconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.2f} s"


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone()


def _days(text: str) -> float:
    days = float(text)
    if not 0 <= days <= 100_000:
        raise ValueError(text)
    return days


def _say_json(value: Any) -> None:
    _say(json.dumps(value))  # ASCII: nothing a terminal obeys


def _say(text: str) -> None:
    sys.stdout.write(visible(text) + "\n")
