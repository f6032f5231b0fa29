"""Settings of authentication."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final


class AuthKind(StrEnum):
    """Authentication methods; the values are the keys below `auth`."""

    NONE = "none"
    SILLY = "silly"
    HTPASSWD = "htpasswd"
    TOKEN = "token"  # noqa: S105 - a keyword of the configuration file, not a password


SIGNING_ALGORITHMS: Final = (
    *("EdDSA", "Ed25519"),
    *("RS256", "RS384", "RS512"),
    *("PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512"),
    *("HS256", "HS384", "HS512"),
)
"""Algorithms that may sign tokens; `none` is not one of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HtpasswdSettings:
    """Users in a file of bcrypt hashes."""

    realm: str = ""
    path: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenSettings:
    """Signed tokens from a token server."""

    realm: str = ""
    """URL of the token server, sent in the challenge."""
    issuer: str = ""
    service: str = ""
    root_cert_bundle: str | None = None
    """PEM file of the certificates whose keys sign tokens."""
    jwks: str | None = None
    """File with a JSON Web Key Set."""
    signing_algorithms: tuple[str, ...] = ()
    auto_redirect: bool = False
    auto_redirect_path: str = "/auth/token"


@dataclass(frozen=True, slots=True, kw_only=True)
class SillySettings:
    """Accepts any credentials; for tests of clients."""

    realm: str = ""
    service: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthSettings:
    """The selected method (`kind`); only the section of that method is used."""

    kind: AuthKind = AuthKind.NONE
    htpasswd: HtpasswdSettings = field(default_factory=HtpasswdSettings)
    token: TokenSettings = field(default_factory=TokenSettings)
    silly: SillySettings = field(default_factory=SillySettings)
