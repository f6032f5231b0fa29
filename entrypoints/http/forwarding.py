"""Who the client is, and how it sees the registry, when proxies stand in between.

`http.trustedproxies` names the proxies whose headers are believed. Without it everybody's are, as in distribution:
then a client can write any address into the access log, but not into what requests are counted by.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final, TypeAlias

from aiohttp import web
from multidict import istr

_Address: TypeAlias = IPv4Address | IPv6Address

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
    """For logs; empty on a Unix socket without a proxy's word."""
    accountable: str
    """What requests are counted by: an address that the client cannot choose."""
    scheme: str
    host: str | None
    """As the client wrote it; None if that cannot be one."""


class Forwarding:
    """Reads what proxies say; one per process.

    Args:
        trusted: networks of the proxies, or None to believe everybody. Who comes by a Unix socket is on this machine,
            and believed.
    """

    def __init__(self, trusted: Sequence[str] | None) -> None:
        self._networks = None if trusted is None else [ip_network(text) for text in trusted]

    def client_of(self, request: web.BaseRequest) -> Client:
        """Tell who sent a request."""
        headers, remote = request.headers, request.remote or ""
        direct = _directly(remote, request.scheme, request.host)
        if not any(map(headers.__contains__, _HEADERS)) or not self._is_trusted(_parse(remote)):
            return direct
        if headers.get("Forwarded"):
            return self._by_forwarded(request, direct)
        return self._by_x_headers(request, direct)

    def _by_forwarded(self, request: web.BaseRequest, direct: Client) -> Client:
        # RFC 7239: each proxy appends an element. Unreadable ones leave nothing, and X-Forwarded-* do not count then.
        elements: Sequence[Mapping[str, str]] = request.forwarded
        if not elements:
            return direct
        addresses = [_parse(element.get("for", "")) for element in elements]
        index = self._outermost(addresses)
        return self._seen(direct, addresses[index], elements[index].get("proto", ""), elements[index].get("host", ""))

    def _by_x_headers(self, request: web.BaseRequest, direct: Client) -> Client:
        parsed = (_parse(text) for text in ",".join(request.headers.getall("X-Forwarded-For", [])).split(","))
        addresses = [address for address in parsed if address is not None]
        address = addresses[self._outermost(addresses)] if addresses else _parse(request.headers.get("X-Real-Ip", ""))
        proto = request.headers.get("X-Forwarded-Proto", "").partition(",")[0].strip()
        host = request.headers.get("X-Forwarded-Host", "").partition(",")[0].strip()
        return self._seen(direct, address, proto, host)

    def _outermost(self, addresses: Sequence[_Address | None]) -> int:
        """Return the element that the proxy farthest out wrote; what stands before it is the client's own word."""
        if self._networks is None:
            return 0
        index = len(addresses) - 1
        while index > 0 and addresses[index] is not None and self._is_trusted(addresses[index]):
            index -= 1
        return index

    def _is_trusted(self, address: _Address | None) -> bool:
        return self._networks is None or address is None or any(address in network for network in self._networks)

    def _seen(self, direct: Client, address: _Address | None, proto: str, host: str) -> Client:
        shown = str(address) if address else direct.address
        return Client(
            address=shown,
            accountable=direct.address if self._networks is None else shown,
            scheme=proto.lower() if proto.lower() in _SCHEMES else direct.scheme,
            host=host if HOST.fullmatch(host) else direct.host,
        )


# Remembered, for the same few clients come again and again: reading an address alone takes 3 µs of a request's 130. Not
# more, for strangers choose what they call the host.
@lru_cache(maxsize=512)
def _directly(remote: str, scheme: str, host: str) -> Client:
    peer = _parse(remote)
    text = str(peer) if peer else ""
    return Client(address=text, accountable=text, scheme=scheme, host=host if HOST.fullmatch(host) else None)


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
