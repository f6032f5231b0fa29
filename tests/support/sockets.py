"""The sockets of the test's own process."""

import asyncio
from pathlib import Path
from typing import Final

_END_SECONDS: Final = 60.0


def open_sockets() -> frozenset[str]:
    """Return the open sockets of this process."""
    targets = set()
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            targets.add(str(descriptor.readlink()))
        except FileNotFoundError:
            # The descriptor of the listing itself.
            continue
    return frozenset(target for target in targets if target.startswith("socket:"))


async def only_these_are_open(sockets: frozenset[str]) -> None:
    """Wait until all sockets of this process are among `sockets`.

    A client that closes a TLS connection waits for the server's answer. If its event loop ends before, Python warns of
    the connection in some later test.
    """
    async with asyncio.timeout(_END_SECONDS):
        while not open_sockets() <= sockets:  # noqa: ASYNC110 - no event tells that a socket was closed
            await asyncio.sleep(0.01)
