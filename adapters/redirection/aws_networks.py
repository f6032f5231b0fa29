"""The networks of AWS, from the list that AWS publishes."""

import asyncio
import ipaddress
import logging
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import ClientError, ClientSession, ClientTimeout, DummyCookieJar
from typing_extensions import override

from adapters.addresses import host_of
from core.json_text import load_json
from core.ports.resource import Resource

LIST_BYTES_MAX: Final = 16 * 1024 * 1024
"""The list of November 2026 has less than 4 MiB."""
_NETWORKS_MAX: Final = 200_000
_TIMEOUT_SECONDS: Final = 60.0
_RETRY_SECONDS: Final = 300.0
_PREFIXES: Final = (("prefixes", "ip_prefix"), ("ipv6_prefixes", "ipv6_prefix"))

_logger = logging.getLogger(__name__)


class _ListInvalidError(ValueError):
    """The answer is not a list of networks; the message gives the reason."""


@dataclass(frozen=True, slots=True)
class _Ranges:
    """Disjoint ranges of addresses of one version, as numbers in ascending order."""

    first: Sequence[int] = ()
    last: Sequence[int] = ()

    def contain(self, address: int) -> bool:
        position = bisect_right(self.first, address) - 1
        return position >= 0 and address <= self.last[position]


class AwsNetworks(Resource):
    """The networks of AWS, or of some of its regions; loaded while open, and refreshed at intervals.

    If the list cannot be loaded, the last one stays in use. Until the first one is loaded, no client is in AWS, as in
    distribution. Only the given URL is requested: redirects are not followed.

    Args:
        url: the URL of the list.
        regions: the regions whose networks count, in lower case; empty for all.
        every_seconds: the time between two refreshes.
        retry_seconds: the time from a failure to the next attempt, if shorter.
    """

    def __init__(
        self, url: str, *, regions: Iterable[str] = (), every_seconds: float, retry_seconds: float = _RETRY_SECONDS
    ) -> None:
        self._url = url
        self._regions = frozenset(regions)
        self._every_seconds = every_seconds
        self._retry_seconds = min(retry_seconds, every_seconds)
        self._ranges: dict[int, _Ranges] = {}
        self._stack = AsyncExitStack()

    @override
    async def start(self) -> None:
        session = await self._stack.enter_async_context(
            ClientSession(timeout=ClientTimeout(total=_TIMEOUT_SECONDS), cookie_jar=DummyCookieJar())
        )
        task = asyncio.create_task(self._refresh_forever(session), name="networks of AWS")
        self._stack.push_async_callback(_cancel, task)

    @override
    async def stop(self) -> None:
        await self._stack.aclose()

    def contain(self, client: str) -> bool:
        """Whether a client is in one of the networks.

        Args:
            client: its address, with or without a port. Any other text is in no network.
        """
        try:
            address = ipaddress.ip_address(host_of(client))
        except ValueError:
            return False
        plain = getattr(address, "ipv4_mapped", None) or address
        ranges = self._ranges.get(plain.version)
        return ranges is not None and ranges.contain(int(plain))

    async def _refresh_forever(self, session: ClientSession) -> None:
        while True:
            is_fresh = await self._refresh(session)
            await asyncio.sleep(self._every_seconds if is_fresh else self._retry_seconds)

    async def _refresh(self, session: ClientSession) -> bool:
        try:
            content = await self._fetch(session)
            # A thread, because the list takes tens of milliseconds to parse.
            ranges = await asyncio.to_thread(_parse, content, self._regions)
        except (ClientError, OSError, TimeoutError, ValueError) as error:
            reason = error if isinstance(error, _ListInvalidError) else type(error).__name__
            state = "the list loaded before stays in use" if self._ranges else "until then no client counts as in AWS"
            _logger.warning(
                "the networks of AWS cannot be loaded: %s; %s; next attempt in %g s", reason, state, self._retry_seconds
            )
            return False
        self._ranges = ranges
        return True

    async def _fetch(self, session: ClientSession) -> bytes:
        async with session.get(self._url, allow_redirects=False) as response:
            if response.status != 200:  # noqa: PLR2004 - OK
                raise _ListInvalidError(f"the answer has the status {response.status}")
            content = bytearray()
            async for chunk in response.content.iter_chunked(64 * 1024):
                content += chunk
                if len(content) > LIST_BYTES_MAX:
                    raise _ListInvalidError(f"the answer has more than {LIST_BYTES_MAX} bytes")
            return bytes(content)


async def _cancel(task: "asyncio.Task[None]") -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def _parse(content: bytes, regions: frozenset[str]) -> dict[int, _Ranges]:
    try:
        document = load_json(content)
    except ValueError:
        raise _ListInvalidError("the answer is not JSON") from None
    if not isinstance(document, dict):
        raise _ListInvalidError("the answer is not a JSON object")
    found: dict[int, list[tuple[int, int]]] = {4: [], 6: []}
    for network in _networks(document, regions):
        found[network.version].append((int(network.network_address), int(network.broadcast_address)))
    return {version: _merged(ranges) for version, ranges in found.items()}


def _networks(
    document: dict[str, Any], regions: frozenset[str]
) -> Iterator[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    """Yield the networks of these regions. Entries that are not networks are counted and left out."""
    unusable = 0
    for entry, name in _entries(document):
        try:
            network = ipaddress.ip_network(entry[name], strict=False)
            region = str(entry["region"]).lower()
        except (KeyError, TypeError, ValueError):
            unusable += 1
            continue
        if not regions or region in regions:
            yield network
    if unusable:
        _logger.warning("the networks of AWS: %d entries of the list are not networks", unusable)


def _entries(document: dict[str, Any]) -> Iterator[tuple[Any, str]]:
    for section, name in _PREFIXES:
        entries = document.get(section, [])
        if not isinstance(entries, list) or len(entries) > _NETWORKS_MAX:
            raise _ListInvalidError(f"`{section}` is not a list of at most {_NETWORKS_MAX} networks")
        for entry in entries:
            yield entry, name


def _merged(ranges: list[tuple[int, int]]) -> _Ranges:
    first: list[int] = []
    last: list[int] = []
    for start, end in sorted(ranges):
        if last and start <= last[-1] + 1:
            last[-1] = max(last[-1], end)
        else:
            first.append(start)
            last.append(end)
    return _Ranges(first, last)
