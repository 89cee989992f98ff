"""The chat example on Django, in one file: one page, and one view that streams answers to it.

    python examples/chat/django_app.py --sandbox

serves it at http://127.0.0.1:8000 with Django's own server. For others there are two factories:
`gunicorn --worker-class gthread --threads 64 --chdir examples/chat "django_app:wsgi()"` and
`uvicorn --app-dir examples/chat --factory django_app:asgi`. The view is the same for both.
"""

from __future__ import annotations

import json
import secrets
from typing import Any

import django
import page
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.management import call_command
from django.core.wsgi import get_wsgi_application
from django.http import FileResponse, HttpRequest, HttpResponse, JsonResponse
from django.urls import path
from django.views.decorators.csrf import ensure_csrf_cookie
from django.views.decorators.http import require_POST
from django.views.static import serve

from websopy_sync import WebsopyClient, WebsopyError
from websopy_sync.web import django_response, page_messages


@ensure_csrf_cookie
def index(request: HttpRequest) -> HttpResponse:
    """The page."""
    return HttpResponse((page.DIST / "index.html").read_bytes(), headers=page.HEADERS)


def favicon(request: HttpRequest) -> FileResponse:
    """Its icon."""
    return FileResponse((page.DIST / "favicon.svg").open("rb"))


@require_POST
def chat(request: HttpRequest) -> Any:
    """Stream an answer to the page."""
    client = settings.WEBSOPY_CLIENT
    try:
        messages = page_messages(_json(request))
        return django_response(
            lambda cancel: client.ai.chat_stream(messages, cancel_token=cancel),
            wait_for_status=2,  # what fails by then has a status of its own
            heartbeat=settings.WEBSOPY_HEARTBEAT,
        )
    except WebsopyError as error:
        body, status = page.failure(error)
        return JsonResponse(body, status=status)


def _json(request: HttpRequest) -> Any:
    try:
        return json.loads(request.body)
    except (ValueError, RecursionError):
        return None


urlpatterns = [
    path("", index),
    path("favicon.svg", favicon),
    path("api/chat", chat),
    path("assets/<path:path>", serve, {"document_root": page.DIST / "assets"}),
]


def configure(client: WebsopyClient | None = None, *, heartbeat: float = 15.0) -> None:
    """Set Django up; without a client, one made from the environment."""
    settings.configure(
        ROOT_URLCONF=__name__,
        SECRET_KEY=secrets.token_urlsafe(32),
        ALLOWED_HOSTS=["127.0.0.1", "localhost"],
        MIDDLEWARE=[
            "django.middleware.security.SecurityMiddleware",
            "django.middleware.gzip.GZipMiddleware",
            "django.middleware.csrf.CsrfViewMiddleware",
        ],
        WEBSOPY_CLIENT=client or WebsopyClient(),
        WEBSOPY_HEARTBEAT=heartbeat,
    )
    django.setup()


def wsgi() -> Any:
    """The application for WSGI servers."""
    configure()
    return get_wsgi_application()


def asgi() -> Any:
    """The application for ASGI servers."""
    configure()
    return get_asgi_application()


def main() -> None:
    """Serve with Django's own server until Ctrl-C."""
    options = page.Options("A chat page on Django.")
    with options as client:
        configure(client, heartbeat=options.heartbeat)
        print(f"Open http://127.0.0.1:{options.port} in a browser; Ctrl-C ends it.")
        call_command("runserver", f"127.0.0.1:{options.port}", use_reloader=False)


if __name__ == "__main__":
    main()
