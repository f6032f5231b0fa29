"""The origin of a repository: the upstream by prefix, and the name there."""

import pytest

from adapters.upstream.memory import InMemoryUpstream
from core.model.names import RepositoryName
from core.pull_through.origins import Origins
from core.pull_through.rules import UpstreamRules

HUB = UpstreamRules(
    prefix="docker.io",
    hosts=("index.docker.io", "registry-1.docker.io"),
    default_namespace="library",
    allow=("library/**", "grafana/*"),
    deny=("**/*-nightly",),
)
QUAY = UpstreamRules(prefix="quay.io")
DEEP = UpstreamRules(prefix="quay.io/team")
REST = UpstreamRules()


def origins(*rules: UpstreamRules) -> Origins:
    return Origins([(each, InMemoryUpstream(each.prefix)) for each in rules])


@pytest.mark.parametrize(
    ("name", "upstream", "remote"),
    [
        ("docker.io/alpine", "docker.io", "library/alpine"),
        ("docker.io/library/alpine", "docker.io", "library/alpine"),
        ("quay.io/prometheus/prometheus", "quay.io", "prometheus/prometheus"),
        ("quay.io/alpine", "quay.io", "alpine"),
        ("quay.io/team/app", "quay.io/team", "app"),
    ],
)
def test_longest_prefix_decides(name, upstream, remote):
    found = origins(QUAY, HUB, DEEP).find(RepositoryName(name))
    assert found is not None
    assert (found.upstream.name, found.name) == (upstream, remote)


@pytest.mark.parametrize("name", ["alpine", "docker.io", "docker.iox/alpine", "team/docker.io/alpine"])
def test_other_names_are_local(name):
    assert not origins(HUB, QUAY).is_cached(RepositoryName(name))
    assert origins(HUB, QUAY).canonical(name) == name


def test_empty_prefix_takes_every_other_name():
    found = origins(REST, HUB).find(RepositoryName("team/app"))
    assert found is not None
    assert (found.rules, found.name) == (REST, "team/app")
    assert origins(REST, HUB).canonical("team/app") == "team/app"


@pytest.mark.parametrize(
    ("name", "expected"), [("quay.io/a", True), ("quay.io", False), ("quay.iox/a", False), ("a/quay.io/b", False)]
)
def test_prefix_of_a_name_is_recognized(name, expected):
    assert origins(REST, HUB, QUAY).has_prefix(name) is expected
    assert not origins(REST).has_prefix(name)


def test_catalog_lists_local_repositories_and_those_of_some_upstreams():
    some = origins(QUAY, UpstreamRules(prefix="ghcr.io", catalog=True))
    assert some.is_listed(RepositoryName("team/app"))
    assert some.is_listed(RepositoryName("ghcr.io/team/app"))
    assert not some.is_listed(RepositoryName("quay.io/team/app"))


def test_canonical_name_has_the_namespace():
    assert origins(HUB).canonical("docker.io/alpine") == "docker.io/library/alpine"
    assert origins(HUB).canonical("docker.io/grafana/loki") == "docker.io/grafana/loki"


@pytest.mark.parametrize("host", ["docker.io", "registry-1.docker.io"])
def test_host_leads_to_the_prefix(host):
    assert origins(QUAY, HUB).locate("alpine", host) == "docker.io/library/alpine"


@pytest.mark.parametrize("host", ["", "ghcr.io", "169.254.169.254", "localhost:5000"])
def test_unknown_host_leads_nowhere(host):
    assert origins(QUAY, HUB, REST).locate("alpine", host) is None


@pytest.mark.parametrize(
    ("name", "is_allowed"),
    [
        ("docker.io/alpine", True),
        ("docker.io/grafana/loki", True),
        ("docker.io/grafana/loki-nightly", False),
        ("docker.io/other/app", False),
    ],
)
def test_patterns_are_those_of_the_upstream_name(name, is_allowed):
    found = origins(HUB).find(RepositoryName(name))
    assert found is not None
    assert found.is_allowed == is_allowed


def test_upstreams_are_listed_by_prefix():
    assert [rules.prefix for rules, _ in origins(REST, QUAY, DEEP).upstreams] == ["quay.io/team", "quay.io", ""]


@pytest.mark.parametrize(
    ("rules", "name", "expected"),
    [(QUAY, "quay.io/app", True), (QUAY, "quay.io", False), (QUAY, "quay.iota/app", False), (REST, "app", True)],
)
def test_rules_cover_names_below_their_prefix(rules, name, *, expected):
    assert rules.covers(name) is expected
