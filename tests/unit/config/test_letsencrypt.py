"""`http.tls.letsencrypt`: the names that are ordered, and refused values."""

import pytest

from config.settings import AcmeChallenge, LetsEncryptSettings
from tests.support.configuration import MINIMAL, LoadText, problems_of

SECRET = "secret: 0123456789abcdef-of-a-test"


def http(keys: str) -> str:
    return f"{MINIMAL}http: {{{SECRET}, {keys}}}\n"


def acme(keys: str) -> str:
    return http(f"tls: {{letsencrypt: {{{keys}}}}}")


def acme_of(load_text: LoadText, text: str) -> LetsEncryptSettings:
    tls = load_text(text).settings.http.tls
    assert tls is not None
    assert tls.lets_encrypt is not None
    return tls.lets_encrypt


def test_defaults_are_those_of_lets_encrypt(load_text: LoadText) -> None:
    found = acme_of(load_text, acme("email: a@example.com, hosts: [R.Example.com, r.example.com]"))
    assert found == LetsEncryptSettings(email="a@example.com", hosts=("r.example.com",))
    assert found.directory_url == "https://acme-v02.api.letsencrypt.org/directory"
    assert found.challenge is AcmeChallenge.TLS_ALPN


def test_listener_for_http_implies_its_challenge(load_text: LoadText) -> None:
    found = acme_of(load_text, acme("hosts: [r.example.com], httpaddr: ':80'"))
    assert (found.http_addr, found.challenge) == (":80", AcmeChallenge.HTTP)
    found = acme_of(load_text, acme("hosts: [r.example.com], httpaddr: ':80', challenge: tls-alpn-01"))
    assert found.challenge is AcmeChallenge.TLS_ALPN
    found = acme_of(load_text, acme("hosts: [r.example.com], challenge: http-01"))
    assert (found.http_addr, found.challenge) == (None, AcmeChallenge.HTTP)


def test_name_comes_from_the_address_of_links(load_text: LoadText) -> None:
    text = http("host: 'https://registry.example.com:8443', tls: {letsencrypt: {cachefile: /old}}")
    assert acme_of(load_text, text).hosts == ("registry.example.com",)


def test_cache_file_of_distribution_is_noted(load_text: LoadText) -> None:
    loaded = load_text(acme("cachefile: /var/lib/acme, hosts: [r.example.com]"))
    assert loaded.warnings == ()
    [note] = loaded.notes
    assert "certificates are kept in the store" in note


@pytest.mark.parametrize("values", ["", "cachefile: '', email: ''", "email: ''", "hosts: []"])
def test_empty_values_disable_it(load_text: LoadText, values: str) -> None:
    assert load_text(acme(values)).settings.http.tls is None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (acme("email: a@example.com"), "`http.tls.letsencrypt.hosts` is missing: list the names"),
        (http("host: 'https://10.0.0.1', tls: {letsencrypt: {email: e}}"), "letsencrypt.hosts` is missing"),
        (acme("hosts: ['*.example.com']"), "must be a DNS name"),
        (acme("hosts: ['r.example.com:443']"), "must be a DNS name"),
        (acme("hosts: [10.0.0.1]"), "must be a DNS name"),
        (acme("hosts: ['../x']"), "must be a DNS name"),
        (acme("hosts: [r.example.com], directoryurl: example.com"), "must be the URL of an ACME directory"),
        (acme("hosts: [r.example.com], challenge: dns-01"), "must be one of tls-alpn-01, http-01"),
        (acme("hosts: [r.example.com], httpaddr: nowhere"), "httpaddr"),
        (acme(f"hosts: [{', '.join(f'r{n}.example.com' for n in range(101))}]"), "must have at most 100 names"),
        (
            MINIMAL + "http: {tls: {letsencrypt: {hosts: [r.example.com]}}}\n",
            "`http.secret` is missing: it encrypts the certificates in the store; set it in the file",
        ),
    ],
)
def test_wrong_value_is_refused(load_text: LoadText, text: str, problem: str) -> None:
    [found] = problems_of(load_text, text)
    assert problem in found


def test_variables_configure_it(load_text: LoadText) -> None:
    loaded = load_text(
        MINIMAL,
        environ={
            "REGISTRY_HTTP_SECRET": "0123456789abcdef-of-a-test",
            "REGISTRY_HTTP_TLS_LETSENCRYPT_HOSTS_0": "r.example",
        },
    )
    assert loaded.settings.http.tls is not None
