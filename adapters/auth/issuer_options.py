"""How to reach one issuer of OpenID Connect tokens. This module loads no client."""

from dataclasses import dataclass
from typing import Final

from yarl import URL

from adapters.addresses import is_web_url

_URL_LENGTH_MAX: Final = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuerOptions:
    """One issuer. All entries of the configuration that name the same issuer must have equal options."""

    url: str
    """The claim `iss`, exactly; the discovery document lies below this URL."""
    jwks: str | None = None
    """URL or file of the key set; None if the discovery document names the URL."""
    ca: str | None = None
    """PEM file of the only authorities that may certify the issuer; None for those of the system."""
    token_file: str | None = None
    """File with a bearer token, sent with the requests for the discovery document and the keys."""

    @property
    def key_file(self) -> str | None:
        """The file of the key set; None if the keys are fetched."""
        return None if self.jwks is None or is_web_url(self.jwks) else self.jwks

    @property
    def key_url(self) -> str | None:
        """The configured URL of the key set."""
        return self.jwks if self.jwks is not None and is_web_url(self.jwks) else None


def issuer_url_problem(text: str) -> str | None:
    """Return the problem with the URL of an issuer, without quoting the URL, or None."""
    if not is_web_url(text) or len(text) > _URL_LENGTH_MAX:
        return "must be a URL such as https://token.actions.githubusercontent.com, as in the claim `iss`"
    url = URL(text)
    if url.user is not None or url.password is not None or url.query_string or url.fragment:
        return "must not have credentials, a query or a fragment"
    return None


def key_set_problem(text: str) -> str | None:
    """Return the problem with a key set, given as a URL or as the path of a file, or None."""
    if "://" not in text:
        return None
    return (
        None if is_web_url(text) and len(text) <= _URL_LENGTH_MAX else "must be an http(s) URL, or the path of a file"
    )


def has_allowed_scheme(url: str, issuer: str) -> bool:
    """Whether the registry may contact a URL for this issuer: without TLS only if the issuer has none either."""
    return is_web_url(url) and (url.startswith("https://") or issuer.startswith("http://"))
