"""Redirects to a base URL followed by the storage path: distribution's middleware `redirect`."""

from posixpath import normpath
from typing import Final
from urllib.parse import quote, unquote, urlsplit

from typing_extensions import override

from core.model.events import Actor
from core.ports.redirection import Redirector

PLAIN: Final = "/$&+,:;=@~"
"""The characters that Go leaves unescaped in the path of a URL, in addition to letters, digits, `-`, `.` and `_`."""


class BaseUrlRedirector(Redirector):
    """Names unsigned URLs below one URL, at which another server offers the same tree.

    Args:
        base_url: scheme, host and optional path, without query.
    """

    def __init__(self, base_url: str) -> None:
        parts = urlsplit(base_url)
        self._origin = f"{parts.scheme}://{parts.netloc}"
        self._path = unquote(parts.path)

    @override
    async def url(self, key: str, *, by: Actor) -> str | None:
        path = f"/{normpath(f'{self._path}/{key}').lstrip('/')}" if self._path else key
        return f"{self._origin}{quote(path, safe=PLAIN)}"
