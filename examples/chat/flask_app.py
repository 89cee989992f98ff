"""The chat example on Flask: one page, and the views that answer it.

    python examples/chat/flask_app.py --sandbox

serves it at http://127.0.0.1:8000 with Flask's own server. For others there is a factory:
`gunicorn --worker-class gthread --threads 64 --chdir examples/chat "flask_app:wsgi()"`, with the
settings of settings.py in the environment.
"""

from __future__ import annotations

import page
from chat import MOST_BYTES, Chat
from flask import Flask, Response, abort, request, send_from_directory, session
from flask.typing import ResponseReturnValue
from settings import Settings
from visitors import COOKIE, HEADER, SAFE, is_forged, token_of, visitor_of

from websopy_sync import WebsopyError
from websopy_sync.web import flask_response


def create_app(chat: Chat, settings: Settings) -> Flask:
    """The application."""
    app = Flask(__name__, static_folder=page.DIST / "assets", static_url_path="/assets")
    app.config.update(
        SECRET_KEY=settings.secret_key,
        SESSION_COOKIE_SECURE=settings.behind_tls,
        SESSION_COOKIE_SAMESITE="Lax",
        TRUSTED_HOSTS=settings.hosts,
        MAX_CONTENT_LENGTH=MOST_BYTES,
    )

    @app.before_request
    def only_from_our_page() -> None:
        if request.method not in SAFE and is_forged(session, request.headers.get(HEADER)):
            abort(403)

    @app.get("/")
    def index() -> Response:
        response = send_from_directory(page.DIST, "index.html")
        response.headers.update(page.HEADERS)
        visitor_of(session)  # one for all the tabs that are opened next
        # Not HttpOnly: the page has to read it.
        token, secure = token_of(session), settings.behind_tls
        response.set_cookie(COOKIE, token, secure=secure, samesite="Lax")
        return response

    @app.get("/favicon.svg")
    def favicon() -> Response:
        return send_from_directory(page.DIST, "favicon.svg")

    @app.post("/api/chat")
    def ask() -> ResponseReturnValue:
        return flask_response(chat.ask(request.get_data(), visitor_of(session)))

    @app.get("/api/chat/<id>")
    def follow(id: str) -> ResponseReturnValue:
        last = request.headers.get("Last-Event-ID")
        return flask_response(chat.follow(id, visitor_of(session), last))

    @app.delete("/api/chat/<id>")
    def stop(id: str) -> ResponseReturnValue:
        return "", chat.stop(id, visitor_of(session))

    @app.get("/api/history")
    def history() -> ResponseReturnValue:
        return chat.history(visitor_of(session))

    @app.errorhandler(WebsopyError)
    def failed(error: WebsopyError) -> ResponseReturnValue:
        return page.failure(error)

    return app


def wsgi() -> Flask:
    """The application for WSGI servers."""
    settings = Settings.from_environment()
    chat = Chat(settings)
    chat.end_with_the_process()
    return create_app(chat, settings)


def main() -> None:
    """Serve with Flask's own server until Ctrl-C."""
    with page.Trial("A chat page on Flask.") as trial:
        create_app(trial.chat, trial.settings).run(port=trial.port, threaded=True)


if __name__ == "__main__":
    main()
