"""Certificates of the system, read with the first TLS connection that needs them.

aiohttp creates two TLS contexts at its import, and both read the certificates of all authorities that the system
trusts: a twelfth of the processor time of a start. Most servers never connect to a host over HTTPS.
"""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from typing_extensions import override


@contextmanager
def certificates_read_late() -> Iterator[None]:
    """Let contexts that are created within this block read the system's certificates with their first connection."""
    load = ssl.SSLContext.load_default_certs
    postponed: Any = _postpone
    ssl.SSLContext.load_default_certs = postponed  # type: ignore[method-assign]
    ssl.SSLContext.set_default_verify_paths = postponed  # type: ignore[method-assign]
    try:
        yield
    finally:
        ssl.SSLContext.load_default_certs = load  # type: ignore[method-assign]
        # Uncovers the method of the base class, which is written in C.
        del ssl.SSLContext.set_default_verify_paths


class _LateContext(ssl.SSLContext):
    """Context without certificates; its first connection reads them and makes it an ordinary context."""

    @override
    def wrap_bio(self, *arguments: Any, **options: Any) -> ssl.SSLObject:
        return self._complete().wrap_bio(*arguments, **options)

    @override
    def wrap_socket(self, *arguments: Any, **options: Any) -> ssl.SSLSocket:
        return self._complete().wrap_socket(*arguments, **options)

    def _complete(self) -> ssl.SSLContext:
        self.__class__ = ssl.SSLContext  # type: ignore[assignment]
        self.load_default_certs()
        return self


def _postpone(context: ssl.SSLContext, _purpose: ssl.Purpose = ssl.Purpose.SERVER_AUTH) -> None:
    context.__class__ = _LateContext
