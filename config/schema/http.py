"""`http`: the listener, generated URLs, TLS, the debug listener."""

import re
from ipaddress import ip_network
from typing import Any, Final

from marshmallow import ValidationError, validates_schema
from typing_extensions import override

from config.cipher_suites import suite_problem
from config.schema.base import SectionSchema, Sub
from config.schema.collections import HeaderMap, ListOf, Unused
from config.schema.key import MISSING_VALUE
from config.schema.scalars import Bool, Choice, Duration, Integer, SecretText, Text
from config.settings import (
    ClientAuth,
    CorsSettings,
    DebugSettings,
    HttpNetwork,
    HttpSettings,
    LimitSettings,
    TlsSettings,
    TlsVersion,
)

_TCP_ADDRESS: Final = re.compile(r"(?:\[[0-9A-Fa-f:.%a-z]+\]|[^\s:\[\]/]*):([0-9]{1,5})")
_BASE_URL: Final = re.compile(r"https?://[^/\s?#@]+(?:/[^\s?#]*)?")
_ORIGIN: Final = re.compile(r"\*|https?://(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?")
_TOKEN: Final = re.compile(r"[A-Za-z0-9-]+")
_PORT_MAX: Final = 65_535
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


def address_problem(text: str) -> str | None:
    """Return the problem with a TCP address, or None."""
    match = _TCP_ADDRESS.fullmatch(text)
    if match is None or int(match[1]) > _PORT_MAX:
        return "must be `host:port`, `:port` or `[ipv6]:port`"
    return None


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


class TlsSchema(SectionSchema):
    """`http.tls`."""

    settings = TlsSettings

    certificate = Text("certificate", "PEM file of the certificate, followed by its chain.")
    key = Text("key", "PEM file of the certificate's key.")
    client_cas = ListOf(Text("clientcas", "PEM files of the authorities that sign client certificates."))
    client_auth = Choice(
        "clientauth", "Whether clients must present a certificate, if `clientcas` is given.", ClientAuth
    )
    minimum_version = Choice("minimumtls", "The lowest TLS version accepted.", TlsVersion)
    cipher_suites = ListOf(Text("ciphersuites", "Cipher suites for TLS 1.2, by their Go names.", check=suite_problem))
    lets_encrypt = Unused("letsencrypt", "Certificates from an ACME server.")

    @validates_schema
    def check_pair(self, values: dict[str, Any], **_: Any) -> None:
        """Reject a certificate without a key, a key without a certificate, and client CAs without both."""
        problems: dict[Any, Any] = {key: [MISSING_VALUE] for key in ("certificate", "key") if key not in values}
        if problems and values.keys() & {"certificate", "key", "client_cas"}:
            raise ValidationError(problems)


class CorsSchema(SectionSchema):
    """`http.cors`."""

    settings = CorsSettings

    origins = ListOf(
        Text("origins", "Origins of pages that may call the API: `https://host[:port]`, or `*`.", check=_origin_problem)
    )
    credentials = Bool("credentials", "Whether those pages may send credentials stored by the browser.")
    max_age_seconds = Duration("maxage", "How long browsers may cache the answer to a preflight request.")
    methods = ListOf(Text("methods", "Methods that those pages may use.", check=_token_problem))
    headers = ListOf(Text("headers", "Headers that those pages may send.", check=_token_problem))

    @validates_schema
    def check_credentials(self, values: dict[str, Any], **_: Any) -> None:
        """Reject credentials for all origins, as browsers do."""
        if "*" in values.get("origins", ()) and values.get("credentials"):
            raise ValidationError({"credentials": ["cannot be true while `origins` contains `*`: list the origins"]})


class LimitsSchema(SectionSchema):
    """`http.limits`."""

    settings = LimitSettings

    upload_bytes = Integer("uploadsize", "Maximum size of one blob in bytes; 0 means no limit.")
    manifest_bytes = Integer(
        "manifestsize", "Maximum size of one manifest in bytes.", at_least=1024, at_most=4 * 1024 * 1024
    )
    header_bytes = Integer(
        "headersize", "Maximum size of one header field in bytes.", at_least=1024, at_most=1024 * 1024
    )
    url_bytes = Integer("urlsize", "Maximum size of a request's URL in bytes.", at_least=4096, at_most=1024 * 1024)
    requests = Integer("requests", "Maximum number of concurrent requests; 0 means no limit.")
    connections = Integer("connections", "Maximum number of open connections; 0 means no limit.")
    rate = Integer("rate", "Long-term requests per second of one client address; 0 means no limit.")
    burst = Integer("burst", "Requests that one client address may send at once after a pause.", at_least=1)
    keepalive_seconds = Duration("keepalivetimeout", "How long an idle connection stays open.", above_zero=True)
    header_seconds = Duration("headertimeout", "How long the head of a request may take to arrive; 0 means no limit.")
    body_seconds = Duration("bodytimeout", "How long a request body may make no progress; 0 means no limit.")
    body_rate = Integer("bodyrate", "Bytes per second below which a request body counts as stalled; 0 means no limit.")
    send_seconds = Duration("sendtimeout", "How long a client may accept no data of a response; 0 means no limit.")


