"""`http.tls.letsencrypt`: certificates from an ACME server."""

import re
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final
from urllib.parse import urlsplit

from adapters.addresses import address_problem
from core.model.setting import MISSING_VALUE, SettingInvalidError, setting

_HOST: Final = re.compile(r"(?=.{1,253}$)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?")
_HOSTS_MAX: Final = 100


def _host_problem(text: str) -> str | None:
    if _HOST.fullmatch(text.lower()):
        return None
    return "must be a DNS name such as registry.example.com, without a port or a wildcard"


def _directory_problem(text: str) -> str | None:
    return None if re.fullmatch(r"https?://[^/\s?#]+/\S*", text) else "must be the URL of an ACME directory"


class AcmeChallenge(StrEnum):
    """The ways to prove the control of a host to an ACME server."""

    TLS_ALPN = "tls-alpn-01"
    HTTP = "http-01"


@dataclass(frozen=True, slots=True, kw_only=True)
class LetsEncryptSettings:
    """Certificates from an ACME server, for the main listener; `hosts` are in lower case, without duplicates."""

    cache_file: str = setting("cachefile", "Not read: the certificates are in the store.", "")
    email: str = setting("email", "Address that the ACME server may write to.", "")
    hosts: tuple[str, ...] = setting(
        "hosts", "Names to obtain certificates for; without it, the name in `http.host`.", (), check=_host_problem
    )
    directory_url: str = setting(
        "directoryurl",
        "URL of the directory of the ACME server.",
        "https://acme-v02.api.letsencrypt.org/directory",
        check=_directory_problem,
        is_web_url=True,
    )
    ca: str = setting(
        "ca", "PEM file of the authorities that sign the ACME server's own certificate, instead of the public ones.", ""
    )
    challenge: AcmeChallenge = setting(
        "challenge", "How the ACME server checks a name; `http-01` if `httpaddr` is given.", AcmeChallenge.TLS_ALPN
    )
    http_addr: str | None = setting(
        "httpaddr",
        "Address of a listener without TLS that answers `http-01` and sends browsers to HTTPS, such as `:80`.",
        None,
        check=address_problem,
    )

    @staticmethod
    def complete(values: dict[str, Any]) -> dict[str, Any]:
        """Normalize the hosts, and choose the challenge that the listener serves."""
        if "hosts" in values:
            values["hosts"] = tuple(dict.fromkeys(host.lower() for host in values["hosts"]))
            if len(values["hosts"]) > _HOSTS_MAX:
                raise SettingInvalidError({"hosts": [f"must have at most {_HOSTS_MAX} names"]})
        if values.get("http_addr"):
            values.setdefault("challenge", AcmeChallenge.HTTP)
        return values

    @property
    def is_given(self) -> bool:
        """Whether any value asks for certificates."""
        return bool(self.cache_file or self.email or self.hosts)

    def with_hosts(self, base_url: str | None, *, has_secret: bool) -> "LetsEncryptSettings":
        """Return the settings with the names that certificates are ordered for.

        Without names, distribution orders a certificate for any name that a stranger asks for.

        Args:
            base_url: the base URL of generated links, whose host is used without other names.
            has_secret: whether `http.secret` is given.
        """
        if not has_secret:
            raise SettingInvalidError({"secret": [f"{MISSING_VALUE}: it encrypts the certificates in the store"]})
        if self.hosts:
            return self
        host = urlsplit(base_url or "").hostname or ""
        if _host_problem(host) is not None:
            problem = f"{MISSING_VALUE}: list the names of this registry"
            raise SettingInvalidError({"tls": {"letsencrypt": {"hosts": [problem]}}})
        return replace(self, hosts=(host,))
