"""`http.tls`, `http.cors`, `http.trustedproxies` and `http.limits`: legal and refused values."""

import pytest

from config.cipher_suites import DEFAULT_SUITES, OPENSSL_NAMES
from config.loader import inherited_descriptors
from config.settings import Secret, TlsVersion
from tests.support.configuration import MINIMAL, LoadText, problems_of

TLS = "http: {{tls: {{certificate: c, key: k, {}}}}}\n"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (TLS.format("minimumtls: tls1.0"), "`http.tls.minimumtls` must be one of tls1.2, tls1.3, not `tls1.0`"),
        (TLS.format("minimumtls: tls1.1"), "`http.tls.minimumtls` must be one of tls1.2, tls1.3, not `tls1.1`"),
        (TLS.format("ciphersuites: [AES128-SHA]"), "must be Go's name of a cipher suite, such as TLS_ECDHE_RSA_WITH"),
        (TLS.format("clientauth: maybe"), "`http.tls.clientauth` must be one of request-client-cert"),
        (TLS.format("clientidentity: {from: uri}"), "`http.tls.clientcas` is missing: `clientidentity` needs verified"),
        (TLS.format("clientcas: [a], clientidentity: {prefix: 'x:'}"), "`http.tls.clientidentity.from` is missing"),
        (TLS.format("clientcas: [a], clientidentity: {from: serial}"), "must be one of commonname, uri, dns, email"),
        (TLS.format("clientcas: [a], clientidentity: {from: dns, prefix: x}"), "and end in a colon"),
        (TLS.format("clientcas: [a], clientidentity: {from: dns, prefix: '@x:'}"), "and end in a colon"),
        (TLS.format("clientcas: [a], clientidentity: {from: dns, groups: path}"), "must not be path, unless `from` is"),
        (TLS.format("clientcas: [a], clientidentity: {from: dns, header: X}"), "`http.tls.clientidentity.header`"),
        (TLS.format("letsencrypt: {hosts: [r.example.com]}"), "cannot be given together with `certificate` and `key`"),
        ("http: {cors: {origins: ['*'], credentials: true}}\n", "cannot be true while `origins` contains `*`"),
        ("http: {cors: {origins: [ui.example]}}\n", "must be an origin such as https://ui.example.com, or `*`"),
        ("http: {cors: {origins: ['https://ui.example/']}}\n", "must be an origin"),
        ("http: {cors: {headers: ['a b']}}\n", "must be one word"),
        (
            "http: {cors: {origins: ['*']}, headers: {access-control-allow-origin: ['*']}}\n",
            "cannot be given together with `http.cors`: keep one of the two",
        ),
        ("http: {trustedproxies: [10.0.0.1/8]}\n", "must be an address or a network"),
        ("http: {trustedproxies: [proxy]}\n", "must be an address or a network"),
        ("http: {limits: {keepalivetimeout: 0s}}\n", "must be a duration"),
        ("http: {limits: {manifestsize: 5000000}}\n", "must be from 1024 to 4194304"),
        ("http: {limits: {burst: 0}}\n", "must be from 1 to"),
    ],
)
def test_wrong_value_is_refused(load_text: LoadText, text: str, problem: str) -> None:
    [found] = problems_of(load_text, MINIMAL + text)
    assert problem in found


def test_keys_become_settings(load_text: LoadText) -> None:
    suites = "[TLS_AES_128_GCM_SHA256, TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384]"
    text = (
        "http:\n"
        f"  tls: {{certificate: c, key: k, minimumtls: tls1.3, ciphersuites: {suites}}}\n"
        "  trustedproxies: [10.0.0.0/8, '::1']\n"
        "  cors: {origins: ['https://ui.example:8443', 'http://[::1]:1'], credentials: true, maxage: 5s}\n"
        "  limits: {uploadsize: 5, headertimeout: 0s, rate: 3}\n"
    )
    http = load_text(MINIMAL + text).settings.http
    assert http.tls is not None
    assert http.tls.minimum_version is TlsVersion.TLS13
    assert http.tls.cipher_suites == ("TLS_AES_128_GCM_SHA256", "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384")
    assert http.trusted_proxies == ("10.0.0.0/8", "::1")
    assert http.cors.origins == ("https://ui.example:8443", "http://[::1]:1")
    assert (http.cors.max_age_seconds, http.limits.upload_bytes, http.limits.header_seconds) == (5.0, 5, 0.0)
    assert http.limits.rate == 3


