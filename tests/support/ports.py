"""TCP ports for servers of tests that must know their port before they listen.

A port that the kernel chooses (`bind` to port 0) comes from the range of outgoing connections, so a connection of any
process can take it before the server listens, or while the server restarts. These ports lie below that range, and each
process has ports of its own.
"""

import itertools
import os
import socket
from typing import Final

_FIRST_PORT: Final = 16384
_BLOCK_SIZE: Final = 128
_BLOCKS: Final = 128
"""All ports are below 32,768, where Linux begins with the ports of outgoing connections."""


class Ports:
    """A block of ports that no other process of tests on this machine uses."""

    def __init__(self) -> None:
        first = _FIRST_PORT + _claim_block() * _BLOCK_SIZE
        self._ports = itertools.cycle(range(first, first + _BLOCK_SIZE))

    def next_free(self) -> int:
        """Return the next port of the block on which nothing listens at 127.0.0.1.

        Raises:
            OSError: every port of the block is in use.
        """
        for port in itertools.islice(self._ports, _BLOCK_SIZE):
            with socket.socket() as probe:
                try:
                    probe.bind(("127.0.0.1", port))
                except OSError:
                    continue
                return port
        raise OSError(f"every one of {_BLOCK_SIZE} ports of this process is in use")


def _claim_block() -> int:
    """Claim a block for the lifetime of this process: the kernel frees an abstract address when the process ends."""
    start = os.getpid() % _BLOCKS
    for offset in range(_BLOCKS):
        block = (start + offset) % _BLOCKS
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind(f"\0registry-test-ports-{block}")
        except OSError:
            claim.close()
            continue
        claim.detach()
        return block
    raise OSError(f"every one of {_BLOCKS} blocks of ports is in use")


_ports: dict[int, Ports] = {}
"""The ports of this process by its id: a forked process claims its own."""


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that is free and that no other process is given."""
    ports = _ports.get(os.getpid())
    if ports is None:
        ports = _ports[os.getpid()] = Ports()
    return ports.next_free()
