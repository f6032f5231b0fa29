"""Users with client certificates: the user and the groups that a verified certificate stands for. Pure."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from core.model.access import Principal
from core.model.setting import MISSING_VALUE, SettingInvalidError, setting

METHOD: Final = "certificate"
"""The method of a principal with a client certificate."""
NAME_BYTES_MAX: Final = 255
GROUPS_MAX: Final = 32
_PREFIX: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,30}:")


class NameField(StrEnum):
    """Fields of a certificate that can name its user."""

    COMMON_NAME = "commonname"
    URI = "uri"
    DNS = "dns"
    EMAIL = "email"


class GroupField(StrEnum):
    """Fields of a certificate that can name groups of its user."""

    NONE = "none"
    UNIT = "organizationalunit"
    PATH = "path"
    """The parents of the URI that names the user."""


def _prefix_problem(text: str) -> str | None:
    return None if _PREFIX.fullmatch(text) else "must be letters, digits, `.`, `_` and `-`, and end in a colon"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientIdentity:
    """The user and the groups that client certificates stand for."""

    name: NameField = setting(
        "from", "Field of a client certificate that names the user.", NameField.COMMON_NAME, required=MISSING_VALUE
    )
    # No user of an htpasswd file has a colon in the name.
    prefix: str = setting(
        "prefix", "Text before the names of users and groups; ends in a colon.", "cert:", check=_prefix_problem
    )
    groups: GroupField = setting(
        "groups", "Groups of the user: organizational units, or the parents of the URI.", GroupField.NONE
    )

    @staticmethod
    def complete(values: dict[str, Any]) -> dict[str, Any]:
        """Reject the parents of a URI if another field names the user."""
        if values.get("groups") is GroupField.PATH and values.get("name") is not NameField.URI:
            raise SettingInvalidError({"groups": ["must not be path, unless `from` is uri"]})
        return values

    def names_group(self, name: str) -> bool:
        """Whether a certificate may name the group `name`."""
        return self.groups is not GroupField.NONE and name.startswith(self.prefix)

    def principal_of(self, certificate: "ClientCertificate") -> Principal:
        """Return the user of a certificate.

        Raises:
            UnusableCertificateError: the certificate names no user, or more than one.
        """
        name = _only_name(certificate.names[self.name])
        if self.groups is GroupField.UNIT:
            groups = certificate.units
        else:
            groups = _parents(name) if self.groups is GroupField.PATH else ()
        return Principal(
            name=self.prefix + name,
            groups=frozenset(self.prefix + group for group in [*filter(_is_usable, groups)][:GROUPS_MAX]),
            method=METHOD,
            has_credentials=True,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientCertificate:
    """The fields of a verified certificate that can name a user or a group; texts of any length and content."""

    names: dict[NameField, Sequence[str]]
    units: Sequence[str]
    """The organizational units of the subject."""


class UnusableCertificateError(Exception):
    """A certificate names no user. The message is for the log, and quotes no part of the certificate."""


def _only_name(names: Sequence[str]) -> str:
    if len(names) != 1:
        problem = f"{len(names)} users" if names else "no user"
        raise UnusableCertificateError(f"the client certificate names {problem} in this field")
    if not _is_usable(names[0]):
        raise UnusableCertificateError(
            f"the name in the client certificate is empty, longer than {NAME_BYTES_MAX} bytes, or not printable"
        )
    return names[0]


def _parents(uri: str) -> Sequence[str]:
    """Return the parents of a URI, from its authority on: `spiffe://a` and `spiffe://a/ns` of `spiffe://a/ns/b`."""
    scheme, found, path = uri.partition("://")
    parts = path.split("/") if found else []
    return [f"{scheme}://{'/'.join(parts[:count])}" for count in range(1, len(parts))]


def _is_usable(name: str) -> bool:
    # First the length, because a certificate may hold a name of many kilobytes.
    is_short = 0 < len(name) <= NAME_BYTES_MAX and len(name.encode(errors="replace")) <= NAME_BYTES_MAX
    return is_short and name.isprintable() and name == name.strip()
