"""The chat example on FastAPI: one page, and the views that answer it.

    python examples/chat/fastapi_app.py --sandbox

serves it at http://127.0.0.1:8000. To serve it otherwise there is a factory:
`uvicorn --app-dir examples/chat --factory fastapi_app:asgi`, with the settings of settings.py in
the environment. The views are plain functions: they run in threads, where they may wait.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Annotated, Any

import page
import uvicorn
from chat import MOST_BYTES, Chat
from fastapi import Depends, FastAPI, Header, HTTPException, Request, Response
from fastapi.responses import FileResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from settings import Settings
from starlette.middleware.sessions import SessionMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from visitors import COOKIE, HEADER, SAFE, is_forged, token_of, visitor_of

from websopy_sync import WebsopyError
from websopy_sync.web import starlette_response


def only_from_our_page(request: Request) -> None:
    """Refuse what another site has the visitor's browser send."""
    if request.method not in SAFE and is_forged(request.session, request.headers.get(HEADER)):
        raise HTTPException(403)


def visitor(request: Request) -> str:
    """The visitor of this session."""
    return visitor_of(request.session)


async def sent(request: Request) -> bytes:
    """The body of a request. Starlette itself would take one of any size."""
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > MOST_BYTES:
            raise HTTPException(413)
    return bytes(body)


Visitor = Annotated[str, Depends(visitor)]


def create_app(chat: Chat, settings: Settings, lifespan: Any = None) -> FastAPI:
    """The application."""
    checks = [Depends(only_from_our_page)]
    app = FastAPI(openapi_url=None, dependencies=checks, lifespan=lifespan)
    app.add_middleware(
        SessionMiddleware,
        secret_key=settings.secret_key,
        https_only=settings.behind_tls,
        same_site="lax",
    )
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=settings.hosts, www_redirect=False)
    app.mount("/assets", StaticFiles(directory=page.DIST / "assets", check_dir=False))

    @app.get("/")
    def index(request: Request) -> Response:
        response = FileResponse(page.DIST / "index.html", headers=page.HEADERS)
        visitor_of(request.session)  # one for all the tabs that are opened next
        # Not HttpOnly: the page has to read it.
        token, secure = token_of(request.session), settings.behind_tls
        response.set_cookie(COOKIE, token, secure=secure, samesite="lax")
        return response

    @app.get("/favicon.svg")
    def favicon() -> Response:
        return FileResponse(page.DIST / "favicon.svg")

    @app.post("/api/chat")
    def ask(body: Annotated[bytes, Depends(sent)], visitor: Visitor) -> Response:
        return starlette_response(chat.ask(body, visitor))

    @app.get("/api/chat/{id}")
    def follow(
        id: str, visitor: Visitor, last_event_id: Annotated[str | None, Header()] = None
    ) -> Response:
        return starlette_response(chat.follow(id, visitor, last_event_id))

    @app.delete("/api/chat/{id}")
    def stop(id: str, visitor: Visitor) -> Response:
        return Response(status_code=chat.stop(id, visitor))

    @app.get("/api/history")
    def history(visitor: Visitor) -> Any:
        return chat.history(visitor)

    @app.exception_handler(WebsopyError)
    def failed(request: Request, error: WebsopyError) -> Response:
        body, status, headers = page.failure(error)
        return JSONResponse(body, status, headers)

    return app


def asgi() -> FastAPI:
    """The application for ASGI servers."""
    settings = Settings.from_environment()
    chat = Chat(settings)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        chat.end_with_the_process()  # here hypercorn, too, has set its signal handlers
        yield
        await asyncio.to_thread(chat.finish)

    return create_app(chat, settings, lifespan)


def main() -> None:
    """Serve with uvicorn until Ctrl-C."""
    with page.Trial("A chat page on FastAPI.") as trial:
        uvicorn.run(create_app(trial.chat, trial.settings), port=trial.port)


if __name__ == "__main__":
    main()
