"""The shipped dashboard and alerts are valid and use metrics that a real server has."""

import json
import re
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest
import yaml

from adapters.metrics.prometheus import SingleProcessMetrics
from adapters.metrics.upstreams import fetch_observer
from adapters.upstream.memory import InMemoryUpstream
from core.collection.report import CollectionReport
from core.notifications.endpoint import EndpointStats
from core.notifications.notifier import NotificationStats
from core.ports.upstream import UpstreamQuota
from core.pull_through.eviction import EvictionReport
from core.pull_through.origins import Origins
from core.pull_through.rules import UpstreamRules
from core.transfer.mirrors import MirrorState
from core.usage.measurement import StoreUsage
from core.verification.journal import Checkpoint
from entrypoints.observability.caching import eviction_observer, prefetch_observer
from entrypoints.observability.gauges import order_observer
from entrypoints.observability.jobs import VerificationObserver, collection_observer
from entrypoints.observability.mirrors import mirror_observer
from entrypoints.observability.notification_metrics import NotificationReader
from entrypoints.observability.quotas import quota_reader
from entrypoints.observability.usage import usage_observer
from tests.support.certificates import Authority
from tests.support.metrics import Scrape
from tests.support.oci import make_image
from tests.support.ports import free_port
from tests.support.processes import RegistryServer, ServerProcess
from tests.support.registry_client import RegistryClient
from tests.support.tls_servers import TlsRegistryServer
from tests.support.tools import REPOSITORY_ROOT

pytestmark = pytest.mark.e2e

PROMETHEUS = REPOSITORY_ROOT / "deploy" / "prometheus"
DASHBOARD = REPOSITORY_ROOT / "deploy" / "grafana" / "registry.json"
METRIC = re.compile(r"\bregistry_[a-z_]+\b")
VARIABLES = {"$__rate_interval": "5m", "$job": ".*", "$instance": ".*"}
ONLY_AFTER_FAILURES = {"registry_storage_errors_total"}
"""Metrics that a healthy server does not have."""
PANELS_ANSWERED = 20
"""Expressions that have a value soon after a few pushes; the others speak of TLS, caches, failures and upkeep."""


def dashboard_expressions() -> list[str]:
    dashboard = json.loads(DASHBOARD.read_text())
    return [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]


