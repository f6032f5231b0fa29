"""`proxy`: distribution's keys, several upstreams, and the combinations that are refused."""

import pytest

from config.settings import ProxySettings, UnknownHosts, has_credentials
from tests.support.configuration import MINIMAL, LoadText, problems_of, shown

HUB = "https://registry-1.docker.io"


def proxy_of(load_text: LoadText, text: str) -> ProxySettings:
    proxy = load_text(f"{MINIMAL}proxy:\n{text}").settings.proxy
    assert proxy is not None
    return proxy


def problem_of(load_text: LoadText, text: str) -> str:
    [problem] = problems_of(load_text, f"{MINIMAL}proxy:\n{text}")
    return problem


def test_keys_of_distribution_keep_their_meaning(load_text: LoadText) -> None:
    text = f"""\
  remoteurl: {HUB}
  username: robot
  password: hunter2
  ttl: 336h
  cachewritetimeout: 10m
"""
    proxy = proxy_of(load_text, text)
    [upstream] = proxy.all_upstreams
    assert (upstream.prefix, upstream.urls, upstream.username) == ("", (HUB,), "robot")
    assert upstream.password is not None
    assert upstream.password.reveal() == "hunter2"
    assert (proxy.unused_seconds, proxy.cache_write_timeout_seconds) == (336 * 3600, 600)


def test_variables_of_distribution_work(load_text: LoadText) -> None:
    environ = {"REGISTRY_PROXY_REMOTEURL": HUB, "REGISTRY_PROXY_USERNAME": "u", "REGISTRY_PROXY_PASSWORD": "p: #"}
    proxy = load_text(MINIMAL, environ).settings.proxy
    assert proxy is not None
    assert proxy.password is not None
    assert proxy.password.reveal() == "p: #"


@pytest.mark.parametrize("text", ["  remoteurl: ''\n  username: u\n", "  ttl: 1h\n", "  unknown: local\n"])
def test_section_without_an_upstream_has_no_effect(load_text: LoadText, text: str) -> None:
    assert load_text(f"{MINIMAL}proxy:\n{text}").settings.proxy is None


def test_docker_hub_has_its_namespace_and_its_names(load_text: LoadText) -> None:
    [upstream] = proxy_of(load_text, f"  remoteurl: {HUB}\n").all_upstreams
    assert upstream.default_namespace == "library"
    assert set(upstream.hosts) == {"docker.io", "index.docker.io", "registry-1.docker.io"}


def test_mirror_of_docker_hub_below_its_prefix_has_them_too(load_text: LoadText) -> None:
    text = "  upstreams:\n  - {prefix: docker.io, urls: ['https://mirror.corp:8443']}\n"
    [upstream] = proxy_of(load_text, text).all_upstreams
    assert upstream.default_namespace == "library"
    assert set(upstream.hosts) == {"mirror.corp:8443", "index.docker.io", "registry-1.docker.io"}


def test_given_hosts_and_namespace_stay(load_text: LoadText) -> None:
    text = f"  upstreams:\n  - {{prefix: hub, urls: ['{HUB}'], hosts: [docker.io], defaultnamespace: team}}\n"
    [upstream] = proxy_of(load_text, text).all_upstreams
    assert (upstream.hosts, upstream.default_namespace) == (("docker.io",), "team")


def test_other_registry_is_known_by_the_host_of_its_url(load_text: LoadText) -> None:
    text = "  upstreams:\n  - {prefix: local, urls: ['http://localhost:5001']}\n"
    [upstream] = proxy_of(load_text, text).all_upstreams
    assert (upstream.hosts, upstream.default_namespace) == (("localhost:5001",), "")


def test_listed_host_belongs_to_the_upstream_that_lists_it(load_text: LoadText) -> None:
    text = f"  remoteurl: {HUB}\n  upstreams:\n  - {{prefix: docker.io, urls: ['{HUB}']}}\n"
    root, hub = proxy_of(load_text, text).all_upstreams
    assert set(root.hosts) == {"index.docker.io", "registry-1.docker.io"}
    assert hub.is_for_host("docker.io")
    assert not set(root.hosts) & set(hub.hosts)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("", 168 * 3600),
        ("  ttl: 0\n", None),
        ("  limits: {unused: 30d}\n", 30 * 86400),
        ("  limits: {unused: 0s}\n", None),
    ],
)
def test_unused_content_stays_for_the_ttl(load_text: LoadText, text: str, seconds: float | None) -> None:
    assert proxy_of(load_text, f"  remoteurl: {HUB}\n{text}").unused_seconds == seconds


def test_limits_have_units(load_text: LoadText) -> None:
    loaded = load_text(
        f"{MINIMAL}proxy:\n  remoteurl: {HUB}\n  unknown: local\n"
        "  limits: {size: 500GB, free: 10%, keep: ['docker.io/library/*:lts']}\n"
    )
    proxy = loaded.settings.proxy
    assert proxy is not None
    assert (proxy.limits.size_bytes, proxy.limits.free.percent) == (500 * 10**9, 10)
    assert proxy.unknown is UnknownHosts.LOCAL
    assert (shown(loaded)["proxy.limits.size"], shown(loaded)["proxy.limits.free"]) == ("500GB", "10%")


