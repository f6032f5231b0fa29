"""The scrape configurations select what the chart, the manifests and the compose file start, under one job name."""

import re
from typing import Any

import pytest
import yaml

from config.loader import load
from tests.support.deployments import DEPLOY, documents, of_kind
from tests.support.kubernetes_links import selects
from tests.support.manifests import container_of

FOLDER = DEPLOY / "prometheus"
CONFIGURATIONS = sorted(path.name for path in FOLDER.glob("prometheus*.yml"))
RENDERED = sorted((DEPLOY / "kubernetes").glob("*/registry.yaml"))


def job_of(name: str) -> dict[str, Any]:
    configuration = yaml.safe_load((FOLDER / name).read_text())
    assert configuration["rule_files"] == ["alerts.yml"]
    job: dict[str, Any]
    [job] = configuration["scrape_configs"]
    return job


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_alerts_use_the_name_of_the_job(name):
    named = set(re.findall(r'job="([^"]*)"', (FOLDER / "alerts.yml").read_text()))
    assert named == {job_of(name)["job_name"]}


@pytest.mark.parametrize("path", RENDERED, ids=lambda path: path.parent.name)
def test_job_for_kubernetes_keeps_the_port_of_the_pods(path):
    manifests = documents(path)
    labels = of_kind(manifests, "Deployment")["spec"]["template"]["metadata"]["labels"]
    named = {re.sub(r"\W", "_", f"__meta_kubernetes_pod_label_{label}"): value for label, value in labels.items()}
    kept = container_of(manifests)["ports"]
    rules = [rule for rule in job_of("prometheus-kubernetes.yml")["relabel_configs"] if rule.get("action") == "keep"]
    assert len(rules) == 2
    for rule in rules:
        [source] = rule["source_labels"]
        ports = [{**named, "__meta_kubernetes_pod_container_port_name": port["name"]} for port in kept]
        kept = [port for port, meta in zip(kept, ports, strict=True) if re.fullmatch(rule["regex"], meta[source])]
    assert [port["containerPort"] for port in kept] == [5001]
    assert yaml.safe_load(of_kind(manifests, "ConfigMap")["data"]["config.yml"])["http"]["debug"]["addr"] == ":5001"


def test_service_monitor_gives_its_targets_the_name_of_the_job():
    manifests = documents(DEPLOY / "kubernetes" / "s3" / "registry.yaml")
    monitor = of_kind(manifests, "ServiceMonitor")
    [service] = [each for each in manifests if each["kind"] == "Service" and selects(monitor, each)]
    # Without jobLabel, the operator names the job after the service.
    assert service["metadata"]["labels"][monitor["spec"]["jobLabel"]] == job_of("prometheus-kubernetes.yml")["job_name"]


def test_job_for_compose_resolves_the_service_and_its_debug_port():
    compose = yaml.safe_load((DEPLOY / "compose" / "compose.yaml").read_text())
    [discovery] = job_of("prometheus-compose.yml")["dns_sd_configs"]
    [name] = discovery["names"]
    assert "back" in compose["services"][name]["networks"]
    environ = {"REGISTRY_HTTP_SECRET": "x" * 32, "SEARCH_BACKEND_MYSQL": "u:p@tcp(db:3306)/r"}
    debug = load(str(DEPLOY / "compose" / "config.yml"), environ=environ).settings.http.debug
    assert debug.addr == f":{discovery['port']}"
    assert debug.prometheus_enabled
