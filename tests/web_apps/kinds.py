"""The servers that people run, and how each is started with an application of this folder.

Knows no test.
"""

from __future__ import annotations

import importlib.util
import sys

import attrs
import pytest

PLENTY = 120
"""Threads of a threaded server: more than any test has streams."""


@attrs.frozen
class Kind:
    """A way to serve: the command, with `{port}` in it, and what it needs.

    threaded: whether one of its processes can serve many at once.
    waits: whether it waits for a slow browser, rather than keep what it was given.
    """

    command: tuple[str, ...]
    needs: tuple[str, ...]
    threaded: bool = True
    waits: bool = True


def python(*arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", *arguments)


GTHREAD = ("--worker-class", "gthread", "--threads", str(PLENTY))
GUNICORN = python("gunicorn", "--bind", "127.0.0.1:{port}")

UWSGI = (
    *(sys.executable, "-c", "import pyuwsgi; pyuwsgi.run()"),  # what the command uwsgi does
    *("--http-socket=127.0.0.1:{port}", "--master", "--lazy-apps", f"--threads={PLENTY}"),
    # SIGTERM would end it in the middle of requests, or reload it.
    *("--hook-master-start", "unix_signal:15 gracefully_kill_them_all", "--need-app"),
)

KINDS = {
    "werkzeug": Kind(
        python("flask", "--app", "web_apps.flask_app", "run", "--port", "{port}"), ("flask",)
    ),
    "gunicorn-gthread": Kind(
        (*GUNICORN, *GTHREAD, "web_apps.flask_app:app"), ("flask", "gunicorn")
    ),
    "gunicorn-sync": Kind(
        (*GUNICORN, "--workers", "5", "web_apps.flask_app:app"),
        ("flask", "gunicorn"),
        threaded=False,
    ),
    "gunicorn-gevent": Kind(
        (*GUNICORN, "--worker-class", "gevent", "web_apps.flask_app:app"),
        ("flask", "gunicorn", "gevent"),
    ),
    "waitress": Kind(
        python(
            "waitress",
            "--listen=127.0.0.1:{port}",
            f"--threads={PLENTY}",
            "--connection-limit=1000",  # 100 unless told
            "--outbuf-high-watermark=65536",  # 16 MiB, for each slow browser, unless told
            "web_apps.flask_app:app",
        ),
        ("flask", "waitress"),
    ),
    "uwsgi": Kind((*UWSGI, "--module=web_apps.flask_app:app"), ("flask", "pyuwsgi")),
    "cheroot": Kind(
        python(
            "cheroot",
            "--bind=127.0.0.1:{port}",
            f"--threads={PLENTY}",
            "web_apps.flask_app:app",
        ),
        ("flask", "cheroot"),
    ),
    "django-runserver": Kind(
        python("django", "runserver", "127.0.0.1:{port}", "--noreload"), ("django",)
    ),
    "django-gunicorn": Kind(
        (*GUNICORN, *GTHREAD, "django.core.wsgi:get_wsgi_application()"),
        ("django", "gunicorn"),
    ),
    "django-uvicorn": Kind(
        python("uvicorn", "--port", "{port}", "--factory", "django.core.asgi:get_asgi_application"),
        ("django", "uvicorn"),
    ),
    "django-daphne": Kind(
        python("daphne", "-p", "{port}", "web_apps.django_asgi:application"),
        ("django", "daphne"),
        waits=False,
    ),
    "fastapi-uvicorn": Kind(
        python("uvicorn", "--port", "{port}", "web_apps.fastapi_app:app"), ("fastapi", "uvicorn")
    ),
    "fastapi-hypercorn": Kind(
        # With workers the signal would reach their parent only, and none of them would drain.
        python(
            *("hypercorn", "--workers=0", "--graceful-timeout=30", "--bind=127.0.0.1:{port}"),
            "web_apps.fastapi_app:app",
        ),
        ("fastapi", "hypercorn"),
    ),
    "fastapi-daphne": Kind(
        python("daphne", "-p", "{port}", "web_apps.fastapi_app:app"),
        ("fastapi", "daphne"),
        waits=False,
    ),
}

ENVIRONMENT = {"DJANGO_SETTINGS_MODULE": "web_apps.django_app"}
"""What an application needs; `HEARTBEAT` may be set as well."""


def check_present(names: tuple[str, ...]) -> None:
    for name in names:
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"needs {name}")
