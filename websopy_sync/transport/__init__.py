"""One HTTP exchange: a request is sent, then the head and the bytes of its response arrive.

requests and urllib3 are imported nowhere else, and none of their exceptions leaves this package.
"""

from __future__ import annotations

from .request import HTTPRequest, Limit
from .response import HTTPResponse
from .transport import Session, Transport

__all__ = ["HTTPRequest", "HTTPResponse", "Limit", "Session", "Transport"]
