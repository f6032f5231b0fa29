"""Options of one upstream registry: addresses, credentials, TLS, proxies and limits. This module loads no client."""

from dataclasses import dataclass
from typing import Any, ClassVar, Final

from yarl import URL

from adapters.addresses import is_web_url
from core.model.secret import Secret
from core.model.setting import MISSING_VALUE, Group, SettingInvalidError, setting
from core.pull_through.rules import UpstreamRules

_PROXY_SCHEMES: Final = frozenset({"http", "https", "socks5", "socks5h"})
_CONNECTIONS_MAX: Final = 1000
_RATE_MAX: Final = 100_000


def registry_url_problem(text: str) -> str | None:
    """Return the problem with the URL of a registry, without quoting the URL, or None."""
    if not is_web_url(text):
        return "must be a URL such as https://registry.example.com"
    url = URL(text)
    if url.user is not None or url.password is not None:
        return "must not contain credentials; use `username` and `password`, which are never shown"
    if url.query_string or url.fragment:
        return "must not have a query or a fragment"
    if url.path.rstrip("/").endswith("/v2"):
        return "must not end in /v2, which the registry adds"
    return None


def proxy_url_problem(text: str) -> str | None:
    """Return the problem with the URL of a proxy, without quoting the URL, or None."""
    try:
        url = URL(text)
        is_proxy = url.scheme in _PROXY_SCHEMES and bool(url.host) and url.explicit_port != 0
    except ValueError:
        is_proxy = False
    if is_proxy and not any(character.isspace() for character in text):
        return None
    return "must be the URL of a proxy: http://, https://, socks5:// or socks5h://, with host and port"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyExecSettings:
    """A Docker credential helper that supplies the upstream's credentials."""

    command: str = setting("command", "The Docker credential helper to run.", "", required=MISSING_VALUE)
    lifetime_seconds: float | None = setting(
        "lifetime", "How long the helper's credentials are used; unlimited if not given.", None
    )


@dataclass(frozen=True, kw_only=True)
class ConnectionOptions:
    """Credentials, TLS, proxies and limits of the connections to one registry.

    A class that combines them with the rules of a cache or of a mirror has the slots for all fields.
    """

    __slots__ = ()

    username: str | None = setting("username", "User name at the upstream.", None)
    password: Secret | None = setting("password", "Password at the upstream.", None)
    password_file: str | None = setting(
        "passwordfile", "File with the password, which is read again when it changes.", None
    )
    exec: ProxyExecSettings | None = setting("exec", "Credentials from a program.", None)
    docker_config: str | None = setting(
        "dockerconfig", "Docker's `config.json` with credentials (`auths`, `credHelpers`, `credsStore`).", None
    )
    realms: tuple[str, ...] = setting(
        "realms",
        "Hosts of token servers that may see the password, besides the upstream's own host and its domain.",
        (),
    )
    ca: str | None = setting(
        "ca", "PEM file of the authorities that sign the upstream's certificate, besides the system's.", None
    )
    certificate: str | None = setting("certificate", "PEM file of the client certificate.", None)
    key: str | None = setting("key", "PEM file of the client certificate's key.", None)
    insecure: bool = setting(
        "insecure", "Whether to skip the verification of the upstream's certificate.", default=False
    )
    http_proxy: str | None = setting(
        "httpproxy",
        "URL of a proxy: `http://`, `https://`, `socks5://`, or `socks5h://`, where the proxy resolves names.",
        None,
        check=proxy_url_problem,
        is_web_url=True,
    )
    no_proxy: tuple[str, ...] = setting(
        "noproxy", "Hosts that are contacted without the proxy; `.example.com` means all hosts of the domain.", ()
    )
    connections: int = setting(
        "connections", "Maximum number of connections of each process.", 16, at_least=1, at_most=_CONNECTIONS_MAX
    )
    rate: int = setting(
        "rate", "Maximum number of requests per second of each process; 0 means no limit.", 0, at_most=_RATE_MAX
    )
    timeout: ClassVar = Group("timeout", "Time limits of requests.")
    connect_seconds: float = setting(
        "timeout.connect", "Time limit of a connection attempt, TLS included.", 5.0, above_zero=True
    )
    idle_seconds: float = setting("timeout.idle", "Longest wait for the next bytes.", 60.0, above_zero=True)

    @staticmethod
    def complete(values: dict[str, Any]) -> dict[str, Any]:
        """Reject two sources of credentials, and half of a pair."""
        problems: dict[str, list[str]] = {}
        sources = [
            key
            for name, key in (
                ("password", "password"),
                ("password_file", "passwordfile"),
                ("exec", "exec"),
                ("docker_config", "dockerconfig"),
            )
            if values.get(name)
        ]
        for key in sources[1:]:
            problems[key] = [f"must not be given together with `{sources[0]}`"]
        if sources[:1] in (["password"], ["passwordfile"]) and not values.get("username"):
            problems["username"] = [MISSING_VALUE]
        if values.get("username") and not sources:
            problems["password"] = [MISSING_VALUE]
        if bool(values.get("certificate")) != bool(values.get("key")):
            problems["key" if values.get("certificate") else "certificate"] = [MISSING_VALUE]
        if problems:
            raise SettingInvalidError(problems)
        return values


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamOptions(ConnectionOptions, UpstreamRules):
    """`proxy.upstreams[]`: one upstream registry, and the rules of its repositories."""

    urls: tuple[str, ...] = setting(
        "urls",
        "URLs of the registry and its mirrors, in the order in which they are tried.",
        (),
        check=registry_url_problem,
        is_web_url=True,
        required=MISSING_VALUE,
    )
