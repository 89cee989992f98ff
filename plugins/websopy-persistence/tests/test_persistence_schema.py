"""A database of the first release: its columns are added, and its writers go on."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from typing import Any

import sqlalchemy
from sqlalchemy import Column, Connection, Engine, ForeignKey, MetaData, Table
from sqlalchemy.schema import CreateIndex, CreateTable
from websopy_persistence import History, schema
from websopy_persistence.database import Database

from websopy_sync.chunks import ReasoningChunk, Usage

ADDED = {
    "conversation",
    "finish_reason",
    "answer_model",
    "answer_id",
    "reasoning",
    "cached_tokens",
    "reasoning_tokens",
}


def first_release() -> tuple[MetaData, Table]:
    """The tables as the first release makes them, and its `streams`."""
    metadata = MetaData()
    for table in (schema.versions, schema.streams, schema.chunks):
        columns = [
            Column(
                column.name,
                column.type,
                *(
                    ForeignKey(key.target_fullname, ondelete="CASCADE")
                    for key in column.foreign_keys
                ),
                primary_key=column.primary_key,
                nullable=column.nullable,
                autoincrement=False,
            )
            for column in table.columns
            if column.name not in ADDED
        ]
        Table(table.name, metadata, *columns, **schema._OPTIONS)
    return metadata, metadata.tables["streams"]


OLD, OLD_STREAMS = first_release()


def make_old(url: str) -> Engine:
    """A database of the first release, and an engine of one of its writers."""
    database = Database.at(url)
    database.create_file()
    engine = database.engine_for_writing()
    with engine.begin() as connection:
        for name in ("schema_version", "streams", "chunks"):
            connection.execute(CreateTable(OLD.tables[name]))
        for column in ("started", "status"):
            index = sqlalchemy.Index(f"streams_{column}", OLD_STREAMS.c[column])
            connection.execute(CreateIndex(index))
        connection.execute(
            sqlalchemy.insert(OLD.tables["schema_version"]),
            {"product": "websopy-persistence", "version": 1},
        )
    return engine


def old_row(number: int, **values: Any) -> dict[str, Any]:
    """What a process of the first release writes for a stream."""
    now = datetime.now(UTC)
    row = {"id": f"{number:032x}", "status": "done", "started": now, "seen": now, "chunks": 1}
    row |= {"lost": 0, "writer": "host/1/1/boot/namespace", "question": f"old {number}"}
    row |= {"answer": "from before", "prompt_tokens": 1, "completion_tokens": 2}
    return row | {"total_tokens": 3, **values}


def insert_old(connection: Connection, number: int, **values: Any) -> None:
    connection.execute(sqlalchemy.insert(OLD_STREAMS), old_row(number, **values))


def columns_of(engine: Engine) -> set[str]:
    return {column["name"] for column in sqlalchemy.inspect(engine).get_columns("streams")}


def test_the_table_of_added_columns_is_whole() -> None:
    """ADDED has no column of the first release, and each of the others may be NULL."""
    assert {column.name for column in schema.streams.columns} > ADDED
    assert all(schema.streams.c[name].nullable for name in ADDED)


def test_columns_are_added(url: str, keep: Any, ask: Any) -> None:
    """What was there stays, and what comes has the new fields."""
    engine = make_old(url)
    with engine.begin() as connection:
        insert_old(connection, 1)
    plugin = keep(url)
    usage = Usage(20, 150, cached_tokens=5, reasoning_tokens=100)
    answer = ask(plugin, "new", conversation="c-1").tell(ReasoningChunk("why"), "text")
    answer.done(usage, finish_reason="length", model="w-2", id="a-1")
    assert plugin.flush()
    assert plugin.problem == ""
    assert columns_of(engine) >= ADDED
    indexes = {index["name"] for index in sqlalchemy.inspect(engine).get_indexes("streams")}
    assert indexes == {"streams_started", "streams_status", "streams_conversation"}
    with History(url) as history:
        new, old = history.list()
    assert (old.question, old.answer, old.usage) == ("old 1", "from before", Usage(1, 2))
    assert (old.conversation, old.finish_reason, old.reasoning) == (None, None, None)
    assert not old.truncated
    assert (new.conversation, new.finish_reason, new.reasoning) == ("c-1", "length", "why")
    assert (new.answer_model, new.answer_id, new.usage) == ("w-2", "a-1", usage)
    assert new.truncated


def test_a_writer_of_the_first_release_goes_on(url: str, keep: Any, ask: Any) -> None:
    """It writes before, during and after, over the connection it has and over a new one."""
    engine = make_old(url)
    stop, written = threading.Event(), []

    def write() -> None:
        with engine.connect() as connection:
            while not stop.is_set() or len(written) < 3:
                with connection.begin():
                    insert_old(connection, len(written))
                written.append(len(written))

    writer = threading.Thread(target=write)
    writer.start()
    try:
        plugin = keep(url)
        for _ in range(5):
            ask(plugin).tell("text").done(finish_reason="stop")
            assert plugin.flush(20)
    finally:
        stop.set()
        writer.join()
    assert plugin.lost_streams == 0
    with engine.begin() as connection:
        insert_old(connection, 10**6)
        # The first release looks at this before it writes, and refuses a number above 1.
        version = sqlalchemy.select(OLD.tables["schema_version"].c.version)
        assert connection.scalars(version).all() == [1]
    with History(url) as history:
        found = history.list(limit=None)
    assert len(found) == len(written) + 6
    assert sum(stream.finish_reason == "stop" for stream in found) == 5


def test_many_add_the_columns_at_once(url: str, keep: Any, ask: Any, caplog: Any) -> None:
    """As workers do that are started together; nobody reports trouble."""
    make_old(url).dispose()
    plugins = [keep(url) for _ in range(6)]
    answers = [ask(plugin) for plugin in plugins]  # each opens the database in its own thread
    for answer in answers:
        answer.done(finish_reason="stop")
    assert all(plugin.flush(20) for plugin in plugins)
    assert caplog.text == ""
    with History(url) as history:
        assert [stream.finish_reason for stream in history.list()] == ["stop"] * 6


def test_reading_changes_nothing(url: str) -> None:
    """A history of the first release is read as it is: a reader may not be allowed to change it."""
    engine = make_old(url)
    with engine.begin() as connection:
        insert_old(connection, 1, request='{"messages": [{"role": "user", "content": "old 1"}]}')
        insert_old(connection, 2, status="open")
    with History(url) as history:
        assert [stream.question for stream in history.list(status="done")] == ["old 1"]
        assert history.get(f"{1:032x}").usage == Usage(1, 2)
        assert history.list(conversation="c") == []
        assert history.conversation() is None
        history.delete(f"{1:032x}")
        assert len(history.list()) == 1
    assert not columns_of(engine) & ADDED


def test_an_open_stream_of_the_first_release(url: str, keep: Any, ask: Any) -> None:
    """Its process is dead: the next writer adds the columns and marks it."""
    with make_old(url).begin() as connection:
        insert_old(connection, 1, status="open", answer=None, seen=datetime(2001, 1, 1, tzinfo=UTC))
    plugin = keep(url)
    ask(plugin).done()
    assert plugin.flush()
    with History(url) as history:
        assert [stream.question for stream in history.list(status="interrupted")] == ["old 1"]


def test_some_columns_are_there(url: str, keep: Any, ask: Any) -> None:
    """A process died while it added them, or an administrator did so by hand."""
    with make_old(url).begin() as connection:
        for name in ("finish_reason", "conversation"):
            connection.exec_driver_sql(f"ALTER TABLE streams ADD COLUMN {name} VARCHAR(255)")
    plugin = keep(url)
    ask(plugin, conversation="c-1").done(finish_reason="stop")
    assert plugin.flush()
    with History(url) as history:
        (stream,) = history.list()
    assert (stream.finish_reason, stream.conversation) == ("stop", "c-1")
