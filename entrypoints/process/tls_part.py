"""TLS with the certificate in files: the first context, and new files while the server runs."""

import asyncio
import logging
import ssl
from collections.abc import Callable
from datetime import datetime

from config.container import utc_now
from config.errors import ConfigError
from config.settings import Settings
from entrypoints.http.connection.certificates import self_signed
from entrypoints.http.connection.listener import Listener
from entrypoints.http.connection.tls import build_context, expiry_of, files_of, limits_of, log_expiry, require_file

_logger = logging.getLogger(__name__)


def first_context(settings: Settings) -> ssl.SSLContext | None:
    """Return the context for the certificate in the files; None without TLS, and with an ACME server.

    Raises:
        ConfigError: a file is invalid.
    """
    tls = settings.http.tls
    if tls is None:
        return None
    context = build_context(tls, self_signed(tls.lets_encrypt.hosts[0], utc_now()) if tls.lets_encrypt else None)
    for line in limits_of(tls):
        _logger.warning("configuration: %s", line)
    if tls.lets_encrypt is not None:
        if tls.lets_encrypt.ca:
            require_file("letsencrypt.ca", tls.lets_encrypt.ca)
        # Each process builds its own contexts.
        return None
    log_expiry(tls, utc_now)
    return context


class TlsPart:
    """The certificates of a listener, as a reloadable part."""

    def __init__(
        self,
        listener: Listener,
        settings: Callable[[], Settings],
        *,
        speaks: bool,
        on_change: Callable[[datetime], None] = lambda _expires: None,
    ) -> None:
        self._listener = listener
        self._on_change = on_change
        self._speaks = speaks
        self._settings = settings

    def files(self) -> tuple[str, ...]:
        """Return the files to watch."""
        tls = self._settings().http.tls
        return () if tls is None else files_of(tls)

    async def reload(self) -> None:
        """Use the current content of the files for new connections.

        Raises:
            ConfigError: the files are invalid; the previous certificates stay in use.
        """
        tls = self._settings().http.tls
        if tls is None:
            raise ConfigError(["http.tls cannot be removed while the server runs"])
        if tls.lets_encrypt is not None:
            raise ConfigError(["http.tls.letsencrypt takes effect at the next start"])
        context = await asyncio.to_thread(build_context, tls)
        self._listener.exchange(context)
        self._on_change(expiry_of(tls))
        if self._speaks:
            log_expiry(tls, utc_now)
