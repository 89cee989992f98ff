"""The chat example's back ends on real servers, and visitors of them.

Knows no test.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import requests
from chat_page import CHAT, needs_the_page
from web_apps.running import Server, running

from websopy_sync.sandbox import Sandbox
from websopy_sync.sse import Decoder, ServerSentEvent

GUNICORN = ("gunicorn", "--bind", "127.0.0.1:{port}", "--worker-class", "gthread", "--threads=40")
UVICORN = ("uvicorn", "--port", "{port}", "--factory")

SERVERS = {
    "flask": (*GUNICORN, "flask_app:wsgi()"),
    "django": (*GUNICORN, "django_app:wsgi()"),
    "django-asgi": (*UVICORN, "django_app:asgi"),
    "fastapi": (*UVICORN, "fastapi_app:asgi"),
}

HOST = "chat.example"


@contextmanager
def serving(
    kind: str,
    folder: Path,
    sandbox: Sandbox,
    *,
    hosts: str = f"127.0.0.1,{HOST}",
    tls: bool = False,
) -> Iterator[Server]:
    """A back end on its server, with the sandbox as its service."""
    module, command = SERVERS[kind][0], SERVERS[kind]
    for name in (module, kind.partition("-")[0]):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"needs {name}")
    needs_the_page()
    environment = {
        "CHAT_SECRET_KEY": "of this test",
        "CHAT_HOSTS": hosts,
        "CHAT_FOLDER": str(folder),
        "CHAT_BEHIND_TLS": str(int(tls)),
        "WEBSOPY_API_KEY": "test",
        "WEBSOPY_BASE_URL": sandbox.url,
        # The servers themselves believe a proxy on this machine only.
        "FORWARDED_ALLOW_IPS": "198.51.100.1",
    }
    command = (sys.executable, "-m", *command)
    with running(command, folder / "log", ready="/", cwd=CHAT, environment=environment) as server:
        yield server


@attrs.frozen
class BackEnd:
    """A back end that runs, and its service."""

    url: str
    sandbox: Sandbox
    log: Path

    def visitor(self) -> Visitor:
        """A browser that has just opened the page."""
        return Visitor.at(self.url)


@attrs.frozen
class Visitor:
    """A browser with its cookies. Its answers are stopped when it is left."""

    api: str
    session: requests.Session
    answers: list[str] = attrs.field(factory=list)

    @classmethod
    def at(cls, url: str, *, trusts: Path | None = None) -> Visitor:
        """One that has just opened the page, and trusts a certificate."""
        session = requests.Session()
        session.trust_env = False
        session.verify = str(trusts) if trusts else True
        session.headers["Origin"] = url
        session.get(url, timeout=10).raise_for_status()
        return cls(f"{url}/api", session)

    def __enter__(self) -> Visitor:
        return self

    def __exit__(self, *exc_info: object) -> None:
        for id in self.answers:
            self.stop(id)
        self.session.close()

    def request(
        self, method: str, path: str, *, token: str | None = "", **options: Any
    ) -> requests.Response:
        """A request with the page's token, another one, or None without."""
        if token == "":
            token = self.session.cookies["csrftoken"]
        headers = {"X-CSRFToken": token, **options.pop("headers", {})}
        return self.session.request(
            method, self.api + path, headers=headers, stream=True, timeout=10, **options
        )

    def ask(self, question: str = "hello", **options: Any) -> requests.Response:
        """Ask, and read the answer's name."""
        response = self.request("POST", "/chat", data=body_of(question), **options)
        if response.status_code == 200:
            event = next(events_in(response))
            assert event.event == "answer"
            self.answers.append(json.loads(event.data)["id"])
        return response

    def post_large(self, body: bytes, *, chunked: bool) -> int:
        """The status for a large body; 0 if the connection was closed while it was sent.

        By curl: after a failed upload requests leaves its socket to the garbage collector.
        """
        trusted, cookies = self.session.verify, self.session.cookies
        options = ["--silent", "--output", "/dev/null", "--write-out", "%{http_code}"]
        options += ["--cacert", str(trusted)] if isinstance(trusted, str) else []
        headers = {
            "Expect": "",
            "Origin": str(self.session.headers["Origin"]),
            "X-CSRFToken": cookies["csrftoken"],
            "Cookie": "; ".join(f"{cookie.name}={cookie.value}" for cookie in cookies),
            **({"Transfer-Encoding": "chunked"} if chunked else {}),
        }
        options += [part for item in headers.items() for part in ("--header", ": ".join(item))]
        command = ["curl", "--http1.1", *options, "--data-binary", "@-", f"{self.api}/chat"]
        printed = subprocess.run(command, input=body, capture_output=True, check=False, timeout=20)
        return int(printed.stdout)

    def follow(self, id: str, last: str | None = None) -> requests.Response:
        return self.request("GET", f"/chat/{id}", headers={"Last-Event-ID": last})

    def stop(self, id: str) -> int:
        return self.request("DELETE", f"/chat/{id}").status_code


def body_of(question: str) -> bytes:
    """What the page sends."""
    return json.dumps({"messages": [{"role": "user", "content": question}]}).encode()


def events_in(response: requests.Response) -> Iterator[ServerSentEvent]:
    """What comes, until the response ends."""
    decoder = Decoder()
    while piece := response.raw.read1(65536):
        yield from decoder.feed(piece)


def texts_of(events: Iterator[ServerSentEvent]) -> list[str]:
    """The texts of an answer, and its end."""
    chunks = [json.loads(event.data) for event in events]
    return [chunk.get("content") or chunk.get("error", {}).get("code", "done") for chunk in chunks]
