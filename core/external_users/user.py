"""A user who signed in at the identity provider, and the stored form of the user's record."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Self

from core.errors import StorageCorruptError
from core.model.access import Principal
from core.model.times import time_text

METHOD: Final = "oidc"
"""The method of a principal that signed in at the identity provider."""
GROUP_LENGTH_MAX: Final = 255
GROUPS_MAX: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class ExternalUser:
    """A user as of the last sign-in."""

    name: str
    groups: frozenset[str]
    provider: str
    """The provider and the client, within which subjects are unique."""
    subject: str
    """The provider's own id of the user, which never changes; names do."""
    stamp: str
    """Kept by all sign-ins of the same subject; differs after the record was removed."""
    signed_in_at: datetime
    """UTC-aware."""

    @property
    def principal(self) -> Principal:
        """The user as the sender of requests."""
        return Principal(name=self.name, groups=self.groups, has_credentials=True, method=METHOD)

    def is_remembered(self, now: datetime, remember: timedelta) -> bool:
        """Whether the last sign-in is recent enough."""
        return now < self.signed_in_at + remember

    def encode(self) -> bytes:
        """Return the stored form."""
        document = {
            "version": 1,
            "name": self.name,
            "groups": sorted(self.groups),
            "provider": self.provider,
            "subject": self.subject,
            "stamp": self.stamp,
            "signed_in": time_text(self.signed_in_at),
        }
        return json.dumps(document).encode()

    @classmethod
    def decode(cls, content: bytes) -> Self:
        """Parse the stored form.

        Raises:
            StorageCorruptError: the content is not that of a user.
        """
        try:
            document: dict[str, Any] = json.loads(content)
            return cls(
                name=str(document["name"]),
                groups=frozenset(map(str, document["groups"])),
                provider=str(document["provider"]),
                subject=str(document["subject"]),
                stamp=str(document["stamp"]),
                # A time without an offset is in UTC.
                signed_in_at=datetime.fromisoformat(document["signed_in"]).replace(tzinfo=UTC),
            )
        except (ValueError, TypeError, KeyError) as error:
            raise StorageCorruptError("the record of a user cannot be read") from error


def usable_groups(groups: Iterable[str]) -> frozenset[str]:
    """Return the groups that an access rule can name."""
    return frozenset(each for each in groups if 0 < len(each) <= GROUP_LENGTH_MAX and each.isprintable())
