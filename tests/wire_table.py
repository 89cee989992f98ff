"""Writes the two tables of wires in docs/wires.md, from the wires and tests.

`python tests/wire_table.py` writes them into the page; test_wire_table.py fails when they are old.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from every_wire import NOT_SAID, SIGNED, written
from readers import datas, play

from websopy_sync import ConfigError, DoneChunk, ReasoningChunk, ToolCallChunk, WebsopyClient
from websopy_sync.sandbox import Sandbox, done, say, think, tool
from websopy_sync.sandbox.wires.registry import SERVICES
from websopy_sync.wires import ChatRequest, find_wire

TESTS = Path(__file__).parent
PAGE = TESTS.parent / "docs" / "wires.md"
WIRES = sorted(SERVICES, key=lambda name: (name != "websopy", name))
YES, NO = "✓", "–"

PARTS: dict[str, dict[str, str]] = {
    "an image": {"type": "image", "media_type": "image/png", "data": "aGk="},
    "an image by its URL": {"type": "image", "url": "https://a.example/b.png"},
    "a PDF file": {
        "type": "file",
        "name": "a.pdf",
        "media_type": "application/pdf",
        "data": "aGk=",
    },
}


def kept(name: str) -> Iterator[tuple[str, str]]:
    """What a reader keeps of what its service writes, and what a request can hold."""
    ending = done(
        *(20, 150),
        cached=5,
        reasoning=7,
        finish_reason="tool_calls",
        model="m-1",
        answer_id="a-1",
        state=SIGNED,
    )
    body = written(name, think("hm"), say("a"), tool("f", {"q": 1}, "call_1"), ending)
    wire = find_wire(name)
    chunks, _ = play(datas(wire, body, len(body)), wire.reader())
    calls = [chunk.tool for chunk in chunks if isinstance(chunk, ToolCallChunk)]
    last = chunks[-1]
    assert isinstance(last, DoneChunk) and last.usage and len(calls) == 1
    yield "`message.reasoning`", _mark(any(isinstance(chunk, ReasoningChunk) for chunk in chunks))
    yield "`message.tool_calls`", _mark(calls[0].parse_arguments() == {"q": 1})
    yield "ids of tool calls", _mark(calls[0].id == "call_1")
    yield "`message.finish_reason`", _mark(last.finish_reason == "tool_calls")
    yield "`message.model`", _mark(last.model == "m-1")
    yield "`message.id`", _mark(last.id == "a-1")
    yield "`usage.total_tokens`", _mark(last.usage.total_tokens == 170)
    yield "`usage.cached_tokens`", _mark(last.usage.cached_tokens == 5)
    yield "`usage.reasoning_tokens`", _mark(last.usage.reasoning_tokens == 7)
    yield "`message.state`, which is sent back", _mark(last.state is not None)
    for title, part in PARTS.items():
        yield title, _mark(_takes(name, part))
    yield "`response_type=`", _schema(name)
    yield "`client.models()`", _mark(_lists_models(name))


def _lists_models(name: str) -> bool:
    """Whether a client gets a list of models from the service."""
    with Sandbox(wire=name) as sandbox:
        with WebsopyClient("k", base_url=sandbox.url, wire=name, plugins=[]) as client:
            try:
                return bool(client.models())
            except ConfigError:
                return False


def _mark(is_kept: bool) -> str:
    return YES if is_kept else NO


def _takes(name: str, part: dict[str, str]) -> bool:
    """Whether a request can hold a part, with its data or its URL."""
    turns = [{"role": "user", "content": [part]}]
    try:
        body = find_wire(name).body(ChatRequest(turns, model="m"))
    except ConfigError:
        return False
    return part.get("url", part.get("data", "")) in json.dumps(body)


def _schema(name: str) -> str:
    """Where the schema of an answer stands in a request."""
    schema = {"type": "object", "properties": {"marked": {"type": "integer"}}}
    turns = [{"role": "user", "content": "x"}]
    body = find_wire(name).body(ChatRequest(turns, model="m", output_schema=schema))
    assert "marked" in json.dumps(body)
    return "in the prompt" if "marked" in json.dumps(body.get("messages", "")) else YES


def promised() -> Iterator[tuple[int, str, list[str]]]:
    """What the tests of every wire hold: the promise, the sentence, and a cell for each wire."""
    for path in sorted(TESTS.glob("test_faults_wires*.py")):
        text = path.read_text("utf-8")
        for node in ast.parse(text).body:
            if not isinstance(node, ast.FunctionDef):
                continue
            said = re.match(r"PROMISE (\d+): (.*?)\.?$", ast.get_docstring(node) or "", re.M)
            if node.name.startswith("test_") and said:
                source = ast.get_source_segment(text, node) or ""
                yield int(said[1]), said[2], [_cell(source, name) for name in WIRES]


def _cell(source: str, name: str) -> str:
    """Whether a test demands all of a wire. It asks the wire's own attribute if not."""
    asked = re.findall(r"find_wire\(wire\)\.(idempotent|resumable)\b", source)
    if not all(getattr(find_wire(name), attribute) for attribute in asked):
        return NO
    return "in part" if "NOT_SAID" in source and name in NOT_SAID else YES


def tables() -> dict[str, str]:
    """The text of each table, by its name in the page."""
    columns = {name: dict(kept(name)) for name in WIRES}
    rows = [[row, *(columns[name][row] for name in WIRES)] for row in columns[WIRES[0]]]
    held = [[str(number), text, *cells] for number, text, cells in sorted(promised())]
    names = [f"`{name}`" for name in WIRES]
    return {
        "kept": _table(["", *names], rows),
        "promised": _table(["promise", "", *names], held),
    }


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cells)} |\n".replace("|  |", "| |") for cells in lines)


def written_into(page: str) -> str:
    """The page with its tables as they must be."""
    for name, table in tables().items():
        begin, end = f"<!-- table: {name} -->\n", "<!-- end of table -->\n"
        before, found, rest = page.partition(begin)
        _, closed, after = rest.partition(end)
        assert found and closed, f"the page has no table {name}"
        page = before + begin + "\n" + table + "\n" + end + after
    return page


if __name__ == "__main__":
    PAGE.write_text(written_into(PAGE.read_text("utf-8")), "utf-8")
    print(f"wrote {PAGE}")
