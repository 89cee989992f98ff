"""Markdown on the chat page while it is written: its elements, its limits, its speed."""

from __future__ import annotations

import pytest
from chat_page import KeptPage

pytestmark = pytest.mark.slow

TEXT = """## A heading

Some **bold** and *light* text, `code`, ~~gone~~, [a link](https://example.org/a).

1. one
2. two
   - inner

> a quote

| left | right |
|---|--:|
| 1 | 2 |

```python
def answer():
    return 42
```

---

last line
"""

FORGED = """[script](javascript:alert(1)) [data](data:text/html,x) [file](file:///etc/passwd)
![picture](https://example.org/p.png) <img src=https://example.org/q.png >
<script>document.title = 'owned'</script> <https://example.org/auto> http://example.org/bare
"""


def answer(page: KeptPage, text: str, *, piece: int) -> None:
    """Send a question, and have it answered in pieces."""
    page.send("hello")
    page.until(lambda: page.server.methods == ["POST"])
    page.server.text(*(text[at : at + piece] for at in range(0, len(text), piece)))


def test_every_element(kept: KeptPage) -> None:
    """Each becomes what it is, while it is written and after a reload."""
    answer(kept, TEXT, piece=3)
    kept.until(lambda: kept.texts(".text p")[-1:] == ["last line"])
    kept.server.done()
    for _ in range(2):
        kept.until(lambda: not kept.stopping and kept.texts(".text hr") == [""])
        assert kept.texts(".text h3") == ["A heading"]
        elements = ("strong", "em", "s", "p > code", "a", "blockquote p", "ol > li > ul > li")
        texts = ["bold", "light", "gone", "code", "a link", "a quote", "inner"]
        assert [kept.texts(f".text {tag}") for tag in elements] == [[text] for text in texts]
        assert kept.texts(".text td.right") == ["2"]
        kept.until(lambda: kept.texts(".text .hljs-keyword") == ["def", "return"])
        assert kept.one(".text pre").text == "def answer():\n    return 42"
        code = kept.one(".text pre").value_of_css_property("font-family")
        assert "monospace" in code
        assert kept.copied(kept.one(".code [data-test=copy]")) == "def answer():\n    return 42\n"
        kept.driver.refresh()
    assert kept.complaints() == []


def test_links_lead_to_the_web_only_and_nothing_is_fetched(kept: KeptPage) -> None:
    """An image is a link; HTML is text."""
    answer(kept, FORGED, piece=1000)
    kept.server.done()
    kept.until(lambda: len(kept.all(".text a")) == 4)
    links = kept.all(".text a")
    assert [link.get_attribute("href") for link in links] == [
        *("https://example.org/p.png", "https://example.org/q.png"),
        *("https://example.org/auto", "http://example.org/bare"),
    ]
    assert all("noopener" in str(link.get_attribute("rel")) for link in links)
    assert kept.all("[role=log] :is(img, script, iframe)") == []
    assert "<script>document.title = 'owned'</script>" in kept.turns[1]
    fetched = "return performance.getEntriesByType('resource').map((entry) => entry.name)"
    assert all(name.startswith(kept.url) for name in kept.driver.execute_script(fetched))
    assert kept.complaints() == []


def test_what_is_half_written_shows_no_marks(kept: KeptPage) -> None:
    """No asterisks flash up before their closing ones come."""
    answer(kept, "so **bo", piece=1)
    kept.until(lambda: kept.texts(".text strong") == ["bo"])
    assert kept.writing == ["so bo"]
    kept.server.text("ld** and [a link](https://exam")
    kept.until(lambda: kept.writing == ["so bold and a link"])


def test_each_line_has_its_own_direction(kept: KeptPage) -> None:
    """Arabic and English in one answer; code is left to right."""
    answer(kept, "hello\n\nمرحبا بالعالم\n\n```\nx\n```\n", piece=100)
    kept.until(lambda: len(kept.all(".text p")) == 2)
    assert [p.value_of_css_property("unicode-bidi") for p in kept.all(".text p")] == [
        *["plaintext"] * 2
    ]
    assert kept.one(".code").get_attribute("dir") == "ltr"


PARAGRAPH = "Some **bold** text with `code` and [links](https://example.org), over and over. " * 4
CODE = (
    "```python\n" + "def answer(question: str) -> int:\n    return 42  # of course\n" * 12 + "```"
)
TABLE = "| a | b |\n|---|---|\n" + "| some text | more **text** |\n" * 8
LIST = "\n".join(f"{number}. item with *some* words" for number in range(1, 9))
MIXED = "\n\n".join(["## Heading", PARAGRAPH, CODE, TABLE, LIST])
MEGABYTE = 1_000_000

TEXTS = {
    "mixed": ("", MIXED + "\n\n", ""),
    "code": ("```python\n", "    return 42  # a line of one very long block\n", "```"),
    "line": ("", "word " * 20, ""),
}


@pytest.mark.timing
@pytest.mark.parametrize("kind", TEXTS)
def test_a_megabyte_stays_smooth(kept: KeptPage, kind: str) -> None:
    """No task takes longer than 100 ms while it comes, when it is whole, and after a reload.

    The start of the page itself, before its load event, has nothing to do with the answer.
    """
    observe = """
        window.long = []
        const { loadEventStart } = performance.getEntriesByType('navigation')[0]
        new PerformanceObserver((list) => long.push(...list.getEntries()
            .filter((task) => task.startTime > loadEventStart)
            .map((task) => task.duration)))
            .observe({ type: 'longtask', buffered: true })
    """
    beginning, text, end = TEXTS[kind]
    text = beginning + text * (MEGABYTE // len(text)) + end + "\n\nthe end"
    kept.driver.execute_script(observe)
    answer(kept, text, piece=200)
    shown = ".text .section:last-child > :last-child"
    kept.until(lambda: kept.texts(shown) == ["the end"], seconds=50)
    kept.server.done()
    kept.until(lambda: not kept.stopping)
    assert max(kept.driver.execute_script("return long"), default=0) <= 100
    kept.driver.refresh()
    kept.driver.execute_script(observe)
    kept.until(lambda: kept.texts(shown) == ["the end"], seconds=30)
    assert max(kept.driver.execute_script("return long"), default=0) <= 100
