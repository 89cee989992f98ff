"""The chat example on Flask: one page, and one view that streams answers to it.

    python examples/chat/flask_app.py --sandbox

serves it at http://127.0.0.1:8000 with Flask's own server. For others there is a factory:
`gunicorn --worker-class gthread --threads 64 --chdir examples/chat "flask_app:create_app()"`.
"""

from __future__ import annotations

import page
from flask import Flask, Response, request, send_from_directory
from flask.typing import ResponseReturnValue

from websopy_sync import WebsopyClient, WebsopyError
from websopy_sync.web import flask_response, page_messages


def create_app(client: WebsopyClient | None = None, *, heartbeat: float = 15.0) -> Flask:
    """The application; without a client, one made from the environment."""
    client = client or WebsopyClient()
    app = Flask(__name__, static_folder=page.DIST / "assets", static_url_path="/assets")

    @app.get("/")
    def index() -> Response:
        response = send_from_directory(page.DIST, "index.html")
        response.headers.update(page.HEADERS)
        return response

    @app.get("/favicon.svg")
    def favicon() -> Response:
        return send_from_directory(page.DIST, "favicon.svg")

    @app.post("/api/chat")
    def chat() -> ResponseReturnValue:
        # get_json() accepts only JSON, and so no form of another site: a foreign page cannot send
        # requests in a visitor's name.
        try:
            messages = page_messages(request.get_json())
            return flask_response(
                lambda cancel: client.ai.chat_stream(messages, cancel_token=cancel),
                wait_for_status=2,  # what fails by then has a status of its own
                heartbeat=heartbeat,
            )
        except WebsopyError as error:
            return page.failure(error)

    return app


def main() -> None:
    """Serve with Flask's own server until Ctrl-C."""
    options = page.Options("A chat page on Flask.")
    with options as client:
        print(f"Open http://127.0.0.1:{options.port} in a browser; Ctrl-C ends it.")
        app = create_app(client, heartbeat=options.heartbeat)
        app.run(port=options.port, threaded=True)


if __name__ == "__main__":
    main()
