"""Names in Kubernetes objects that have to exist in other objects of the same installation."""

from collections.abc import Iterator, Mapping
from typing import Any

from tests.support.deployments import of_kind
from tests.support.manifests import Manifests, container_of, pod_of, secret_references

_SELECTORS = {
    "Deployment": "selector",
    "PodDisruptionBudget": "selector",
    "NetworkPolicy": "podSelector",
}
"""The field of the kinds that select pods by labels."""


def broken_links(manifests: Manifests) -> list[str]:
    """Return the selectors that do not select the pods, and the names of objects and ports that do not exist."""
    pods = of_kind(manifests, "Deployment")["spec"]["template"]["metadata"]["labels"]
    ports = {port["name"]: port["containerPort"] for port in container_of(manifests)["ports"]}
    return [
        *_selectors(manifests, pods),
        *_services(manifests, ports),
        *_names(manifests),
        *_volumes(manifests),
    ]


def _selectors(manifests: Manifests, pods: Mapping[str, str]) -> Iterator[str]:
    for each in manifests:
        kind, spec = each["kind"], each.get("spec", {})
        selected = spec["selector"] if kind == "Service" else spec.get(_SELECTORS.get(kind), {}).get("matchLabels")
        if selected is not None and not selected.items() <= pods.items():
            yield f"{kind} {each['metadata']['name']} selects {selected}, not the pods"
    for each in pod_of(manifests).get("topologySpreadConstraints", []):
        if not each["labelSelector"]["matchLabels"].items() <= pods.items():
            yield "a topologySpreadConstraint does not select the pods"


def _services(manifests: Manifests, ports: Mapping[str, int]) -> Iterator[str]:
    """Yield the ports of services, policies, probes and monitors that do not exist."""
    services = [each for each in manifests if each["kind"] == "Service"]
    targets = [port["targetPort"] for service in services for port in service["spec"]["ports"]]
    container = container_of(manifests)
    targets += [container[probe]["httpGet"]["port"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")]
    for policy in (each for each in manifests if each["kind"] == "NetworkPolicy"):
        targets += [port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]]
    yield from (f"no port {target} in the container" for target in targets if target not in ports)
    for monitor in (each for each in manifests if each["kind"] == "ServiceMonitor"):
        found = [each for each in services if selects(monitor, each)]
        if len(found) != 1:
            yield f"the ServiceMonitor selects {len(found)} services"
        names = {port["name"] for each in found for port in each["spec"]["ports"]}
        yield from (f"no port {each['port']}" for each in monitor["spec"]["endpoints"] if each["port"] not in names)


def selects(monitor: Mapping[str, Any], service: Mapping[str, Any]) -> bool:
    """Whether a ServiceMonitor selects a service."""
    labels: Mapping[str, str] = service["metadata"]["labels"]
    return bool(monitor["spec"]["selector"]["matchLabels"].items() <= labels.items())


def _names(manifests: Manifests) -> Iterator[str]:
    services = {
        each["metadata"]["name"]: {port["name"] for port in each["spec"]["ports"]}
        for each in manifests
        if each["kind"] == "Service"
    }
    for ingress in (each for each in manifests if each["kind"] == "Ingress"):
        for rule in ingress["spec"]["rules"]:
            for path in rule["http"]["paths"]:
                service = path["backend"]["service"]
                if service["port"]["name"] not in services.get(service["name"], ()):
                    yield f"the Ingress names {service}"
    for scaler in (each for each in manifests if each["kind"] == "HorizontalPodAutoscaler"):
        target = scaler["spec"]["scaleTargetRef"]
        if target["name"] != of_kind(manifests, "Deployment")["metadata"]["name"]:
            yield f"the HorizontalPodAutoscaler scales {target}"


def _volumes(manifests: Manifests) -> Iterator[str]:
    """Yield mounts without a volume, and volumes and variables from objects that are made under another name."""
    pod, container = pod_of(manifests), container_of(manifests)
    volumes = {each["name"] for each in pod["volumes"]}
    yield from (f"no volume {each['name']}" for each in container["volumeMounts"] if each["name"] not in volumes)
    made = {(each["kind"], each["metadata"]["name"]) for each in manifests}
    config = {each["configMap"]["name"] for each in pod["volumes"] if "configMap" in each}
    yield from (f"no ConfigMap {name}" for name in config if ("ConfigMap", name) not in made)
    secrets = {each["metadata"]["name"]: each for each in manifests if each["kind"] == "Secret"}
    for reference in secret_references(manifests) if secrets else ():
        if not _holds(secrets, reference):
            yield f"no Secret with {reference}"


def _holds(secrets: Mapping[str, Mapping[str, Any]], reference: Mapping[str, Any]) -> bool:
    secret = secrets.get(reference["name"], {})
    keys = {**secret.get("data", {}), **secret.get("stringData", {})}
    return bool(reference.get("optional")) or reference["key"] in keys
