"""The Django view of docs/how-to/use-the-ai-sdk.md, and the pages that use it."""

from __future__ import annotations

import os

from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.views.static import serve
from mysite.views import chat  # the file that the document says to save

ROOT_URLCONF = __name__
SECRET_KEY = "of this test"
ALLOWED_HOSTS = ["*"]
MIDDLEWARE = [
    "django.middleware.gzip.GZipMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
]


def ping(request: HttpRequest) -> HttpResponse:
    return HttpResponse("pong")


urlpatterns = [
    path("ping", ping),
    path("api/chat", chat),
    path("pages/<path:path>", serve, {"document_root": os.environ["PAGES"]}),
]
