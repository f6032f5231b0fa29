"""The users of an identity provider, for `registry users` and `registry keys`."""

import asyncio
from typing import TYPE_CHECKING, TypeVar

from core.errors import UnknownError
from core.model.times import time_text
from entrypoints.opening import opened

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from config.container import RegistryApplication
    from config.settings import Settings
    from core.external_users.service import ExternalUsers

T = TypeVar("T")


def is_external(name: str) -> bool:
    """Whether a name is that of a user of an identity provider: no name in the file of users contains a colon."""
    return ":" in name


def list_users(settings: "Settings") -> "Sequence[Mapping[str, object]]":
    """Return the JSON of the users who signed in, by name."""

    async def run(_application: "RegistryApplication", users: "ExternalUsers") -> "list[dict[str, object]]":
        return [
            {
                "name": user.name,
                "groups": sorted(user.groups),
                "signed_in": time_text(user.signed_in_at),
                "accepted": users.is_remembered(user),
            }
            async for user in users.listed()
        ]

    return sorted(_with_users(settings, run), key=lambda document: str(document["name"]))


def remove_user(settings: "Settings", name: str) -> int:
    """Remove a user, revoke the user's keys, and return their number.

    The keys are revoked first: a later owner of the name must not get them.

    Raises:
        UnknownError: there is no such user.
    """

    async def run(application: "RegistryApplication", users: "ExternalUsers") -> int:
        keys = [listed.key.id async for listed in application.access_keys.listed(name)]
        for key_id in keys:
            await application.access_keys.revoke(key_id)
        await users.remove(name)
        return len(keys)

    return _with_users(settings, run)


def _with_users(settings: "Settings", work: "Callable[[RegistryApplication, ExternalUsers], Awaitable[T]]") -> T:
    # Imported here, so that the other commands start without storage SDKs.
    from config.container import build_registry  # noqa: PLC0415

    application = build_registry(settings, makes_store=True)
    if application.external is None:
        raise UnknownError("`auth.oidc` is not configured, so the registry knows no users of an identity provider")
    users = application.external.users

    async def run() -> T:
        async with opened(application, only=[application.storage]):
            return await work(application, users)

    return asyncio.run(run())
