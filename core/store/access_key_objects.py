"""Storage keys of API keys and of users of an identity provider, an extension beside the tree of distribution.

/docker/registry/v2/_access
├── keys/<id>        an API key: owner, limits and the hash of its secret
├── uses/<id>        empty; its modification time is the last recorded use of the key
└── users/<id>       a user who signed in at the identity provider: groups, last sign-in; the id is a hash of the name
"""

import hashlib
from typing import Final

from core.store import layout

ACCESS: Final = f"{layout.ROOT}/_access"
KEYS: Final = f"{ACCESS}/keys"
"""Its children are the ids of all keys."""
USES: Final = f"{ACCESS}/uses"
USERS: Final = f"{ACCESS}/users"
"""Its children are the ids of all users."""


def access_key(key_id: str) -> str:
    """Return the storage key of an API key."""
    return f"{KEYS}/{key_id}"


def last_use(key_id: str) -> str:
    """Return the storage key of the record of an API key's last use."""
    return f"{USES}/{key_id}"


def external_user_id(name: str) -> str:
    """Return the id of a user, whose name may contain any character."""
    return hashlib.sha256(name.encode()).hexdigest()


def external_user(user_id: str) -> str:
    """Return the storage key of a user's record."""
    return f"{USERS}/{user_id}"
