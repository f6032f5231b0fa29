"""Metrics of the pulls that upstreams still allow."""

from adapters.upstream.memory import InMemoryUpstream
from core.ports.upstream import UpstreamQuota
from core.pull_through.origins import Origins
from core.pull_through.rules import UpstreamRules
from entrypoints.observability.quotas import quota_reader
from tests.support.metrics import Scrape


def test_quota_is_measured_until_its_window_has_passed(metrics):
    seconds = [0.0]
    hub, quay = InMemoryUpstream("docker.io"), InMemoryUpstream("quay.io")
    origins = Origins([(UpstreamRules(prefix=each.name), each) for each in (hub, quay)])
    read = quota_reader(metrics, origins, lambda: seconds[0])

    def values() -> tuple[float, float]:
        read()
        scrape = Scrape(metrics.render("")[0].decode())
        assert "quay.io" not in scrape.text
        return (
            scrape.total("registry_proxy_quota_limit", upstream="docker.io"),
            scrape.total("registry_proxy_quota_remaining", upstream="docker.io"),
        )

    read()
    hub.quota = UpstreamQuota(limit=100, remaining=7, window_seconds=3600)
    assert values() == (100, 7)
    seconds[0] = 3599
    assert values() == (100, 7)
    seconds[0] = 3600
    assert values() == (100, 100)
    hub.quota = UpstreamQuota(limit=100, remaining=99, window_seconds=3600)
    assert values() == (100, 99)
