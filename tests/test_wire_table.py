"""The tables of wires in docs/wires.md are what wires and tests say."""

from __future__ import annotations

from every_wire import NOT_SAID
from wire_table import NO, PAGE, WIRES, kept, promised, written_into


def test_the_page_has_todays_tables() -> None:
    """`python tests/wire_table.py` writes them."""
    page = PAGE.read_text("utf-8")
    assert written_into(page) == page, "old tables: run `python tests/wire_table.py`"


def test_what_is_not_said_is_not_kept() -> None:
    """The tests of every wire excuse a wire from no more than what its format lacks."""
    for name in WIRES:
        lost = {row for row, cell in kept(name) if row.startswith("`usage.") and cell == NO}
        assert lost == {f"`usage.{field}`" for field in NOT_SAID.get(name, ())}


def test_exceptions_are_read_from_the_tests() -> None:
    """Only the Websopy service knows keys of repeats, and resumes."""
    cells = {text: dict(zip(WIRES, cells, strict=True)) for _, text, cells in promised()}
    repeats = [row for row in cells.values() if NO in row.values()]
    assert len(repeats) == 3
    assert all(cell == NO for row in repeats for name, cell in row.items() if name != "websopy")
    assert all(row["websopy"] != NO for row in repeats)
