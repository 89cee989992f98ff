"""The chat page and a server that keeps its answers: each event once, whatever is lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest
from chat_page import KeptPage
from page_server import ANSWER_ID, Refusal

pytestmark = pytest.mark.slow

WORDS = [f"w{number} " for number in range(20)]
WHOLE = "".join(WORDS).strip()


def ask(page: KeptPage, *, words: int) -> None:
    """Ask, and wait for the first words."""
    page.send("hello")
    page.until(lambda: page.server.methods[-1:] == ["POST"])
    page.server.text(*WORDS[:words])
    page.until(lambda: page.writing == ["".join(WORDS[:words]).strip()] or not words)


def finish(page: KeptPage, *, words: int) -> None:
    """Write the rest of the answer, and see it whole."""
    page.server.text(*WORDS[words:])
    page.server.done()
    page.until_turns("hello", WHOLE)
    assert page.failures == [] and not page.stopping


@pytest.mark.parametrize("words", range(0, 20, 2))
def test_a_reload_goes_on(kept: KeptPage, words: int) -> None:
    """At every tenth of an answer; what was saved is on the page at once."""
    ask(kept, words=words)
    time.sleep(0.1)
    kept.driver.refresh()
    kept.until(lambda: kept.server.methods == ["POST", "GET"])
    kept.until(lambda: kept.writing == ["".join(WORDS[:words]).strip()] or not words)
    finish(kept, words=words)
    kept.driver.refresh()
    kept.until_turns("hello", WHOLE)
    assert kept.server.methods == ["POST", "GET"]  # it is whole: nothing more is asked


def test_what_was_saved_is_not_sent_again(kept: KeptPage) -> None:
    """The page goes on after the last event that it has kept."""
    ask(kept, words=5)
    time.sleep(1.2)  # it saves every second
    kept.driver.refresh()
    kept.until(lambda: kept.server.methods == ["POST", "GET"])
    assert kept.server.requests[-1].last_event_id == "5"
    assert kept.server.requests[-1].path == f"/api/chat/{ANSWER_ID}"
    finish(kept, words=5)


@pytest.mark.parametrize("times", [1, 3])
def test_a_lost_connection_is_made_anew(kept: KeptPage, times: int) -> None:
    """The page says so meanwhile, and the answer goes on where it was."""
    ask(kept, words=0)
    for number in range(times):
        kept.server.refusals.append(Refusal(503))
        kept.server.text(WORDS[number])
        kept.until(lambda number=number: kept.writing == ["".join(WORDS[: number + 1]).strip()])
        kept.server.cut()
        kept.until(lambda: kept.notes == ["The connection is lost. Connecting again…"])
        kept.until(lambda: kept.notes == [])
    finish(kept, words=times)
    assert kept.server.methods == ["POST", *["GET"] * 2 * times]


def test_a_server_that_restarts_is_asked_again(kept: KeptPage) -> None:
    """Its last event is of the connection, not of the answer."""
    ask(kept, words=3)
    kept.server.say({"type": "error", "error": {"message": "", "code": "restarting"}})
    kept.until(lambda: kept.server.methods == ["POST", "GET"])
    finish(kept, words=3)


def test_a_log_that_lost_events_is_read_from_its_beginning(kept: KeptPage) -> None:
    """409: what the page has shown is void."""
    ask(kept, words=5)
    kept.server.forget()
    kept.server.cut()
    kept.until(lambda: kept.server.methods == ["POST", "GET", "GET"])
    assert [r.last_event_id for r in kept.server.requests] == [None, "5", None]
    finish(kept, words=0)


def test_an_answer_that_is_gone(kept: KeptPage) -> None:
    """404: it is told, what had come stays, and a retry asks anew."""
    ask(kept, words=5)
    kept.server.refusals.append(Refusal(404))
    kept.server.cut()
    kept.until(lambda: kept.failures)
    assert "does not keep this answer any more" in kept.failures[0]
    kept.one("[data-test=failure] button").click()
    kept.until(lambda: kept.server.methods == ["POST", "GET", "POST"])
    finish(kept, words=0)


def test_an_answer_that_ended_meanwhile(kept: KeptPage) -> None:
    """204: nothing is left."""
    ask(kept, words=20)
    kept.server.refusals.append(Refusal(204))
    kept.server.cut()
    kept.until_turns("hello", WHOLE)
    assert kept.failures == []


def test_two_tabs_read_the_same_answer(kept: KeptPage) -> None:
    """Both to its end, each event once."""
    ask(kept, words=5)
    first, address = kept.driver.current_window_handle, kept.driver.current_url
    kept.driver.switch_to.new_window("tab")
    try:
        kept.driver.get(address)
        kept.until(lambda: kept.writing == ["".join(WORDS[:5]).strip()])
        finish(kept, words=5)
    finally:
        kept.driver.close()
        kept.driver.switch_to.window(first)
    kept.until_turns("hello", WHOLE)


STOPS: dict[str, Callable[[KeptPage], None]] = {
    "at once": lambda page: None,
    "after words": lambda page: page.server.text("a"),
}


@pytest.mark.parametrize("when", STOPS)
def test_stop_is_sent(kept: KeptPage, when: str) -> None:
    """DELETE: a connection that ends would not stop an answer that is kept."""
    kept.send("hello")
    kept.until(lambda: kept.server.methods == ["POST"])
    STOPS[when](kept)
    kept.until(lambda: kept.writing == (["a"] if when == "after words" else []))
    kept.act.click()
    kept.until(lambda: kept.server.methods == ["POST", "DELETE"])
    assert kept.server.requests[-1].path == f"/api/chat/{ANSWER_ID}"
    assert kept.notes == ["Stopped" if when == "after words" else "Stopped before the first word"]
    assert kept.failures == []


def test_stop_before_the_answer_has_its_name(kept: KeptPage) -> None:
    """The page shows it at once, and sends it as soon as the first event says what to stop."""
    named = threading.Event()
    kept.server.before_the_name = named
    kept.send("hello")
    kept.until(lambda: kept.server.methods == ["POST"])
    kept.act.click()
    kept.until(lambda: kept.notes == ["Stopped before the first word"])
    named.set()
    kept.until(lambda: kept.server.methods == ["POST", "DELETE"])


def test_stop_while_there_is_no_connection(kept: KeptPage) -> None:
    """It ends the attempts, and is sent."""
    ask(kept, words=2)
    kept.server.refusals += [Refusal(503)] * 9
    kept.server.cut()
    kept.until(lambda: kept.notes == ["The connection is lost. Connecting again…"])
    kept.act.click()
    kept.until(lambda: kept.notes == ["Stopped"])
    kept.until(lambda: "DELETE" in kept.server.methods)


@pytest.mark.parametrize("keeps", [True, False])
def test_a_silent_connection_is_ended(kept: KeptPage, *, keeps: bool) -> None:
    """After three heartbeats; an answer that is kept goes on, any other offers a retry."""
    kept.server.heartbeat, kept.server.keeps = 0.3, keeps
    kept.driver.get(kept.url)
    ask(kept, words=2)
    time.sleep(0.3)
    assert kept.server.methods == ["POST"] and kept.stopping
    for _ in range(4):  # comments keep it alive
        time.sleep(0.3)
    assert kept.server.methods == ["POST"] and kept.stopping
    kept.server.comments = False
    if keeps:
        kept.until(lambda: kept.server.methods == ["POST", "GET"])
        finish(kept, words=2)
    else:
        kept.until(lambda: kept.failures)
        assert "went silent" in kept.failures[0]
        assert kept.texts("[data-test=failure] button") == ["Retry"]


def test_without_names_the_page_asks_nothing_more(kept: KeptPage) -> None:
    """A server without a log: a lost connection is told, a reload too."""
    kept.server.keeps = False
    ask(kept, words=2)
    kept.server.cut()
    kept.until(lambda: kept.failures == ["The answer broke off. What had arrived is kept."])
    kept.one("[data-test=failure] button").click()
    kept.until(lambda: kept.server.methods == ["POST", "POST"])
    kept.server.text(*WORDS[:2])
    kept.until(lambda: kept.writing == ["w0 w1"])
    time.sleep(1.2)
    kept.driver.refresh()
    kept.until(lambda: kept.failures == ["The answer ended when the page was left."])
    assert kept.turns == ["hello", "w0 w1"]
    assert kept.server.methods == ["POST", "POST"]


def close_tab(page: KeptPage) -> None:
    page.driver.close()


def reload(page: KeptPage) -> None:
    page.driver.refresh()


def go_elsewhere(page: KeptPage) -> None:
    page.driver.get("data:text/html,elsewhere")


@pytest.mark.parametrize("leave", [close_tab, reload, go_elsewhere])
def test_without_names_leaving_ends_the_answer(
    kept: KeptPage, leave: Callable[[KeptPage], None]
) -> None:
    """The page closes its connection: nothing could be followed later."""
    kept.server.keeps, kept.server.heartbeat = False, 0.3
    here = kept.driver.current_window_handle
    kept.driver.switch_to.new_window("tab")
    kept.driver.get(kept.url)
    ask(kept, words=2)
    leave(kept)
    try:
        assert kept.server.left.wait(5.0)
    finally:
        if leave is not close_tab:
            kept.driver.close()
        kept.driver.switch_to.window(here)


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_counted_down(kept: KeptPage, status: int) -> None:
    """Until then the button does nothing; then it asks."""
    kept.server.refusals.append(Refusal(status, {"Retry-After": "2"}, "rate_limited"))
    kept.send("hello")
    button = "[data-test=failure] button"
    kept.until(lambda: kept.texts(button) == ["Retry in 2 s"])
    kept.one(button).click()
    kept.until(lambda: kept.texts(button) == ["Retry in 1 s"])
    kept.until(lambda: kept.texts(button) == ["Retry"])
    assert kept.server.methods == ["POST"]
    kept.one(button).click()
    kept.until(lambda: kept.server.methods == ["POST", "POST"])
    finish(kept, words=0)


def test_a_late_retry_after_is_counted_down(kept: KeptPage) -> None:
    """In the last event, as the status has gone out. What had come stays."""
    ask(kept, words=2)
    error = {"message": "", "code": "rate_limited", "retryAfter": 1.5}
    kept.server.say({"type": "error", "error": error}, end=True)
    button = "[data-test=failure] button"
    kept.until(lambda: kept.texts(button) == ["Retry in 2 s"])
    kept.until(lambda: kept.texts(button) == ["Retry"])
    assert kept.server.methods == ["POST"]


def test_a_server_that_is_down(kept: KeptPage) -> None:
    """The page gives up after a while, keeps what came, and connects again when told to."""
    ask(kept, words=2)
    kept.driver.execute_script(
        "const wait = setTimeout.bind(window);"
        "window.setTimeout = (act, after, ...rest) => wait(act, after / 20, ...rest)"
    )
    kept.server.refusals += [Refusal(503)] * 11
    kept.server.cut()
    kept.until(lambda: kept.failures, seconds=20)
    assert kept.texts("[data-test=failure] button") == ["Connect again"]
    kept.server.refusals.clear()
    kept.one("[data-test=failure] button").click()
    finish(kept, words=2)
    assert kept.server.methods.count("POST") == 1
