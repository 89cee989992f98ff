"""The application in Django for a server that takes no factory."""

from __future__ import annotations

from django.core.asgi import get_asgi_application

application = get_asgi_application()
