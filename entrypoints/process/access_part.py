"""Access rules, users, groups and keys, as a part that can be reloaded while the registry serves."""

import logging
from datetime import timedelta
from typing import Final

from config.errors import ConfigError
from config.policies import TagImmutability, access_policy
from config.settings import Settings
from core.ports.authenticator import CredentialSourceError
from entrypoints.http.authentication import Authorizer

_logger = logging.getLogger(__name__)

LIVE_ACCESS_KEYS: Final = (
    "access.blockedusers",
    "access.immutabletags",
    "access.immutabletags[",
    "access.rules",
    "access.rules[",
    "access.uploadlifetime",
)
"""Keys of the configuration that can change while the registry serves."""


class AccessPart:
    """Applies new rules to the authorizer, and makes the authorizer reload its files.

    Args:
        authorizer: the authorizer of the application.
        tag_immutability: decides which tags are immutable.
        begun: settings from which the authenticator was created.
    """

    def __init__(self, authorizer: Authorizer, tag_immutability: TagImmutability, begun: Settings) -> None:
        self._authorizer = authorizer
        self._tag_immutability = tag_immutability
        self._begun = begun

    def apply(self, settings: Settings) -> None:
        """Apply the new rules, unless `auth` changed too: the rules may depend on the new authentication method."""
        self._tag_immutability.apply(settings.access)
        if settings.auth != self._begun.auth:
            _logger.warning("`auth` has changed: `auth` and the rules of `access` take effect at the next start")
            return
        lifetime = timedelta(seconds=settings.access.upload_lifetime_seconds)
        self._authorizer.use(access_policy(settings.auth, settings.access), upload_lifetime=lifetime)

    async def reload(self) -> None:
        """Reload users, groups and keys.

        Raises:
            ConfigError: a file is invalid; the previous data stays in force.
        """
        try:
            await self._authorizer.reload()
        except CredentialSourceError as error:
            raise ConfigError([str(error)]) from error