class PrometheusSchema(SectionSchema):
    """`http.debug.prometheus`."""

    prometheus_enabled = Bool("enabled", "Whether metrics are served at the debug address.")
    prometheus_path = Text("path", "The path of the metrics.", check=_path_problem)


class DebugSchema(SectionSchema):
    """`http.debug`."""

    settings = DebugSettings

    addr = Text("addr", "Address of the debug listener; without it the listener is off.", check=address_problem)
    prometheus = Sub("prometheus", "Metrics.", PrometheusSchema)


class Http2Schema(SectionSchema):
    """`http.http2`."""

    disabled = Unused("disabled", "Whether HTTP/2 is off; this registry never uses it.")


class H2cSchema(SectionSchema):
    """`http.h2c`."""

    enabled = Unused("enabled", "Whether HTTP/2 without TLS is accepted.")


class HttpSchema(SectionSchema):
    """`http`."""

    settings = HttpSettings

    addr = Text("addr", "Address to listen on: `host:port`, or the path of a socket.")
    net = Choice("net", "Kind of address in `addr`.", HttpNetwork)
    host = Text("host", "Base URL of generated links; without it, taken from the request.", check=_base_url_problem)
    prefix = Text("prefix", "Path prefix of all URLs of the registry.", check=_path_problem)
    secret = SecretText(
        "secret",
        "Key that signs upload sessions and login tokens; the same on all replicas, at least 16 bytes.",
        check=secret_problem,
    )
    relative_urls = Bool("relativeurls", "Whether generated links omit scheme and host.")
    drain_timeout_seconds = Duration("draintimeout", "How long requests in progress may continue after SIGTERM.")
    workers = Integer("workers", "Number of worker processes; 0 means one per usable core.", at_most=1024)
    headers = HeaderMap(Text("headers", "Headers added to every response, each with a list of values."))
    tls = Sub("tls", "TLS of the listener.", TlsSchema)
    trusted_proxies = ListOf(
        Text(
            "trustedproxies",
            "Networks of proxies whose `Forwarded` and `X-Forwarded-*` are trusted; without it they affect only links.",
            check=_network_problem,
        )
    )
    proxy_hops = Integer(
        "proxyhops",
        "Number of trusted proxies that a request passes; addresses are counted from the right.",
        at_least=1,
        at_most=32,
    )
    cors = Sub("cors", "Access for browser pages of other origins.", CorsSchema)
    limits = Sub("limits", "Limits on the resources that clients may use.", LimitsSchema)
    debug = Sub("debug", "The debug listener.", DebugSchema)
    http2 = Sub("http2", "HTTP/2.", Http2Schema)
    h2c = Sub("h2c", "HTTP/2 without TLS.", H2cSchema)

    @validates_schema(skip_on_field_errors=False)
    def check_address(self, values: dict[str, Any], **_: Any) -> None:
        """Check the address by the rules of its network."""
        addr = values.get("addr")
        if values.get("net") is HttpNetwork.UNIX:
            if not addr:
                raise ValidationError({"addr": ["must be the path of a socket"]})
        elif addr and (problem := address_problem(addr)):
            raise ValidationError({"addr": [problem]})

    @validates_schema
    def check_cors(self, values: dict[str, Any], **_: Any) -> None:
        """Reject CORS headers in addition to `http.cors`: browsers accept neither of two answers."""
        rivals = [name for name in values.get("headers", ()) if name.lower().startswith("access-control-")]
        if rivals and "cors" in values and values["cors"].origins:
            raise ValidationError(
                {"headers": {rivals[0]: ["cannot be given together with `http.cors`: keep one of the two"]}}
            )

    @override
    def complete(self, values: dict[str, Any]) -> dict[str, Any]:
        """Normalize the slashes of the prefix; without a certificate, disable TLS, as in distribution."""
        if "prefix" in values:
            values["prefix"] = f"/{values['prefix'].strip('/')}/".replace("//", "/")
        if "tls" in values and not values["tls"].certificate:
            del values["tls"]
        return values
