"""websopy_sync: blocking streaming of Websopy AI answers.

All that a script needs:

    client = WebsopyClient()
    for chunk in client.ai.chat_stream("写一篇关于 AI 的文章"):
        if chunk.type == "content":
            print(chunk.content, end="", flush=True)
"""

import logging as _logging

from ._version import __version__
from .cancel import CancelToken
from .chunks import (
    ContentChunk,
    DoneChunk,
    ErrorChunk,
    ReasoningChunk,
    StreamChunk,
    ToolCall,
    ToolCallChunk,
    UnknownChunk,
    Usage,
)
from .client import WebsopyClient
from .conversation import Conversation
from .errors import (
    APIConnectionError,
    APIError,
    APIStatusError,
    APITimeoutError,
    ConfigError,
    FileError,
    PluginError,
    ResponseParseError,
    StreamCancelledError,
    StreamError,
    StreamInterruptedError,
    StreamProtocolError,
    StreamServerError,
    ToolArgumentsError,
    WebsopyError,
)
from .hooks import BackgroundPlugin, StreamLocal, hookimpl
from .message import Message
from .options import ChatOptions, RunOptions
from .parts import FilePart, ImagePart, TextPart, file, image, text
from .run import ToolRun
from .sse import ServerSentEvent
from .status_errors import (
    AuthenticationError,
    BadRequestError,
    ConflictError,
    InternalServerError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
    UnprocessableEntityError,
)
from .stream import ChatStream, EventStream
from .structured_output import ParsedMessage
from .timeouts import Timeouts
from .tool_errors import MaxTurnsError, ToolError
from .tools import Tool

__all__ = [
    "APIConnectionError",
    "APIError",
    "APIStatusError",
    "APITimeoutError",
    "AuthenticationError",
    "BackgroundPlugin",
    "BadRequestError",
    "CancelToken",
    "ChatOptions",
    "ChatStream",
    "ConfigError",
    "ConflictError",
    "ContentChunk",
    "Conversation",
    "DoneChunk",
    "ErrorChunk",
    "EventStream",
    "FileError",
    "FilePart",
    "ImagePart",
    "InternalServerError",
    "MaxTurnsError",
    "Message",
    "NotFoundError",
    "ParsedMessage",
    "PermissionDeniedError",
    "PluginError",
    "RateLimitError",
    "ReasoningChunk",
    "ResponseParseError",
    "RunOptions",
    "ServerSentEvent",
    "StreamCancelledError",
    "StreamChunk",
    "StreamError",
    "StreamInterruptedError",
    "StreamLocal",
    "StreamProtocolError",
    "StreamServerError",
    "TextPart",
    "Timeouts",
    "Tool",
    "ToolArgumentsError",
    "ToolCall",
    "ToolCallChunk",
    "ToolError",
    "ToolRun",
    "UnknownChunk",
    "UnprocessableEntityError",
    "Usage",
    "WebsopyClient",
    "WebsopyError",
    "__version__",
    "file",
    "hookimpl",
    "image",
    "text",
]

_logging.getLogger(__name__).addHandler(_logging.NullHandler())
