"""The visitor's chats on the chat page: several, kept in the browser; edit, retry, drafts, keys."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from chat_page import ENTER, ESCAPE, KeptPage
from page_server import Refusal

pytestmark = pytest.mark.slow

TITLES = ".chats-list a"


def converse(page: KeptPage, question: str, text: str) -> None:
    """Ask, and have it answered."""
    asked, shown = len(page.server.methods), page.turns
    page.send(question)
    page.until(lambda: len(page.server.methods) == asked + 1)
    page.server.text(text)
    page.server.done()
    page.until_turns(*shown, question, text)


def titles(page: KeptPage) -> list[str]:
    """The chats in the list."""
    return [title.strip() for title in page.texts(TITLES)]


def sent(page: KeptPage) -> list[str]:
    """The texts of the last question with its history."""
    return [turn["content"] for turn in page.server.requests[-1].json["messages"]]


def test_several_chats(kept: KeptPage) -> None:
    """Each has its address, and is there after a reload; the back button goes to the one before."""
    converse(kept, "first", "one")
    kept.one("[data-test=new-chat]").click()
    kept.until(lambda: kept.turns == [])
    converse(kept, "second", "two")
    kept.until(lambda: titles(kept) == ["second", "first"])
    kept.driver.refresh()
    kept.until_turns("second", "two")
    kept.all(TITLES)[1].click()
    kept.until_turns("first", "one")
    assert kept.one(TITLES + "[aria-current=page]").text == "first"
    kept.driver.back()
    kept.until_turns("second", "two")
    converse(kept, "third", "three")
    assert sent(kept) == ["second", "two", "third"]


def test_an_answer_goes_on_while_another_chat_is_shown(kept: KeptPage) -> None:
    """And is whole when the visitor comes back."""
    kept.send("first")
    kept.until(lambda: kept.server.methods == ["POST"])
    kept.server.text("half")
    kept.until(lambda: kept.writing == ["half"])
    kept.one("[data-test=new-chat]").click()
    kept.until(lambda: kept.turns == [] and not kept.stopping)
    assert len(kept.all(".running")) == 1
    kept.server.text(" and half")
    kept.server.done()
    kept.until(lambda: kept.all(".running") == [])
    kept.all(TITLES)[0].click()
    kept.until_turns("first", "half and half")
    assert kept.server.methods == ["POST"]


def test_a_chat_is_deleted_after_a_question(kept: KeptPage) -> None:
    """It does not come back, with a reload or by its address."""
    converse(kept, "secret", "one")
    address = kept.driver.current_url
    kept.driver.execute_script("document.querySelector('.delete').click()")
    kept.until(lambda: kept.all("[data-test=sure]"))
    kept.one("[data-test=sure]").click()
    kept.until(lambda: titles(kept) == [] and kept.turns == [])
    kept.driver.get("about:blank")
    kept.driver.get(address)
    kept.until(lambda: kept.all(".welcome"))
    assert kept.turns == [] and titles(kept) == []


def test_retry(kept: KeptPage) -> None:
    """The last answer is asked for again, and replaced."""
    converse(kept, "hello", "one")
    kept.one("[data-test=retry]").click()
    kept.until(lambda: kept.server.methods == ["POST", "POST"])
    assert sent(kept) == ["hello"]
    assert kept.driver.switch_to.active_element == kept.field
    kept.server.text("two")
    kept.server.done()
    kept.until_turns("hello", "two")


def test_edit(kept: KeptPage) -> None:
    """A question is put anew; what came after it goes. Esc leaves all as it was."""
    converse(kept, "first", "one")
    converse(kept, "second", "two")
    edit = kept.all("[data-test=edit]")[0]
    kept.driver.execute_script("arguments[0].click()", edit)
    field = kept.one(".editor textarea")
    kept.until(lambda: kept.driver.switch_to.active_element == field)
    field.send_keys(" thing", ESCAPE)
    kept.until_turns("first", "one", "second", "two")
    kept.driver.execute_script("arguments[0].click()", kept.all("[data-test=edit]")[0])
    kept.one(".editor textarea").send_keys(" thing", ENTER)
    kept.until(lambda: kept.server.methods == ["POST"] * 3)
    assert sent(kept) == ["first thing"]
    kept.server.text("three")
    kept.server.done()
    kept.until_turns("first thing", "three")


def test_copy(kept: KeptPage) -> None:
    """An answer is copied as it was written, not as it looks."""
    converse(kept, "hello", "plain")
    kept.send("more")
    kept.until(lambda: kept.server.methods == ["POST", "POST"])
    kept.server.text("**bold**  \ntext")
    kept.server.done()
    kept.until(lambda: kept.turns[-1:] == ["boldtext"])
    assert kept.copied(kept.all(".assistant .actions [data-test=copy]")[1]) == "**bold**  \ntext"


def test_drafts_are_kept(kept: KeptPage) -> None:
    """One for each chat, over a reload, until it is sent."""
    kept.field.send_keys("for the new chat")
    kept.driver.refresh()
    assert kept.field.get_attribute("value") == "for the new chat"
    kept.field.clear()
    converse(kept, "hello", "one")
    kept.field.send_keys("for this one")
    kept.one("[data-test=new-chat]").click()
    kept.until(lambda: kept.field.get_attribute("value") == "")
    kept.all(TITLES)[0].click()
    kept.until(lambda: kept.field.get_attribute("value") == "for this one")
    kept.field.send_keys(ENTER)
    kept.until(lambda: kept.server.methods == ["POST", "POST"])
    kept.driver.refresh()
    assert kept.field.get_attribute("value") == ""


BROKEN: dict[str, str] = {
    "no IndexedDB": "Object.defineProperty(window, 'indexedDB', { value: undefined })",
    "no room": "IDBObjectStore.prototype.put = () => {"
    " throw new DOMException('full', 'QuotaExceededError') }",
    "no localStorage": "Storage.prototype.setItem = () => {"
    " throw new DOMException('full', 'QuotaExceededError') }",
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_browser_that_keeps_nothing(kept: KeptPage, fault: str) -> None:
    """The page goes on, and says that chats will be gone."""
    add = {"source": BROKEN[fault]}
    script = kept.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", add)
    try:
        kept.driver.get(kept.url + "/?again")
        converse(kept, "hello", "one")
        converse(kept, "more", "two")
        kept.until(lambda: titles(kept) == ["hello"])
        if fault == "no localStorage":
            assert not kept.texts(".dock .failure")
        else:
            kept.until(lambda: kept.texts(".dock .failure"))
    finally:
        kept.driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", script)


def test_an_answer_without_text_says_so(kept: KeptPage) -> None:
    """In a plain line, and not as a fault."""
    kept.send("hello")
    kept.until(lambda: kept.server.methods == ["POST"])
    kept.server.done()
    kept.until(lambda: kept.notes == ["The answer has no text."])
    assert kept.failures == []


def test_stopped_does_not_look_like_a_fault(kept: KeptPage) -> None:
    """Its line has the colour of other lines, and no box."""
    kept.send("hello")
    kept.until(lambda: kept.server.methods == ["POST"])
    kept.server.text("some")
    kept.until(lambda: kept.writing == ["some"])
    kept.one("body").send_keys(ESCAPE)
    kept.until(lambda: kept.notes == ["Stopped"])
    faint = kept.one(".hint").value_of_css_property("color")
    assert kept.one("[role=log] .note").value_of_css_property("color") == faint
    assert kept.failures == [] and kept.all(".failure") == []


def test_a_tool_that_the_answer_waits_for(kept: KeptPage) -> None:
    """It can be told from one after which the answer went on, and from one that nobody ran."""
    kept.send("hello")
    kept.until(lambda: kept.server.methods == ["POST"])
    kept.server.say({"type": "tool_call", "tool": {"name": "forecast", "arguments": "{}"}})
    kept.until(lambda: kept.all(".tool .shimmer"))
    kept.server.text("rain")
    kept.server.say({"type": "tool_call", "tool": {"name": "send", "arguments": "{}"}})
    kept.server.done()
    kept.until_turns("hello", "rain")
    assert kept.all(".tool .shimmer") == []
    ran, not_run = kept.all(".tool summary")
    assert len(ran.find_elements("css selector", "svg")) == 2
    assert len(not_run.find_elements("css selector", "svg")) == 1


def test_copy_keeps_its_place_when_edit_comes(kept: KeptPage) -> None:
    """After the answer, Tab goes from edit to copy, as they stand."""
    kept.send("hello")
    kept.until(lambda: kept.server.methods == ["POST"])
    kept.server.text("text")
    kept.until(lambda: kept.writing == ["text"])
    place = kept.one(".user [data-test=copy]").rect["x"]
    kept.server.done()
    kept.until(lambda: kept.all("[data-test=edit]"))
    assert kept.one(".user [data-test=copy]").rect["x"] == place
    assert kept.one("[data-test=edit]").rect["x"] < place
    assert kept.all(".user button")[-1] == kept.one(".user [data-test=copy]")


def test_the_keys_are_shown_until_the_first_question(kept: KeptPage) -> None:
    """After it they are for screen readers only."""
    assert kept.one(".hint").rect["height"] > 1
    converse(kept, "hello", "one")
    assert kept.one(".hint").rect["height"] == 1
    assert kept.field.get_attribute("aria-describedby") == kept.one(".hint").get_attribute("id")


SCENES: dict[str, Callable[[KeptPage], None]] = {
    "empty": lambda page: None,
    "answered": lambda page: converse(page, "a" * 300, "word " * 50 + "end"),
    "failed": lambda page: (page.server.refusals.append(Refusal(503)), page.send("x"))[0],
}


@pytest.mark.parametrize("scene", SCENES)
def test_a_narrow_screen(kept: KeptPage, scene: str) -> None:
    """320 pixels: nothing is wider, the chats are in a drawer, and axe-core finds nothing."""
    size = {"width": 320, "height": 640, "deviceScaleFactor": 1, "mobile": False}
    kept.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        SCENES[scene](kept)
        kept.until(lambda: not kept.stopping)
        wider = "const root = document.documentElement; return root.scrollWidth - root.clientWidth"
        assert kept.driver.execute_script(wider) == 0
        assert kept.violations() == []
        kept.one("[data-test=show-chats]").click()
        kept.until(lambda: kept.all("dialog[open]"))
        assert kept.violations() == []
        kept.driver.switch_to.active_element.send_keys(ESCAPE)
        kept.until(lambda: not kept.all("dialog[open]"))
    finally:
        kept.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_another_tab_sees_the_chat(kept: KeptPage) -> None:
    """A chat that is written in one tab is in the list of the other."""
    first = kept.driver.current_window_handle
    kept.driver.switch_to.new_window("tab")
    try:
        kept.driver.get(kept.url)
        converse(kept, "hello", "one")
    finally:
        kept.driver.close()
        kept.driver.switch_to.window(first)
    kept.until(lambda: titles(kept) == ["hello"])
    assert kept.turns == []
