"""Contract tests of the counting decorator of upstreams, and tests of its counts and log lines."""

import logging
from contextlib import suppress

import pytest

from adapters.metrics.prometheus import SingleProcessMetrics
from adapters.metrics.upstreams import IgnoredCounts, UpstreamCounts, fetch_observer
from adapters.upstream.instrumented import WARNING_SECONDS, InstrumentedUpstream
from adapters.upstream.memory import InMemoryUpstream
from core.errors import (
    RangeInvalidError,
    UpstreamAbsentError,
    UpstreamBusyError,
    UpstreamError,
    UpstreamTimeoutError,
    UpstreamUnavailableError,
)
from core.model.names import Tag
from core.ports.upstream import UpstreamQuota
from core.pull_through.filling import FetchEvent
from core.pull_through.origins import Origins
from core.pull_through.rules import UpstreamRules
from tests.contracts.upstream_contract import LAYER, MANIFEST, NAME, UpstreamContract
from tests.support.metrics import Scrape
from tests.support.simulated_time import SimulatedTime

TAG = Tag("v1")
DOWN = UpstreamUnavailableError("the upstream cannot be reached")


class TestInstrumentedUpstream(UpstreamContract):
    @pytest.fixture
    def content(self):
        self.memory = InMemoryUpstream("the upstream")
        return self.memory

    @pytest.fixture
    def metrics(self):
        return SingleProcessMetrics()

    @pytest.fixture
    def time(self):
        return SimulatedTime()

    @pytest.fixture
    async def upstream(self, content, metrics, time):
        observer = UpstreamCounts(metrics, content.name)
        async with InstrumentedUpstream(content, observer=observer, clock=time.clock) as upstream:
            yield upstream

    def let_fail(self, error):
        message = "the upstream answered 503"
        self.memory.failure = error(message, retry_after=60) if error is UpstreamBusyError else error(message)

    def cut_next_blob(self, after):
        self.memory.breaks_after = after
        self.memory.failure_of_blob = UpstreamUnavailableError("the connection broke")

    @pytest.fixture
    def read(self, metrics):
        return lambda name, **labels: Scrape(metrics.render("")[0].decode()).total(name, **labels)

    @pytest.mark.parametrize(
        ("error", "kind"),
        [
            (UpstreamAbsentError("absent"), "absent"),
            (UpstreamBusyError("busy", retry_after=1), "busy"),
            (UpstreamTimeoutError("late"), "timeout"),
            (DOWN, "unavailable"),
            (UpstreamError("broken"), "unavailable"),
        ],
    )
    async def test_answers_are_counted_by_class(self, content, upstream, read, error, kind):
        content.add_manifest(NAME, MANIFEST, "", "v1")
        await upstream.resolve(NAME, TAG)
        content.failure = error
        for ask in (upstream.resolve(NAME, TAG), anext(upstream.tags(NAME)), upstream.check()):
            with pytest.raises(type(error)):
                await ask
        counted = "registry_proxy_upstream_requests_total"
        assert read(counted, upstream="the upstream", operation="resolve", **{"class": "ok"}) == 1
        for operation in ("resolve", "tags", "check"):
            assert read(counted, operation=operation, **{"class": kind}) == 1

    async def test_bytes_are_counted(self, content, upstream, read):
        content.add_manifest(NAME, MANIFEST, "", "v1")
        digest = content.add_blob(NAME, LAYER)
        await upstream.manifest(NAME, TAG)
        in_flight = "registry_proxy_fetches_in_flight"
        async with upstream.open_blob(NAME, digest, offset=len(LAYER) - 1000) as reader:
            assert read(in_flight, upstream="the upstream") == 1
            assert sum([len(piece) async for piece in reader]) == 1000
        assert read(in_flight) == 0
        assert read("registry_proxy_pulled_bytes_total", type="manifest") == len(MANIFEST)
        assert read("registry_proxy_pulled_bytes_total", type="blob") == 1000
        assert read("registry_proxy_fetched_bytes_total", upstream="the upstream") == len(MANIFEST) + 1000

    async def test_offset_beyond_the_end_is_an_answer(self, content, upstream, read):
        digest = content.add_blob(NAME, b"x")
        with pytest.raises(RangeInvalidError):
            async with upstream.open_blob(NAME, digest, offset=2):
                pass
        assert read("registry_proxy_upstream_requests_total", operation="open_blob", **{"class": "ok"}) == 1

    async def test_list_that_is_not_read_to_its_end_is_an_answer(self, content, upstream, read):
        content.add_manifest(NAME, MANIFEST, "", "v1", "v2")
        tags = upstream.tags(NAME)
        assert await anext(tags) == "v1"
        await tags.aclose()
        assert read("registry_proxy_upstream_requests_total", operation="tags", **{"class": "ok"}) == 1

    async def test_outage_is_one_warning(self, content, upstream, time, caplog):
        caplog.set_level(logging.INFO)
        content.add_manifest(NAME, MANIFEST, "", "v1")
        for rounds in (1, 2):
            for failure in (DOWN, DOWN, None, UpstreamAbsentError("absent")):
                content.failure = failure
                with suppress(UpstreamError):
                    await upstream.resolve(NAME, TAG)
            assert [record.levelname for record in caplog.records] == ["WARNING", *["INFO"] * rounds]
        assert "the upstream cannot be reached" in caplog.text
        time.pass_seconds(WARNING_SECONDS)
        content.failure = DOWN
        with pytest.raises(UpstreamUnavailableError):
            await upstream.resolve(NAME, TAG)
        assert caplog.records[-1].levelname == "WARNING"

    async def test_quota_is_that_of_the_last_answer(self, content, upstream):
        content.add_manifest(NAME, MANIFEST, "", "v1")
        content.quota = UpstreamQuota(limit=100, remaining=99, window_seconds=21600)
        assert upstream.quota is None
        await upstream.resolve(NAME, TAG)
        assert upstream.quota == content.quota


async def test_name_is_that_of_the_upstream():
    upstream = InstrumentedUpstream(InMemoryUpstream("quay.io"), observer=IgnoredCounts(), clock=lambda: 0.0)
    assert upstream.name == "quay.io"


@pytest.mark.parametrize("counts", [True, False])
def test_events_of_fetches_are_counted(counts):
    metrics = SingleProcessMetrics()
    origins = Origins([(UpstreamRules(prefix="quay.io"), InMemoryUpstream("quay.io"))])
    observe = fetch_observer(metrics if counts else None, origins)
    for event in (FetchEvent.BEGUN, FetchEvent.MISMATCHED, FetchEvent.FAILED):
        observe(event, "quay.io", 10)
    scrape = Scrape(metrics.render("")[0].decode())
    assert scrape.total("registry_proxy_fetches_total", upstream="quay.io") == 3 * counts
    assert scrape.total("registry_proxy_wrong_digests_total", upstream="quay.io") == counts


async def test_processes_without_metrics_read_alike():
    inner = InMemoryUpstream("quay.io")
    digest = inner.add_blob(NAME, LAYER)
    inner.add_manifest(NAME, MANIFEST, "", "v1")
    async with InstrumentedUpstream(inner, observer=IgnoredCounts(), clock=lambda: 0.0) as upstream:
        assert (await upstream.manifest(NAME, TAG)).content == MANIFEST
        async with upstream.open_blob(NAME, digest) as reader:
            assert b"".join([piece async for piece in reader]) == LAYER
