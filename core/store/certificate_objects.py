"""Storage keys of certificates from an ACME server, an extension of this registry beside the tree of distribution.

/docker/registry/v2/_certificates/<scope>
├── account                 the key of the account at the ACME server, sealed
├── answer                  the answer to the challenge of the order in progress, sealed
├── issued/<host>           a certificate with its key, sealed
└── attempts/<host>         the number of orders since the last certificate; its modification time is that of the last

The scope is a hexadecimal text, derived from `http.secret` and the address of the ACME server.
"""

from typing import Final

from core.store import layout

CERTIFICATES: Final = f"{layout.ROOT}/_certificates"


def account(scope: str) -> str:
    """Return the storage key of the account's key."""
    return f"{CERTIFICATES}/{scope}/account"


def answer(scope: str) -> str:
    """Return the storage key of the answer to the current challenge."""
    return f"{CERTIFICATES}/{scope}/answer"


def issued(scope: str, host: str) -> str:
    """Return the storage key of the certificate of a host, whose name is a DNS name in lower case."""
    return f"{CERTIFICATES}/{scope}/issued/{host}"


def attempt(scope: str, host: str) -> str:
    """Return the storage key of the record of orders for a host."""
    return f"{CERTIFICATES}/{scope}/attempts/{host}"
