"""`http`: the listener, generated URLs, TLS, the debug listener."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from ipaddress import ip_network
from typing import Any, ClassVar, Final

from adapters.addresses import address_problem
from config.cipher_suites import suite_problem
from config.settings.acme import LetsEncryptSettings
from core.model.client_certificates import ClientIdentity
from core.model.secret import Secret
from core.model.setting import MISSING_VALUE, Group, SettingInvalidError, Unused, section, setting

_BASE_URL: Final = re.compile(r"https?://[^/\s?#@]+(?:/[^\s?#]*)?")
_ORIGIN: Final = re.compile(r"\*|https?://(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?")
_TOKEN: Final = re.compile(r"[A-Za-z0-9-]+")
_SECRET_BYTES_MIN: Final = 16
_SAMPLE_SECRETS: Final = frozenset(
    {
        "asecretforlocaldevelopment",  # distribution's documentation
        "0123456789abcdef0123456789abcdef",  # earlier versions of deploy/kubernetes
        "CHANGE-ME-to-the-output-of-openssl-rand-hex-32",  # deploy/kubernetes
        "<the same text on all replicas>",  # README.md
        "<所有副本使用同一文本>",  # README.zh-CN.md
    }
)
"""Published sample secrets; `tests/deploy/test_sample_secrets.py` finds those in the files of this repository."""
_REMEDY: Final = (
    "create one with `openssl rand -hex 32` and set it on all replicas at once; uploads in progress then restart, "
    "and clients log in again automatically"
)


def _base_url_problem(text: str) -> str | None:
    return None if _BASE_URL.fullmatch(text) or not text else "must be a URL such as https://registry.example.com"


def _path_problem(text: str) -> str | None:
    return None if re.fullmatch(r"[A-Za-z0-9/._~-]*", text) else "must be a path such as /registry/"


def _origin_problem(text: str) -> str | None:
    return None if _ORIGIN.fullmatch(text) else "must be an origin such as https://ui.example.com, or `*`"


def _token_problem(text: str) -> str | None:
    return None if _TOKEN.fullmatch(text) else "must be one word of letters, digits and `-`"


def secret_problem(text: str) -> str | None:
    """Return the problem with a secret, without its text, or None."""
    try:
        length = len(text.encode())
    except UnicodeEncodeError:
        return "is not UTF-8 text"
    if text in _SAMPLE_SECRETS:
        return f"is a sample from published documentation: {_REMEDY}"
    if length < _SECRET_BYTES_MIN:
        problem = (
            f"must have at least {_SECRET_BYTES_MIN} bytes, because a shorter one can be guessed from upload states"
        )
        return f"{problem}: {_REMEDY}"
    return None


def _network_problem(text: str) -> str | None:
    try:
        ip_network(text)
    except ValueError:
        return "must be an address or a network such as 10.0.0.0/8 or fd00::/8"
    return None


class HttpNetwork(StrEnum):
    """The kinds of address in `HttpSettings.addr`."""

    TCP = "tcp"
    UNIX = "unix"


class TlsVersion(StrEnum):
    """The lowest accepted TLS version."""

    TLS12 = "tls1.2"
    TLS13 = "tls1.3"


class ClientAuth(StrEnum):
    """The requirements for TLS clients when `client_cas` is given."""

    REQUEST = "request-client-cert"
    REQUIRE_ANY = "require-any-client-cert"
    VERIFY_IF_GIVEN = "verify-client-cert-if-given"
    REQUIRE_AND_VERIFY = "require-and-verify-client-cert"


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsSettings:
    """TLS of the main listener; files are PEM."""

    certificate: str = setting("certificate", "PEM file of the certificate, followed by its chain.", "")
    key: str = setting("key", "PEM file of the certificate's key.", "")
    client_cas: tuple[str, ...] = setting(
        "clientcas", "PEM files of the authorities that sign client certificates.", ()
    )
    client_auth: ClientAuth = setting(
        "clientauth",
        "Whether clients must present a certificate, if `clientcas` is given.",
        ClientAuth.REQUIRE_AND_VERIFY,
    )
    client_identity: ClientIdentity | None = setting(
        "clientidentity", "Users that client certificates stand for.", None, refuses_unknown=True
    )
    minimum_version: TlsVersion = setting("minimumtls", "The lowest TLS version accepted.", TlsVersion.TLS12)
    cipher_suites: tuple[str, ...] = setting(
        "ciphersuites", "Cipher suites for TLS 1.2, by their Go names.", (), check=suite_problem
    )
    """Empty for the default list."""
    lets_encrypt: LetsEncryptSettings | None = setting(
        "letsencrypt", "Certificates from an ACME server, instead of `certificate` and `key`.", None
    )

    @staticmethod
    def complete(values: dict[str, Any]) -> dict[str, Any]:
        """Reject a certificate without a key, client CAs without both, and users without client CAs.

        A certificate from an ACME server takes the place of both. Empty values of `letsencrypt` disable it.
        """
        acme = values.get("lets_encrypt")
        if acme is not None and not acme.is_given:
            del values["lets_encrypt"]
        elif acme is not None and values.keys() & {"certificate", "key"}:
            raise SettingInvalidError({"letsencrypt": ["cannot be given together with `certificate` and `key`"]})
        elif acme is not None:
            values |= {"certificate": "", "key": ""}
        problems = {key: [MISSING_VALUE] for key in ("certificate", "key") if key not in values}
        if problems and values.keys() & {"certificate", "key", "client_cas"}:
            raise SettingInvalidError(problems)
        if values.get("client_identity") and not values.get("client_cas"):
            raise SettingInvalidError({"clientcas": [f"{MISSING_VALUE}: `clientidentity` needs verified certificates"]})
        return values


@dataclass(frozen=True, slots=True, kw_only=True)
class CorsSettings:
    """The browser pages that may call the API; none while `origins` is empty."""

    origins: tuple[str, ...] = setting(
        "origins",
        "Origins of pages that may call the API: `https://host[:port]`, or `*`.",
        (),
        check=_origin_problem,
    )
    credentials: bool = setting(
        "credentials", "Whether those pages may send credentials stored by the browser.", default=False
    )
    max_age_seconds: float = setting("maxage", "How long browsers may cache the answer to a preflight request.", 600.0)
    methods: tuple[str, ...] = setting(
        "methods",
        "Methods that those pages may use.",
        ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"),
        check=_token_problem,
    )
    headers: tuple[str, ...] = setting(
        "headers",
        "Headers that those pages may send.",
        (
            "Accept",
            "Authorization",
            "Cache-Control",
            "Content-Range",
            "Content-Type",
            "If-None-Match",
            "Range",
            "X-Request-Id",
        ),
        check=_token_problem,
    )

    @staticmethod
    def complete(values: dict[str, Any]) -> dict[str, Any]:
        """Reject credentials for all origins, as browsers do."""
        if "*" in values.get("origins", ()) and values.get("credentials"):
            raise SettingInvalidError(
                {"credentials": ["cannot be true while `origins` contains `*`: list the origins"]}
            )
        return values


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitSettings:
    """Limits for each client and for all together."""

    upload_bytes: int = setting("uploadsize", "Maximum size of one blob in bytes; 0 means no limit.", 0)
    manifest_bytes: int = setting(
        "manifestsize",
        "Maximum size of one manifest in bytes.",
        4 * 1024 * 1024,
        at_least=1024,
        at_most=4 * 1024 * 1024,
    )
    # Name and value; podman's `Range` may have 1,024 ranges, 22 KiB.
    header_bytes: int = setting(
        "headersize", "Maximum size of one header field in bytes.", 32 * 1024, at_least=1024, at_most=1024 * 1024
    )
    url_bytes: int = setting(
        "urlsize", "Maximum size of a request's URL in bytes.", 16 * 1024, at_least=4096, at_most=1024 * 1024
    )
    requests: int = setting("requests", "Maximum number of concurrent requests; 0 means no limit.", 1000)
    connections: int = setting("connections", "Maximum number of open connections; 0 means no limit.", 10_000)
    rate: int = setting("rate", "Long-term requests per second of one client address; 0 means no limit.", 0)
    burst: int = setting("burst", "Requests that one client address may send at once after a pause.", 100, at_least=1)
    keepalive_seconds: float = setting(
        "keepalivetimeout", "How long an idle connection stays open.", 75.0, above_zero=True
    )
    header_seconds: float = setting(
        "headertimeout", "How long the head of a request may take to arrive; 0 means no limit.", 30.0
    )
    body_seconds: float = setting(
        "bodytimeout", "How long a request body may make no progress; 0 means no limit.", 60.0
    )
    body_rate: int = setting(
        "bodyrate", "Bytes per second below which a request body counts as stalled; 0 means no limit.", 128
    )
    """Measured over `body_seconds` of waiting."""
    send_seconds: float = setting(
        "sendtimeout", "How long a client may accept no data of a response; 0 means no limit.", 120.0
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class DebugSettings:
    """The second listener for health and metrics; off while `addr` is None."""

    addr: str | None = setting(
        "addr", "Address of the debug listener; without it the listener is off.", None, check=address_problem
    )
    prometheus: ClassVar = Group("prometheus", "Metrics.")
    prometheus_enabled: bool = setting(
        "prometheus.enabled", "Whether metrics are served at the debug address.", default=False
    )
    prometheus_path: str = setting("prometheus.path", "The path of the metrics.", "/metrics", check=_path_problem)


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpSettings:
    """The main listener, and the URLs that the registry generates."""

    addr: str = setting("addr", "Address to listen on: `host:port`, or the path of a socket.", ":5000")
    net: HttpNetwork = setting("net", "Kind of address in `addr`.", HttpNetwork.TCP)
    host: str | None = setting(
        "host", "Base URL of generated links; without it, taken from the request.", None, check=_base_url_problem
    )
    prefix: str = setting("prefix", "Path prefix of all URLs of the registry.", "/", check=_path_problem)
    """Begins and ends with a slash."""
    secret: Secret | None = setting(
        "secret",
        "Key that signs upload sessions and login tokens; the same on all replicas, at least 16 bytes.",
        None,
        check=secret_problem,
    )
    """None for a random one, with which only one replica works."""
    fastpath: bool = setting(
        "fastpath",
        "Whether connections use private parts of aiohttp, which is faster and bounds request heads more tightly.",
        default=True,
    )
    relative_urls: bool = setting("relativeurls", "Whether generated links omit scheme and host.", default=False)
    drain_timeout_seconds: float = setting(
        "draintimeout", "How long requests in progress may continue after SIGTERM.", 20.0
    )
    workers: int = setting("workers", "Number of worker processes; 0 means one per usable core.", 0, at_most=1024)
    headers: Mapping[str, tuple[str, ...]] = setting(
        "headers", "Headers added to every response, each with a list of values.", {}
    )
    tls: TlsSettings | None = setting("tls", "TLS of the listener.", None)
    trusted_proxies: tuple[str, ...] | None = setting(
        "trustedproxies",
        "Networks of proxies whose `Forwarded` and `X-Forwarded-*` are trusted; without it they affect only links.",
        None,
        check=_network_problem,
    )
    proxy_hops: int = setting(
        "proxyhops",
        "Number of trusted proxies that a request passes; addresses are counted from the right.",
        1,
        at_least=1,
        at_most=32,
    )
    cors: CorsSettings = section("cors", "Access for browser pages of other origins.", CorsSettings)
    limits: LimitSettings = section("limits", "Limits on the resources that clients may use.", LimitSettings)
    debug: DebugSettings = section("debug", "The debug listener.", DebugSettings)
    http2: ClassVar = Group("http2", "HTTP/2.")
    http2_disabled: ClassVar = Unused("http2.disabled", "Whether HTTP/2 is off; this registry never uses it.")
    h2c: ClassVar = Group("h2c", "HTTP/2 without TLS.")
    h2c_enabled: ClassVar = Unused("h2c.enabled", "Whether HTTP/2 without TLS is accepted.")

    @staticmethod
    def check(values: dict[str, Any]) -> None:
        """Check the address by the rules of its network."""
        addr = values.get("addr")
        if values.get("net") is HttpNetwork.UNIX:
            if not addr:
                raise SettingInvalidError({"addr": ["must be the path of a socket"]})
        elif addr and (problem := address_problem(addr)):
            raise SettingInvalidError({"addr": [problem]})

    @staticmethod
    def complete(values: dict[str, Any]) -> dict[str, Any]:
        """Normalize the slashes of the prefix; without a certificate, disable TLS, as in distribution.

        Headers of CORS are rejected in addition to `http.cors`: browsers accept neither of two answers.
        """
        rivals = [name for name in values.get("headers", ()) if name.lower().startswith("access-control-")]
        if rivals and "cors" in values and values["cors"].origins:
            raise SettingInvalidError(
                {"headers": {rivals[0]: ["cannot be given together with `http.cors`: keep one of the two"]}}
            )
        if "prefix" in values:
            values["prefix"] = f"/{values['prefix'].strip('/')}/".replace("//", "/")
        if "tls" in values and values["tls"].lets_encrypt is not None:
            acme = values["tls"].lets_encrypt.with_hosts(values.get("host"), has_secret="secret" in values)
            values["tls"] = replace(values["tls"], lets_encrypt=acme)
        elif "tls" in values and not values["tls"].certificate:
            del values["tls"]
        return values
