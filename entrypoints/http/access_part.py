"""Rules, users, groups and keys, as a part that changes while the registry serves."""

import logging
from datetime import timedelta
from typing import Final

from config.errors import ConfigError
from config.policies import KeptTags, access_policy
from config.settings import Settings
from core.ports.authenticator import CredentialSourceError
from entrypoints.http.authentication import Gatekeeper

_logger = logging.getLogger(__name__)

LIVE_ACCESS_KEYS: Final = (
    "access.blockedusers",
    "access.immutabletags",
    "access.immutabletags[",
    "access.rules",
    "access.rules[",
    "access.uploadlifetime",
)
"""What changes while serving."""


class AccessPart:
    """Hands new rules to the gatekeeper, and has it read its files.

    Args:
        gatekeeper: that of the application.
        kept_tags: tells which tags are immutable.
        begun: the settings that the authenticator was made from.
    """

    def __init__(self, gatekeeper: Gatekeeper, kept_tags: KeptTags, begun: Settings) -> None:
        self._gatekeeper = gatekeeper
        self._kept_tags = kept_tags
        self._begun = begun

    def apply(self, settings: Settings) -> None:
        """Decide by the new rules; not where the method changed too, which they may have been written for."""
        self._kept_tags.apply(settings.access)
        if settings.auth != self._begun.auth:
            _logger.warning("`auth` has changed: it and the rules of `access` take effect at the next start")
            return
        lifetime = timedelta(seconds=settings.access.upload_lifetime_seconds)
        self._gatekeeper.use(access_policy(settings.auth, settings.access), upload_lifetime=lifetime)

    async def reload(self) -> None:
        """Read users, groups and keys again.

        Raises:
            ConfigError: a file cannot be used; what was read before stays.
        """
        try:
            await self._gatekeeper.reload()
        except CredentialSourceError as error:
            raise ConfigError([str(error)]) from error
