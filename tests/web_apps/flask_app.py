"""The application in Flask."""

from __future__ import annotations

import socket

from flask import Flask, request
from flask.typing import ResponseReturnValue

from web_apps.asking import HEARTBEAT, ask, opener, stop
from web_apps.keeping import drain_at_the_end, keep
from websopy_sync.errors import APIStatusError
from websopy_sync.web import flask_response

app = Flask(__name__)
drain_at_the_end()


@app.get("/ping")
def ping() -> str:
    return "pong"


@app.get("/chat")
def chat() -> ResponseReturnValue:
    try:
        stream = ask(request.query_string.decode())
    except APIStatusError as error:
        return {"error": error.status_code}, 502
    return flask_response(stream, heartbeat=HEARTBEAT)


@app.get("/opening-chat")
def opening_chat() -> ResponseReturnValue:
    return flask_response(opener(request.query_string.decode()), heartbeat=HEARTBEAT)


@app.get("/waiting-chat")
def waiting_chat() -> ResponseReturnValue:
    source = opener(request.query_string.decode())
    try:
        return flask_response(source, heartbeat=HEARTBEAT, wait_for_status=5.0)
    except APIStatusError as error:
        return {"error": error.status_code}, 502


@app.get("/kept-chat")
def kept_chat() -> ResponseReturnValue:
    return flask_response(keep(request.query_string.decode()))


@app.get("/stop")
def stop_chat() -> str:
    return stop(request.query_string.decode())


@app.get("/user-timeout")
def user_timeout() -> str:
    connection = request.environ["gunicorn.socket"]
    return str(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT))
