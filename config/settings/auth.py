"""`auth`: the authentication methods."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, Final

from typing_extensions import override

from adapters.addresses import is_web_url
from adapters.auth.algorithms import ALGORITHMS
from adapters.auth.issuer_options import IssuerOptions, has_allowed_scheme, issuer_url_problem, key_set_problem
from config.settings.oidc import OidcSettings
from core.model.setting import MISSING_VALUE, Group, SettingInvalidError, section, setting
from core.model.workloads import WorkloadRule


class AuthKind(StrEnum):
    """Authentication methods; the values are the keys below `auth`."""

    NONE = "none"
    SILLY = "silly"
    HTPASSWD = "htpasswd"
    TOKEN = "token"  # noqa: S105 - a keyword of the configuration file, not a password
    WORKLOADS = "workloads"
    OIDC = "oidc"


_COMBINABLE: Final = frozenset({AuthKind.HTPASSWD, AuthKind.TOKEN, AuthKind.WORKLOADS, AuthKind.OIDC})


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
class WorkloadSettings(WorkloadRule):
    """`auth.workloads[]`: an issuer of tokens, and which of its tokens are accepted."""

    issuer: str = setting(
        "issuer",
        "URL of the issuer, exactly as in the claim `iss`.",
        "",
        required=MISSING_VALUE,
        check=issuer_url_problem,
    )
    jwks: str | None = setting(
        "jwks",
        "URL or file of the issuer's JSON Web Key Set; by default, the URL in its discovery document.",
        None,
        check=key_set_problem,
    )
    ca: str | None = setting("ca", "PEM file of the only authorities that may certify the issuer's TLS.", None)
    token_file: str | None = setting(
        "tokenfile", "File with a bearer token for the requests to the issuer, as Kubernetes requires it.", None
    )

    @staticmethod
    @override
    def complete(values: dict[str, Any]) -> dict[str, Any]:
        """Reject what the rule rejects, and keys without TLS of an issuer with TLS."""
        jwks, issuer = values.get("jwks"), values.get("issuer", "")
        if jwks and is_web_url(jwks) and not has_allowed_scheme(jwks, issuer):
            raise SettingInvalidError({"jwks": ["must be an https URL, as the issuer's"]})
        return WorkloadRule.complete(values)

    @property
    def connection(self) -> IssuerOptions:
        """How the issuer is reached."""
        return IssuerOptions(url=self.issuer, jwks=self.jwks, ca=self.ca, token_file=self.token_file)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthSettings:
    """The selected methods; only their sections are used.

    A bare method name stands for that method without parameters. `htpasswd`, `token`, `workloads` and `oidc` can be
    combined.
    """

    methods: tuple[AuthKind, ...] = (AuthKind.NONE,)
    none: ClassVar = Group("none", "No authentication.", may_be_empty=True)
    silly: SillySettings = section("silly", "Accepts any credentials; for tests.", SillySettings, may_be_empty=True)
    htpasswd: HtpasswdSettings = section(
        "htpasswd", "Users and passwords in a file.", HtpasswdSettings, may_be_empty=True
    )
    token: TokenSettings = section("token", "Tokens signed by a token server.", TokenSettings, may_be_empty=True)
    workloads: tuple[WorkloadSettings, ...] = setting(
        "workloads",
        "Tokens of CI systems and clusters; the first matching entry decides.",
        (),
        refuses_unknown=True,
    )
    oidc: OidcSettings = section(
        "oidc",
        "Sign-in to the web page at an identity provider.",
        OidcSettings,
        may_be_empty=True,
        refuses_unknown=True,
    )

    @staticmethod
    def complete(values: dict[str, Any]) -> dict[str, Any]:
        """Add the selected methods; reject those that cannot be combined."""
        methods = tuple(kind for kind in AuthKind if kind in values and values[kind] != ())
        if len(methods) > 1 and not _COMBINABLE.issuperset(methods):
            raise SettingInvalidError(
                f"selects {len(methods)} methods, {' and '.join(methods)}: keep one, or combine "
                f"{', '.join(sorted(_COMBINABLE))}"
            )
        _require_distinct(values.get("workloads", ()))
        if AuthKind.OIDC in methods:
            _require_own_prefix(values["oidc"], values.get("workloads", ()))
        values.pop("none", None)
        return values | {"methods": methods} if methods else values

    @property
    def has_users(self) -> bool:
        """Whether the registry knows its users: those of a file, or those who signed in at an identity provider."""
        return self.has_passwords or self.has_provider

    @property
    def has_passwords(self) -> bool:
        """Whether the registry has users with passwords, in a file."""
        return AuthKind.HTPASSWD in self.methods

    @property
    def has_provider(self) -> bool:
        """Whether people sign in at an identity provider."""
        return AuthKind.OIDC in self.methods

    @property
    def prefixes(self) -> frozenset[str]:
        """The texts with which the names of workloads and of the provider's users begin."""
        provider = {self.oidc.prefix} if self.has_provider else set()
        return frozenset({each.prefix for each in self.workloads} | provider)

    @property
    def group_sources(self) -> Sequence[Callable[[str], bool]]:
        """For each source of groups, whether it may name a group."""
        provider = [self.oidc.names_group] if self.has_provider else []
        return [*(each.names_group for each in self.workloads), *provider]

    @property
    def has_workloads(self) -> bool:
        """Whether tokens of workloads are accepted."""
        return AuthKind.WORKLOADS in self.methods


def _require_distinct(workloads: Sequence[WorkloadSettings]) -> None:
    """Reject entries that reach one issuer in different ways, and a prefix of users that two issuers share."""
    problems: dict[int, dict[str, list[str]]] = {}
    connections = {each.issuer: each.connection for each in reversed(workloads)}
    issuers = {each.prefix: each.issuer for each in reversed(workloads)}
    for index, each in enumerate(workloads):
        if each.connection != connections[each.issuer]:
            problems[index] = {"issuer": ["needs the same jwks, ca and tokenfile in every entry"]}
        elif each.issuer != issuers[each.prefix]:
            text = f"must not begin with {each.prefix}, as users of another issuer do"
            problems[index] = {"user": [text]}
    if problems:
        raise SettingInvalidError({"workloads": problems})


def _require_own_prefix(oidc: OidcSettings, workloads: Sequence[WorkloadSettings]) -> None:
    """Reject a prefix of users that people share with workloads."""
    if oidc.prefix in {each.prefix for each in workloads}:
        problem = f"must not begin with {oidc.prefix}, as users of `auth.workloads` do"
        raise SettingInvalidError({"oidc": {"claims": {"user": [problem]}}})
