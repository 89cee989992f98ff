"""The application in Django: settings, URLs and views. `/async-chat` is asked by an async view."""

from __future__ import annotations

from asgiref.sync import sync_to_async
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.urls import path

from web_apps.asking import HEARTBEAT, ask, opener, relaying, stop
from web_apps.keeping import drain_at_the_end, keep
from websopy_sync.errors import APIStatusError
from websopy_sync.web import django_response

drain_at_the_end()

ROOT_URLCONF = __name__
SECRET_KEY = "of this test"
ALLOWED_HOSTS = ["*"]
MIDDLEWARE = ["django.middleware.gzip.GZipMiddleware"]


def ping(request: HttpRequest) -> HttpResponse:
    return HttpResponse("pong")


def threads(request: HttpRequest) -> HttpResponse:
    return HttpResponse(relaying())


def chat(request: HttpRequest) -> HttpResponseBase:
    try:
        stream = ask(request.META["QUERY_STRING"])
    except APIStatusError as error:
        return JsonResponse({"error": error.status_code}, status=502)
    return django_response(stream, heartbeat=HEARTBEAT)


async def async_chat(request: HttpRequest) -> HttpResponseBase:
    stream = await sync_to_async(ask, thread_sensitive=False)(request.META["QUERY_STRING"])
    return django_response(stream, heartbeat=HEARTBEAT)


def opening_chat(request: HttpRequest) -> HttpResponseBase:
    return django_response(opener(request.META["QUERY_STRING"]), heartbeat=HEARTBEAT)


def waiting_chat(request: HttpRequest) -> HttpResponseBase:
    source = opener(request.META["QUERY_STRING"])
    try:
        return django_response(source, heartbeat=HEARTBEAT, wait_for_status=5.0)
    except APIStatusError as error:
        return JsonResponse({"error": error.status_code}, status=502)


def kept_chat(request: HttpRequest) -> HttpResponseBase:
    return django_response(keep(request.META["QUERY_STRING"]))


def stop_chat(request: HttpRequest) -> HttpResponse:
    return HttpResponse(stop(request.META["QUERY_STRING"]))


urlpatterns = [
    path("ping", ping),
    path("threads", threads),
    path("chat", chat),
    path("async-chat", async_chat),
    path("opening-chat", opening_chat),
    path("waiting-chat", waiting_chat),
    path("kept-chat", kept_chat),
    path("stop", stop_chat),
]
