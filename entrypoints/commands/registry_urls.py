"""URLs of registries on the command line: `https://host[:port][/repository[:tag|@digest]]`."""

import re
from dataclasses import dataclass
from typing import Final

from config.errors import ConfigError
from core.errors import InvalidInputError
from core.model.digest import Digest
from core.model.names import RepositoryName, Tag

_URL: Final = re.compile(r"(https?)://([^/?#@\s]+)(?:/+([^?#\s]*))?", re.IGNORECASE)
_SCHEME: Final = re.compile(r"https?://", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryUrl:
    """A registry, and what the URL names there."""

    root: str
    """The URL of the registry, without a final slash."""
    host: str
    repository: RepositoryName | None = None
    tag: Tag | None = None
    digest: Digest | None = None


def is_registry_url(text: str) -> bool:
    """Whether an argument is a URL, not the path of a configuration file."""
    return _SCHEME.match(text) is not None


def parse_registry_url(text: str) -> RegistryUrl:
    """Parse a URL that an operator gives. The error does not quote it, since it may contain a password.

    Raises:
        ConfigError: it is not such a URL.
    """
    match = _URL.fullmatch(text)
    if match is None:
        raise ConfigError(
            ["must be a URL such as https://registry.example.com/team/app:v1, without user, password and query"]
        )
    path = (match[3] or "").rstrip("/")
    root = f"{match[1].lower()}://{match[2]}"
    if not path:
        return RegistryUrl(root=root, host=match[2])
    try:
        named, at, digest = path.partition("@")
        name, colon, tag = named.partition(":")
        return RegistryUrl(
            root=root,
            host=match[2],
            repository=RepositoryName(name),
            tag=Tag(tag) if colon else None,
            digest=Digest(digest) if at else None,
        )
    except InvalidInputError as error:
        raise ConfigError([f"the URL names no image: {error}"]) from None
