"""Unfinished uploads at remote registries, remembered so that a later process continues them."""

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from core.model.digest import Digest
from core.model.names import RepositoryName

_logger = logging.getLogger(__name__)

_FILE_BYTES_MAX: Final = 16 * 1024 * 1024
_UPLOADS_MAX: Final = 10_000


class UnfinishedUploads:
    """The URL of each unfinished upload, by repository and digest. Used by one process at a time.

    Args:
        path: the file that keeps the URLs, or None to forget them at the end of the process. A file that cannot be
            read or written is reported once, and then not used: the uploads start from the beginning.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._urls: dict[str, str] = dict(self._read())

    def get(self, name: RepositoryName, digest: Digest) -> str | None:
        """Return the URL of an upload, or None."""
        return self._urls.get(_key(name, digest))

    def put(self, name: RepositoryName, digest: Digest, url: str) -> None:
        """Remember the URL of an upload."""
        self._urls[_key(name, digest)] = url
        if len(self._urls) > _UPLOADS_MAX:
            del self._urls[next(iter(self._urls))]
        self._write()

    def pop(self, name: RepositoryName, digest: Digest) -> None:
        """Forget an upload that is finished or lost."""
        if self._urls.pop(_key(name, digest), None) is not None:
            self._write()

    def _read(self) -> Mapping[str, str]:
        if self._path is None:
            return {}
        try:
            return _parse(self._path)
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            self._give_up(error)
            return {}

    def _write(self) -> None:
        if self._path is None:
            return
        new = self._path.with_name(f".{self._path.name}.new")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            # The URL of an upload may let anyone continue it.
            with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:  # noqa: PTH123
                file.write(json.dumps(self._urls).encode())
            new.replace(self._path)
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        _logger.warning("unfinished uploads are not remembered: %s", error, extra={"path": str(self._path)})
        self._path = None


def _parse(path: Path) -> Mapping[str, str]:
    if path.stat().st_size > _FILE_BYTES_MAX:
        raise ValueError("the file is too large")
    document = json.loads(path.read_bytes())
    if not isinstance(document, dict) or not all(isinstance(url, str) for url in document.values()):
        raise ValueError("the file has another format")
    return document


def _key(name: RepositoryName, digest: Digest) -> str:
    return f"{name}@{digest}"