def test_default_suites_have_openssl_names() -> None:
    assert all(name in OPENSSL_NAMES for name in DEFAULT_SUITES)


@pytest.mark.parametrize(
    ("environ", "descriptors"),
    [
        ({"LISTEN_PID": "7", "LISTEN_FDS": "2"}, (3, 4)),
        ({"LISTEN_PID": "8", "LISTEN_FDS": "1"}, ()),
        ({"LISTEN_FDS": "1"}, ()),
        ({"LISTEN_PID": "7", "LISTEN_FDS": "x"}, ()),
        ({}, ()),
    ],
)
def test_sockets_of_systemd_are_for_one_process(environ: dict[str, str], descriptors: tuple[int, ...]) -> None:
    assert inherited_descriptors(pid=7, environ=environ) == descriptors


@pytest.mark.parametrize("secret", ["a", "fifteen_letters", "ü" * 7])
def test_short_secret_is_refused_with_the_remedy(load_text: LoadText, secret: str) -> None:
    [problem] = problems_of(load_text, f"{MINIMAL}http: {{secret: {secret}}}\n")
    assert "`http.secret` must have at least 16 bytes" in problem
    assert "openssl rand -hex 32" in problem
    assert "all replicas at once" in problem
    assert secret == "a" or secret not in problem


@pytest.mark.parametrize("secret", ["sixteen_letters_", "ü" * 8, "0" * 64])
def test_secret_of_sixteen_bytes_is_accepted(load_text: LoadText, secret: str) -> None:
    assert load_text(MINIMAL, {"REGISTRY_HTTP_SECRET": secret}).settings.http.secret == Secret(secret)


def test_sample_secret_is_refused(load_text: LoadText) -> None:
    [problem] = problems_of(load_text, MINIMAL, {"REGISTRY_HTTP_SECRET": "asecretforlocaldevelopment"})
    assert problem.startswith("REGISTRY_HTTP_SECRET: `http.secret` is a sample")
    assert "asecret" not in problem


@pytest.mark.parametrize(
    ("variable", "key"),
    [
        ("REGISTRY_REDIS_PASSWORD", "redis.password"),
        ("REGISTRY_STORAGE_S3_ACCESSKEY", "storage.s3.accesskey"),
        ("REGISTRY_STORAGE_S3_SECRETKEY", "storage.s3.secretkey"),
        ("SEARCH_BACKEND_MYSQL", "catalog.mysql.dsn"),
    ],
)
def test_placeholder_in_the_place_of_any_value_is_refused(load_text: LoadText, variable: str, key: str) -> None:
    text = (
        "version: 0.1\nstorage: {s3: {bucket: b, region: r, accesskey: a, secretkey: s}}\ncatalog: {backend: MYSQL}\n"
    )
    environ = {"SEARCH_BACKEND_MYSQL": "u:p@tcp(db:3306)/r", variable: "u:CHANGE-ME@tcp(db:3306)/r"}
    [problem] = problems_of(load_text, text, environ)
    assert problem.startswith(f"{variable}: `{key}` is a placeholder from an example (CHANGE-ME)")


def test_secret_of_half_a_surrogate_pair_is_refused(load_text: LoadText) -> None:
    [problem] = problems_of(load_text, MINIMAL + 'http: {secret: "\\ud800 and thirty-two more bytes of it"}\n')
    assert "`http.secret` is not UTF-8 text" in problem
