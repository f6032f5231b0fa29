"""`auth.oidc`: sign-in to the web page at an identity provider."""

from dataclasses import dataclass
from typing import Any, Final

from adapters.auth.issuer_options import IssuerOptions, issuer_url_problem
from core.external_users.identities import IdentityRules
from core.model.secret import Secret
from core.model.setting import MISSING_VALUE, SettingInvalidError, setting

_LABEL_LENGTH_MAX: Final = 60
_DAY_SECONDS: Final = 86400.0
_OPENID: Final = "openid"


def _label_problem(text: str) -> str | None:
    is_usable = 0 < len(text) <= _LABEL_LENGTH_MAX and text.isprintable()
    return None if is_usable else f"must be a text of at most {_LABEL_LENGTH_MAX} characters"


def _scope_problem(text: str) -> str | None:
    is_usable = text.isascii() and text.isprintable() and not set(text) & set(' "\\')
    return None if text and is_usable else "must be a scope such as `openid`"


@dataclass(frozen=True, slots=True, kw_only=True)
class OidcSettings(IdentityRules):
    """People who sign in to the web page at an identity provider (OpenID Connect)."""

    issuer: str = setting(
        "issuer",
        "URL of the provider, exactly as its discovery document names it.",
        "",
        required=MISSING_VALUE,
        check=issuer_url_problem,
    )
    client_id: str = setting("clientid", "Id of the registry at the provider.", "", required=MISSING_VALUE)
    client_secret: Secret | None = setting("clientsecret", "Secret of the registry at the provider.", None)
    client_secret_file: str | None = setting(
        "clientsecretfile", "File with the secret, which is read again when it changes.", None
    )
    scopes: tuple[str, ...] = setting(
        "scopes", "Scopes to ask for; must contain `openid`.", (_OPENID, "profile", "email"), check=_scope_problem
    )
    ca: str | None = setting("ca", "PEM file of the only authorities that may certify the provider's TLS.", None)
    remember_seconds: float = setting(
        "remember",
        "How long API keys and sessions of a user are accepted after the last sign-in.",
        30 * _DAY_SECONDS,
        above_zero=True,
    )
    label: str = setting("label", "Name of the provider on the button.", "single sign-on", check=_label_problem)

    @staticmethod
    def complete(values: dict[str, Any]) -> dict[str, Any]:
        """Reject two secrets, and scopes without `openid`."""
        problems: dict[str, list[str]] = {}
        if values.get("client_secret") and values.get("client_secret_file"):
            problems["clientsecretfile"] = ["must not be given together with `clientsecret`"]
        if _OPENID not in values.get("scopes", (_OPENID,)):
            problems["scopes"] = [f"must contain `{_OPENID}`"]
        if problems:
            raise SettingInvalidError(problems)
        return values

    @property
    def connection(self) -> IssuerOptions:
        """How the provider is reached."""
        return IssuerOptions(url=self.issuer, ca=self.ca)
