"""Construction of authenticators from the settings."""

import secrets
from collections.abc import Callable as CallableType
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final

from adapters.auth.access_keys import AccessKeyAuthenticator
from adapters.auth.combined import CombinedAuthenticator, RecognizingAuthenticator
from adapters.auth.groups import GroupFile
from adapters.auth.passwordless import PasswordlessAuthenticator
from adapters.auth.silly import SillyAuthenticator
from config.container.sign_ins import ExternalParts
from config.settings import (
    AuthKind,
    AuthSettings,
    HtpasswdSettings,
    Secret,
    TokenSettings,
    WorkloadSettings,
)
from core.access_keys.service import AccessKeys
from core.model.access import AccessPolicy
from core.ports.authenticator import Accounts, Authenticator

if TYPE_CHECKING:
    from adapters.auth.htpasswd import HtpasswdAuthenticator

_NEVER_ALONE: Final = frozenset({AuthKind.WORKLOADS, AuthKind.OIDC})
"""Methods that are parts of a `CombinedAuthenticator` even alone."""


def reveal_or_make_secret(configured: Secret | None) -> bytes:
    """Return the secret that replicas share, or a random one, valid for this process until it ends."""
    # `serve` logs a warning about a random one.
    return configured.reveal().encode() if configured else secrets.token_bytes(32)


def group_file(path: str | None) -> GroupFile | None:
    """Return the file of groups, if one is configured."""
    return GroupFile(path) if path else None


def with_access_keys(
    base: Authenticator,
    keys: AccessKeys,
    policy: AccessPolicy,
    *,
    external: ExternalParts | None,
    secret: bytes,
    now: CallableType[[], datetime],
) -> Authenticator:
    """Return the authenticator of one process: the one that processes share, and API keys if it has users.

    If the policy allows anonymous access, the result also issues tokens in exchange for passwords and keys: docker
    needs a token server to come without a password. So does it for several methods, and for workloads: docker sends
    either passwords or tokens, as the challenge requires.
    """
    accounts: Accounts | None
    if isinstance(base, CombinedAuthenticator):
        accounts = base.accounts
    elif isinstance(base, Accounts) and not isinstance(base, SillyAuthenticator):
        accounts = base
    else:
        return base
    if external is not None:
        from adapters.auth.external_accounts import ExternalAccounts  # noqa: PLC0415

        accounts = ExternalAccounts(external.users, accounts)
    keyed = base if accounts is None else AccessKeyAuthenticator(base, keys, accounts=accounts)
    if not policy.applies_to_anonymous and not isinstance(base, CombinedAuthenticator):
        return keyed
    from adapters.auth.login_tokens import LoginTokenAuthenticator, TokenServer  # noqa: PLC0415

    if isinstance(keyed, AccessKeyAuthenticator):
        return LoginTokenAuthenticator(keyed, accounts=keyed, secret=secret, now=now)
    return TokenServer(keyed, secret=secret, now=now)


def kind_of_authenticator(settings: AuthSettings) -> str:
    """Return which authenticator the processes share."""
    is_alone = len(settings.methods) == 1 and settings.methods[0] not in _NEVER_ALONE
    return settings.methods[0].value if is_alone else "combined"


def combined_authenticator(
    settings: AuthSettings,
    *,
    htpasswd: CallableType[[], Authenticator],
    tokens: CallableType[[], Authenticator],
    workloads: CallableType[[], RecognizingAuthenticator],
) -> Authenticator:
    """Return an authenticator for all selected methods, each of which is made only if it is selected."""
    chosen = set(settings.methods)
    return CombinedAuthenticator(
        htpasswd() if AuthKind.HTPASSWD in chosen else PasswordlessAuthenticator(),
        tokens=tokens() if AuthKind.TOKEN in chosen else None,
        workloads=workloads() if AuthKind.WORKLOADS in chosen else None,
    )


def htpasswd_authenticator(
    settings: HtpasswdSettings, groups: GroupFile | None, *, clock: CallableType[[], float]
) -> "HtpasswdAuthenticator":
    """Return an authenticator for the users of a file of passwords."""
    from adapters.auth.htpasswd import HtpasswdAuthenticator  # noqa: PLC0415 - imports bcrypt

    return HtpasswdAuthenticator(realm=settings.realm, path=settings.path, clock=clock, groups=groups)


def workload_authenticator(
    workloads: Sequence[WorkloadSettings], *, now: CallableType[[], datetime], clock: CallableType[[], float]
) -> RecognizingAuthenticator:
    """Return an authenticator that accepts the tokens of workloads."""
    from adapters.auth.workloads import TrustedWorkloads, WorkloadAuthenticator  # noqa: PLC0415

    trusted = [TrustedWorkloads(each.connection, each) for each in workloads]
    return WorkloadAuthenticator(trusted, now=now, clock=clock)


def token_authenticator(settings: TokenSettings, *, now: CallableType[[], datetime]) -> Authenticator:
    """Return an authenticator that accepts the tokens of an external token server."""
    from adapters.auth.token import TokenAuthenticator  # noqa: PLC0415

    return TokenAuthenticator(
        realm=settings.realm,
        issuer=settings.issuer,
        service=settings.service,
        certificates_path=settings.root_cert_bundle,
        key_set_path=settings.jwks,
        algorithms=settings.signing_algorithms,
        redirect_path=settings.auto_redirect_path if settings.auto_redirect else None,
        now=now,
    )
