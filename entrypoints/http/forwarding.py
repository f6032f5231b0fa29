"""Who the client is, and how it sees the registry, when proxies stand in between.

`http.trustedproxies` names the proxies whose headers are believed, `http.proxyhops` how many stand in a row. The
address of a client is what the outermost of them saw, counted from the right; what stands further left is its own word.
Where no proxy is named, no header counts for an address; scheme and host of links follow the headers even so, as in
distribution, since a wrong one reaches only the client that sent it.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final, TypeAlias

from aiohttp import web
from multidict import CIMultiDictProxy, istr

_Address: TypeAlias = IPv4Address | IPv6Address
_Elements: TypeAlias = Sequence[Mapping[str, str]]

HOST: Final = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
"""What may be written into links as a host."""
_HEADERS: Final = tuple(
    istr(name) for name in ("Forwarded", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Real-Ip")
)
"""What a proxy adds."""
_SCHEMES: Final = frozenset({"http", "https"})
_WITH_PORT: Final = re.compile(r"([0-9.]+):[0-9]+|\[([0-9A-Fa-f:.]+)\](?::[0-9]+)?")


@dataclass(frozen=True, slots=True)
class Client:
    """The client behind a request."""

    address: str
    """For logs, audit and rates: one that the client cannot choose. Empty on a Unix socket without a proxy's word."""
    scheme: str
    host: str | None
    """As the client wrote it; None if that cannot be one."""


class Forwarding:
    """Reads what proxies say; one per process.

    Args:
        trusted: networks of the proxies; None names none, and has links follow everybody. Who comes by a Unix socket is
            on this machine, and a proxy.
        hops: how many proxies may stand in a row, the one that connects included.
    """

    def __init__(self, trusted: Sequence[str] | None, *, hops: int = 1) -> None:
        self._links_follow_all = trusted is None
        self._networks = [ip_network(text) for text in trusted or ()]
        self._hops = hops

    def client_of(self, request: web.BaseRequest) -> Client:
        """Tell who sent a request."""
        headers, remote = request.headers, request.remote or ""
        direct = _directly(remote, request.scheme, request.host)
        if not any(map(headers.__contains__, _HEADERS)):
            return direct
        is_proxy = self._is_trusted(_parse(remote))
        if not is_proxy and not self._links_follow_all:
            return direct
        elements: _Elements = request.forwarded if headers.get("Forwarded") else ()
        address = self._address(headers, elements) if is_proxy else None
        proto, host = self._origin(headers, elements, is_proxy=is_proxy)
        return Client(
            address=str(address) if address else direct.address,
            scheme=proto.lower() if proto.lower() in _SCHEMES else direct.scheme,
            host=host if HOST.fullmatch(host) else direct.host,
        )

    def _address(self, headers: CIMultiDictProxy[str], elements: _Elements) -> _Address | None:
        """Return the client that the outermost proxy saw, or None where that cannot be read.

        `X-Forwarded-For` comes first, as in distribution: nearly all proxies write it, and pass on what a client writes
        in `Forwarded`.
        """
        if chain := ",".join(headers.getall("X-Forwarded-For", [])):
            # Also what is no address is an element: without it, one more of the client's words would count.
            addresses = [_parse(text) for text in chain.split(",")]
        elif headers.get("Forwarded"):
            # RFC 7239: each proxy appends an element.
            addresses = [_parse(element.get("for", "")) for element in elements]
        else:
            addresses = [_parse(headers.get("X-Real-Ip", ""))]
        return addresses[self._outermost(addresses)] if addresses else None

    def _origin(self, headers: CIMultiDictProxy[str], elements: _Elements, *, is_proxy: bool) -> tuple[str, str]:
        """Return scheme and host as the client sees them; empty where no proxy wrote any."""
        if headers.get("Forwarded"):
            # Unreadable elements leave nothing, and X-Forwarded-* do not count then.
            index = self._outermost([_parse(element.get("for", "")) for element in elements]) if is_proxy else 0
            element = elements[index] if elements else {}
            return element.get("proto", ""), element.get("host", "")
        proto = headers.get("X-Forwarded-Proto", "").partition(",")[0].strip()
        return proto, headers.get("X-Forwarded-Host", "").partition(",")[0].strip()

    def _outermost(self, addresses: Sequence[_Address | None]) -> int:
        """Return the element that the outermost proxy wrote; what stands before it is the client's own word."""
        first = max(len(addresses) - self._hops, 0)
        index = len(addresses) - 1
        while index > first and addresses[index] is not None and self._is_trusted(addresses[index]):
            index -= 1
        return index

    def _is_trusted(self, address: _Address | None) -> bool:
        return address is None or any(address in network for network in self._networks)


# Remembered, for the same few clients come again and again: reading an address alone takes 3 µs of a request's 130. Not
# more, for strangers choose what they call the host.
@lru_cache(maxsize=512)
def _directly(remote: str, scheme: str, host: str) -> Client:
    peer = _parse(remote)
    text = str(peer) if peer else ""
    return Client(address=text, scheme=scheme, host=host if HOST.fullmatch(host) else None)


@lru_cache(maxsize=4096)
def _parse(text: str) -> _Address | None:
    text = text.strip()
    if found := _WITH_PORT.fullmatch(text):
        text = found[1] or found[2]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
