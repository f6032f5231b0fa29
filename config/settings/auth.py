"""`auth`: the authentication methods."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, Final

from adapters.auth.algorithms import ALGORITHMS
from core.model.setting import MISSING_VALUE, Group, SettingInvalidError, setting


class AuthKind(StrEnum):
    """Authentication methods; the values are the keys below `auth`."""

    NONE = "none"
    SILLY = "silly"
    HTPASSWD = "htpasswd"
    TOKEN = "token"  # noqa: S105 - a keyword of the configuration file, not a password


_COMBINABLE: Final = frozenset({AuthKind.HTPASSWD, AuthKind.TOKEN})


@dataclass(frozen=True, slots=True, kw_only=True)
class SillySettings:
    """Accepts any credentials; for tests of clients."""

    realm: str = setting("realm", "The realm of the challenge.", "", required=MISSING_VALUE)
    service: str = setting("service", "The service of the challenge.", "", required=MISSING_VALUE)


@dataclass(frozen=True, slots=True, kw_only=True)
class HtpasswdSettings:
    """Users in a file of bcrypt hashes."""

    realm: str = setting("realm", "The realm of the challenge.", "", required=MISSING_VALUE)
    path: str = setting("path", "The file of users and bcrypt hashes.", "", required=MISSING_VALUE)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenSettings:
    """Signed tokens from a token server."""

    realm: str = setting("realm", "URL of the token server.", "", required=MISSING_VALUE)
    issuer: str = setting("issuer", "The issuer that tokens must name.", "", required=MISSING_VALUE)
    service: str = setting("service", "The audience that tokens must name.", "", required=MISSING_VALUE)
    root_cert_bundle: str | None = setting(
        "rootcertbundle", "PEM file of the certificates whose keys sign tokens.", None
    )
    jwks: str | None = setting("jwks", "File with a JSON Web Key Set whose keys sign tokens.", None)
    signing_algorithms: tuple[str, ...] = setting(
        "signingalgorithms", "Accepted signing algorithms; an empty list accepts all.", (), choices=ALGORITHMS
    )
    auto_redirect: bool = setting(
        "autoredirect", "Whether the token server has the host name of the client's request.", default=False
    )
    auto_redirect_path: str = setting("autoredirectpath", "Path of the token server on that host.", "/auth/token")

    @staticmethod
    def complete(values: dict[str, Any]) -> dict[str, Any]:
        """Reject a section without a key to verify tokens with."""
        if not values.get("root_cert_bundle") and not values.get("jwks"):
            raise SettingInvalidError({"rootcertbundle": [f"{MISSING_VALUE}, unless `jwks` is given"]})
        return values


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthSettings:
    """The selected methods; only their sections are used.

    A bare method name stands for that method without parameters. `htpasswd` and `token` can be combined.
    """

    methods: tuple[AuthKind, ...] = (AuthKind.NONE,)
    none: ClassVar = Group("none", "No authentication.", may_be_empty=True)
    silly: SillySettings = setting("silly", "Accepts any credentials; for tests.", SillySettings(), may_be_empty=True)
    htpasswd: HtpasswdSettings = setting(
        "htpasswd", "Users and passwords in a file.", HtpasswdSettings(), may_be_empty=True
    )
    token: TokenSettings = setting("token", "Tokens signed by a token server.", TokenSettings(), may_be_empty=True)

    @staticmethod
    def complete(values: dict[str, Any]) -> dict[str, Any]:
        """Add the selected methods; reject those that cannot be combined."""
        methods = tuple(kind for kind in AuthKind if kind in values)
        if len(methods) > 1 and not _COMBINABLE.issuperset(methods):
            raise SettingInvalidError(
                f"selects {len(methods)} methods, {' and '.join(methods)}: keep one, or combine htpasswd and token"
            )
        values.pop("none", None)
        return values | {"methods": methods} if methods else values

    @property
    def has_users(self) -> bool:
        """Whether the registry has users of its own, in a file."""
        return AuthKind.HTPASSWD in self.methods
