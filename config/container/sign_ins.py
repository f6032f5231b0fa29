"""Construction of the sign-in at an identity provider. Nothing of it is imported without `auth.oidc`."""

import secrets
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING

from config.container.surroundings import boot_clock
from config.settings import AuthSettings, OidcSettings
from core.ports.blob_storage import BlobStorage

if TYPE_CHECKING:
    from core.external_users.service import ExternalUsers
    from core.external_users.sign_in import ExternalSignIn


class ExternalParts:
    """The parts for the users of an identity provider, each made on first use.

    Args:
        settings: `auth.oidc`.
        storage: the store of the registry.
        now: the current time, UTC-aware.
    """

    def __init__(self, settings: OidcSettings, storage: BlobStorage, now: Callable[[], datetime]) -> None:
        self._settings = settings
        self._storage = storage
        self._now = now

    @cached_property
    def users(self) -> "ExternalUsers":
        """The users who signed in."""
        from core.external_users.service import ExternalUsers  # noqa: PLC0415

        return ExternalUsers(
            self._storage,
            remember=timedelta(seconds=self._settings.remember_seconds),
            entropy=secrets.token_bytes,
            clock=boot_clock,
            now=self._now,
        )

    @cached_property
    def sign_in(self) -> "ExternalSignIn":
        """The sign-in at the provider, which a server opens and closes."""
        from adapters.auth.issuers import Issuer  # noqa: PLC0415
        from adapters.auth.oidc import OidcClient, OidcProvider  # noqa: PLC0415
        from core.external_users.sign_in import ExternalSignIn  # noqa: PLC0415

        oidc = self._settings
        client = OidcClient(
            id=oidc.client_id, secret=oidc.client_secret, secret_file=oidc.client_secret_file, scopes=oidc.scopes
        )
        provider = OidcProvider(Issuer(oidc.connection, now=self._now, clock=time.monotonic), client)
        name = f"{oidc.issuer} {oidc.client_id}"
        return ExternalSignIn(provider, self.users, oidc, client=name, label=oidc.label)


def external_parts(
    settings: AuthSettings, storage: BlobStorage, *, now: Callable[[], datetime]
) -> ExternalParts | None:
    """Return the parts for the users of an identity provider; None if none is configured."""
    return ExternalParts(settings.oidc, storage, now) if settings.has_provider else None
