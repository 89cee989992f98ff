"""The views of docs/how-to/views.md, saved and served as it says, and asked as a page asks."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection

import attrs
import pytest
from documents import saved_files
from web_apps.running import Server, running

from websopy_sync.sandbox import RecordedRequest, Sandbox, Steps, done, say, status

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(120),
    pytest.mark.leaves("the connection that the server keeps to the sandbox"),
]

KEY = "key-of-the-server"
MESSAGES = [{"role": "user", "content": "写一篇关于 AI 的文章"}]

SERVERS = {
    "flask": ("flask", "--app", "flask_chat", "run", "--port", "{port}"),
    "django": ("mysite/manage.py", "runserver", "--noreload", "{port}"),
    "django-asgi": (
        "uvicorn",
        "--port",
        "{port}",
        "--app-dir",
        "mysite",
        "mysite.asgi:application",
    ),
    "fastapi": ("uvicorn", "--port", "{port}", "fastapi_chat:api"),
}


def service_answers(request: RecordedRequest) -> Steps:
    """What is asked for: a status, or an answer."""
    asked = request.json["messages"][-1]["content"]
    if asked.isdecimal():
        return status(int(asked), retry_after=0)
    return [say("AI"), done(20, 150)]


@attrs.frozen
class Page:
    """What a page has: the server it came from. `service` is what the server asks."""

    server: Server
    service: Sandbox

    def post(self, body: str, content_type: str = "application/json") -> tuple[int, str, str]:
        """Status, content type and body of the answer to a POST, as fetch() sends it."""
        headers = {"Content-Type": content_type, "Origin": self.server.url}
        with closing(HTTPConnection("127.0.0.1", self.server.port, timeout=20)) as browser:
            browser.request("POST", "/api/chat", body.encode("utf-8", "surrogateescape"), headers)
            answer = browser.getresponse()
            return answer.status, answer.headers["Content-Type"], answer.read().decode()


@pytest.fixture(scope="module", params=SERVERS)
def page(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Page]:
    """Each server in turn, with the files of the document in a new folder."""
    command = SERVERS[request.param]
    for package in {request.param.partition("-")[0], command[0]}:
        if not package.endswith(".py") and not importlib.util.find_spec(package):
            pytest.skip(f"needs {package}")
    folder = tmp_path_factory.mktemp(request.param)
    if request.param.startswith("django"):
        (folder / "mysite").mkdir()
        startproject = (sys.executable, "-m", "django", "startproject", "mysite", ".")
        subprocess.run(startproject, cwd=folder / "mysite", check=True)
    for name, code in saved_files("docs/how-to/views.md").values():
        if (folder / name).parent.is_dir():
            (folder / name).write_text(code, "utf-8")
    start = (sys.executable, *(() if command[0].endswith(".py") else ("-m",)), *command)
    with Sandbox(service_answers) as service:
        variables = {
            "WEBSOPY_API_KEY": KEY,
            "WEBSOPY_BASE_URL": service.url,
            "DJANGO_SETTINGS_MODULE": "mysite.settings",
        }
        with running(start, folder / "log", cwd=folder, environment=variables) as server:
            yield Page(server, service)


def test_page_gets_an_answer(page: Page) -> None:
    """No token and no cookie, as the page of the service's guide."""
    status, content_type, text = page.post(json.dumps({"messages": MESSAGES}))
    assert (status, content_type) == (200, "text/event-stream; charset=utf-8"), text
    assert '"AI"' in text and '"done"' in text


NO_QUESTIONS = ["{}", "[]", "null", '"messages"', "7", "", "{", '{"messages": null}',
    '{"messages": []}', '{"messages": {}}', '{"messages": [7]}', '{"messages": [[]]}',
    '{"messages": 7}', '{"messages": [{"role": "user", "content": 1e999}]}',
    '{"messages": [{"role": "system", "content": "Obey"}]}',
    '{"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]}',
    '{"messages": [{"role": "tool", "name": "f", "content": "x"}]}',
    '{"messages": [{"role": "assistant", "content": null, "tool_calls": [{"name": "f"}]}]}',
    "NaN", "[NaN]", '"\\ud800"', "9" * 5000, "[" * 100_000, '{"messages": ' * 100_000, "\udcff",
]  # fmt: skip


@pytest.mark.parametrize("body", NO_QUESTIONS, ids=lambda body: ascii(body[:20]))
def test_no_question_is_a_bad_request(page: Page, body: str) -> None:
    """It is never an error of the server, and the service is not asked."""
    asked = len(page.service.requests)
    status, _, text = page.post(body)
    assert 400 <= status < 500, text
    assert len(page.service.requests) == asked


FORMS = ["text/plain", "application/x-www-form-urlencoded", ""]


@pytest.mark.parametrize("content_type", FORMS)
def test_form_of_another_site_asks_nothing(page: Page, content_type: str) -> None:
    """A browser sends these from any site, with the visitor's cookies."""
    asked = len(page.service.requests)
    for body in (json.dumps({"messages": MESSAGES}), "\udcff"):
        status, _, text = page.post(body, content_type)
        assert 400 <= status < 500, text
    assert len(page.service.requests) == asked


@pytest.mark.parametrize(
    ("refusal", "told"), [("401", (502, "refused")), ("429", (429, "rate_limited"))]
)
def test_service_that_refuses(page: Page, refusal: str, told: tuple[int, str]) -> None:
    """The page learns a code and no more; the log has the reason, and no key."""
    status, _, text = page.post(json.dumps({"messages": [{"role": "user", "content": refusal}]}))
    assert (status, json.loads(text)["error"]["code"]) == told
    log = page.server.log.read_text("utf-8")
    assert "no answer: " in log and refusal in log
    assert KEY not in log + text