def test_variable_sets_a_size(load_text: LoadText) -> None:
    environ = {"REGISTRY_PROXY_REMOTEURL": HUB, "REGISTRY_PROXY_LIMITS_FREE": "5%", "REGISTRY_PROXY_LIMITS_SIZE": "1GB"}
    proxy = load_text(MINIMAL, environ).settings.proxy
    assert proxy is not None
    assert (proxy.limits.size_bytes, proxy.limits.free.percent) == (10**9, 5)


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("  remoteurl: registry-1.docker.io\n", 4, "`proxy.remoteurl` must be a URL such as https://"),
        ("  remoteurl: https://u:hunter2@h\n", 4, "`proxy.remoteurl` must not contain credentials; use `username`"),
        ("  remoteurl: https://h?token=hunter2\n", 4, "`proxy.remoteurl` must not have a query"),
        ("  upstreams:\n  - {prefix: q}\n", 5, "`proxy.upstreams[0].urls` is missing"),
        (
            "  upstreams:\n  - {prefix: q, urls: [ftp://h]}\n",
            5,
            "`proxy.upstreams[0].urls[0]` must be a URL such as https://",
        ),
        (
            "  upstreams:\n  - prefix: localhost:5000\n    urls: ['http://localhost:5000']\n",
            5,
            "`proxy.upstreams[0].prefix` must be the first part of repository names, without a port; list a host",
        ),
        (
            "  upstreams:\n  - {prefix: q, urls: ['http://a']}\n  - prefix: q\n    urls: ['http://b']\n",
            6,
            "`proxy.upstreams[1].prefix` must differ from the prefixes of earlier upstreams, not `q`",
        ),
        (
            f"  remoteurl: {HUB}\n  upstreams:\n  - urls: ['http://b']\n",
            6,
            "`proxy.upstreams[0].prefix` is missing: `proxy.remoteurl` already is the upstream of all names",
        ),
        (
            "  upstreams:\n  - urls: ['http://a']\n  - urls: ['http://b']\n",
            6,
            "`proxy.upstreams[1].prefix` is missing: an earlier upstream already is the upstream of all names",
        ),
        (
            "  upstreams:\n  - {prefix: a, urls: http://a, hosts: h}\n  - {prefix: b, urls: [http://b], hosts: h}\n",
            6,
            "`proxy.upstreams[1].hosts` must not contain h, a host of an earlier upstream",
        ),
        (
            "  upstreams:\n  - {prefix: a, urls: ['http://a'], hosts: [b]}\n  - {prefix: b, urls: ['http://b']}\n",
            6,
            "`proxy.upstreams[1].hosts` must not contain b, a host of an earlier upstream",
        ),
        (
            "  upstreams:\n  - {prefix: a, urls: ['http://a']}\n  - {prefix: b, urls: ['http://b'], hosts: [a]}\n",
            6,
            "`proxy.upstreams[1].hosts` must not contain a, a host of an earlier upstream",
        ),
        (
            f"  remoteurl: {HUB}\n  ttl: 1h\n  limits: {{unused: 1h}}\n",
            5,
            "`proxy.ttl` cannot be combined with `proxy.limits.unused`, which means the same",
        ),
        (f"  remoteurl: {HUB}\n  limits: {{size: big}}\n", 5, "`proxy.limits.size` must be a size such as 500GB"),
        (f"  remoteurl: {HUB}\n  limits: {{free: 101%}}\n", 5, "`proxy.limits.free` must be a size such as 50GB, or a"),
        (
            "  upstreams:\n  - {prefix: q, urls: ['http://a'], onlyallow: [x]}\n",
            5,
            "`proxy.upstreams[0].onlyallow` is not a known key",
        ),
        (
            f"  remoteurl: {HUB}\n  prefetch: [{{tags: '3.*'}}]\n",
            5,
            "`proxy.prefetch[0].image` is missing; set it in the file or as REGISTRY_PROXY_PREFETCH_0_IMAGE",
        ),
    ],
)
def test_wrong_values_are_refused_with_line_and_key(load_text: LoadText, text: str, line: int, problem: str) -> None:
    found = problem_of(load_text, text)
    assert f"config.yml:{line}: {problem}" in found
    assert "hunter2" not in found


@pytest.mark.parametrize(
    ("text", "signs_in"),
    [
        ("", False),
        ("  username: u\n  password: p\n", True),
        ("  exec: {command: helper}\n", True),
        ("  username: u\n  password: p\n  exec: {command: helper}\n", True),
    ],
)
def test_remote_with_credentials(load_text: LoadText, text: str, *, signs_in: bool) -> None:
    [upstream] = proxy_of(load_text, f"  remoteurl: {HUB}\n{text}").all_upstreams
    assert has_credentials(upstream) is signs_in


def test_helper_replaces_the_password_as_in_distribution(load_text: LoadText) -> None:
    text = f"  remoteurl: {HUB}\n  username: u\n  password: p\n  exec: {{command: helper, lifetime: 1h}}\n"
    [upstream] = proxy_of(load_text, text).all_upstreams
    assert upstream.exec is not None
    assert (upstream.username, upstream.exec.command, upstream.exec.lifetime_seconds) == (None, "helper", 3600)
