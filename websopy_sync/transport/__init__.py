"""One HTTP exchange: a request goes out, the head and then the bytes of its response come in.

requests and urllib3 are imported nowhere else, and none of their exceptions leaves this package.
"""

from __future__ import annotations

from .transport import HTTPRequest, HTTPResponse, Limit, Session, Transport

__all__ = ["HTTPRequest", "HTTPResponse", "Limit", "Session", "Transport"]
