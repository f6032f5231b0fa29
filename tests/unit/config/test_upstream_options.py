"""`proxy.upstreams[]`: addresses, credentials, TLS, proxies and limits of one upstream."""

import pytest

from adapters.upstream.options import UpstreamOptions
from tests.support.configuration import MINIMAL, LoadText, problems_of, shown

UPSTREAM = (
    f"{MINIMAL}proxy:\n  upstreams:\n  - prefix: quay.io\n    urls: ['https://mirror.corp', 'https://quay.io/']\n"
)


def options_of(load_text: LoadText, text: str = "") -> UpstreamOptions:
    proxy = load_text(UPSTREAM + text).settings.proxy
    assert proxy is not None
    [options] = proxy.upstreams
    return options


def test_upstream_needs_only_a_url(load_text: LoadText) -> None:
    options = options_of(load_text)
    assert options.urls == ("https://mirror.corp", "https://quay.io/")
    assert (options.connections, options.rate, options.connect_seconds, options.idle_seconds) == (16, 0, 5, 60)
    assert not options.insecure


def test_all_options_are_read(load_text: LoadText) -> None:
    text = """\
    username: robot
    passwordfile: /run/secrets/quay
    realms: [auth.corp, 'tokens.corp:8443']
    ca: /etc/ca.pem
    certificate: /etc/client.pem
    key: /etc/client.key
    insecure: true
    httpproxy: http://user:hunter2@proxy.corp:3128
    noproxy: [.corp, 10.0.0.1]
    connections: 4
    rate: 10
    timeout: {connect: 2s, idle: 1m}
"""
    options = options_of(load_text, text)
    assert (options.username, options.password_file) == ("robot", "/run/secrets/quay")
    assert options.realms == ("auth.corp", "tokens.corp:8443")
    assert (options.ca, options.certificate, options.key) == ("/etc/ca.pem", "/etc/client.pem", "/etc/client.key")
    assert options.insecure
    assert options.http_proxy == "http://user:hunter2@proxy.corp:3128"
    assert options.no_proxy == (".corp", "10.0.0.1")
    assert (options.connections, options.rate, options.connect_seconds, options.idle_seconds) == (4, 10, 2, 60)


def test_password_of_the_proxy_is_not_shown(load_text: LoadText) -> None:
    loaded = load_text(f"{UPSTREAM}    httpproxy: socks5h://user:hunter2@proxy.corp:1080\n")
    assert "hunter2" not in str(shown(loaded))
    assert "proxy.corp:1080" in str(shown(loaded))


def test_credentials_come_from_a_program_or_from_docker(load_text: LoadText) -> None:
    options = options_of(load_text, "    exec: {command: docker-credential-ecr-login, lifetime: 6h}\n")
    assert options.exec is not None
    assert (options.exec.command, options.exec.lifetime_seconds) == ("docker-credential-ecr-login", 6 * 3600)
    assert options_of(load_text, "    dockerconfig: /root/.docker/config.json\n").docker_config is not None


def test_program_of_the_root_upstream_is_used(load_text: LoadText) -> None:
    text = f"{MINIMAL}proxy:\n  remoteurl: https://registry.corp\n  exec: {{command: helper}}\n"
    proxy = load_text(text).settings.proxy
    assert proxy is not None
    [root] = proxy.all_upstreams
    assert root.exec is not None
    assert root.exec.command == "helper"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("    username: robot\n", "password` is missing"),
        ("    password: hunter2\n", "username` is missing"),
        ("    passwordfile: /f\n", "username` is missing"),
        ("    {u}\n    passwordfile: /f\n", "passwordfile` must not be given together with `password`"),
        ("    {u}\n    exec: {command: c}\n", "exec` must not be given together with `password`"),
        ("    exec: {command: c}\n    dockerconfig: /f\n", "dockerconfig` must not be given together with `exec`"),
        ("    certificate: /c\n", "key` is missing"),
        ("    key: /c\n", "certificate` is missing"),
        ("    httpproxy: proxy:3128\n", "must be the URL of a proxy"),
        ("    httpproxy: 'http://['\n", "must be the URL of a proxy"),
        ("    connections: 0\n", "connections` must be"),
        ("    timeout: {idle: 0s}\n", "timeout.idle` must be"),
    ],
)
def test_contradictions_are_refused(load_text: LoadText, text: str, problem: str) -> None:
    problems = problems_of(load_text, UPSTREAM + text.replace("{u}", "username: robot\n    password: hunter2"))
    assert any(problem in each for each in problems), problems
    assert "hunter2" not in str(problems)


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("https://u:hunter2@quay.io", "must not contain credentials"),
        ("https://quay.io?token=hunter2", "must not have a query"),
        ("https://quay.io/v2/", "must not end in /v2"),
        ("quay.io", "must be a URL"),
    ],
)
def test_unusable_urls_are_refused(load_text: LoadText, url: str, problem: str) -> None:
    [found] = problems_of(load_text, UPSTREAM.replace("https://mirror.corp", url))
    assert problem in found
    assert "hunter2" not in found
