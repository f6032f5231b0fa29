"""Numbers of several processes: added up, kept over deaths, bounded in their labels, read by Prometheus' parser."""

import os
import random

import pytest
from prometheus_client.multiprocess import mark_process_dead

from adapters.metrics.instruments import LABEL_SETS_MAX
from adapters.metrics.prometheus import PrometheusMetrics
from adapters.metrics.storage import ACTIONS, CacheCounts, storage_observer
from core.errors import ObjectNotFoundError, StorageUnavailableError
from core.ports.metrics import Merge
from core.ports.staging import BlobWriter, StagingStorage
from entrypoints.observability.runtime_folder import RuntimeFolder
from tests.support.metrics import Scrape


class Server:
    """The folder of a server, and its workers, which are children that end on request."""

    def __init__(self, folder):
        self.folder = folder

    def run_worker(self, number, work):
        """Fork a worker that counts and is then gone, as by SIGKILL: nothing is flushed or closed."""
        process = os.fork()
        if process == 0:
            try:
                self.folder.worker = number
                work(PrometheusMetrics(self.folder.path, number))
            except BaseException:  # noqa: BLE001 - a child must not go on as a second test run
                os._exit(1)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0

    def scrape(self, accept=""):
        body, _ = PrometheusMetrics(self.folder.path, 99).render(accept)
        return Scrape(body.decode())


@pytest.fixture
def server(tmp_path):
    folder = RuntimeFolder.open(3, places=[tmp_path])
    yield Server(folder)
    folder.close()


def count(amount, *labels):
    def work(metrics):
        metrics.counter("registry_things_total", "Things.", ["kind"])(amount, *labels)
        metrics.histogram("registry_seconds", "Time.", buckets=[1, 2])(amount)

    return work


def test_workers_add_up(server):
    for number in range(3):
        server.run_worker(number, count(number + 1, "a"))
    scrape = server.scrape()
    assert scrape.total("registry_things_total", kind="a") == 6
    assert scrape.total("registry_seconds_count") == 3
    assert scrape.total("registry_seconds_sum") == 6
    assert scrape.values("registry_seconds_bucket") == {(("le", "1.0"),): 1, (("le", "2.0"),): 2, (("le", "+Inf"),): 3}


def test_counters_never_fall_and_files_never_multiply(server):
    rng = random.Random(20261124)
    server.run_worker(0, count(1, "a"))
    files = set(server.folder.path.iterdir())
    total = 1
    for _ in range(12):
        number = rng.randrange(3)
        # A replaced worker starts at zero, with the number of the dead one.
        server.folder.forget(number)
        server.run_worker(number, count(2, "a"))
        total += 2
        assert server.scrape().total("registry_things_total") == total
    assert set(server.folder.path.iterdir()) == files


def test_gauges_of_dead_workers_vanish(server):
    def work(metrics):
        for merge in Merge:
            metrics.gauge(f"registry_{merge.value}", "A gauge.", ["of"], merge=merge)(server.folder.worker + 1, "x")

    for number in range(3):
        server.run_worker(number, work)
    scrape = server.scrape()
    assert [scrape.total(f"registry_{merge.value}", of="x") for merge in Merge] == [6, 3, 1]
    server.folder.forget(0)
    scrape = server.scrape()
    assert [scrape.total(f"registry_{merge.value}", of="x") for merge in Merge] == [5, 3, 2]
    for number in (1, 2):
        server.folder.forget(number)
    assert not {name for name in server.scrape().names if name.startswith("registry_")}


def test_labels_are_bounded(server):
    def work(metrics):
        counter = metrics.counter("registry_things_total", "Things.", ["kind", "sort"])
        for number in range(3 * LABEL_SETS_MAX):
            counter(1, f"kind {number}", "s")

    server.run_worker(0, work)
    values = server.scrape().values("registry_things_total")
    assert len(values) == LABEL_SETS_MAX + 1
    assert values[("kind", "other"), ("sort", "other")] == 2 * LABEL_SETS_MAX


def test_openmetrics_is_served_on_request(server):
    server.run_worker(0, count(1, "a"))
    metrics = PrometheusMetrics(server.folder.path, 99)
    body, media_type = metrics.render("application/openmetrics-text; version=1.0.0")
    assert media_type.startswith("application/openmetrics-text")
    assert body.endswith(b"# EOF\n")
    body, media_type = metrics.render("text/html")
    assert media_type.startswith("text/plain; version=")


def test_storage_is_measured_by_driver_and_action(server):
    def work(metrics):
        observe = storage_observer(metrics, "s3")
        observe("read", 0.003, None)
        observe("read", 7, ObjectNotFoundError)
        observe("commit", 1, StorageUnavailableError)

    server.run_worker(0, work)
    scrape = server.scrape()
    seconds, errors = "registry_storage_action_seconds", "registry_storage_errors_total"
    assert scrape.total(f"{seconds}_count", driver="s3", action="GetContent") == 2
    assert scrape.total(f"{seconds}_bucket", action="GetContent", le="0.005") == 1
    assert scrape.total(f"{seconds}_sum", action="Commit") == 1
    # A missing object is no failure of the store.
    assert scrape.values(errors) == {(("action", "Commit"), ("driver", "s3")): 1}


def test_every_operation_has_a_name_of_its_own():
    operations = set(StagingStorage.__abstractmethods__) - {"list_child_pages"} | {"list_children"}
    operations |= {"append", "content", "commit", "discard"}
    operations |= {"write_all", "write_then_remove", "clear", "prune", "drop_unfinished", "redirect_url"}
    assert BlobWriter.__abstractmethods__ - {"size", "write"} <= operations
    assert operations == ACTIONS.keys()
    assert len(set(ACTIONS.values())) == len(ACTIONS)


def test_cache_counts_hits(server):
    def work(metrics):
        counts = CacheCounts(metrics)
        counts(hit=True)
        counts(hit=False)
        # A second cache of the process counts into the same numbers.
        CacheCounts(metrics)(hit=False)
        counts.failed()

    server.run_worker(0, work)
    scrape = server.scrape()
    assert scrape.total("registry_storage_cache_requests_total") == 3
    assert scrape.total("registry_storage_cache_hits_total") == 1
    assert scrape.total("registry_storage_cache_errors_total") == 1


def test_client_still_has_the_private_parts_that_the_adapter_uses(server, monkeypatch):
    """A version of prometheus-client that changes one of them fails here, not as numbers that are missing."""
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)

    def work(metrics):
        count(2, "a")(metrics)
        metrics.gauge("registry_live", "A gauge.")(7)
        assert "PROMETHEUS_MULTIPROC_DIR" not in os.environ

    server.run_worker(1, work)
    scrape = server.scrape()
    names = ("registry_things_total", "registry_seconds_sum", "registry_live")
    assert [scrape.total(name) for name in names] == [2, 2, 7]
    # The client's own bookkeeping finds the gauges of a process by the names of its files.
    mark_process_dead(1, path=str(server.folder.path))
    assert not list(server.folder.path.glob("gauge_*_1.db"))
    assert "registry_live" not in server.scrape().names
