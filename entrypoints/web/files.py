"""The style sheet, the script and the icon, held in memory."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aiohttp import web

_TYPES: Final = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_FOLDER: Final = Path(__file__).parent / "static"


@dataclass(frozen=True, slots=True)
class _File:
    content: bytes
    media_type: str
    version: str


class StaticFiles:
    """The files of the page; their addresses contain a hash, so that browsers can keep them."""

    def __init__(self) -> None:
        self._files = {
            path.name: _File(content, _TYPES[path.suffix], hashlib.sha256(content).hexdigest()[:12])
            for path in sorted(_FOLDER.iterdir())
            for content in [path.read_bytes()]
        }

    def address(self, name: str) -> str:
        """Return the address of a file below that of the site."""
        return f"_static/{name}?v={self._files[name].version}"

    def respond(self, name: str) -> web.Response | None:
        """Return the response with a file, or None if there is no such file."""
        file = self._files.get(name)
        if file is None:
            return None
        headers = {"Cache-Control": "public, max-age=31536000, immutable"}
        return web.Response(body=file.content, content_type=file.media_type, charset="utf-8", headers=headers)
