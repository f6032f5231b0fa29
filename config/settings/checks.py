"""Checks of texts that several sections share; each returns the problem with a text, or None."""

import re
from typing import Final

from yarl import URL

from config.tree import hide_credentials, printable
from core.model.secret import HIDDEN

_TCP_ADDRESS: Final = re.compile(r"(?:\[[0-9A-Fa-f:.%a-z]+\]|[^\s:\[\]/]*):([0-9]{1,5})")
_PORT_MAX: Final = 65_535
_BUCKET: Final = re.compile(r"[A-Za-z0-9._-]{1,255}|arn:[^\s]+")
"""The names that botocore accepts."""


def address_problem(text: str) -> str | None:
    """Check a TCP address."""
    match = _TCP_ADDRESS.fullmatch(text)
    if match is None or int(match[1]) > _PORT_MAX:
        return "must be `host:port`, `:port` or `[ipv6]:port`"
    return None


def web_url_problem(text: str) -> str | None:
    """Check an HTTP or HTTPS URL."""
    try:
        # aiohttp parses URLs with the same class.
        url = URL(text)
        is_one = url.scheme in {"http", "https"} and bool(url.host) and url.explicit_port != 0
    except ValueError:
        is_one = False
    if is_one and not any(character.isspace() for character in text):
        return None
    return f"must be a URL such as https://host.example.com/path, not `{printable(shown_url(text))}`"


def endpoint_problem(text: str) -> str | None:
    """Check the address of a store, with or without a scheme."""
    url = text if "://" in text else f"https://{text}"
    if web_url_problem(url) is None and "?" not in text:
        return None
    return "must be `host`, `host:port` or a URL such as https://store.example.com"


def bucket_problem(text: str) -> str | None:
    """Check the name of a bucket."""
    if _BUCKET.fullmatch(text):
        return None
    return "must be the name of a bucket alone: up to 255 letters, digits, `.`, `-` and `_`"


def shown_url(text: str) -> str:
    """Return a URL, valid or not, without user, password and query."""
    before, question, _ = text.partition("?")
    shown = hide_credentials(before) if "//" in before or "@" not in before else HIDDEN
    return shown + (question and f"?{HIDDEN}")
