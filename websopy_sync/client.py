"""The client: one service, one key, a pool of connections, its plugins.

Opens and closes what its calls share. Knows nothing of how a call is made, nor of a service's JSON.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from .ai import AI
from .calls import Calls
from .cancel import CancelToken
from .endpoint import Endpoint
from .errors import ConfigError
from .hooks import Hooks, PluginInfo, StoredConversation
from .interrupts import discreet, is_interrupt, run_all
from .model_list import list_models
from .options import ClientOptions
from .signatures import same_parameters
from .stream import EventStream
from .timeouts import Timeouts
from .transport import Transport

__all__ = ["WebsopyClient"]


class WebsopyClient:
    """A client of the service: one key, one address, a pool of connections, its plugins.

    It may be used from many threads, and by forked children. As a context manager, or by
    close(), it closes its connections, and the streams that are still open.

    Args:
        api_key: `WEBSOPY_API_KEY` when None. A function is asked for the key before each request,
            also of a retry, in the thread of the call; after a 401 it is asked once more.
        base_url: `WEBSOPY_BASE_URL` when None, else the service's.
        wire: The service's format, by name or as a `Wire`; `WEBSOPY_WIRE` when None, else that of
            the Websopy service.
        model: The model of each request that names none; `WEBSOPY_MODEL` when None.
        timeout: `Timeouts`, or seconds for the whole call; None for the defaults.
        max_retries: How often a call that failed may be sent again.
        session: A requests.Session whose proxies, certificates and own adapters are used; it stays
            yours. Over an own adapter the limits hold for each receive, not for a trickle of bytes.
        plugins: None for the installed ones that `WEBSOPY_PLUGINS` names (all when unset), or the
            ones to use, as objects, classes or names.
        default_headers: Sent with every request.
        verify: True, False, or the path of a CA bundle, which beats the environment's.
        max_event_size: Bytes that one event may have.
        max_answer_size: Characters that one answer of a chat may have: its text, its reasoning and
            its tool calls together.
        strict_plugins: Let a plugin's failure raise PluginError.

    Raises:
        ConfigError: A value cannot work.
        PluginError: A plugin failed, and strict_plugins is True.
    """

    _base_url = ""  # a repr may be taken before __init__ is done

    @discreet
    @same_parameters(ClientOptions)
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        options = ClientOptions(*args, **kwargs)
        endpoint = Endpoint.of(options.wire, options.base_url, options.api_key, model=options.model)
        self._base_url = endpoint.base_url
        transport = Transport(
            key_header=endpoint.wire.key_header, verify=options.verify, session=options.session
        )
        _set_up_logging(options.log_level)
        self._hooks = Hooks(options.plugins, strict=options.strict_plugins)
        self._calls = Calls(options, endpoint, transport, self._hooks)
        self._ai = AI(self._calls)

    def __repr__(self) -> str:
        return f"<WebsopyClient {self._base_url}>"

    @property
    def ai(self) -> AI:
        """Chats with the model."""
        return self._ai

    @property
    def plugins(self) -> list[PluginInfo]:
        """The plugins that were installed or passed, and what became of them."""
        return list(self._hooks.plugins)

    def load_conversation(self, conversation_id: str | None = None) -> StoredConversation | None:
        """A conversation that a plugin has stored, such as websopy-persistence.

        Its turns start a new one: `client.ai.conversation(…)`, or `chat_stream(messages)`.

        Args:
            conversation_id: What its calls passed as `metadata={"conversation": …}`; None for the
                latest conversation.

        Returns:
            Its id and its turns. None when no plugin has it, or when the plugin that has it
            failed, which is logged.

        Raises:
            ConfigError: The id is no str.
            PluginError: A plugin failed, and strict_plugins is True.
        """
        given: object = conversation_id
        if not isinstance(given, str | None):
            raise ConfigError(f"conversation_id: expected str or None, got {type(given).__name__}")
        return self._hooks.load_conversation(conversation_id)

    @discreet
    def events(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        json: Mapping[str, Any] | None = None,
        timeout: Timeouts | float | None = None,
        cancel_token: CancelToken | None = None,
        extra_headers: Mapping[str, str] | None = None,
    ) -> EventStream:
        """The server's own events: any request of the service, read as Server-Sent Events.

        The stream ends where the bytes end; if they are cut off, it raises. Plugins are not
        notified.

        Args:
            method: An HTTP method.
            path: What follows base_url, with "/" first; it may have a query.
            params: More of the query.
            json: The request's body.
            timeout: The client's when None. An event counts as a chunk.
            cancel_token: Cancels the stream.
            extra_headers: Headers of this request; they replace the client's.

        Raises:
            ConfigError: A value cannot be sent, or the client is closed.
            APIError: Whatever `client.ai.chat_stream` raises.
        """
        options = {"timeout": timeout, "cancel_token": cancel_token, "extra_headers": extra_headers}
        return self._calls.events(method, path, params, json, options)

    @discreet
    def models(
        self,
        *,
        timeout: Timeouts | float | None = None,
        cancel_token: CancelToken | None = None,
        extra_headers: Mapping[str, str] | None = None,
    ) -> list[str]:
        """The names of the models that the service offers, in its own order.

        Each can be passed as `model=`. Most services list all that they have, also models that do
        not chat. Plugins are not notified.

        Args:
            timeout: The client's when None. A page of the list counts as a chunk.
            cancel_token: Cancels the request.
            extra_headers: Headers of each request; they replace the client's.

        Raises:
            ConfigError: The service lists no models, a value cannot be sent, or the client is
                closed.
            APIStatusError: The service refused the request.
            APIConnectionError: No usable response came, or a limit passed (APITimeoutError).
            StreamInterruptedError: The response was cut.
            StreamProtocolError: The response is no list of models, or larger than `max_event_size`
                in all.
            StreamCancelledError: The token was cancelled.
        """
        options = {"timeout": timeout, "cancel_token": cancel_token, "extra_headers": extra_headers}
        return list_models(self._calls, options)

    def close(self) -> None:
        """Close open streams and idle connections, and let background plugins finish."""
        run_all(self._calls.close, self._hooks.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        run_all(self.close, error=error if is_interrupt(error) else None)


def _set_up_logging(level: str) -> None:
    """WEBSOPY_LOG=debug|info: write this package's log to stderr, unless that is set up already."""
    if level.lower() not in ("debug", "info"):
        return
    logger = logging.getLogger("websopy_sync")
    logger.setLevel(level.upper())
    if all(isinstance(handler, logging.NullHandler) for handler in logger.handlers):
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s %(message)s"))
        logger.addHandler(handler)
