"""The application in FastAPI, which is Starlette. `/async-chat` is asked by an async view."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import AsyncIterator

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from starlette.concurrency import run_in_threadpool

from web_apps.asking import HEARTBEAT, ask, opener, relaying, stop
from web_apps.keeping import drain_at_the_end, keep
from websopy_sync.errors import APIStatusError
from websopy_sync.stream import ChatStream
from websopy_sync.web import starlette_response

gc.disable()  # a browser that has gone must be noticed without its help


@contextlib.asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    drain_at_the_end()
    yield


app = FastAPI(lifespan=lifespan)


def response(stream: ChatStream) -> Response:
    return starlette_response(stream, heartbeat=HEARTBEAT)


@app.get("/ping")
def ping() -> Response:
    return PlainTextResponse("pong")


@app.get("/threads")
def threads() -> Response:
    return PlainTextResponse(relaying())


@app.get("/chat")
def chat(request: Request) -> Response:
    try:
        return response(ask(request.url.query))
    except APIStatusError as error:
        return JSONResponse({"error": error.status_code}, status_code=502)


@app.get("/async-chat")
async def async_chat(request: Request) -> Response:
    return response(await run_in_threadpool(ask, request.url.query))


@app.get("/opening-chat")
async def opening_chat(request: Request) -> Response:
    return starlette_response(opener(request.url.query), heartbeat=HEARTBEAT)


@app.get("/waiting-chat")
def waiting_chat(request: Request) -> Response:
    source = opener(request.url.query)
    try:
        return starlette_response(source, heartbeat=HEARTBEAT, wait_for_status=5.0)
    except APIStatusError as error:
        return JSONResponse({"error": error.status_code}, status_code=502)


@app.get("/kept-chat")
def kept_chat(request: Request) -> Response:
    return starlette_response(keep(request.url.query))


@app.get("/stop")
def stop_chat(request: Request) -> Response:
    return PlainTextResponse(stop(request.url.query))
