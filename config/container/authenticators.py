"""Construction of authenticators from the settings."""

import secrets
from collections.abc import Callable as CallableType
from datetime import datetime

from adapters.auth.access_keys import AccessKeyAuthenticator
from adapters.auth.combined import CombinedAuthenticator
from adapters.auth.groups import GroupFile
from adapters.auth.htpasswd import HtpasswdAuthenticator
from adapters.auth.user_file import UserFile
from config.settings import (
    AuthSettings,
    Secret,
    Settings,
    TokenSettings,
)
from core.access_keys.service import AccessKeys
from core.model.access import AccessPolicy
from core.ports.authenticator import Authenticator


def reveal_or_make_secret(configured: Secret | None) -> bytes:
    """Return the secret that replicas share, or a random one, valid for this process until it ends."""
    # `serve` logs a warning about a random one.
    return configured.reveal().encode() if configured else secrets.token_bytes(32)


def group_file(path: str | None) -> GroupFile | None:
    """Return the file of groups, if one is configured."""
    return GroupFile(path) if path else None


def open_user_file(settings: Settings) -> UserFile:
    """Return the file of `auth.htpasswd`, for changes."""
    return UserFile(settings.auth.htpasswd.path)


def with_access_keys(
    base: Authenticator,
    keys: AccessKeys,
    policy: AccessPolicy,
    *,
    secret: bytes,
    now: CallableType[[], datetime],
) -> Authenticator:
    """Return the authenticator of one process: the one that processes share, and API keys if it has users in a file.

    If the policy allows anonymous access, the result also issues tokens in exchange for passwords and keys: docker
    needs a token server to come without a password. So does it beside a token server: docker sends either passwords or
    tokens, as the challenge requires.
    """
    tokens = base.tokens if isinstance(base, CombinedAuthenticator) else None
    users = base.users if isinstance(base, CombinedAuthenticator) else base
    if not isinstance(users, HtpasswdAuthenticator):
        return base
    keyed = AccessKeyAuthenticator(users, keys)
    if not policy.applies_to_anonymous and tokens is None:
        return keyed
    from adapters.auth.login_tokens import LoginTokenAuthenticator  # noqa: PLC0415

    return LoginTokenAuthenticator(keyed, accounts=keyed, secret=secret, now=now, others=tokens)


def kind_of_authenticator(settings: AuthSettings) -> str:
    """Return which authenticator the processes share."""
    return settings.methods[0].value if len(settings.methods) == 1 else "both"


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
