"""The chat example on Django, in one file: one page, and the views that answer it.

    python examples/chat/django_app.py --sandbox

serves it at http://127.0.0.1:8000 with Django's own server. For others there are two factories:
`gunicorn --worker-class gthread --threads 64 --chdir examples/chat "django_app:wsgi()"` and
`uvicorn --app-dir examples/chat --factory django_app:asgi`, with the settings of settings.py in the
environment. The views are the same for both.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import django
import page
from chat import MOST_BYTES, Chat
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.exceptions import RequestDataTooBig
from django.core.management import call_command
from django.core.wsgi import get_wsgi_application
from django.http import (
    FileResponse,
    HttpRequest,
    HttpResponse,
    JsonResponse,
    RawPostDataException,
)
from django.urls import path
from django.views.decorators.csrf import ensure_csrf_cookie
from django.views.decorators.http import require_GET, require_http_methods, require_POST
from django.views.static import serve
from settings import Settings
from visitors import visitor_of

from websopy_sync import ConfigError, WebsopyError
from websopy_sync.web import django_response


@ensure_csrf_cookie
def index(request: HttpRequest) -> HttpResponse:
    """The page."""
    visitor_of(request.session)  # one for all the tabs that are opened next
    return HttpResponse((page.DIST / "index.html").read_bytes(), headers=page.HEADERS)


def favicon(request: HttpRequest) -> FileResponse:
    """Its icon."""
    return FileResponse((page.DIST / "favicon.svg").open("rb"))


def tells_failures(view: Callable[..., Any]) -> Callable[..., Any]:
    """A view that answers a failure with what the page may know of it."""

    @functools.wraps(view)
    def telling(request: HttpRequest, **parts: str) -> Any:
        try:
            return view(request, **parts)
        except RequestDataTooBig:  # Django itself answers 400, which does not say why
            return HttpResponse(status=413)
        except RawPostDataException:  # a form, which the check of the token has read
            body, status, headers = page.failure(ConfigError("body: expected JSON"))
        except WebsopyError as error:
            body, status, headers = page.failure(error)
        return JsonResponse(body, status=status, headers=headers)

    return telling


@require_POST
@tells_failures
def ask(request: HttpRequest) -> Any:
    """Stream an answer to the page."""
    return django_response(settings.CHAT.ask(request.body, visitor_of(request.session)))


@require_http_methods(["GET", "DELETE"])
@tells_failures
def answer(request: HttpRequest, id: str) -> Any:
    """Go on with an answer, or stop it."""
    visitor = visitor_of(request.session)
    if request.method == "DELETE":
        return HttpResponse(status=settings.CHAT.stop(id, visitor))
    last = request.headers.get("Last-Event-ID")
    return django_response(settings.CHAT.follow(id, visitor, last))


@require_GET
@tells_failures
def history(request: HttpRequest) -> JsonResponse:
    """The visitor's latest answers."""
    return JsonResponse(settings.CHAT.history(visitor_of(request.session)), safe=False)


urlpatterns = [
    path("", index),
    path("favicon.svg", favicon),
    path("api/chat", ask),
    path("api/chat/<str:id>", answer),
    path("api/history", history),
    path("assets/<path:path>", serve, {"document_root": page.DIST / "assets"}),
]


def configure(chat: Chat, site: Settings) -> None:
    """Set Django up."""
    settings.configure(
        ROOT_URLCONF=__name__,
        SECRET_KEY=site.secret_key,
        ALLOWED_HOSTS=site.hosts,
        MIDDLEWARE=[
            "django.middleware.security.SecurityMiddleware",
            "django.middleware.common.CommonMiddleware",  # refuses what is not for ALLOWED_HOSTS
            "django.middleware.gzip.GZipMiddleware",
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.middleware.csrf.CsrfViewMiddleware",
        ],
        SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",  # no database
        SESSION_COOKIE_SECURE=site.behind_tls,
        CSRF_COOKIE_SECURE=site.behind_tls,
        # Only behind a proxy that sets this header itself. Django compares `Origin` with it.
        SECURE_PROXY_SSL_HEADER=("HTTP_X_FORWARDED_PROTO", "https") if site.behind_tls else None,
        DATA_UPLOAD_MAX_MEMORY_SIZE=MOST_BYTES,
        CHAT=chat,
    )
    django.setup()


def served(application: Callable[[], Any]) -> Any:
    """The application for a server, with the settings of the environment."""
    site = Settings.from_environment()
    chat = Chat(site)
    chat.end_with_the_process()
    configure(chat, site)
    return application()


wsgi = functools.partial(served, get_wsgi_application)


def asgi() -> Any:
    """The application for ASGI servers, with the lifespan that Django's own does not have."""
    django_application = served(get_asgi_application)

    async def application(
        scope: Mapping[str, Any],
        receive: Callable[[], Awaitable[Any]],
        send: Callable[[Mapping[str, Any]], Awaitable[None]],
    ) -> None:
        if scope["type"] != "lifespan":
            await django_application(scope, receive, send)
            return
        await receive()  # startup
        await send({"type": "lifespan.startup.complete"})
        await receive()  # shutdown
        await asyncio.to_thread(settings.CHAT.finish)
        await send({"type": "lifespan.shutdown.complete"})

    return application


def main() -> None:
    """Serve with Django's own server until Ctrl-C."""
    with page.Trial("A chat page on Django.") as trial:
        configure(trial.chat, trial.settings)
        call_command("runserver", f"127.0.0.1:{trial.port}", use_reloader=False)


if __name__ == "__main__":
    main()
