"""Checks of addresses that operators configure."""

import re
from ipaddress import ip_address
from typing import Final

from yarl import URL

_TCP_ADDRESS: Final = re.compile(r"(?:\[[0-9A-Fa-f:.%a-z]+\]|[^\s:\[\]/]*):([0-9]{1,5})")
_PORT_MAX: Final = 65_535


def is_web_url(text: str) -> bool:
    """Whether a text is an HTTP or HTTPS URL."""
    try:
        # aiohttp parses URLs with the same class.
        url = URL(text)
        is_one = url.scheme in {"http", "https"} and bool(url.host) and url.explicit_port != 0
    except ValueError:
        is_one = False
    return is_one and not any(character.isspace() for character in text)


def endpoint_problem(text: str) -> str | None:
    """Check the address of a store, with or without a scheme."""
    url = text if "://" in text else f"https://{text}"
    if is_web_url(url) and "?" not in text:
        return None
    return "must be `host`, `host:port` or a URL such as https://store.example.com"


def address_problem(text: str) -> str | None:
    """Check a TCP address."""
    match = _TCP_ADDRESS.fullmatch(text)
    if match is None or int(match[1]) > _PORT_MAX:
        return "must be `host:port`, `:port` or `[ipv6]:port`"
    return None


def host_of(address: str) -> str:
    """Return the host of `host`, `host:port`, `ipv6` or `[ipv6]:port`, without brackets and port."""
    if address.startswith("["):
        return address[1:].partition("]")[0]
    host, colon, _ = address.partition(":")
    return host if address.count(":") == 1 and colon else address


def is_ip_address(host: str) -> bool:
    """Whether a host is an address of IPv4 or IPv6, without brackets, and not a name."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