def alert_rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "rules", "alerts.yml"),
        *(("check", "config", path.name) for path in sorted(PROMETHEUS.glob("prometheus*.yml"))),
        ("test", "rules", "alerts.test.yml"),
    ],
    ids=" ".join,
)
def test_prometheus_accepts_the_shipped_files(
    tool: Callable[[str], str], arguments: tuple[str, ...], tmp_path: Path
) -> None:
    for path in PROMETHEUS.iterdir():
        # Debian builds promtool without Kubernetes; what is left of the job has to be right.
        text = path.read_text().replace("kubernetes_sd_configs: [{role: pod}]", "static_configs: []")
        (tmp_path / path.name).write_text(text)
    ran = subprocess.run(
        [tool("promtool"), *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_every_alert_has_a_test() -> None:
    tested = (PROMETHEUS / "alerts.test.yml").read_text()
    assert [rule["alert"] for rule in alert_rules() if f'"{rule["alert"]}"' not in tested] == []


def test_expressions_of_the_dashboard_are_valid(tool: Callable[[str], str], tmp_path: Path) -> None:
    rules = []
    for number, expression in enumerate(dashboard_expressions()):
        for variable, value in VARIABLES.items():
            expression = expression.replace(variable, value)  # noqa: PLW2901 - one after the other
        rules.append({"record": f"panel:{number}", "expr": expression})
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    ran = subprocess.run(
        [tool("promtool"), "check", "rules", str(file)], capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert len(rules) > 20


def test_panels_do_not_overlap() -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells
    identities = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(identities)) == len(identities)


@pytest.fixture(scope="module")
def scrape(tmp_path_factory: pytest.TempPathFactory) -> Scrape:
    """Return the metrics of a server with a certificate, a check and a cache, after a push and a pull."""
    folder = tmp_path_factory.mktemp("server")
    pair = Authority(folder).issue("registry")
    debug_port = free_port()
    config: dict[str, Any] = {
        "http": {"workers": 1, "debug": {"addr": f"127.0.0.1:{debug_port}", "prometheus": {"enabled": True}}},
        "health": {"storagedriver": {"enabled": True}},
        "storage": {"cache": {"blobdescriptor": "inmemory"}},
        "proxy": {"upstreams": [{"prefix": "quay.io", "urls": ["http://127.0.0.1:9"]}]},
    }
    with TlsRegistryServer(folder / "server", folder / "storage", pair, config=config) as server:
        client = RegistryClient(server.host, context=pair.trusting_context())
        client.push("team/app", "v1", make_image(960))
        client.pull("team/app", "v1")
        # Gauges are written once a second.
        time.sleep(1.2)
        return Scrape.of(f"http://127.0.0.1:{debug_port}/metrics")


def of_jobs() -> Scrape:
    """Return the metrics of jobs, notifications, upstreams and mirrors, which are rare."""
    metrics = SingleProcessMetrics()
    collection_observer(metrics)(CollectionReport())
    VerificationObserver(metrics).done(Checkpoint())
    counts = EndpointStats("ci", recorded=1)
    counts.statuses[200] = 1
    endpoints = [counts]
    NotificationReader(metrics, lambda: NotificationStats(is_delivering=True, lost=0, endpoints=endpoints))()
    upstream = InMemoryUpstream("docker.io")
    upstream.quota = UpstreamQuota(limit=100, remaining=50, window_seconds=3600)
    origins = Origins([(UpstreamRules(prefix=upstream.name), upstream)])
    quota_reader(metrics, origins, time.monotonic)()
    fetch_observer(metrics, origins)
    eviction_observer(metrics)(EvictionReport())
    order_observer(metrics)
    prefetch_observer(metrics)("docker.io/library/alpine")
    now = "2026-11-29T00:00:00+00:00"
    usage_observer(metrics)(StoreUsage(measured_at=datetime(2026, 11, 29, tzinfo=UTC), seconds=1.0).as_json())
    mirror_observer(metrics)("quay", MirrorState(began=now, ended=now, succeeded=now), True)  # noqa: FBT003 - see there
    return Scrape(metrics.render("")[0].decode())


def test_all_metrics_that_are_used_exist(scrape: Scrape) -> None:
    expressions = [*dashboard_expressions(), *(rule["expr"] for rule in alert_rules())]
    used = {name for expression in expressions for name in METRIC.findall(expression)}
    assert len(used) > 20
    assert used - scrape.names - of_jobs().names == ONLY_AFTER_FAILURES & used


def test_all_metrics_that_exist_are_documented(scrape: Scrape) -> None:
    documented = set(METRIC.findall((REPOSITORY_ROOT / "docs" / "monitoring.md").read_text()))
    existing = scrape.family_names | of_jobs().family_names
    assert existing - documented == set()
    assert documented - existing <= ONLY_AFTER_FAILURES


def test_certificate_expiry_is_a_metric(scrape: Scrape) -> None:
    left = scrape.total("registry_tls_certificate_expiry_timestamp_seconds") - time.time()
    assert 29 * 86400 < left < 31 * 86400


def ask(prometheus: ServerProcess, path: str, **parameters: str) -> Any:
    with urlopen(f"{prometheus.url}/api/v1/{path}?{urlencode(parameters)}", timeout=30) as response:  # noqa: S310
        answer = json.loads(response.read())
    assert answer["status"] == "success"
    return answer["data"]


def test_prometheus_scrapes_and_evaluates(tool: Callable[[str], str], tmp_path: Path) -> None:
    """A real Prometheus reads a real server: it keeps every sample, loads the rules and answers each panel."""
    program, port, debug_port = tool("prometheus"), free_port(), free_port()
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(PROMETHEUS / "alerts.yml")],
        "scrape_configs": [{"job_name": "registry", "static_configs": [{"targets": [f"127.0.0.1:{debug_port}"]}]}],
    }
    file = tmp_path / "prometheus.yml"
    file.write_text(yaml.safe_dump(config))
    command = [program, f"--config.file={file}", f"--storage.tsdb.path={tmp_path}/data"]
    command += [f"--web.listen-address=127.0.0.1:{port}"]
    http = {"workers": 3, "debug": {"addr": f"127.0.0.1:{debug_port}", "prometheus": {"enabled": True}}}
    registry = RegistryServer(tmp_path / "server", tmp_path / "storage", config={"http": http})
    with (
        registry,
        ServerProcess(command, port=port, folder=tmp_path / "prometheus", ready_path="/-/ready") as prometheus,
    ):
        ends = time.monotonic() + 60
        while (panels := answered(prometheus)) < PANELS_ANSWERED and time.monotonic() < ends:
            RegistryClient(registry.host).push("team/app", "v1", make_image(961))
            RegistryClient(registry.host).pull("team/app", "v1")
            time.sleep(1)
        assert panels >= PANELS_ANSWERED
        [target] = ask(prometheus, "targets")["activeTargets"]
        assert (target["health"], target["lastError"]) == ("up", "")
        rules = [rule for group in ask(prometheus, "rules")["groups"] for rule in group["rules"]]
        assert [rule["name"] for rule in rules if rule["health"] == "err"] == []
        assert len(rules) == len(alert_rules())


def answered(prometheus: ServerProcess) -> int:
    """How many expressions of the dashboard have a value; all of them can be asked."""
    count = 0
    for expression in dashboard_expressions():
        for variable, value in VARIABLES.items():
            expression = expression.replace(variable, value)  # noqa: PLW2901 - one after the other
        count += bool(ask(prometheus, "query", query=expression)["result"])
    return count
