"""Which token servers may see the password of an upstream.

A registry names its token server in the challenge (`realm`). The password goes there only if the token server belongs
to the upstream: it has the same host or the same registrable domain (`auth.docker.io` for `registry-1.docker.io`), or
the configuration lists it. It never goes unencrypted to the token server of a registry that uses TLS.
"""

from collections.abc import Collection
from typing import Final

from yarl import URL

from adapters.addresses import is_ip_address

_GENERIC_LABELS: Final = frozenset({"ac", "co", "com", "edu", "go", "gob", "gov", "mil", "ne", "net", "or", "org"})
"""Second labels under which countries register domains: `example.co.uk`."""
_COUNTRY_LENGTH: Final = 2
_SHARED_DOMAINS: Final = (
    "amazonaws.com", "amazonaws.com.cn", "appspot.com", "azurecr.cn", "azurecr.io", "azurewebsites.net", "cloudapp.net",
    "cloudfront.net", "fly.dev", "github.io", "gitlab.io", "herokuapp.com", "jfrog.io", "nip.io", "ngrok.io", "on.aws",
    "pkg.dev", "run.app", "sslip.io", "windows.net",
)  # fmt: skip
"""Domains whose hosts belong to different customers."""


def may_see_password(realm: URL, upstream: URL, allowed_hosts: Collection[str]) -> bool:
    """Whether the password of an upstream may be sent to a token server.

    Args:
        realm: URL of the token server.
        upstream: URL of the upstream that named the token server.
        allowed_hosts: hosts that the configuration lists, as `host` or `host:port`.
    """
    host, own = _host(realm), _host(upstream)
    if upstream.scheme == "https" and realm.scheme != "https":
        return False
    allowed = {each.lower() for each in allowed_hosts}
    if host == own or host in allowed or f"{host}:{realm.port}" in allowed:
        return True
    domain = _registrable_domain(own)
    return domain is not None and (host == domain or host.endswith(f".{domain}"))


def _host(url: URL) -> str:
    return (url.host or "").lower().rstrip(".")


def _registrable_domain(host: str) -> str | None:
    """Return the domain that one owner registered, or None for an address, a local name or a shared domain."""
    labels = host.split(".")
    if is_ip_address(host) or len(labels) < 2 or any(_is_in(host, shared) for shared in _SHARED_DOMAINS):  # noqa: PLR2004
        return None
    is_generic = len(labels[-1]) == _COUNTRY_LENGTH and labels[-2] in _GENERIC_LABELS
    length = 3 if is_generic else 2
    return ".".join(labels[-length:]) if len(labels) >= length else None


def _is_in(host: str, domain: str) -> bool:
    return host == domain or host.endswith(f".{domain}")
