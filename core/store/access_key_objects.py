"""Storage keys of API keys, an extension of this registry beside the tree of distribution.

/docker/registry/v2/_access
├── keys/<id>        an API key: owner, limits and the hash of its secret
└── uses/<id>        empty; its modification time is the last recorded use of the key
"""

from typing import Final

from core.store import layout

ACCESS: Final = f"{layout.ROOT}/_access"
KEYS: Final = f"{ACCESS}/keys"
"""Its children are the ids of all keys."""
USES: Final = f"{ACCESS}/uses"


def access_key(key_id: str) -> str:
    """Return the storage key of an API key."""
    return f"{KEYS}/{key_id}"


def last_use(key_id: str) -> str:
    """Return the storage key of the record of an API key's last use."""
    return f"{USES}/{key_id}"
