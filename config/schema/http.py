"""`http`: the listener, generated URLs, TLS, the debug listener."""

import re
from typing import Any, Final

from marshmallow import ValidationError, validates_schema
from typing_extensions import override

from config.schema.base import SectionSchema, Sub
from config.schema.collections import HeaderMap, ListOf, Unused
from config.schema.key import MISSING_VALUE
from config.schema.scalars import Bool, Choice, Duration, SecretText, Text
from config.settings import ClientAuth, DebugSettings, HttpNetwork, HttpSettings, TlsSettings, TlsVersion

_TCP_ADDRESS: Final = re.compile(r"(?:\[[0-9A-Fa-f:.%a-z]+\]|[^\s:\[\]/]*):([0-9]{1,5})")
_BASE_URL: Final = re.compile(r"https?://[^/\s?#@]+(?:/[^\s?#]*)?")
_PORT_MAX: Final = 65_535


def address_problem(text: str) -> str | None:
    """Say what is wrong with a TCP address, or nothing."""
    match = _TCP_ADDRESS.fullmatch(text)
    if match is None or int(match[1]) > _PORT_MAX:
        return "must be `host:port`, `:port` or `[ipv6]:port`"
    return None


def _base_url_problem(text: str) -> str | None:
    return None if _BASE_URL.fullmatch(text) or not text else "must be a URL such as https://registry.example.com"


def _path_problem(text: str) -> str | None:
    return None if re.fullmatch(r"[A-Za-z0-9/._~-]*", text) else "must be a path such as /registry/"


class TlsSchema(SectionSchema):
    """`http.tls`."""

    settings = TlsSettings

    certificate = Text("certificate", "PEM file of the certificate, followed by its chain.")
    key = Text("key", "PEM file of the certificate's key.")
    client_cas = ListOf(Text("clientcas", "PEM files of the authorities that sign client certificates."))
    client_auth = Choice("clientauth", "What is asked of clients when `clientcas` is given.", ClientAuth)
    minimum_version = Choice("minimumtls", "The lowest TLS version spoken.", TlsVersion)
    cipher_suites = ListOf(Text("ciphersuites", "The cipher suites offered, by Go's names."))
    lets_encrypt = Unused("letsencrypt", "Certificates from an ACME server.")

    @validates_schema
    def check_pair(self, values: dict[str, Any], **_: Any) -> None:
        """Refuse a certificate without a key, and the reverse, and rules for clients without either."""
        problems: dict[Any, Any] = {key: [MISSING_VALUE] for key in ("certificate", "key") if key not in values}
        if problems and values.keys() & {"certificate", "key", "client_cas"}:
            raise ValidationError(problems)


class PrometheusSchema(SectionSchema):
    """`http.debug.prometheus`."""

    prometheus_enabled = Bool("enabled", "Whether metrics are served at the debug address.")
    prometheus_path = Text("path", "The path of the metrics.", check=_path_problem)


class DebugSchema(SectionSchema):
    """`http.debug`."""

    settings = DebugSettings

    addr = Text("addr", "Address of the debug listener; none listens without it.")
    prometheus = Sub("prometheus", "Metrics.", PrometheusSchema)


class Http2Schema(SectionSchema):
    """`http.http2`."""

    disabled = Unused("disabled", "Whether HTTP/2 is off; it always is here.")


class H2cSchema(SectionSchema):
    """`http.h2c`."""

    enabled = Unused("enabled", "Whether HTTP/2 is spoken without TLS.")


class HttpSchema(SectionSchema):
    """`http`."""

    settings = HttpSettings

    addr = Text("addr", "Address to listen at: `host:port`, or the path of a socket.")
    net = Choice("net", "What `addr` is an address of.", HttpNetwork)
    host = Text("host", "Base URL of generated links; without it the request tells.", check=_base_url_problem)
    prefix = Text("prefix", "Path below which the registry answers.", check=_path_problem)
    secret = SecretText("secret", "Signs upload sessions; must be the same text on all replicas.")
    relative_urls = Bool("relativeurls", "Whether generated links lack scheme and host.")
    drain_timeout_seconds = Duration("draintimeout", "How long requests may go on after SIGTERM.")
    headers = HeaderMap(Text("headers", "Headers added to every response, each with a list of values."))
    tls = Sub("tls", "TLS of the listener.", TlsSchema)
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

    @override
    def complete(self, values: dict[str, Any]) -> dict[str, Any]:
        """Give the prefix both slashes; without a certificate there is no TLS, as in distribution."""
        if "prefix" in values:
            values["prefix"] = f"/{values['prefix'].strip('/')}/".replace("//", "/")
        if "tls" in values and not values["tls"].certificate:
            del values["tls"]
        return values
